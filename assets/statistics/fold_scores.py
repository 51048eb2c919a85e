"""AUROC, average precision and contribution of any union of folds of documents, for many unions at once.

The formulas are those of token_neuron_scores and contributions; here they are arranged so that leaving out each fold in turn costs
little. With p the cases of a level and a all its positions, P and A their sums over a union U of folds,

    P N x AUROC = sum over levels of p (a below + a / 2) - P^2 / 2,   N = A - P,

is bilinear in the folds of p and those of a: one small product of matrices a neuron serves every union. Holds no choice of folds.
"""

from typing import NamedTuple

import numpy as np

from assets.statistics.fold_counts import FoldLevels


class UnionScores(NamedTuple):
    """Float64 [neuron, token, union]; NaN where undefined."""

    auroc: np.ndarray
    average_precision: np.ndarray


def deviations(levels: FoldLevels, unions: np.ndarray) -> np.ndarray:
    """AUROC - 1/2 [neuron, token, union]; `unions` [union, fold] holds 1 where a union has the fold. NaN without a case, or without any other.

    Of whole counts it is exact up to one division, so that negated activations give the same number, negated, to the last bit: neurons that
    tie by it, tie whatever sign they have.
    """
    positions, cases = levels.positions, levels.cases
    below = np.cumsum(positions, axis=-1) - positions / 2  # [neuron, fold, level]
    pairs = cases @ below.swapaxes(-1, -2)[:, None]  # [neuron, token, fold of the cases, fold of all positions]
    won = ((unions @ pairs) * unions).sum(-1)
    own = cases.sum(-1) @ unions.T
    every = (positions.sum(-1) @ unions.T)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((own > 0) & (own < every), (won - own * every / 2) / (own * (every - own)), np.nan)


def aurocs(levels: FoldLevels, unions: np.ndarray) -> np.ndarray:
    """AUROC of the same."""
    return 0.5 + deviations(levels, unions)


def average_precisions(levels: FoldLevels, unions: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Average precision [neuron, token, union], read from the highest level down where `directions` [neuron, token] is 1, from the lowest up
    where it is -1. Where it is 0 levels say nothing, and all are taken together. NaN without a case."""
    from assets.statistics.average_precision_loops import add_up_precisions

    found = np.empty((*directions.shape, len(unions)))
    by_fold = np.ascontiguousarray(unions.T, dtype=np.float64)
    add_up_precisions(
        np.ascontiguousarray(levels.cases), np.ascontiguousarray(levels.positions), by_fold, directions.astype(np.int8), found
    )
    return found


def directions_of(deviation: np.ndarray) -> np.ndarray:
    """Int8: 1 for an AUROC above one half, -1 below, 0 where it is one half or missing; from AUROC - 1/2."""
    return np.nan_to_num(np.sign(deviation)).astype(np.int8)


def contributions_of(congruence: np.ndarray, here: np.ndarray, total: np.ndarray, cases: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """What neurons add to a token's logit where it has the outcome, less what they add elsewhere: logits [union, neuron].

    Of a token, or of a group with a row for each member: congruence [member, neuron]; here [union, member, neuron] and total [union,
    neuron] sums of activation / scale; cases [union, member]; positions [union]. NaN where the token has the outcome nowhere or everywhere.
    """
    own = cases.sum(1)[:, None]  # [union, 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        there = (congruence * here).sum(1) / own
        elsewhere = (cases / own) @ congruence * (total - here.sum(1)) / (positions[:, None] - own)
        return np.where((own > 0) & (own < positions[:, None]), there - elsewhere, np.nan)
