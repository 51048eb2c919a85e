"""Compiled loops on the CPU for outcomes that are no single token at a position: probabilities by level, and scaled activations under them.

Release the interpreter lock; batch_counter and token_sums run them on their threads. Everything is added in whole numbers, so that sums
are the same in whatever order positions, batches and shards come.
"""

import numpy as np
from numba import njit

from assets.counting.token_sum_units import LARGEST, SCALED_UNITS

NEURONS_AT_ONCE = 64  # slots of one byte: the block's slots at a position are one cache line
SCALED_AT_ONCE = 256


@njit(nogil=True, cache=True)
def count_probabilities(codes: np.ndarray, places: np.ndarray, probabilities: np.ndarray, count: np.ndarray, start: int, stop: int) -> None:
    """Add each place's probabilities to the slots of its activations, for neurons [start, stop) of all layers, in place.

    codes: [layer, counted, neuron]. places: int64, which of the counted. probabilities: int64 [counted, token], in units of 2^-32.
    count: int64 [token, layer, neuron, slot].
    """
    tokens, layers, _, slots = count.shape
    here = np.empty((slots, tokens), np.int64)  # tokens side by side, so that a position is a few vector additions
    for layer in range(layers):
        for begin in range(start, stop, NEURONS_AT_ONCE):
            for neuron in range(begin, min(begin + NEURONS_AT_ONCE, stop)):
                here[:] = 0
                for place in places:
                    slot = codes[layer, place, neuron]
                    for token in range(tokens):
                        here[slot, token] += probabilities[place, token]
                for token in range(tokens):
                    for slot in range(slots):
                        count[token, layer, neuron, slot] += here[slot, token]


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
            values = activations[last]
            scale = np.float64(inverse_scale[last])
            for n in range(values.size):
                given = np.float64(values[n])
                value = min(max(given, -LARGEST), LARGEST) if given == given else 0.0
                units[n] = np.int64(np.rint(min(max(value * scale, -LARGEST), LARGEST) * SCALED_UNITS))
        sums = scaled[rows[k]]
        for n in range(units.size):
            sums[n] += units[n]


@njit(nogil=True, cache=True)
def add_by_probability(activations: np.ndarray, places: np.ndarray, weights: np.ndarray, scaled: np.ndarray) -> None:
    """Add one layer's activations times each token's weight at their positions, in place. NaN adds nothing.

    activations: float32 [row x position, neuron]. places: int64, those of one block. weights: float64 [place, token], probability over
    the final norm's scale. scaled: int64 [token, neuron].
    """
    neurons = activations.shape[1]
    for begin in range(0, neurons, SCALED_AT_ONCE):
        end = min(begin + SCALED_AT_ONCE, neurons)
        values = np.empty(end - begin, np.float64)
        sums = np.zeros((scaled.shape[0], end - begin), np.int64)
        for k in range(places.size):
            for n in range(end - begin):
                given = np.float64(activations[places[k], begin + n])
                values[n] = min(max(given, -LARGEST), LARGEST) if given == given else 0.0
            for token in range(scaled.shape[0]):
                weight = weights[k, token]
                for n in range(end - begin):
                    sums[token, n] += np.int64(np.rint(min(max(values[n] * weight, -LARGEST), LARGEST) * SCALED_UNITS))
        scaled[:, begin:end] += sums
