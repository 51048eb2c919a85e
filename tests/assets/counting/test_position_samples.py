"""Samples of positions: the sample of the whole however it is cut, every position as likely as another, and nothing that waits."""

import functools

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.counting.batch_counter import Answers, BatchCounter
from assets.counting.position_sampler import PositionSampler
from assets.counting.position_samples import (
    NEXT_TOKEN,
    PER_DOCUMENT,
    TOP_PREDICTION,
    candidates,
    extended,
    lowest,
    merged_samples,
    position_hash,
    sample_arrays,
    sample_of_arrays,
    sampled_positions,
)
from tests.assets.counting.made_batches import VOCABULARY, made_batch, made_bins
from tests.slow_reimplementation import slow_hash

PLACES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(0, 2), st.integers(1, 9)), unique=True, max_size=60)
KEPT = 6


def places(rows: list[tuple[int, int, int, int]]) -> pl.DataFrame:
    """Candidates (token's row, document, window, position)."""
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    return candidates(*columns)


def held(found: pl.DataFrame) -> dict[str, np.ndarray]:
    """Tensors of both samples, the same positions in each."""
    sample = lowest(found, KEPT)
    return sample_arrays(TOP_PREDICTION, sample, 2, KEPT) | sample_arrays(NEXT_TOKEN, sample, 2, KEPT)


def slow_sample(rows: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """By the words: of each token's positions in the order of their hashes, those that no cap keeps out."""
    kept: list[tuple[int, int, int, int]] = []
    for row in sorted(rows, key=lambda row: (row[0], slow_hash(row[1:]), row[1:])):
        of_token = [other for other in kept if other[0] == row[0]]
        if len(of_token) < KEPT and sum(other[1] == row[1] for other in of_token) < PER_DOCUMENT:
            kept.append(row)
    return kept


@settings(max_examples=200, deadline=None)
@given(PLACES, st.randoms(use_true_random=False), st.integers(1, 5))
def test_the_merge_of_parts_is_the_sample_of_the_whole_in_any_order_even_where_documents_are_torn(rows, random, number) -> None:
    whole = held(places(rows))
    shuffled = random.sample(rows, len(rows))
    parts = [held(places(shuffled[start::number])) for start in range(number)]
    for order in (parts, parts[::-1]):
        merged = functools.reduce(merged_samples, order)
        assert all(np.array_equal(merged[name], whole[name]) for name in whole)
    extension = functools.reduce(lambda sample, start: extended(sample, places(shuffled[start::number]), KEPT), range(number), places([]))
    sample = sample_of_arrays(TOP_PREDICTION, whole)
    assert extension.equals(sample)
    assert sample.select("row", "document", "window", "position").rows() == slow_sample(rows)


def test_a_hash_is_the_one_worked_out_in_whole_numbers_and_of_all_bits_half_are_set() -> None:
    document, window, position = np.arange(3000) // 60, np.arange(3000) // 30 % 2, np.arange(3000) % 30
    hashes = position_hash(document, window, position)
    assert hashes.tolist() == [slow_hash(place) for place in zip(document.tolist(), window.tolist(), position.tolist(), strict=True)]
    assert len(set(hashes.tolist())) == 3000
    bits = (hashes[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(bits.mean(0) - 0.5).max() < 4.5 * 0.5 / 3000**0.5  # 64 bits: one in 2,000 such runs is farther off
    assert (position_hash(document, window, position, seed=1) != hashes).all()


def test_every_position_of_many_documents_is_as_likely_as_another() -> None:
    rows = [(0, document, 0, position) for document in range(2000) for position in range(1, 3)]
    sample = lowest(places(rows), 1000)
    first = (sample["position"] == 1).sum()
    assert abs(first - 500) < 4 * (1000 / 4) ** 0.5
    assert abs(float(sample["document"].mean()) - 999.5) < 4 * 2000 / (12 * 1000) ** 0.5  # type: ignore[arg-type]


def sampler(at_once: int) -> PositionSampler:
    counter = BatchCounter(made_bins(1, 1), (5, 2), VOCABULARY, count_bos=True, examples=1, threads=1)
    return PositionSampler(counter, (5, 2), VOCABULARY, at_once)


def add(counter: PositionSampler, batch, predictions: list[list[int]]) -> None:
    counter.start(batch)
    counter.add_layer(0, torch.zeros(*batch.token_ids.shape, 1))
    counter.add_answers(Answers(torch.tensor(predictions)))


@pytest.mark.parametrize("at_once", [1, 1 << 20])
def test_the_first_position_of_a_window_its_last_and_padding_are_never_sampled(at_once: int) -> None:
    counter = sampler(at_once)
    # Two windows of one document, the second of three tokens and two of padding, then a dummy row.
    batch = made_batch([[5, 5, 2, 5, 5], [0, 1, 5, 5, 5], [5, 5, 5, 5, 5]], [5, 3, 0], [7, 7, -1], [0, 1, 0])
    add(counter, batch, [[5, 5, 5, 2, 5], [5, 5, 5, 5, 5], [5, 5, 5, 5, 5]])
    add(counter, made_batch([[0, 1, 2]], [3], [9], [4]), [[2, 2, 2]])
    found = sampled_positions(counter.histograms().tensors, (5, 2))
    place = ["document", "window_in_document", "position"]

    def of(outcome: str, token: int) -> set[tuple[int, ...]]:
        return set(found.filter(outcome=outcome, token_id=token).select(place).rows())

    assert of(TOP_PREDICTION, 5) == {(7, 0, 1), (7, 0, 2), (7, 1, 1)}
    assert of(TOP_PREDICTION, 2) == {(7, 0, 3), (9, 4, 1)}
    assert of(NEXT_TOKEN, 5) == {(7, 0, 2), (7, 0, 3), (7, 1, 1)}
    assert of(NEXT_TOKEN, 2) == {(7, 0, 1), (9, 4, 1)}


def test_predictions_stay_where_they_are_until_enough_have_come_together() -> None:
    counter = sampler(at_once=12)
    batch = made_batch([[0, 1, 2, 5, 1]], [5], [0], [0])
    for _ in range(2):
        add(counter, batch, [[1] * 5])
    assert [kept.dtype for _, kept in counter._waiting] == [torch.int32] * 2
    add(counter, batch, [[1] * 5])
    assert counter._waiting == []


def test_nothing_sampled_is_an_empty_table() -> None:
    assert sampled_positions(sampler(1).histograms().tensors, (5, 2)).height == 0
