"""Of each position of a batch, 1 over what direct effects are divided by: one number for all layers, or, with norms behind MLPs, one of each."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def inverse_scales(given: "torch.Tensor") -> "torch.Tensor":
    """[1, row x position] from [row, position], or [layer, row x position] from [layer, row, position]; contiguous."""
    return given.reshape(1 if given.ndim == 2 else len(given), -1).contiguous()


def of_layer(scales: "torch.Tensor", layer: int) -> "torch.Tensor":
    """The numbers of a layer, counted among those that are counted here, of [1 or layer, ...]."""
    return scales[layer if len(scales) > 1 else 0]
