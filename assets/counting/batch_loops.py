"""Counting of one batch on the CPU: compiled loops that read each activation while it is still in cache.

`count_layer` takes a layer's neurons, block by block, through all positions of a batch: bins, extremes and examples, then
moments. `count_predicted` counts the same bins again where a tracked token is predicted, once the predictions are known. Both
release the interpreter lock; batch_counter runs them on several threads, which needs no threading layer of Numba's own (its
default one ends the process when two threads enter it). No fast-math: float32 products and floors are NumPy's, bit for bit.
Innermost loops run over neurons, which lie side by side in memory, so that they become vector instructions.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

NEURONS_OF_BLOCK = 256  # x 1024 positions x 4 bytes = 1 MiB, a core's L2 cache; 128 and 512 are slower (docs/performance.md)


class Windows(NamedTuple):
    """What is counted of a batch: positions `first` .. lengths[row] - 1 of each row. `blocks`: of documents, which counters a row adds to."""

    first: int
    lengths: np.ndarray  # int64 [row]
    documents: np.ndarray  # int64 [row]
    numbers: np.ndarray  # int32 [row]: window of the document
    blocks: np.ndarray  # int64 [row]
    keys: np.ndarray  # int64 [row]: of the document, by which examples of the levels between are drawn


class Bins(NamedTuple):
    """The bins of one layer: slot i is floor(activation * per_unit) - first_bin, in float32."""

    per_unit: np.ndarray  # float32 [neuron]
    first_bin: np.ndarray  # float32 [neuron], whole numbers
    bins: int


class Moments(NamedTuple):
    """Running mean and central sums, float64 [neuron]."""

    mean: np.ndarray
    squares: np.ndarray
    cubes: np.ndarray
    fourths: np.ndarray


class Extremes(NamedTuple):
    """Running extremes [neuron]."""

    minimum: np.ndarray  # float32
    maximum: np.ndarray  # float32
    above_zero: np.ndarray  # int64


class Examples(NamedTuple):
    """Ranked examples [neuron, rank], best first; document -1 is no example."""

    values: np.ndarray  # float32
    documents: np.ndarray  # int64
    windows: np.ndarray  # int32
    positions: np.ndarray  # int32


class Between(NamedTuple):
    """One example of each band [neuron, band] of a side; document -1 is none. What a band is stands in between_examples."""

    outermost: np.ndarray  # float32 [neuron]: how far the bins reach beyond 0; NaN where there are no bands
    keys: np.ndarray  # int64, of the documents; the largest where there is no example
    values: np.ndarray  # float32
    documents: np.ndarray  # int64
    windows: np.ndarray  # int32
    positions: np.ndarray  # int32


@njit(nogil=True, cache=True)
def count_layer(
    activations: np.ndarray,
    windows: Windows,
    bins: Bins,
    positions_before: int,
    layer: int,
    count: np.ndarray,
    nan: np.ndarray,
    codes: np.ndarray,
    moments: Moments,
    extremes: Extremes,
    top: Examples,
    bottom: Examples,
    between_top: Between,
    between_bottom: Between,
    start: int,
    stop: int,
) -> None:
    """Add one layer's activations of neurons [start, stop) to its counters, in place.

    activations: float32 [row, position, neuron]. count: unsigned [block, layer, neuron, bins + 3], the last three are underflow,
    overflow and NaN; nan: int64 [neuron], the last one over all blocks. codes: [counted, neuron] receives the slot of each activation.
    positions_before: positions counted in earlier batches.
    """
    nan_slot = bins.bins + 2
    for begin in range(start, stop, NEURONS_OF_BLOCK):
        end = min(begin + NEURONS_OF_BLOCK, stop)
        sums = np.zeros(end - begin, np.float64)
        counted = _read_windows(activations, windows, bins, codes, sums, extremes, top, bottom, between_top, between_bottom, begin, end)
        nan_here = np.zeros(end - begin, np.int64)
        place = 0
        for row in range(activations.shape[0]):
            counters = count[windows.blocks[row], layer, begin:end]
            nan_before = counters[:, nan_slot].copy()
            for _ in range(windows.first, windows.lengths[row]):
                slots = codes[place, begin:end]
                for n in range(end - begin):
                    counters[n, slots[n]] += 1
                place += 1
            for n in range(end - begin):
                nan_here[n] += np.int64(counters[n, nan_slot]) - np.int64(nan_before[n])
        _add_moments(activations, windows, sums, counted - nan_here, positions_before - nan[begin:end], moments, begin, end)
        nan[begin:end] += nan_here


@njit(nogil=True, cache=True)
def _read_windows(
    activations: np.ndarray,
    windows: Windows,
    bins: Bins,
    codes: np.ndarray,
    sums: np.ndarray,
    extremes: Extremes,
    top: Examples,
    bottom: Examples,
    between_top: Between,
    between_bottom: Between,
    begin: int,
    end: int,
) -> int:
    """One pass over the counted positions: slots, sums, extremes and examples. Returns how many were counted."""
    width = end - begin
    per_unit, first_bin = bins.per_unit[begin:end], bins.first_bin[begin:end]
    above = np.zeros(width, np.int32)
    largest, largest_at = np.empty(width, np.float32), np.empty(width, np.int32)
    smallest, smallest_at = np.empty(width, np.float32), np.empty(width, np.int32)
    counted = 0
    for row in range(activations.shape[0]):
        largest[:], largest_at[:], smallest[:], smallest_at[:] = -np.inf, -1, np.inf, -1
        for position in range(windows.first, windows.lengths[row]):
            values = activations[row, position, begin:end]
            _write_slots(values, per_unit, first_bin, bins.bins, codes[counted, begin:end])
            _add_values(values, sums, above)
            _keep_extremes(values, position, largest, largest_at, smallest, smallest_at)
            counted += 1
        for n in range(width):
            if largest_at[n] >= 0:
                extremes.maximum[begin + n] = max(extremes.maximum[begin + n], largest[n])
                _offer(1.0, largest[n], windows.documents[row], windows.numbers[row], largest_at[n], top, begin + n)
                _offer_between(1.0, largest[n], row, windows, largest_at[n], between_top, begin + n)
            if smallest_at[n] >= 0:
                extremes.minimum[begin + n] = min(extremes.minimum[begin + n], smallest[n])
                _offer(-1.0, smallest[n], windows.documents[row], windows.numbers[row], smallest_at[n], bottom, begin + n)
                _offer_between(-1.0, smallest[n], row, windows, smallest_at[n], between_bottom, begin + n)
    for n in range(width):
        extremes.above_zero[begin + n] += above[n]
    return counted


@njit(nogil=True, cache=True)
def _write_slots(values: np.ndarray, per_unit: np.ndarray, first_bin: np.ndarray, bins: int, slots: np.ndarray) -> None:
    zero, last, end = np.float32(0), np.float32(bins - 1), np.float32(bins)
    for n in range(values.size):
        step = np.floor(values[n] * per_unit[n]) - first_bin[n]  # exact: whole numbers below 2^24, or far outside
        slot = np.int32(min(max(step, zero), last))
        slot = np.int32(bins) if step < zero else slot
        slot = np.int32(bins + 1) if step >= end else slot
        slot = np.int32(bins + 2) if step != step else slot
        slots[n] = slot


@njit(nogil=True, cache=True)
def _add_values(values: np.ndarray, sums: np.ndarray, above: np.ndarray) -> None:
    for n in range(values.size):
        sums[n] += np.float64(values[n]) if values[n] == values[n] else 0.0
    for n in range(values.size):
        above[n] += values[n] > np.float32(0)


@njit(nogil=True, cache=True)
def _keep_extremes(
    values: np.ndarray, position: int, largest: np.ndarray, largest_at: np.ndarray, smallest: np.ndarray, smallest_at: np.ndarray
) -> None:
    """The first position of the largest and of the smallest value; NaN is neither."""
    here = np.int32(position)
    for n in range(values.size):
        is_larger = values[n] > largest[n]
        largest[n] = values[n] if is_larger else largest[n]
        largest_at[n] = here if is_larger else largest_at[n]
    for n in range(values.size):
        is_smaller = values[n] < smallest[n]
        smallest[n] = values[n] if is_smaller else smallest[n]
        smallest_at[n] = here if is_smaller else smallest_at[n]


@njit(nogil=True, cache=True)
def _add_moments(
    activations: np.ndarray,
    windows: Windows,
    sums: np.ndarray,
    new: np.ndarray,
    old: np.ndarray,
    moments: Moments,
    begin: int,
    end: int,
) -> None:
    """Central sums about the batch's own mean, merged into the running ones. new, old: int64 [neuron], values that are not NaN."""
    means = sums / np.maximum(new, 1)
    squares, cubes, fourths = np.zeros(end - begin), np.zeros(end - begin), np.zeros(end - begin)
    for row in range(activations.shape[0]):
        for position in range(windows.first, windows.lengths[row]):
            values = activations[row, position, begin:end]
            for n in range(end - begin):
                deviation = np.float64(values[n]) - means[n] if values[n] == values[n] else 0.0
                square = deviation * deviation
                squares[n] += square
                cubes[n] += square * deviation
                fourths[n] += square * square
    for n in range(end - begin):
        if new[n] > 0:
            _merge_moments(begin + n, float(old[n]), float(new[n]), means[n], squares[n], cubes[n], fourths[n], moments)


