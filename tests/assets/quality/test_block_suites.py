"""The suite of counters by block of documents: sound ones pass, and each expectation fails on what is broken in that one way."""

import dataclasses
from typing import Any

import pytest

from assets.counting.histograms import FURTHER_OUTCOMES, Histograms
from assets.quality.expectations import Outcome
from tests.assets.counting.made_batches import random_histograms
from tests.assets.quality import judged

POSITIONS = "positions of all blocks of documents add up to the counted positions"
NOT_NEGATIVE = "no block has less than no positions"
COUNTS = "in every bin, the counts of all blocks are not negative and add up to the count of all documents"
SUMS = "sums of all blocks, and sums under null labels over all tokens, are the sums of all positions"
NULLS = "every token has as many null labels as labels in the telling half"
DISCOVERY_BLOCK, TELLING_BLOCK = 1, 5  # documents 400 and 402


@pytest.fixture(scope="module")
def histograms() -> Histograms:
    """Tokens 4 and 1 are screened, 1 and 2 tracked."""
    return random_histograms(4, number=6)


def failures(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.expectation: outcome.observed for outcome in outcomes if not outcome.passed}


def changed(histograms: Histograms, name: str, index: tuple[Any, ...], by: int) -> Histograms:
    tensor = histograms[name].copy()
    tensor[index] += by
    return dataclasses.replace(histograms, tensors={**histograms.tensors, name: tensor})


@pytest.mark.parametrize("outcomes", [(), ("next_token",), FURTHER_OUTCOMES])
def test_sound_counters_pass_and_every_fault_stops_what_comes_after(outcomes: tuple[str, ...]) -> None:
    found = judged.block_quality(random_histograms(2, number=4, outcomes=outcomes), "activation_histograms")
    assert failures(found) == {}
    assert {outcome.severity for outcome in found} == {"blocking"}


def test_sound_counters_of_both_halves_pass(histograms: Histograms) -> None:
    held = histograms["block_positions"]
    assert held[:4].any()
    assert held[4:].any()
    assert histograms["null_top_prediction_count"].any()
    assert failures(judged.block_quality(histograms)) == {}


@pytest.mark.parametrize(
    ("name", "index", "by", "broken"),
    [
        ("block_positions", (DISCOVERY_BLOCK,), 1, {POSITIONS}),
        ("block_positions", (DISCOVERY_BLOCK,), -1000, {POSITIONS, NOT_NEGATIVE}),
        ("block_count", (TELLING_BLOCK, 1, 2, 40), 1, {COUNTS}),
        ("block_outside", (TELLING_BLOCK, 0, 0, 1), -1, {COUNTS}),
        ("count", (1, 2, 40), 1, {COUNTS}),
        ("block_top_prediction_count", (DISCOVERY_BLOCK, 1, 0, 1, 7), 1, {COUNTS}),
        ("block_top_prediction_count", (TELLING_BLOCK, 1, 0, 1, 7), 1, {COUNTS, NULLS}),
        ("block_no_next_token_count", (TELLING_BLOCK, 0, 1, 3), 1, {COUNTS}),
        ("block_probability_count", (TELLING_BLOCK, 1, 0, 1, 7), 1, {COUNTS}),
        ("null_top_prediction_count", (1, 0, 1, 7), 1, {NULLS}),
        ("null_next_token_outside", (0, 1, 1, 0), -1000, {NULLS}),
        ("block_scaled", (DISCOVERY_BLOCK, 1, 2), 1, {SUMS}),
        ("block_next_token_scaled", (DISCOVERY_BLOCK, 1, 0, 2), 1, {SUMS}),
        ("screen_null_sum", (1, 0, 2), 1, {SUMS}),
    ],
)
def test_each_fault_in_the_blocks_is_found(histograms: Histograms, name: str, index: tuple[int, ...], by: int, broken: set[str]) -> None:
    assert failures(judged.block_quality(changed(histograms, name, index, by))).keys() == broken


def test_a_count_moved_from_one_block_to_another_below_zero_is_found(histograms: Histograms) -> None:
    moved = changed(changed(histograms, "block_count", (0, 1, 2, 0), -1), "block_count", (1, 1, 2, 0), 1)
    assert failures(judged.block_quality(moved)) == {COUNTS: "1 bins wrong; most in layer 1, counter 'block' (1)"}
