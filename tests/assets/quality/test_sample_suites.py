"""The suite of the sampled positions passes on sound ones, and each sentence fails on what is broken in that one way."""

import dataclasses
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import torch

from assets.counting.batch_counter import Answers, BatchCounter
from assets.counting.histograms import Histograms
from assets.counting.position_sampler import PositionSampler
from assets.quality.expectations import Outcome
from tests.assets.counting.made_batches import VOCABULARY, made_batch, made_bins, windows_frame
from tests.assets.quality import judged

TOO_MANY = "no token has more sampled positions than it has positions"
REPEATED = "no position is sampled twice, and no document more than four times"
ORDERED = "samples stand in the order of their hashes, without gaps"
THERE = "every sampled position has a token before it and one after it in a window of the corpus"
FOLLOWS = "after every position sampled as the token's own, the token follows"

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def counted() -> tuple[Histograms, pl.DataFrame]:
    """Ten documents of twelve tokens, tokens 1 and 2 tracked, predictions at random."""
    generator = np.random.default_rng(4)
    ids = generator.integers(0, VOCABULARY, (10, 12))
    counter = PositionSampler(BatchCounter(made_bins(1, 1), (1, 2), VOCABULARY, count_bos=False, examples=1, threads=1), (1, 2), VOCABULARY)
    counter.start(made_batch(ids, [12] * 10, range(10), [0] * 10))
    counter.add_layer(0, torch.zeros(10, 12, 1))
    counter.add_answers(Answers(torch.from_numpy(generator.integers(0, VOCABULARY, (10, 12)))))
    return counter.histograms(), windows_frame(ids.tolist())


def failures(outcomes: list[Outcome]) -> set[str]:
    return {outcome.expectation for outcome in outcomes if not outcome.passed}


def test_sound_samples_pass_and_so_do_none(counted: tuple[Histograms, pl.DataFrame]) -> None:
    histograms, windows = counted
    assert (histograms["sampled_prediction_document"] >= 0).sum() > 15
    assert failures(judged.sample_quality(histograms, windows)) == set()
    nothing = {name: np.full_like(values, -1) for name, values in histograms.tensors.items() if name.endswith("_document")}
    empty = dataclasses.replace(histograms, tensors={**histograms.tensors, **nothing})
    assert failures(judged.sample_quality(empty, windows)) == set()


def fewer(tensors: Arrays) -> None:
    tensors["predictions"][1] = 1


def twice(tensors: Arrays) -> None:
    for part in ("document", "window", "position"):
        tensors[f"sampled_prediction_{part}"][0, 3] = tensors[f"sampled_prediction_{part}"][0, 2]


def exchanged(tensors: Arrays) -> None:
    for part in ("document", "window", "position"):
        values = tensors[f"sampled_prediction_{part}"]
        values[0, [1, 2]] = values[0, [2, 1]]


def gap(tensors: Arrays) -> None:
    tensors["sampled_next_token_document"][1, 0] = -1


def no_window(tensors: Arrays) -> None:
    tensors["sampled_prediction_window"][0, 0] = 5


def at_the_end(tensors: Arrays) -> None:
    tensors["sampled_next_token_position"][0, 0] = 11


def at_the_beginning(tensors: Arrays) -> None:
    tensors["sampled_prediction_position"][0, 0] = 0


def of_the_other_token(tensors: Arrays) -> None:
    for part in ("document", "window", "position"):
        values = tensors[f"sampled_next_token_{part}"]
        values[[0, 1]] = values[[1, 0]]


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        (fewer, {TOO_MANY}),
        (twice, {REPEATED}),
        (exchanged, {ORDERED}),
        (gap, {ORDERED}),
        (no_window, {THERE}),
        (at_the_end, {THERE}),
        (at_the_beginning, {THERE}),
        (of_the_other_token, {FOLLOWS}),
    ],
)
def test_each_fault_in_the_samples_is_found(
    counted: tuple[Histograms, pl.DataFrame], fault: Callable[[Arrays], None], broken: set[str]
) -> None:
    histograms, windows = counted
    tensors = {name: np.array(values) for name, values in histograms.tensors.items()}
    fault(tensors)
    found = failures(judged.sample_quality(dataclasses.replace(histograms, tensors=tensors), windows))
    assert found - {ORDERED} == broken - {ORDERED}  # a place that was moved has another hash, which may stand out of order
    assert broken <= found
