"""Compiled loops of the bfloat16 shortlist: which entries can be the top prediction, and which of them certainly is.

The bound that makes it certain is derived in shortlist. bfloat16 numbers are handled as `keys`: their bits as int16,
turned so that they are ordered like the numbers (a NaN lies beyond the infinities).
"""

import numpy as np
from numba import njit

INFINITE = np.int16(0x7F80)  # key of plus infinity; minus infinity is -INFINITE - 1
SMALLEST = 2.0**-126  # of the float32 numbers that have all their digits
SUMMED = 2.05  # window in units of the error bound: twice, and room for the rounding of the window itself
ROUNDED = 1.05 / 128  # window in units of the highest logit: the result's own rounding to bfloat16, 2^-8 on both sides


@njit(nogil=True, cache=True)
def keep_candidates(
    bits: np.ndarray, first_entry: int, error: np.ndarray, best: np.ndarray, limit: np.ndarray, number: np.ndarray, entries: np.ndarray,
    keys: np.ndarray,
) -> None:  # fmt: skip
    """Go through one slice of the vocabulary: bits int16 [position, slice], its first entry. Everything else is running, in place.

    error: float64 [position], E of the bound. best, limit: int16 [position], keys of the highest logit so far and of the lowest that
    can still be the top prediction. number: int32 [position], candidates so far; above the room that `entries` and `keys`
    [position, candidate] have, the position is given up.
    """
    room = entries.shape[1]
    for position in range(bits.shape[0]):
        row = bits[position]
        highest = np.int16(-32768)
        for k in range(row.size):
            key = np.int16(row[k] ^ ((row[k] >> np.int16(15)) & np.int16(0x7FFF)))
            highest = max(highest, key)
        if highest < limit[position] or number[position] > room:
            continue
        if highest > best[position]:
            best[position] = highest
            limit[position] = _limit(int(highest), error[position])
        for k in range(row.size):
            key = np.int16(row[k] ^ ((row[k] >> np.int16(15)) & np.int16(0x7FFF)))
            if key >= limit[position]:
                if number[position] == room:
                    number[position] = _pruned(position, limit[position], number[position], entries, keys)
                if number[position] < room:
                    entries[position, number[position]] = first_entry + k
                    keys[position, number[position]] = key
                number[position] += 1
                if number[position] > room:
                    break


@njit(nogil=True, cache=True)
def _limit(highest: int, error: float) -> int:
    """Key of the lowest logit that can belong to the top prediction when `highest` is the key of the highest."""
    if highest >= INFINITE or highest <= -INFINITE - 1:
        return -32768  # not a finite number: everything stays, and the position is given up
    value = _number(highest)
    key = _key(value - SUMMED * error - ROUNDED * abs(value))
    return max(key - 1, -32768)


@njit(nogil=True, cache=True)
def _number(key: int) -> float:
    """The number of a key."""
    bits = np.array([np.uint32((key ^ ((key >> 15) & 0x7FFF)) & 0xFFFF) << np.uint32(16)], np.uint32)
    return float(bits.view(np.float32)[0])


@njit(nogil=True, cache=True)
def _key(value: float) -> int:
    """Key of the bfloat16 number at or next to `value`, towards 0 (at most one key above where `value` is negative)."""
    bits = np.array([value], np.float32).view(np.int32)[0] >> 16
    return int(bits) ^ ((int(bits) >> 15) & 0x7FFF)


@njit(nogil=True, cache=True)
def _pruned(position: int, limit: int, number: int, entries: np.ndarray, keys: np.ndarray) -> int:
    """Drop the candidates that a higher logit has ruled out since; returns how many stay."""
    kept = 0
    for place in range(number):
        if keys[position, place] >= limit:
            entries[position, kept], keys[position, kept] = entries[position, place], keys[position, place]
            kept += 1
    return kept


@njit(nogil=True, cache=True)
def decide(
    hidden: np.ndarray, weight: np.ndarray, growth: float, limit: np.ndarray, number: np.ndarray, entries: np.ndarray, keys: np.ndarray,
    top: np.ndarray,
) -> None:  # fmt: skip
    """Where one candidate is certain, its entry; where several remain, -(how many) and they come first in `entries`, ascending.

    hidden: float32 [position, width], weight: float32 [vocabulary, width]. growth: the float32 sum of a logit is within
    growth x (sum of its terms' sizes) of the exact one. top: int64 [position], receives the result; positions that were given up
    receive -(room + 1).
    """
    room, width = entries.shape[1], hidden.shape[1]
    exact, error = np.empty(room), np.empty(room)
    for position in range(hidden.shape[0]):
        if number[position] > room or number[position] == 0:
            top[position] = -(room + 1)
            continue
        left = _pruned(position, limit[position], number[position], entries, keys)
        if left == 1:
            top[position] = entries[position, 0]
            continue
        lowest = -np.inf  # of what the top prediction's float32 logit can be
        for place in range(left):
            total, size = 0.0, 0.0
            row = weight[entries[position, place]]
            for k in range(width):
                term = float(hidden[position, k]) * float(row[k])  # exact in float64
                total += term
                size += abs(term)
            # The hundredth holds float64's own rounding, 2^-29 of growth; the last term what float32 takes for 0.
            exact[place], error[place] = total, 1.01 * growth * size + width * SMALLEST
            lowest = max(lowest, total - error[place])
        kept = 0
        for place in range(left):
            if exact[place] + error[place] >= lowest:
                entries[position, kept] = entries[position, place]
                kept += 1
        top[position] = entries[position, 0] if kept == 1 else -kept
