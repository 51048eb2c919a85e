"""Sums of activations on the CPU, by predicted and by current token and under the outcomes of tracked tokens: compiled loops over a layer's activations.

An activation is rounded to a multiple of 2^-24 and its square too, and to one of 2^-30 over the final norm's scale, so that the sums are
whole numbers: exact, and the same in whatever order positions, batches and shards are added. They release the interpreter lock;
token_sums and outcome_sums run them on their threads. All stand in one file: Numba keeps compiled code until its own file changes, and would not
see a change of what it calls in another.
"""

import numpy as np
from numba import njit

from assets.counting.token_sum_units import LARGEST, SCALED_UNITS, UNITS

# Added to a number below 2^51 it leaves its nearest whole number, halves to the even one as rint does, in the low bits: a conversion that
# every processor does on whole vectors, where float64 to int64 takes AVX-512.
ROUNDING = 1.5 * 2.0**52
ROUNDING_BITS = np.int64(0x4338000000000000)  # of ROUNDING as float64, read as int64
# Activations up to the first are rounded so, and over the scale where its inverse is no more than the second: LARGEST then cuts nothing off,
# and no square has more than 2^50 units.
LARGEST_ROUNDED, LARGEST_INVERSE_SCALE = 2.0**13, 2.0**6
NEURONS_AT_ONCE = 4096  # x 8 bytes x what is held of a position: inside a core's L2 cache, in rows long enough to be read ahead
WEIGHED_AT_ONCE = 256  # neurons, whose sums of all tokens stay in cache


@njit(nogil=True, cache=True)
def are_small(values: np.ndarray) -> bool:
    """Whether float32 values are all numbers of at most LARGEST_ROUNDED."""
    others = 0
    for n in range(values.size):
        others += not abs(values[n]) <= np.float32(LARGEST_ROUNDED)
    return others == 0


@njit(nogil=True, cache=True)
def scaled_units(values: np.ndarray, by: float, is_small: bool, units: np.ndarray) -> None:
    """Float32 values times `by` in units of 2^-30, int64 + ROUNDING_BITS, into `units`. `is_small` as are_small says of the values."""
    if is_small and by <= LARGEST_INVERSE_SCALE:
        floats = units.view(np.float64)
        for n in range(values.size):
            floats[n] = np.float64(values[n]) * by * SCALED_UNITS + ROUNDING
    else:
        for n in range(values.size):
            units[n] = np.int64(np.rint(_within(_within(np.float64(values[n])) * by) * SCALED_UNITS)) + ROUNDING_BITS


@njit(nogil=True, cache=True)
def _own_units(values: np.ndarray, is_small: bool, units: np.ndarray, squares: np.ndarray) -> None:
    """The same of the values themselves and of their squares, in units of 2^-24."""
    if is_small:
        floats, square_floats = units.view(np.float64), squares.view(np.float64)
        for n in range(values.size):
            value = np.float64(values[n])
            floats[n] = value * UNITS + ROUNDING
            square_floats[n] = value * value * UNITS + ROUNDING
    else:
        for n in range(values.size):
            summed = _within(np.float64(values[n]))
            units[n] = np.int64(np.rint(summed * UNITS)) + ROUNDING_BITS
            squares[n] = np.int64(np.rint(summed * summed * UNITS)) + ROUNDING_BITS


@njit(nogil=True, cache=True)
def _within(value: float) -> float:
    """What is summed of a value: of NaN 0, of what lies beyond LARGEST as much as that."""
    return min(max(value, -LARGEST), LARGEST) if value == value else 0.0


@njit(nogil=True, cache=True)
def add_units(sums: np.ndarray, units: np.ndarray) -> None:
    """Add units, int64 + ROUNDING_BITS [neuron], to sums int64 [neuron]."""
    for n in range(units.size):
        sums[n] += units[n] - ROUNDING_BITS


@njit(nogil=True, cache=True)
def _move(here: np.ndarray, sums: np.ndarray) -> None:
    """Add int64 [neuron] to sums, and leave zeros; in a loop, as an expression of whole arrays would first make a new one."""
    for n in range(here.size):
        sums[n] += here[n]
        here[n] = 0


