"""How far apart two distributions of a neuron's activation lie: the Kolmogorov-Smirnov distance at the levels that both studies counted at.

It is a share of positions, so it means the same of every neuron, whatever the scale of its activation; it is 0 where both counted the same
shares, and never larger than that of the activations themselves.
"""

import numpy as np

from assets.study_difference.levels import NO_EDGE, Levels, shared_edges


def distances(one: Levels, other: Levels) -> tuple[np.ndarray, np.ndarray]:
    """Float64 [neuron]: the distance of each neuron, NaN where no level is shared or a study counted no position; int64 [neuron]: shared edges."""
    found, edges = np.full(len(one.positions), np.nan), np.zeros(len(one.positions), dtype=np.int64)
    for neurons, own, facing in one.alike(other):
        places, facing_places = shared_edges(own, facing)
        edges[neurons] = len(places)
        own_shares, facing_shares = _shares(one, neurons, places), _shares(other, neurons, facing_places)
        if own.zero != NO_EDGE and facing.zero != NO_EDGE:  # 0 is a value that many activations take exactly: both sides of it are told
            own_shares, facing_shares = _with_zero(one, neurons, own_shares), _with_zero(other, neurons, facing_shares)
        if own_shares.shape[1]:
            found[neurons] = np.abs(own_shares - facing_shares).max(axis=1)  # NaN where there is no position
    return found, edges


def _shares(levels: Levels, neurons: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Shares of the positions below edges: float64 [neuron, edge], NaN without a position."""
    return levels.below[np.ix_(neurons, places)] / _known(levels, neurons)


def _with_zero(levels: Levels, neurons: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The same with the share at or below 0 as one more column."""
    return np.concatenate([shares, levels.up_to_zero[neurons][:, None] / _known(levels, neurons)], axis=1)


def _known(levels: Levels, neurons: np.ndarray) -> np.ndarray:
    positions = levels.positions[neurons].astype(np.float64)
    return np.where(positions > 0, positions, np.nan)[:, None]  # [neuron, 1]
