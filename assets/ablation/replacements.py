"""What an ablated activation is replaced with: nothing, the corpus mean, another position's activation, or (as published) its negation.

Holds the kinds and their values. Where activations of other positions come from is in donors.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    import torch

ABLATIONS = ("zero", "mean", "resample", "negation")
TOLD_ABLATION = "mean"  # the one that is told: it leaves the neuron's average contribution in place


def replacements(clean: "torch.Tensor", means: "torch.Tensor", drawn: "torch.Tensor") -> "torch.Tensor":
    """Float32 [ablation, neuron] in the order of ABLATIONS; `clean`, `means` and `drawn` are [neuron]."""
    import torch

    return torch.stack([torch.zeros_like(clean), means, drawn, -clean])


def corpus_means(neuron_statistics: pl.DataFrame, layer: int, neurons: Sequence[int]) -> np.ndarray:
    """Float32 [neuron]: means from the table neuron_statistics; 0 where no activation was a number."""
    rows = neuron_statistics.filter(pl.col("layer") == layer).sort("neuron")
    return rows["mean"].fill_null(0.0).fill_nan(0.0).to_numpy()[list(neurons)].astype(np.float32)
