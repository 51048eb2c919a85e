"""What counters of tracked tokens hold, in one reading: their sums, and how many of them break a rule.

The merge verifies every shard with it and the checks count violations with it; both say what they do with what it finds.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numba import njit

from assets.counting.histograms import COUNTED_PARTS


class HeldCounts(NamedTuple):
    """Int64 [token, neuron]: over a neuron's bins and the outcomes outside them."""

    sums: np.ndarray
    negative: np.ndarray  # counters below 0
    above: np.ndarray  # counters above those of all positions


def held_counts(of_token: Mapping[str, np.ndarray], counters: Mapping[str, np.ndarray]) -> dict[str, HeldCounts]:
    """For each of COUNTED_PARTS. `of_token` holds int64 [token, neuron, slot], `counters` the same of all positions, [neuron, slot]."""
    found = {}
    for part in COUNTED_PARTS:
        shape = of_token[part].shape[:2]
        found[part] = HeldCounts(*(np.zeros(shape, np.int64) for _ in HeldCounts._fields))
        _read(np.ascontiguousarray(of_token[part]), np.ascontiguousarray(counters[part]), *found[part])
    return found


@njit(nogil=True, cache=True)
def _read(of_token: np.ndarray, counters: np.ndarray, sums: np.ndarray, negative: np.ndarray, above: np.ndarray) -> None:
    """NumPy takes three passes over memory for the same, one of them along short rows."""
    tokens, neurons, slots = of_token.shape
    for token in range(tokens):
        for neuron in range(neurons):
            held, below, higher = 0, 0, 0
            for slot in range(slots):
                value = of_token[token, neuron, slot]
                held += value
                below += value < 0
                higher += value > counters[neuron, slot]
            sums[token, neuron] = held
            negative[token, neuron] = below
            above[token, neuron] = higher


def unlike_blocks(by_block: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Int64 [token, neuron]: slots in which a block's counter is below 0 or the blocks do not sum to the whole.

    by_block: whole numbers [block, token, neuron, slot]; whole: int64 [token, neuron, slot].
    """
    found = np.zeros(whole.shape[:2], np.int64)
    _read_blocks(np.ascontiguousarray(by_block), np.ascontiguousarray(whole), found)
    return found


@njit(nogil=True, cache=True)
def _read_blocks(by_block: np.ndarray, whole: np.ndarray, found: np.ndarray) -> None:
    blocks, tokens, neurons, slots = by_block.shape
    left = np.empty(slots, np.int64)
    for token in range(tokens):
        for neuron in range(neurons):
            left[:] = whole[token, neuron]
            below = np.zeros(slots, np.bool_)
            for block in range(blocks):
                for slot in range(slots):
                    value = np.int64(by_block[block, token, neuron, slot])
                    left[slot] -= value
                    below[slot] |= value < 0
            for slot in range(slots):
                found[token, neuron] += below[slot] or left[slot] != 0
