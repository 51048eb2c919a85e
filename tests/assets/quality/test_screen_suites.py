"""The suites of the screen pass on sound sums and on a sound table, and each expectation fails on what is broken in that one way."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from assets.counting.histograms import Histograms
from assets.quality.expectations import Outcome
from assets.statistics.token_neuron_screen import token_neuron_screen
from tests.assets.counting.made_batches import random_histograms
from tests.assets.quality import judged

TEXTS = ["<s>", " a", " an", " the", " of", ".", ","]
ADD_UP = "positions of the screened tokens and of all others add up to the counted positions"
NOT_NEGATIVE = "no count and no sum of squares is negative"
CURRENT_ADD_UP = "current tokens of all groups add up to the counted positions"
AS_OCCURS = "every screened token is the current token as often as it occurs"
AS_PREDICTED = "every screened token has as many positions as predictions"
AS_HISTOGRAM = "a tracked token has as many positions as its histograms"
SAME_SUMS = "for every neuron, the sums of all groups are the same by current as by predicted token"
AS_MEAN = "for every neuron, the sums of all groups add up to its mean times the positions"


@pytest.fixture(scope="module")
def histograms() -> Histograms:
    """Tokens 4 and 1 are screened, 1 and 2 tracked."""
    return random_histograms(3, number=4)


def failures(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.expectation: outcome.observed for outcome in outcomes if not outcome.passed}


def changed(histograms: Histograms, name: str, index: tuple[Any, ...], by: int) -> Histograms:
    tensor = histograms[name].copy()
    tensor[index] += by
    return dataclasses.replace(histograms, tensors={**histograms.tensors, name: tensor})


def test_sound_sums_pass_and_only_the_mean_warns(histograms: Histograms) -> None:
    outcomes = judged.screen_quality(histograms, "activation_histograms")
    assert failures(outcomes) == {}
    assert [outcome.expectation for outcome in outcomes if outcome.severity == "warning"] == [AS_MEAN]


@pytest.mark.parametrize(
    ("name", "index", "by", "broken"),
    [
        ("screen_count", (2,), 1, {ADD_UP}),  # all other tokens
        ("screen_count", (0,), 1, {ADD_UP, AS_PREDICTED}),  # a token that is not tracked
        ("screen_count", (1,), 1, {ADD_UP, AS_PREDICTED, AS_HISTOGRAM}),
        ("screen_squares", (1, 0, 2), -(2**62), {NOT_NEGATIVE}),
        ("screen_sum", (1, 2, 0), 2**24, {AS_MEAN, SAME_SUMS}),
        ("screen_current_count", (2,), 1, {CURRENT_ADD_UP}),
        ("screen_current_count", (0,), 1, {CURRENT_ADD_UP, AS_OCCURS}),
        ("screen_current_count", (2,), -100, {CURRENT_ADD_UP, NOT_NEGATIVE}),
        ("screen_current_sum", (1, 2, 0), 1, {SAME_SUMS}),
        ("predictions", (4,), 1, {AS_PREDICTED}),
    ],
)
def test_each_fault_in_the_sums_is_found(histograms: Histograms, name: str, index: tuple[int, ...], by: int, broken: set[str]) -> None:
    found = set(failures(judged.screen_quality(changed(histograms, name, index, by))))
    assert found - {AS_MEAN} == broken - {AS_MEAN}
    assert (AS_MEAN in found) == (name == "screen_sum")


def test_a_study_without_a_screen_is_sound(histograms: Histograms) -> None:
    off = {"screen_token": np.empty(0, np.int32), "screen_count": np.empty(0, np.int64),
           "screen_sum": np.empty((2, 0, 3), np.int64), "screen_squares": np.empty((2, 0, 3), np.int64), "screen_current_count": np.empty(0, np.int64),
           "screen_current_sum": np.empty((2, 0, 3), np.int64)}  # fmt: skip
    outcomes = judged.screen_quality(dataclasses.replace(histograms, tensors={**histograms.tensors, **off}))
    assert failures(outcomes) == {}


@pytest.fixture(scope="module")
def table(histograms: Histograms) -> pl.DataFrame:
    return token_neuron_screen(histograms, TEXTS, min_count=1)


def first_row(name: str, value: Any) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(pl.when(pl.int_range(pl.len()) == 0).then(pl.lit(value)).otherwise(pl.col(name)).alias(name))


SOUND_VALUES = "a difference has the sign of the means' difference, deviations are not negative, and min_count positions are behind a row"
IN_ORDER = "ranks follow the share of variance explained"
FEW_LEFT_OUT = "few positions predict a token that is not screened"


def test_a_sound_table_passes(table: pl.DataFrame) -> None:
    assert table.height == 12  # two tokens, six neurons
    assert failures(judged.screen_table_quality(table, 1, (10, 100))) == {}


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (first_row("deviation_elsewhere", -0.1), SOUND_VALUES),
        (lambda frame: frame.with_columns(standardized_difference=-pl.col("standardized_difference")), SOUND_VALUES),
        (first_row("predictions", 0), SOUND_VALUES),
        (first_row("variance_explained", 0.0), IN_ORDER),
        (lambda frame: frame.with_columns(rank=pl.col("rank") + 1), IN_ORDER),
    ],
)
def test_each_fault_in_the_table_is_found(table: pl.DataFrame, change: Callable[[pl.DataFrame], pl.DataFrame], broken: str) -> None:
    assert list(failures(judged.screen_table_quality(change(table), 1, (0, 100)))) == [broken]


def test_more_than_a_tenth_left_out_warns(table: pl.DataFrame) -> None:
    outcomes = judged.screen_table_quality(table, 1, (11, 100))
    assert failures(outcomes) == {FEW_LEFT_OUT: "11.0000% (11 of 100)"}
    assert [outcome.severity for outcome in outcomes if not outcome.passed] == ["warning"]