@njit(nogil=True, cache=True)
def _merge_moments(
    neuron: int, old: float, new: float, mean: float, squares: float, cubes: float, fourths: float, moments: Moments
) -> None:
    """Pebay (2008), equations 2.1 and 3.1. histograms.merged_moments is the same on whole arrays."""
    total = old + new
    gap = mean - moments.mean[neuron]
    old_squares, old_cubes = moments.squares[neuron], moments.cubes[neuron]
    moments.fourths[neuron] += (
        fourths
        + gap**4 * old * new * (old * old - old * new + new * new) / total**3
        + 6.0 * gap * gap * (old * old * squares + new * new * old_squares) / total**2
        + 4.0 * gap * (old * cubes - new * old_cubes) / total
    )
    moments.cubes[neuron] += cubes + gap**3 * old * new * (old - new) / total**2 + 3.0 * gap * (old * squares - new * old_squares) / total
    moments.squares[neuron] += squares + gap * gap * old * new / total
    moments.mean[neuron] += gap * (new / total)


@njit(nogil=True, cache=True)
def _is_before(sign: float, value: float, document: int, window: int, position: int, ranked: Examples, neuron: int, rank: int) -> bool:
    """Whether an example ranks before a ranked one: more extreme first, then lower document, window, position."""
    if ranked.documents[neuron, rank] < 0:
        return True
    if value != ranked.values[neuron, rank]:
        return sign * value > sign * ranked.values[neuron, rank]
    if document != ranked.documents[neuron, rank]:
        return document < ranked.documents[neuron, rank]
    if window != ranked.windows[neuron, rank]:
        return window < ranked.windows[neuron, rank]
    return position < ranked.positions[neuron, rank]


