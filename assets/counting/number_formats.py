"""Activations from one format of numbers into another on the host, without torch: what counting threads may call.

A thread that calls a parallel operation of torch gets OpenMP threads of its own. With more of them than cores GNU's OpenMP no longer
waits awake, in the whole process and as long as the thread lives: GPT-2's GELU then took four times as long (docs/performance.md).
"""

from typing import TYPE_CHECKING

import numpy as np

from assets.counting.kept_positions import HALF_LARGEST

if TYPE_CHECKING:
    import torch


def halves(activations: np.ndarray) -> np.ndarray:
    """Float32 as float16, clipped to what float16 holds."""
    return np.clip(activations, -HALF_LARGEST, HALF_LARGEST).astype(np.float16)


def singles(activations: "torch.Tensor") -> np.ndarray:
    """[row, position, neuron] of a model in float32, float16 or bfloat16 as float32 [row x position, neuron]; float32 is not copied."""
    import torch

    flat = activations.flatten(0, 1)
    if flat.dtype != torch.bfloat16:
        return np.ascontiguousarray(flat.numpy(), np.float32)
    bits = np.ascontiguousarray(flat.view(torch.int16).numpy()).view(np.uint16)
    return (bits.astype(np.uint32) << 16).view(np.float32)  # bfloat16 is the upper half of float32
