"""Linear maps of plain code by oneDNN, with the bits that MKL gives them: the pass at the speed of quick_products, counting what it counted.

On AMD's processors MKL multiplies float32 with half of the instructions' width (quick_products). What a product's last bits are depends only on the
order in which its terms are added. Found on PyTorch 2.13 and an EPYC of the fifth generation: both libraries add the terms of a number one after the
other, each multiplied and added in one rounding; oneDNN all of them, MKL BLOCK at a time, whose sums it adds to what is there (a bias first). So oneDNN gives
MKL's bits when it is given the inputs in MKL's blocks.

Nobody promises this, of no processor. So **each shape of map and batch is tried once a process**, with random numbers, of which nine in ten
would come out otherwise in any other order; where a single bit differs, the map stays MKL's. Only shapes that are large enough to gain are tried.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from assets.model.quick_products import are_quicker

if TYPE_CHECKING:
    import torch

BLOCK = 192  # inputs that MKL adds up before it adds their sum to the others'
LINE = 64  # bytes; by where weights lie in one, a library may choose how to read them
LEAST_ROWS, LEAST_WEIGHTS = 256, 2**16  # below, little is gained and trying would cost more
# Bytes of maps that are held a second time, inputs first; of larger models blocks are copied at each call: 1.64 times MKL's speed instead of 2.06.
HELD_AT_MOST = 2**30


def with_split_maps(model: Any) -> Any:
    """The model, each linear map but the unembedding computed in blocks where that gives the same bits. Only for a model that no one else uses:
    it is changed in place, its modules and weights are not."""
    import torch

    weights = next(model.parameters())
    if not are_quicker() or weights.device.type != "cpu" or weights.dtype != torch.float32:
        return model
    unembedding = model.get_output_embeddings()
    maps = [one for module in model.modules() if module is not unembedding and (one := _SplitMap.of(module)) is not None]
    is_held = sum(one.bytes_to_hold for one in maps) <= HELD_AT_MOST
    for one in maps:
        one.is_held = is_held
        one.module.__dict__["forward"] = one  # hides the method of the class
    return model


def blocks_of(inputs: int) -> list[slice]:
    """The inputs that MKL adds up together: BLOCK at a time, or two halves of what is less than two blocks."""
    if BLOCK < inputs < 2 * BLOCK:
        return [slice(0, inputs // 2), slice(inputs // 2, inputs)]
    return [slice(first, min(first + BLOCK, inputs)) for first in range(0, inputs, BLOCK)]


class _SplitMap:
    """Takes the place of a linear map's forward."""

    # Of the whole process: shapes, how weights lie and the number of threads; whether every bit was the same.
    tried: dict[tuple[Any, ...], bool] = {}

    def __init__(self, module: Any, own: Callable[["torch.Tensor"], "torch.Tensor"], weight: "torch.Tensor") -> None:
        self.module, self.is_held = module, True
        self._own, self._weight, self._bias = own, weight, module.bias  # the weight is [input, output]
        self._held: torch.Tensor | None = weight if weight.is_contiguous() else None
        self._blocks = blocks_of(len(weight))

    @classmethod
    def of(cls, module: Any) -> "_SplitMap | None":
        """That of a linear map that is large enough; None of any other module."""
        import torch
        from transformers.pytorch_utils import Conv1D

        if type(module) not in (torch.nn.Linear, Conv1D) or module.weight.numel() < LEAST_WEIGHTS:
            return None
        weight = module.weight.detach()
        own = type(module).forward.__get__(module)  # the class's, whatever stands in its place
        return cls(module, own, weight.t() if type(module) is torch.nn.Linear else weight)

    @property
    def bytes_to_hold(self) -> int:
        """Of the copy with inputs first, whose blocks lie together; 0 where the weights lie so, as in GPT-2."""
        return 0 if self._weight.is_contiguous() else self._weight.nbytes

    def __call__(self, given: "torch.Tensor") -> "torch.Tensor":
        """[..., input] to [..., output]."""
        import torch

        inputs, outputs = self._weight.shape
        rows = given.numel() // inputs
        is_plain = given.dtype == torch.float32 and given.is_contiguous() and not (torch.is_grad_enabled() and given.requires_grad)
        if rows < LEAST_ROWS or not is_plain:
            return self._own(given)
        lies = (self._weight.is_contiguous(), self._weight.data_ptr() % LINE)
        shape = (given.shape, outputs, self._bias is None, lies, torch.get_num_threads())
        if shape not in self.tried:
            self.tried[shape] = self._has_same_bits(given.shape)
        return self._in_blocks(given) if self.tried[shape] else self._own(given)

    def _has_same_bits(self, shape: "torch.Size") -> bool:
        import torch

        drawn = _random_numbers().repeat(-(-shape.numel() // len(_random_numbers())))[: shape.numel()].view(shape)
        with torch._C.DisableTorchFunction():  # what is compared with is MKL's, also while quick_products are open
            return torch.equal(self._own(drawn), self._in_blocks(drawn))

    def _in_blocks(self, given: "torch.Tensor") -> "torch.Tensor":
        """[..., output] of [..., input], which lies row behind row."""
        import torch

        linear, flat = torch.ops.mkldnn._linear_pointwise, given.view(-1, len(self._weight))
        if self._held is None and self.is_held:
            self._held = self._weight.contiguous()
        first, *others = self._blocks
        result = linear(flat[:, first], self._block(first), self._bias, "none", [], "")
        for some in others:
            result = linear.binary(flat[:, some], result, self._block(some), None, "add")
        return result.view(*given.shape[:-1], -1)

    def _block(self, some: slice) -> "torch.Tensor":
        """[output, input] of some inputs, as oneDNN can read it."""
        return self._weight.T[:, some].contiguous() if self._held is None else self._held[some].T


@cache
def _random_numbers() -> "torch.Tensor":
    """Float32, as many as are drawn in a millisecond; no map has so many inputs that its rows repeat them."""
    import torch

    return torch.randn(2**16 + 1, generator=torch.Generator().manual_seed(0))
