"""From host arrays to a device without waiting for it."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def sent(array: np.ndarray, device: "torch.device") -> "torch.Tensor":
    """The array as a tensor of the device. A GPU copies it from pinned memory while the host goes on."""
    import torch

    tensor = torch.from_numpy(array)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
