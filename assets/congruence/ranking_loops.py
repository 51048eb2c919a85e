"""Compiled loops over the scores of neurons with tokens: the best tokens of each neuron, and the best neurons of each token so far.

What scores are compared by, and what is kept, is in ordering, which also names the ways to order: 1 by score, -1 by its negative, 0 by its size.
A span of scores is looked at together, whether any of them enters a list: after the first few neurons hardly any does. That loop has a fixed
length and no branch, so that it compiles to vector instructions: 5 ms instead of 40 for 341 neurons and 49,152 tokens.
"""

import numpy as np
from numba import njit

SPAN = 64


@njit(nogil=True, cache=True)
def keep_tokens(
    scores: np.ndarray, scale: np.ndarray, shift: np.ndarray, takes: np.ndarray, common: np.ndarray, way: int, values: np.ndarray, tokens: np.ndarray
) -> None:  # fmt: skip
    """Put into the lists of some neurons their best tokens, of equals the first.

    scores: float32 [neuron, token]. What is ordered is score * scale + shift + common * takes, with scale, shift and takes float32 [neuron]
    and common float32 [token]. values float32 and tokens int64 [neuron, place]: at first -infinity and -1 everywhere.
    """
    limit = np.empty(SPAN, np.float32)
    for row in range(scores.shape[0]):
        factors = _turned(scale[row], shift[row], takes[row], way)
        for first in range(0, scores.shape[1], SPAN):
            own, shared = scores[row, first : first + SPAN], common[first : first + SPAN]
            limit[:] = values[row, -1]
            if own.size == SPAN and not _enters(own, shared, limit, factors, way):
                continue
            for place in range(own.size):
                value = _ordered(own[place], shared[place], factors, way)
                if value > values[row, -1]:
                    _insert(values[row], tokens[row], value, first + place)


@njit(nogil=True, cache=True)
def keep_neurons(
    scores: np.ndarray, scale: np.ndarray, shift: np.ndarray, takes: np.ndarray, common: np.ndarray, way: int, first_neuron: int,
    values: np.ndarray, neurons: np.ndarray, begin: int, end: int,
) -> None:  # fmt: skip
    """Take some neurons into the lists of the tokens from `begin` to before `end`, of equals the one that came first.

    As keep_tokens, but values float32 and neurons int64 are [place, token], so that what scores must exceed lies side by side.
    """
    for row in range(scores.shape[0]):
        factors = _turned(scale[row], shift[row], takes[row], way)
        for first in range(begin, end, SPAN):
            behind = min(first + SPAN, end)
            own, shared, limit = scores[row, first:behind], common[first:behind], values[-1, first:behind]
            if own.size == SPAN and not _enters(own, shared, limit, factors, way):
                continue
            for place in range(own.size):
                value = _ordered(own[place], shared[place], factors, way)
                if value > limit[place]:
                    _insert(values[:, first + place], neurons[:, first + place], value, first_neuron + row)


@njit(nogil=True, cache=True)
def _turned(scale: float, shift: float, takes: float, way: int) -> tuple[float, float, float]:
    """The factors with which the highest value comes first, but for its size."""
    return (-scale, -shift, -takes) if way == -1 else (scale, shift, takes)


@njit(nogil=True, cache=True)
def _ordered(score: float, common: float, factors: tuple[float, float, float], way: int) -> float:
    value = score * factors[0] + factors[1] + common * factors[2]
    return abs(value) if way == 0 else value


@njit(nogil=True, cache=True)
def _enters(scores: np.ndarray, common: np.ndarray, limit: np.ndarray, factors: tuple[float, float, float], way: int) -> bool:
    """Whether any of SPAN scores is ordered before its limit."""
    scale, shift, takes = factors
    found = np.int32(0)
    if way == 0:
        for place in range(SPAN):
            found |= np.int32(abs(scores[place] * scale + shift + common[place] * takes) > limit[place])
    else:
        for place in range(SPAN):
            found |= np.int32(scores[place] * scale + shift + common[place] * takes > limit[place])
    return bool(found)


@njit(nogil=True, cache=True)
def _insert(values: np.ndarray, entries: np.ndarray, value: float, entry: int) -> None:
    """Put one in its place, behind its equals; the last one falls out."""
    place = values.size - 1
    while place > 0 and values[place - 1] < value:
        values[place], entries[place] = values[place - 1], entries[place - 1]
        place -= 1
    values[place], entries[place] = value, entry
