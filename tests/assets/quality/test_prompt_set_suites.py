"""The check of prompt sets: sound tables pass, and each planted fault is found by its own sentence."""

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from assets.contracts import TABLES, conform
from assets.quality.expectations import Outcome
from tests.assets.quality.judged import prompt_set_quality

Tables = dict[str, pl.DataFrame]
Change = Callable[[pl.DataFrame], pl.DataFrame]

ENCLOSED = "the quartiles of every neuron enclose its median"
WHOLE = "every neuron is among the first ten in a whole number of pairs"
TEN = "at most ten neurons of a pair are among its first ten"
ALIKE = "a pair has a first neuron exactly where it was patched, one that is among the first ten, and the preference that its logit differences say"
COUNTED = "all three tables tell the same numbers of pairs, none more than it is taken from"
NAN = float("nan")


def failures(outcomes: list[Outcome]) -> set[str]:
    assert {outcome.severity for outcome in outcomes} == {"blocking"}
    assert [outcome.expectation for outcome in outcomes] == [ENCLOSED, WHOLE, TEN, ALIKE, COUNTED]
    return {outcome.expectation for outcome in outcomes if not outcome.passed}


@pytest.fixture
def tables() -> Tables:
    """Two sets of 12 neurons: of three patched pairs and one left out, and of one pair; eleven neurons share the first ten places."""
    sets = [("fruit", "{f}", " an", " a", 14, 15, 2, 3, 5, 4, 3), ("tool", "{t}", " an", " a", 14, 15, 1, 1, 1, 1, 1)]
    pairs = [
        ("fruit", place, f"apple {place}", "pear", "x", "y", " an", " a", 2.0, -1.0 if place else 1.0, place > 0, place < 3, *first)
        for place, first in enumerate([(0, 3, 0.5), (0, 3, 0.25), (0, 10, 0.75), (None, None, None)])
    ]
    pairs.append(("tool", 0, "axe", "saw", "x", "y", " an", " a", 2.0, -1.0, True, True, 0, 0, 0.5))
    shares = [*([1.0] * 9), 2 / 3, 1 / 3, 0.0]
    rows = [("fruit", 0, neuron, 3, 0.2, 0.1 - neuron, 0.3, share) for neuron, share in enumerate(shares)]
    rows += [("tool", 0, neuron, 1, 0.2, 0.2, 0.2, float(neuron < 10)) for neuron in range(12)]
    given: dict[str, list[Any]] = {"prompt_sets": sets, "prompt_set_pairs": pairs, "prompt_set_patching": rows}
    return {name: conform(TABLES[name], pl.DataFrame(part, schema=TABLES[name].schema, orient="row")) for name, part in given.items()}


def test_sound_tables_and_studies_without_prompt_sets_pass(tables: Tables) -> None:
    assert failures(prompt_set_quality(**tables)) == set()
    assert failures(prompt_set_quality(**{name: frame.clear() for name, frame in tables.items()})) == set()


def at(place: int, name: str, value: object) -> Change:
    return lambda frame: frame.with_columns(
        pl.when(pl.int_range(pl.len()) == place).then(pl.lit(value, dtype=frame.schema[name])).otherwise(pl.col(name)).alias(name)
    )


@pytest.mark.parametrize(
    ("table", "change", "broken"),
    [
        ("prompt_set_patching", at(1, "median", 0.35), {ENCLOSED}),
        ("prompt_set_patching", at(1, "lower_quartile", 0.25), {ENCLOSED}),
        ("prompt_set_patching", at(1, "upper_quartile", NAN), {ENCLOSED}),
        ("prompt_set_patching", at(9, "first_ten_share", 0.5), {WHOLE}),
        ("prompt_set_patching", at(9, "first_ten_share", NAN), {WHOLE}),
        ("prompt_set_patching", at(11, "first_ten_share", 1 / 3), {TEN}),
        ("prompt_set_patching", at(23, "first_ten_share", 1.0), {TEN}),
        ("prompt_set_patching", at(1, "pairs", 4), {COUNTED}),
        ("prompt_set_patching", lambda frame: frame[:12], {COUNTED, ALIKE}),
        ("prompt_set_patching", at(3, "first_ten_share", 0.0), {ALIKE}),
        ("prompt_set_pairs", at(0, "layer", None), {ALIKE}),
        ("prompt_set_pairs", at(1, "improvement", None), {ALIKE}),
        ("prompt_set_pairs", at(1, "neuron", 11), {ALIKE}),
        ("prompt_set_pairs", at(1, "prefers_both", False), {ALIKE}),
        ("prompt_set_pairs", at(1, "corrupt_difference", 0.0), {ALIKE}),
        ("prompt_set_pairs", at(2, "clean_difference", -0.5), {ALIKE}),
        ("prompt_set_pairs", at(3, "is_patched", True), {ALIKE, COUNTED}),
        ("prompt_set_pairs", lambda frame: frame[1:], {COUNTED}),
        ("prompt_sets", at(0, "drawn", 3), {COUNTED}),
        ("prompt_sets", at(0, "patched", 4), {COUNTED}),
        ("prompt_sets", at(0, "of_equal_length", 3), {COUNTED}),
        ("prompt_sets", at(0, "fillers", 1), {COUNTED}),
        ("prompt_sets", lambda frame: frame[1:], {COUNTED}),
    ],
)
def test_each_fault_is_found(tables: Tables, table: str, change: Change, broken: set[str]) -> None:
    assert failures(prompt_set_quality(**{**tables, table: change(tables[table])})) == broken
