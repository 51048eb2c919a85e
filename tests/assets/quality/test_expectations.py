"""Judging a frame with Great Expectations: verdicts, order, refusals, and the table that comes of it."""

import os
from typing import Any

import polars as pl
import pytest

from assets.contracts import DATA_QUALITY
from assets.quality.expectations import Expectation, Outcome, _holds, holding, judge, outcome_frame

FRAME = pl.DataFrame({"layer": [0, 1, 2], "wrong": [0, 3, 0], "right": [0, 0, 0]})


def no_violation(column: str) -> Expectation:
    arguments = {"column": column, "min_value": 0, "max_value": 0}
    return Expectation(
        f"{column} holds", "blocking", lambda frame: "0", "ExpectColumnValuesToBeBetween", arguments, lambda frame: str(frame[column].sum())
    )


def test_each_expectation_gets_its_own_verdict_in_the_order_given() -> None:
    # Great Expectations sorts results by kind and column; the order given here is not that order.
    total = Expectation(
        "sum is small", "warning", lambda frame: "at most 3", "ExpectColumnSumToBeBetween", {"column": "wrong", "max_value": 3}, str
    )
    outcomes = judge("asset", "check", FRAME, [no_violation("wrong"), total, no_violation("right")])
    assert [(outcome.expectation, outcome.passed) for outcome in outcomes] == [
        ("wrong holds", False),
        ("sum is small", True),
        ("right holds", True),
    ]
    assert outcomes[0] == Outcome("asset", "check", "wrong holds", "blocking", False, "0", "3")


Question = tuple[str, dict[str, Any]]
NONE: Question = ("ExpectColumnValuesToBeBetween", {"column": "wrong", "min_value": 0, "max_value": 0})
SUM: Question = ("ExpectColumnSumToBeBetween", {"column": "wrong", "max_value": 3})
MORE: Question = ("ExpectColumnSumToBeBetween", {"column": "wrong", "max_value": 2})
EQUAL: Question = ("ExpectColumnPairValuesToBeEqual", {"column_A": "wrong", "column_B": "right"})
TURNED: Question = ("ExpectColumnPairValuesToBeEqual", {"column_A": "right", "column_B": "wrong"})


@pytest.mark.parametrize("cells", [[0, 0, 0], [0, 3, 0], [0, 1, 2], [0, 1, 1], [1, 0, 0], [4], [0.0, 2.5], [-1]])
def test_a_remembered_verdict_is_the_one_that_is_worked_out(cells: list[float]) -> None:
    frame = pl.DataFrame({"layer": range(len(cells)), "wrong": cells, "right": [0] * len(cells)})
    kinds = [NONE, SUM, MORE, EQUAL, TURNED]
    remembered = holding(frame, kinds)  # what other cells have left in memory is there
    assert holding(frame.with_columns(layer=pl.lit(7)), kinds) == remembered  # a column that no sentence names decides nothing
    _holds.cache_clear()
    assert holding(frame, kinds) == remembered
    none = all(cell == 0 for cell in cells)
    assert remembered == [none, sum(cells) <= 3, sum(cells) <= 2, none, none]  # by hand


def test_what_a_column_is_called_decides_nothing_and_which_one_is_named_first_does() -> None:
    def named(total: str, least: str) -> list[bool]:
        frame = pl.DataFrame({"layer": [0], "small": [1], "large": [2]}).rename({"small": total, "large": least})
        larger = ("ExpectColumnPairValuesAToBeGreaterThanB", {"column_A": total, "column_B": least})
        turned = ("ExpectColumnPairValuesAToBeGreaterThanB", {"column_A": least, "column_B": total})
        return holding(frame, [larger, turned])

    _holds.cache_clear()
    assert named("small", "large") == [False, True]
    assert named("zeta", "alpha") == [False, True]  # as the cells say, whatever comes first in the alphabet
    assert _holds.cache_info().misses == 2


def test_arguments_that_name_no_column_are_refused_because_they_would_be_judged_as_broken() -> None:
    with pytest.raises(KeyError, match="names no column; the frame has"):
        holding(FRAME, [("ExpectColumnSumToBeBetween", {"column": "absent", "max_value": 3})])


def test_only_a_failed_blocking_expectation_stops_what_comes_after() -> None:
    blocking, warning = (Outcome("a", "c", "e", severity, False, "", "") for severity in ("blocking", "warning"))
    assert blocking.is_blocking_failure
    assert not warning.is_blocking_failure
    assert not Outcome("a", "c", "e", "blocking", True, "", "").is_blocking_failure


@pytest.mark.parametrize("gap", [None, float("nan")])
def test_a_missing_cell_is_refused_because_it_would_be_skipped_and_pass(gap: float | None) -> None:
    frame = pl.DataFrame({"wrong": [0.0, gap]})
    with pytest.raises(ValueError, match=r"asset, check: columns \['wrong'\] hold missing values"):
        judge("asset", "check", frame, [no_violation("wrong")])


def test_outcomes_make_the_table_data_quality_even_without_one() -> None:
    frame = outcome_frame(judge("asset", "check", FRAME, [no_violation("wrong"), no_violation("right")]))
    assert frame.schema == DATA_QUALITY.schema
    assert frame["passed"].to_list() == [False, True]
    assert outcome_frame([]).schema == DATA_QUALITY.schema


def test_nothing_is_reported_to_the_makers_of_great_expectations_and_no_progress_bar_is_drawn(capfd: pytest.CaptureFixture[str]) -> None:
    judge("asset", "check", FRAME, [no_violation("right")])
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"
    assert "Calculating Metrics" not in capfd.readouterr().err
