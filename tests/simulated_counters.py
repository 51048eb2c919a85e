"""Counters by fold of documents that no model made: corpora in which every position, or every count, is drawn. Holds no test.

`corpora` draws positions one by one, with what documents share in label and activation alike; `Search` draws the counters of many neurons
at once, as multinomial numbers, fast enough for hundreds of corpora.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from assets.counting.document_blocks import FOLDS, TELLING
from assets.counting.histograms import Histograms
from assets.statistics.fold_counts import FoldLevels

LEVELS = 24
SEARCH_LEVELS = 10  # few, for speed: steps of half a standard deviation


class Corpora(NamedTuple):
    """`levels`: one corpus a neuron, with one token; sums of activations by corpus and fold, of all positions and of the cases."""

    levels: FoldLevels
    sums: np.ndarray
    case_sums: np.ndarray


def corpora(
    generator: np.random.Generator, number: int, documents: int, length: int, *, label: float, activation: float, shared: float
) -> Corpora:
    """So many corpora of documents of so many positions. Each document raises the log-odds of the label by `label` standard normal steps,
    and the activation by `activation` of them, which correlate by `shared`. A case's activation is 1 higher."""
    fold = generator.integers(0, FOLDS, (number, documents))
    first, second = generator.standard_normal((2, number, documents, 1))
    odds = -2.5 + label * first
    is_case = generator.random((number, documents, length)) < 1 / (1 + np.exp(-odds))
    raised = activation * (shared * first + np.sqrt(1 - shared**2) * second)
    values = raised + is_case + generator.standard_normal((number, documents, length))
    level = np.clip(np.floor(2 * values) + LEVELS // 2, 0, LEVELS - 1).astype(np.int64)
    place = (np.arange(number)[:, None] * FOLDS + fold)[..., None] + np.zeros_like(level)

    def counted(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        held = np.bincount((place * LEVELS + level)[chosen], minlength=number * FOLDS * LEVELS)
        sums = np.bincount(place[chosen], weights=values[chosen], minlength=number * FOLDS)
        return held.reshape(number, FOLDS, LEVELS).astype(float), sums.reshape(number, FOLDS)

    positions, sums = counted(np.ones_like(is_case))
    cases, case_sums = counted(is_case)
    return Corpora(FoldLevels(cases[:, None], positions), sums, case_sums)


@dataclass(frozen=True)
class Search:
    """Neurons of one layer and one token, of which a few tell it: activations of cases are `effect` [neuron, fold] higher.

    Each fold of each neuron is shifted by `drift` standard normal steps: what its documents share.
    """

    effect: np.ndarray
    cases: int = 60  # of a fold
    others: int = 600
    drift: float = 0.05

    def histograms(self, generator: np.random.Generator, domains: int = 1) -> Histograms:
        """With the tensors that half_scores reads of an outcome; labels that say nothing are drawn like the others' positions."""
        neurons = len(self.effect)
        blocks = domains * FOLDS
        shift = self.drift * generator.standard_normal((neurons, blocks))
        effect = np.tile(self.effect, (1, domains)) if self.effect.shape[1] == FOLDS else self.effect
        case = _drawn(generator, self.cases, shift + effect)  # [neuron, block, level]
        turned = _drawn(generator, self.cases, shift)  # some of the others, which the turned labels hit
        every = case + turned + _drawn(generator, self.others - self.cases, shift)
        turned = turned[:, np.arange(blocks) % FOLDS >= TELLING.start].sum(1)
        tensors = {
            "count": every.sum(1)[None, :, 1:-1],
            "outside": _outside(every.sum(1))[None],
            "top_prediction_count": case.sum(1)[None, None, :, 1:-1],
            "top_prediction_outside": _outside(case.sum(1))[None, None],
            "block_positions": every[0].sum(-1),
            "block_count": every.swapaxes(0, 1)[:, None, :, 1:-1].astype(np.int32),
            "block_outside": _outside(every.swapaxes(0, 1))[:, None].astype(np.int32),
            "block_top_prediction_count": case.swapaxes(0, 1)[:, None, None, :, 1:-1].astype(np.int32),
            "block_top_prediction_outside": _outside(case.swapaxes(0, 1))[:, None, None].astype(np.int32),
            "null_top_prediction_count": turned[None, None, :, 1:-1].astype(np.int32),
            "null_top_prediction_outside": _outside(turned)[None, None].astype(np.int32),
            "screen_token": np.empty(0, np.int32),
            "predictions": np.array([0, 0, case[0].sum()]),
        }
        return Histograms(tensors, int(every[0].sum()), (2,))


def _outside(levels: np.ndarray) -> np.ndarray:
    """[..., outside] of levels [..., level]: underflow, overflow, and no NaN."""
    return np.stack([levels[..., 0], levels[..., -1], np.zeros_like(levels[..., 0])], axis=-1)


def _drawn(generator: np.random.Generator, amount: int, mean: np.ndarray) -> np.ndarray:
    """Int64 [..., SEARCH_LEVELS]: how many of `amount` normal values of these means lie in each level, bounds half a step apart about 0."""
    from scipy.special import ndtr

    bounds = (np.arange(1, SEARCH_LEVELS) - SEARCH_LEVELS // 2) / 2
    below = ndtr(bounds - mean[..., None])
    shares = np.diff(below, axis=-1, prepend=0, append=1)
    return generator.multinomial(amount, shares / shares.sum(-1, keepdims=True))


def mirrored(histograms: Histograms) -> Histograms:
    """As if every activation were negated, and no value lay on a bound."""
    tensors = {}
    for name, tensor in histograms.tensors.items():
        if name.endswith("_outside") or name == "outside":
            tensors[name] = tensor[..., [1, 0, 2]]
        elif name.endswith("_count") or name == "count":
            tensors[name] = tensor[..., ::-1] if tensor.ndim > 1 else tensor
        else:
            tensors[name] = -tensor if name.endswith("_scaled") else tensor
    return Histograms(tensors, histograms.positions, histograms.token_ids)
