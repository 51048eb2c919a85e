"""The compiled loop of average precisions: one pass over a neuron's levels for all unions of folds, instead of six over whole arrays.

What an average precision is, and which way levels are read, stands in fold_scores.
"""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def add_up_precisions(cases: np.ndarray, positions: np.ndarray, unions: np.ndarray, directions: np.ndarray, found: np.ndarray) -> None:
    """Write the average precision of every union into `found`, float64 [neuron, token, union]: NaN without a case.

    cases: float64 [neuron, token, fold, level]. positions: float64 [neuron, fold, level]. unions: float64 [fold, union]. directions: int8
    [neuron, token]; where it is 0 all levels are taken together.
    """
    neurons, tokens, folds, levels = cases.shape
    every, own = np.empty((levels, unions.shape[1])), np.empty((levels, unions.shape[1]))
    reached, seen = np.empty(unions.shape[1]), np.empty(unions.shape[1])
    for neuron in range(neurons):
        _of_unions(positions[neuron], unions, every)
        for token in range(tokens):
            _of_unions(cases[neuron, token], unions, own)
            direction, precision = directions[neuron, token], found[neuron, token]
            precision[:], reached[:], seen[:] = 0.0, 0.0, 0.0
            for step in range(levels):
                level = levels - 1 - step if direction > 0 else step
                for union in range(seen.size):
                    reached[union] += own[level, union]
                    seen[union] += every[level, union]
                    precision[union] += own[level, union] * (reached[union] / max(seen[union], 1.0))
            for union in range(seen.size):
                together = reached[union] if direction == 0 else precision[union]
                by = seen[union] if direction == 0 else reached[union]
                precision[union] = together / by if reached[union] > 0 else np.nan


@njit(nogil=True, cache=True)
def _of_unions(counts: np.ndarray, unions: np.ndarray, summed: np.ndarray) -> None:
    """Sums [level, union] of counts [fold, level] over the folds of each union."""
    summed[:] = 0.0
    for fold in range(counts.shape[0]):
        for level in range(counts.shape[1]):
            if counts[fold, level] != 0.0:  # nearly all, for a rare token
                for union in range(unions.shape[1]):
                    summed[level, union] += counts[fold, level] * unions[fold, union]
