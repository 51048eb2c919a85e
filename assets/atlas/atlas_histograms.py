"""The table `atlas_histograms`: the counts of every neuron, a layer at a time. Which levels the bins are is in activation_bins."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from assets.contracts import ATLAS_HISTOGRAMS, conform
from assets.counting.histograms import Histograms


def atlas_histograms(histograms: Histograms) -> Iterator[pl.DataFrame]:
    """The table, one frame a layer."""
    for layer in range(histograms.layers):
        counts = np.asarray(histograms["count"][layer])  # [neuron, bin]
        frame = pl.DataFrame(
            {
                "layer": np.full(len(counts), layer, np.int32),
                "neuron": np.arange(len(counts), dtype=np.int32),
                "counts": pl.Series(counts, dtype=pl.Array(pl.Int64, counts.shape[1])).arr.to_list(),
            }
        )
        yield conform(ATLAS_HISTOGRAMS, frame)
