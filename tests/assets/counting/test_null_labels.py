"""Null labels: worked out by hand, a permutation within every window, and far from where the labels were."""

import numpy as np
import pytest

from assets.counting.null_labels import rotated, shifts
from tests.assets.counting.made_batches import made_batch, random_batches
from tests.slow_reimplementation import slow_shift


def test_labels_of_a_window_are_rotated_by_its_own_shift() -> None:
    batch = made_batch(np.zeros((2, 8)), [7, 5], [3, 9], [0, 2])
    counted = batch.counted(False)  # positions 1 to 6, and 1 to 4
    first, second = slow_shift(3, 0, 6), slow_shift(9, 2, 4)
    expected = [(rank + first) % 6 for rank in range(6)] + [6 + (rank + second) % 4 for rank in range(4)]
    assert rotated(batch, counted).tolist() == expected
    first, second = slow_shift(3, 0, 5), slow_shift(9, 2, 3)
    expected = [*((rank + first) % 5 for rank in range(5)), 5, *(6 + (rank + second) % 3 for rank in range(3)), 9]
    assert rotated(batch, counted, with_next_token=True).tolist() == expected  # the last position of each stays where it is


def test_shifts_lie_between_a_quarter_and_three_quarters_and_use_all_of_them() -> None:
    documents = np.arange(4000)
    for numbers in range(2, 30):
        found = np.unique(shifts(documents, documents % 3, np.full(4000, numbers)))
        assert found.tolist() == [shift for shift in range(numbers) if numbers / 4 <= shift <= 3 * numbers / 4]
    assert shifts(documents[:2], documents[:2], np.array([1, 0])).tolist() == [0, 0]


@pytest.mark.parametrize("count_bos", [False, True])
@pytest.mark.parametrize("with_next_token", [False, True])
def test_every_document_keeps_its_number_of_each_label(count_bos: bool, with_next_token: bool) -> None:
    for seed in range(20):
        for batch, _, predictions in random_batches(seed, 1, 1):
            counted = batch.counted(count_bos)
            source = rotated(batch, counted, with_next_token)
            assert sorted(source.tolist()) == list(range(counted.size))
            rows = counted // batch.token_ids.shape[1]
            assert (rows[source] == rows).all()
            labels = predictions.reshape(-1)[counted]
            for document in np.unique(batch.documents):
                own = batch.documents[rows] == document
                assert sorted(labels[own]) == sorted(labels[source][own])
