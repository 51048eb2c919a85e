"""Sums of activations by predicted token on the CPU: one compiled loop over a layer's activations, grouped by token.

An activation is rounded to a multiple of 2^-24 and its square too, and to one of 2^-30 over the final norm's scale, so that the sums are
whole numbers: exact, and the same in whatever order positions, batches and shards are added. Releases the interpreter lock; token_sums
runs it on its threads.
"""

import numpy as np
from numba import njit

from assets.counting.batch_loops import NEURONS_OF_BLOCK
from assets.counting.token_sum_units import LARGEST, SCALED_UNITS, UNITS


@njit(nogil=True, cache=True)
def add_groups(
    activations: np.ndarray,
    inverse_scale: np.ndarray,
    places: np.ndarray,
    starts: np.ndarray,
    groups: np.ndarray,
    blocks: np.ndarray,
    null_groups: np.ndarray,
    sums: np.ndarray,
    squares: np.ndarray,
    scaled: np.ndarray,
    null_sums: np.ndarray,
    block_scaled: np.ndarray,
) -> None:
    """Add one layer's activations to the sums of the groups and blocks that its positions belong to, in place. NaN adds nothing.

    activations: float32 [row x position, neuron]. inverse_scale: float32 [row x position].
    places: int64, the positions, those of one group and block side by side. Run k has places[starts[k]:starts[k + 1]] and is row groups[k]
    of sums, squares and scaled, int64 [group, neuron], and blocks[k] of block_scaled, int64 [block, neuron]; of none where groups[k] is
    negative. null_groups: int64, the row of null_sums, int64 [group, neuron], of each place; negative is none.
    """
    neurons = activations.shape[1]
    for begin in range(0, neurons, NEURONS_OF_BLOCK):
        end = min(begin + NEURONS_OF_BLOCK, neurons)
        sum_here, squares_here, scaled_here, units = (
            np.empty(end - begin, np.int64),
            np.empty(end - begin, np.int64),
            np.empty(end - begin, np.int64),
            np.empty(end - begin, np.int64),
        )
        for k in range(groups.size):
            sum_here[:] = 0
            squares_here[:] = 0
            scaled_here[:] = 0
            for place in range(starts[k], starts[k + 1]):
                null = null_groups[place]
                values = activations[places[place], begin:end]
                scale = np.float64(inverse_scale[places[place]])
                for n in range(end - begin):
                    given = np.float64(values[n])
                    value = min(max(given, -LARGEST), LARGEST) if given == given else 0.0
                    units[n] = np.int64(np.rint(value * UNITS))
                    sum_here[n] += units[n]
                    squares_here[n] += np.int64(np.rint(value * value * UNITS))
                    scaled_here[n] += np.int64(np.rint(min(max(value * scale, -LARGEST), LARGEST) * SCALED_UNITS))
                if null >= 0:
                    null_here = null_sums[null, begin:end]
                    for n in range(end - begin):
                        null_here[n] += units[n]
            if groups[k] >= 0:
                sums[groups[k], begin:end] += sum_here
                squares[groups[k], begin:end] += squares_here
                scaled[groups[k], begin:end] += scaled_here
                block_scaled[blocks[k], begin:end] += scaled_here
