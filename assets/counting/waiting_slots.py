"""Counters of tracked tokens on the CPU, to which the slots of positions are added many at a time.

A batch has one or two positions for each block of documents and token, whose counters of all neurons no cache holds: counted at once, nearly every
one is fetched from memory. Slots are a byte each; kept until WAITING positions have come together, they are counted row by row, and the next
position of a row finds most of its counters in cache. Whole numbers: the same in any order.
"""

from collections.abc import Callable

import numpy as np

WAITING = 1024  # positions, as many as one batch has: the memory of another batch's slots
# Positions of a row, on average, for which waiting pays: with fewer, the counters are not in cache for the next one either, and slots were copied for nothing.
OF_ROW = 8

# Runs a compiled loop over all neurons, given its arguments but the last two, the range of neurons.
RunLoop = Callable[..., None]


class WaitingSlots:
    """The counters of some rows, each of a tracked token or of a block and one. What runs the loop is given at each call: kept here, the counter whose
    method it is would be held in a circle, and its counters beside those of the next part."""

    def __init__(self, counts: np.ndarray, dtype: type[np.unsignedinteger]) -> None:
        """`counts`: whole numbers [row, layer, neuron, slot] or [block, row of each, layer, neuron, slot], added to in place; `dtype` of a slot."""
        layers, neurons = counts.shape[-3:-1]
        self.rows = counts[..., 0, 0, 0].size
        self._counts = counts.reshape(self.rows, *counts.shape[-3:])
        self._slots = np.empty((layers, WAITING, neurons), dtype)  # not touched, and so no memory, before a position waits
        self._rows = np.empty(WAITING, np.int64)
        self._held = 0

    def add(self, slots: np.ndarray, rows: np.ndarray, run: RunLoop) -> None:
        """Count each position's slots under its row, now or later.

        slots: [layer, counted, neuron], not kept. rows: int64 [counted], the row of each position; -1 is none.
        """
        places = np.flatnonzero(rows >= 0)
        if self._held + places.size > WAITING:
            self.count(run)
        if places.size > WAITING or self.rows * OF_ROW > WAITING:
            self._count(slots, places, rows[places], run)
            return
        held = slice(self._held, self._held + places.size)
        self._slots[:, held], self._rows[held] = slots[:, places], rows[places]
        self._held = held.stop

    def count(self, run: RunLoop) -> None:
        """Count whatever waits."""
        if self._held:
            self._count(self._slots, np.arange(self._held), self._rows[: self._held], run)
        self._held = 0

    def _count(self, slots: np.ndarray, places: np.ndarray, rows: np.ndarray, run: RunLoop) -> None:
        import assets.counting.batch_loops as counting

        order = np.argsort(rows, kind="stable")
        run(counting.count_predicted, slots, places[order], rows[order], self._counts)
