"""Linear maps of plain code with their weights laid out once for the processor: `model.linear_maps: prepacked` in a study.

oneDNN multiplies faster by a weight that it has rearranged beforehand than MKL does by the weight as it lies in memory, and
applies GELU to a product while that is in cache (docs/performance.md). Terms of a sum are added in another order, so the last
bits are others than plain Hugging Face code's; `model_parity` measures how many bins and predictions that moves. Float32 on a
CPU. The unembedding is left: top predictions have a faster way of their own (assets/predictions/shortlist.py).
"""

from typing import Any

from assets.errors import InputError
from assets.model.cached_activation import is_new_gelu

# Modules whose first map is followed by their activation and nothing else: names of the map and of the activation.
ACTIVATED = {"GPT2MLP": ("c_fc", "act"), "GPTNeoXMLP": ("dense_h_to_4h", "act")}


def with_prepacked_maps(model: Any) -> Any:
    """The model, each linear map but the unembedding exchanged. Only for a model that no one else uses: it is changed in place.

    Raises InputError where this machine or the model's dtype has no such products.
    """
    refuse_without_products(next(model.parameters()))
    unembedding = model.get_output_embeddings()
    for parent in list(model.modules()):
        first, activation = ACTIVATED.get(type(parent).__name__, ("", ""))
        gelu = _gelu_of(getattr(parent, activation, None))
        for name, module in list(parent.named_children()):
            if module is not unembedding and (parts := _parts(module)) is not None:
                setattr(parent, name, prepacked_map(*parts, gelu if name == first else None))
        if gelu is not None:
            setattr(parent, activation, _nothing())
    return model


def refuse_without_products(weights: Any) -> None:
    """Raise InputError unless these weights are float32 on a CPU that has oneDNN."""
    import torch

    if weights.device.type != "cpu" or weights.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        raise InputError(
            f"model.linear_maps: 'prepacked' needs float32 on a CPU with oneDNN; the model is {str(weights.dtype).removeprefix('torch.')} on "
            f"{weights.device}: leave it at 'plain', or set model.dtype: float32 and model.device: cpu"
        )


def prepacked_map(weight: Any, bias: Any, gelu: str | None = None) -> Any:
    """A module for x @ weight.T + bias: weight float32 [output, input], bias [output] or None.

    `gelu` is applied to the result: "tanh" for the approximation that GPT-2 uses, "none" for GELU itself, None for no GELU.
    """
    import torch

    operation, variant = ("none", "") if gelu is None else ("gelu", gelu)

    class PrepackedMap(torch.nn.Module):
        """Holds the rearranged weight, which only oneDNN can read, and the bias."""

        def __init__(self) -> None:
            super().__init__()
            self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
            self.bias = bias

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            """[..., input] to [..., output]."""
            return torch.ops.mkldnn._linear_pointwise(given.contiguous(), self.packed, self.bias, operation, [], variant)

    return PrepackedMap()


def _nothing() -> Any:
    import torch

    return torch.nn.Identity()


def _gelu_of(module: Any) -> str | None:
    """Which GELU a module is; None for any other."""
    from transformers.activations import GELUActivation, GELUTanh, NewGELUActivation

    if is_new_gelu(module) or isinstance(module, NewGELUActivation | GELUTanh):
        return "tanh"
    return "none" if isinstance(module, GELUActivation) else None


def _parts(module: Any) -> tuple[Any, Any] | None:
    """Weight [output, input] and bias of a linear map; None for any other module."""
    import torch
    from transformers.pytorch_utils import Conv1D

    if type(module) is torch.nn.Linear:
        return module.weight.detach(), module.bias
    if type(module) is Conv1D:  # GPT-2 keeps [input, output]
        return module.weight.detach().t(), module.bias
    return None
