"""From host arrays to a device and back without waiting for it."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# What waits for numbers of a batch waits until this share of the next batch's layers has been asked for: a GPU then never idles, and
# holds so much more.
HELD_ON = 0.25


def sent(array: np.ndarray, device: "torch.device") -> "torch.Tensor":
    """The array as a tensor of the device. A GPU copies it from pinned memory while the host goes on."""
    import torch

    tensor = torch.from_numpy(array)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def returned(tensor: "torch.Tensor") -> "tuple[torch.Tensor, torch.cuda.Event | None]":
    """A copy on the host, and what says that it has arrived: None where it is there. A GPU copies it while the host goes on."""
    import torch

    if tensor.device.type != "cuda":
        return tensor.cpu(), None
    here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    here.copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    return here, arrived
