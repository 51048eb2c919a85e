"""How far a neuron's distribution lies apart in the two halves of one study's own documents: what the choice of documents alone can give.

Each half holds about half of the positions, so that two studies of as many documents each lie less far apart by luck.
"""

from collections.abc import Sequence

import numpy as np

from assets.counting.document_blocks import DISCOVERY, TELLING, blocks_of_half
from assets.counting.histograms import ActivationBins, Histograms
from assets.study_difference.levels import NO_EDGE, edges_of


def half_distances(histograms: Histograms, bins: ActivationBins, layer: int, is_gated: bool) -> np.ndarray:
    """Float64 [neuron]: the Kolmogorov-Smirnov distance of the halves over all edges of the neuron's bins, NaN where one has no position.

    Of gated neurons the edge 0 is left out: by block only what is below it was counted, which is another share once the sign is turned.
    """
    shares = [_shares_below(histograms, layer, blocks_of_half(half, histograms.blocks)) for half in (DISCOVERY, TELLING)]
    apart = np.abs(shares[0] - shares[1])  # [neuron, edge]
    zeros = np.asarray([edges_of(bins, layer, neuron).zero for neuron in range(len(apart))])
    if is_gated:
        has_zero = zeros != NO_EDGE
        apart[has_zero, zeros[has_zero]] *= 0  # NaN stays NaN
    return apart.max(axis=1)


def _shares_below(histograms: Histograms, layer: int, blocks: Sequence[int]) -> np.ndarray:
    """Shares of the positions of some blocks of documents below each edge: float64 [neuron, edge]; a block is in memory at a time."""
    counts = np.zeros((histograms.neurons, histograms.bins), dtype=np.int64)
    outside = np.zeros((histograms.neurons, 2), dtype=np.int64)  # below the bins, above them
    for block in blocks:
        counts += np.asarray(histograms["block_count"][block, layer])
        outside += np.asarray(histograms["block_outside"][block, layer])[:, :2]
    below = outside[:, :1] + np.concatenate([np.zeros_like(outside[:, :1]), np.cumsum(counts, axis=1)], axis=1)
    positions = below[:, -1] + outside[:, 1]
    return below / np.where(positions > 0, positions, np.nan)[:, None]
