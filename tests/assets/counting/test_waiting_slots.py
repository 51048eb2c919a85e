"""Slots that wait are counted as if each had been counted at once."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import assets.counting.waiting_slots as waiting_slots
from assets.counting.batch_counter import BatchCounter
from assets.counting.histograms import ActivationBins
from assets.counting.waiting_slots import WaitingSlots

LAYERS, NEURONS, SLOTS = 2, 5, 6


def run(loop: Callable[..., None], *arguments: Any) -> None:
    loop(*arguments, 0, 3)
    loop(*arguments, 3, NEURONS)


@pytest.mark.parametrize("waiting", [1, 7, 64, 10_000])
@pytest.mark.parametrize("of_row", [0, 8])  # 0: positions wait however few of a row come
@pytest.mark.parametrize("leading", [(4,), (2, 2)])
def test_any_number_of_positions_that_wait_gives_the_counts_of_a_slow_loop(
    monkeypatch: pytest.MonkeyPatch, waiting: int, leading: tuple[int, ...], of_row: int
) -> None:
    monkeypatch.setattr(waiting_slots, "WAITING", waiting)
    monkeypatch.setattr(waiting_slots, "OF_ROW", of_row)
    generator = np.random.default_rng(waiting)
    counts, expected = np.zeros((*leading, LAYERS, NEURONS, SLOTS), np.uint16), np.zeros((4, LAYERS, NEURONS, SLOTS), np.int64)
    slots_of = WaitingSlots(counts, np.uint8)
    assert slots_of.rows == 4
    for counted in (3, 0, 12, 5, 1):
        slots = generator.integers(0, SLOTS, (LAYERS, counted + 2, NEURONS)).astype(np.uint8)  # the buffer is larger than the batch
        rows = generator.integers(-1, 4, counted)
        slots_of.add(slots, rows, run)
        for place, row in enumerate(rows.tolist()):
            for layer, neuron in np.ndindex(LAYERS, NEURONS) if row >= 0 else ():
                expected[row, layer, neuron, slots[layer, place, neuron]] += 1
        slots[:] = SLOTS - 1  # what was handed over is written into for the next batch
    slots_of.count(run)
    np.testing.assert_array_equal(counts.reshape(expected.shape), expected)
    slots_of.count(run)  # nothing waits any more
    np.testing.assert_array_equal(counts.reshape(expected.shape), expected)


def test_where_few_positions_of_a_row_come_none_waits() -> None:
    few, many = (WaitingSlots(np.zeros((rows, LAYERS, NEURONS, SLOTS), np.uint16), np.uint8) for rows in (128, 129))
    for slots_of in (few, many):
        slots_of.add(np.zeros((LAYERS, 1, NEURONS), np.uint8), np.zeros(1, np.int64), run)
    assert few._counts.sum() == 0
    assert many._counts.sum() == LAYERS * NEURONS
    few.count(run)
    assert few._counts.sum() == LAYERS * NEURONS


def test_a_counter_is_gone_with_its_last_name_so_that_the_next_part_has_its_memory() -> None:
    bins = ActivationBins(np.ones((1, 2), np.float32), np.zeros((1, 2), np.int32), 4)
    counter = BatchCounter(bins, [0], 3, count_bos=True, examples=1, threads=1, outcomes=("next_token",), embedding_predictions=True)
    held = weakref.ref(counter)
    gc.disable()  # which would find a circle, but only now and then
    try:
        del counter
        assert held() is None
    finally:
        gc.enable()