@njit(nogil=True, cache=True)
def add_groups(
    activations: np.ndarray,
    inverse_scale: np.ndarray,
    places: np.ndarray,
    starts: np.ndarray,
    groups: np.ndarray,
    blocks: np.ndarray,
    null_groups: np.ndarray,
    current_groups: np.ndarray,
    sums: np.ndarray,
    squares: np.ndarray,
    scaled: np.ndarray,
    null_sums: np.ndarray,
    block_scaled: np.ndarray,
    current_sums: np.ndarray,
) -> None:
    """Add one layer's activations to the sums of the groups and blocks that its positions belong to, in place. NaN adds nothing.

    activations: float32 [row x position, neuron]. inverse_scale: float32 [row x position].
    places: int64, the positions, those of one group and block side by side, and the blocks of a group, so that a group's sums, which are
    in no cache, are written once. Run k has places[starts[k]:starts[k + 1]] and is row groups[k]
    of sums, squares and scaled, int64 [group, neuron], and blocks[k] of block_scaled, int64 [block, neuron]; of none where groups[k] is
    negative. null_groups, current_groups: int64, the row of null_sums and of current_sums, int64 [group, neuron], of each place; negative
    is none. They go by predicted token, so rows of these two are written once a position: a fifth of the loop for either, less than reading
    all activations again in the order of another token.
    """
    neurons = activations.shape[1]
    for begin in range(0, neurons, NEURONS_AT_ONCE):
        end = min(begin + NEURONS_AT_ONCE, neurons)
        units, squares_of, scaled_of = (np.empty(end - begin, np.int64), np.empty(end - begin, np.int64), np.empty(end - begin, np.int64))
        here = np.zeros((3, end - begin), np.int64)
        for k in range(groups.size):
            in_block = block_scaled[blocks[k], begin:end]
            for place in range(starts[k], starts[k + 1]):
                values = activations[places[place], begin:end]
                is_small = are_small(values)
                _own_units(values, is_small, units, squares_of)
                if null_groups[place] >= 0:
                    add_units(null_sums[null_groups[place], begin:end], units)
                if current_groups[place] >= 0:
                    add_units(current_sums[current_groups[place], begin:end], units)
                if groups[k] >= 0:
                    scaled_units(values, np.float64(inverse_scale[places[place]]), is_small, scaled_of)
                    add_units(here[0], units)
                    add_units(here[1], squares_of)
                    add_units(here[2], scaled_of)
                    add_units(in_block, scaled_of)
            if groups[k] >= 0 and (k + 1 == groups.size or groups[k + 1] != groups[k]):
                _move(here[0], sums[groups[k], begin:end])
                _move(here[1], squares[groups[k], begin:end])
                _move(here[2], scaled[groups[k], begin:end])


@njit(nogil=True, cache=True)
def add_scaled(activations: np.ndarray, inverse_scale: np.ndarray, places: np.ndarray, rows: np.ndarray, scaled: np.ndarray) -> None:
    """Add one layer's activations over the final norm's scale to the rows of their positions, in place. NaN adds nothing.

    activations: float32 [row x position, neuron]. inverse_scale: float32 [row x position]. places, rows: int64, a position and one row of
    scaled, int64 [row, neuron], that it belongs to; those of one position side by side.
    """
    units = np.empty(activations.shape[1], np.int64)
    last = -1
    for k in range(places.size):
        if places[k] != last:
            last = places[k]
            scaled_units(activations[last], np.float64(inverse_scale[last]), are_small(activations[last]), units)
        add_units(scaled[rows[k]], units)


@njit(nogil=True, cache=True)
def add_by_probability(activations: np.ndarray, places: np.ndarray, weights: np.ndarray, scaled: np.ndarray) -> None:
    """Add one layer's activations times each token's weight at their positions, in place. NaN adds nothing.

    activations: float32 [row x position, neuron]. places: int64, those of one block. weights: float64 [place, token], probability over
    the final norm's scale. scaled: int64 [token, neuron].
    """
    neurons = activations.shape[1]
    for begin in range(0, neurons, WEIGHED_AT_ONCE):
        end = min(begin + WEIGHED_AT_ONCE, neurons)
        units = np.empty(end - begin, np.int64)
        sums = np.zeros((scaled.shape[0], end - begin), np.int64)
        for k in range(places.size):
            values = activations[places[k], begin:end]
            is_small = are_small(values)
            for token in range(scaled.shape[0]):
                scaled_units(values, weights[k, token], is_small, units)
                add_units(sums[token], units)
        scaled[:, begin:end] += sums
