"""The levels of an activation in ascending order: below the bins, each bin, above the bins; and the values that bound them.

Holds the order and the edges that scores and curves share. NaN has no place in an order and is left out. Counts nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from assets.counting.histograms import ActivationBins

TokenTexts = Mapping[int, str] | Sequence[str]  # text by token id: of the tracked tokens at least


def ascending_levels(bins: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Int64 [..., bin + 2]: underflow, the bins, overflow, from `bins` [..., bin] and `outside` [..., outcome]."""
    return np.concatenate([outside[..., :1], bins, outside[..., 1:2]], axis=-1)


def lower_edges(bins: ActivationBins, layer: int, neurons: slice | np.ndarray) -> np.ndarray:
    """Float64 [neuron, bin + 2]: where each level begins, in units of activation; minus infinity for the underflow."""
    first = bins.first_bin[layer, neurons].astype(np.float64)[:, None]
    per_unit = bins.per_unit[layer, neurons].astype(np.float64)[:, None]
    inner = (first + np.arange(bins.bins + 1, dtype=np.float64)) / per_unit
    return np.concatenate([np.full_like(first, -np.inf), inner], axis=-1)
