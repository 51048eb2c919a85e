"""Products of float32 matrices by oneDNN, for a while: for what is told to a tolerance, not for what is counted.

PyTorch hands products in float32 to MKL, which on AMD's processors keeps to instructions of half the width that they have: 215 billion operations a
second on two cores of one with AVX-512, where oneDNN, which PyTorch carries as well, does 500. Its sums are rounded in another order. So what is
counted (the pass over the corpus) keeps the bits of plain Hugging Face code (split_maps); patching, ablation, what feeds a neuron and congruence
are told in decimals, and take the quicker one as it is (docs/decisions/0048-quick-products-behind-the-pass.md).

Of a product only its second matrix may be a weight of the model or any other of two dimensions. Batches of small products, as attention's are, and
everything that needs a gradient, another dtype or another device go where they went.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@contextmanager
def quick_products() -> Iterator[None]:
    """While open, this thread's products of float32 matrices on the CPU are oneDNN's, where the processor has AVX-512; elsewhere nothing changes."""
    with _mode()() if are_quicker() else nullcontext():
        yield


@cache
def are_quicker() -> bool:
    """Whether oneDNN is there, and instructions that MKL may leave unused."""
    import torch

    return torch.backends.mkldnn.is_available() and bool(torch.cpu.get_capabilities().get("avx512_f", False))


def _linear(given: "torch.Tensor", weight: "torch.Tensor", bias: "torch.Tensor | None" = None) -> "torch.Tensor | None":
    """given @ weight.T + bias, or None where it is not for oneDNN: [..., input], [output, input], [output]."""
    import torch

    both = (given, weight) if bias is None else (given, weight, bias)
    if any(one.dtype != torch.float32 or one.device.type != "cpu" for one in both) or weight.ndim != 2 or given.ndim < 2:
        return None
    if torch.is_grad_enabled() and any(one.requires_grad for one in both):
        return None
    # A part of a matrix would be multiplied one number at a time: 2 s instead of 1 ms.
    if not (weight.is_contiguous() or weight.T.is_contiguous()):
        return None
    return torch.ops.mkldnn._linear_pointwise(given.contiguous(), weight, bias, "none", [], "")


def _matmul(given: "torch.Tensor", other: "torch.Tensor") -> "torch.Tensor | None":
    return _linear(given, other.T) if other.ndim == 2 else None


def _addmm(bias: "torch.Tensor", given: "torch.Tensor", other: "torch.Tensor") -> "torch.Tensor | None":
    """bias + given @ other, as a map of GPT-2's code calls it."""
    return _linear(given, other.T, bias) if bias.ndim == 1 else None


@cache
def _mode() -> Any:
    import torch
    from torch.overrides import TorchFunctionMode

    quick: dict[Any, Callable[..., torch.Tensor | None]] = {
        torch.nn.functional.linear: _linear,
        torch.addmm: _addmm,
        torch.matmul: _matmul,
        torch.mm: _matmul,
        torch.Tensor.matmul: _matmul,
        torch.Tensor.mm: _matmul,
        torch.Tensor.__matmul__: _matmul,
    }

    class QuickProducts(TorchFunctionMode):
        """Asks `quick` first, unless something is given by name: factors, memory for the result."""

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = quick[function](*args) if function in quick and not kwargs else None
            return function(*args, **(kwargs or {})) if found is None else found

    return QuickProducts
