"""The best of many scores, with one answer for ties: of equal scores the one that comes first.

The neurons of a model pass by in chunks, in rising order, each with its scores with all tokens; a ranking of either side takes in one chunk
after the other. What scores are compared by is worked out on the way, so that no second array of their size is written. The loops are in
ranking_loops.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

HIGHEST, LOWEST, LARGEST = 1, -1, 0  # ways to order: by score, by its negative, by its size


@dataclass(frozen=True)
class Comparison:
    """By what the scores of some neurons are compared: score * scale + shift + common * takes."""

    scale: np.ndarray  # float32 [neuron]
    shift: np.ndarray  # float32 [neuron]
    takes: np.ndarray  # float32 [neuron]
    common: np.ndarray  # float32 [token]

    @classmethod
    def as_they_are(cls, scores: np.ndarray) -> "Comparison":
        """By the scores [neuron, token] themselves."""
        neurons, tokens = scores.shape
        return cls(np.ones(neurons, np.float32), np.zeros(neurons, np.float32), np.zeros(neurons, np.float32), np.zeros(tokens, np.float32))


class NeuronRanking:
    """The best tokens of each neuron, best first: values float32 and tokens int64, both [neuron, place]."""

    def __init__(self, neurons: int, places: int, way: int) -> None:
        self.values = np.full((neurons, places), -np.inf, np.float32)
        self.tokens = np.full((neurons, places), -1, np.int64)
        self._way = way

    def add(self, first: int, scores: np.ndarray, by: Comparison) -> None:
        """Take in scores float32 [neuron, token], without NaN, of neuron number `first` and those behind it."""
        from assets.congruence.ranking_loops import keep_tokens

        values, tokens = (array[first : first + len(scores)] for array in (self.values, self.tokens))

        def some(start: int, end: int) -> None:
            own = slice(start, end)
            keep_tokens(scores[own], by.scale[own], by.shift[own], by.takes[own], by.common, self._way, values[own], tokens[own])

        _side_by_side(some, len(scores), 1)


class TokenRanking:
    """The best neurons of each token so far, best first: values float32 and neurons int64, both [place, token]."""

    def __init__(self, tokens: int, places: int, way: int) -> None:
        self.values = np.full((places, tokens), -np.inf, np.float32)
        self.neurons = np.full((places, tokens), -1, np.int64)
        self._way = way

    def add(self, first: int, scores: np.ndarray, by: Comparison) -> None:
        """Take in scores float32 [neuron, token], without NaN, of neuron number `first` and those behind it."""
        from assets.congruence.ranking_loops import SPAN, keep_neurons

        def some(start: int, end: int) -> None:
            keep_neurons(scores, by.scale, by.shift, by.takes, by.common, self._way, first, self.values, self.neurons, start, end)

        _side_by_side(some, scores.shape[1], SPAN)


def _side_by_side(work: Callable[[int, int], None], size: int, step: int) -> None:
    """`work` on 0 .. size - 1 in as many ranges as torch has threads, each beginning at a multiple of `step`."""
    import torch

    each = max(-(-size // (torch.get_num_threads() * step)) * step, step)
    starts = range(0, size, each)
    with ThreadPoolExecutor(len(starts)) as threads:
        for done in [threads.submit(work, start, min(start + each, size)) for start in starts]:
            done.result()