@njit(nogil=True, cache=True)
def _offer(sign: float, value: float, document: int, window: int, position: int, ranked: Examples, neuron: int) -> None:
    """Insert one example into a neuron's ranked list, which holds one example a document."""
    ranks = ranked.values.shape[1]
    if not _is_before(sign, value, document, window, position, ranked, neuron, ranks - 1):
        return
    rank = ranks - 1  # the place that the list gives up: the last, or the one of the same document
    for held in range(ranks):
        if ranked.documents[neuron, held] == document:
            rank = held
            if not _is_before(sign, value, document, window, position, ranked, neuron, rank):
                return
            break
    while rank > 0 and _is_before(sign, value, document, window, position, ranked, neuron, rank - 1):
        ranked.values[neuron, rank] = ranked.values[neuron, rank - 1]
        ranked.documents[neuron, rank] = ranked.documents[neuron, rank - 1]
        ranked.windows[neuron, rank] = ranked.windows[neuron, rank - 1]
        ranked.positions[neuron, rank] = ranked.positions[neuron, rank - 1]
        rank -= 1
    ranked.values[neuron, rank] = value
    ranked.documents[neuron, rank] = document
    ranked.windows[neuron, rank] = window
    ranked.positions[neuron, rank] = position


@njit(nogil=True, cache=True)
def _offer_between(sign: float, value: float, row: int, windows: Windows, position: int, held: Between, neuron: int) -> None:
    """Keep a window's extreme as the example of its band if its document comes before that of the one held, or its window in the same."""
    size, bound = sign * value, 0.5 * held.outermost[neuron]
    bands = held.keys.shape[1]
    band = 0
    while band < bands and not size >= bound:  # NaN: no bound is reached
        bound *= 0.5
        band += 1
    if band == bands or windows.keys[row] > held.keys[neuron, band]:
        return
    document, window = windows.documents[row], windows.numbers[row]
    if windows.keys[row] == held.keys[neuron, band] and held.documents[neuron, band] >= 0:
        is_same = document == held.documents[neuron, band]
        if document > held.documents[neuron, band] or (is_same and window >= held.windows[neuron, band]):
            return
    held.keys[neuron, band], held.values[neuron, band] = windows.keys[row], value
    held.documents[neuron, band], held.windows[neuron, band], held.positions[neuron, band] = document, window, position


@njit(nogil=True, cache=True)
def count_predicted(codes: np.ndarray, places: np.ndarray, rows: np.ndarray, count: np.ndarray, start: int, stop: int) -> None:
    """Count again the slots of the positions that are in some row, of a block and a tracked token, for neurons [start, stop) of all layers.

    codes: [layer, counted, neuron]. places: which of the counted, int64. rows: their row in `count`, ascending, so that one row's
    counters are used together while in cache. count: whole numbers [row, layer, neuron, bins + 3], in place.
    """
    for layer in range(codes.shape[0]):
        for begin in range(start, stop, NEURONS_OF_BLOCK):
            end = min(begin + NEURONS_OF_BLOCK, stop)
            for k in range(places.size):
                counters = count[rows[k], layer, begin:end]
                slots = codes[layer, places[k], begin:end]
                for n in range(end - begin):
                    counters[n, slots[n]] += 1
