"""The compiled loop on the CPU for an outcome that is no single token at a position: probabilities by level.

Releases the interpreter lock; batch_counter runs it on its threads. Everything is added in whole numbers, so that sums
are the same in whatever order positions, batches and shards come.
"""

import numpy as np
from numba import njit

NEURONS_AT_ONCE = 64  # slots of one byte: the block's slots at a position are one cache line


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
