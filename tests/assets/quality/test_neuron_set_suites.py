"""The check of neurons patched together: sound sets pass, and each planted fault is found by its own sentence."""

from collections.abc import Callable

import polars as pl
import pytest

from assets.contracts import TABLES, conform
from assets.quality.expectations import Outcome
from tests.assets.quality.judged import neuron_set_quality

Change = Callable[[pl.DataFrame], pl.DataFrame]

NUMBERED = "sizes count from 1 without a gap, wherever a neuron restores 1 % by itself"
GROWS = "a set restores what the one before it restores and what its neuron adds, at least 1 %"
TWICE = "no neuron is in a set twice"
ALONE = "the first neuron is the best of neuron_patching, and single shares are those that stand there"
TOLD = "told are the neurons of the smallest set that restores 90 % of what the largest restores, at most 4"


def failures(outcomes: list[Outcome]) -> list[str]:
    assert {outcome.severity for outcome in outcomes} == {"blocking"}
    assert len(outcomes) == 5
    return [outcome.expectation for outcome in outcomes if not outcome.passed]


@pytest.fixture
def patched() -> pl.DataFrame:
    """Single shares of five neurons on two prompts, at both choices of positions; on the second prompt none does anything."""
    shares = {"apple": (0.125, 0.25, 0.5, 0.0, -0.25), "pear": (0.005, 0.0, 0.0, 0.0, 0.0)}
    rows = [
        (prompt, positions, 0, neuron, 1.0, 0.0, 0.5, share if positions == "last" else 1 - share)
        for prompt, of_prompt in shares.items()
        for positions in ("all", "last")
        for neuron, share in enumerate(of_prompt)
    ]
    return conform(TABLES["neuron_patching"], pl.DataFrame(rows, schema=TABLES["neuron_patching"].schema, orient="row"))


@pytest.fixture
def sets() -> pl.DataFrame:
    rows = [(1, 2, 0.5, 0.5, 0.5), (2, 0, 0.125, 0.75, 0.25), (3, 4, -0.25, 0.875, 0.125), (4, 1, 0.25, 0.9375, 0.0625)]
    frame = pl.DataFrame(rows, schema=["size", "neuron", "alone", "restored", "added"], orient="row")
    return conform(TABLES["patched_neuron_sets"], frame.with_columns(prompt=pl.lit("apple"), layer=0, is_told=pl.col("size") < 4))


def test_sound_sets_and_studies_without_patched_prompts_pass(sets: pl.DataFrame, patched: pl.DataFrame) -> None:
    assert failures(neuron_set_quality(sets, patched)) == []
    assert failures(neuron_set_quality(sets.clear(), patched.clear())) == []
    assert failures(neuron_set_quality(sets.clear(), patched.filter(prompt="pear"))) == []


def at(place: int, name: str, value: object) -> Change:
    return lambda frame: frame.with_columns(
        pl.when(pl.int_range(pl.len()) == place).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
    )


NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda frame: frame.clear(), {NUMBERED}),  # though a neuron restores a half
        (at(1, "size", 3), {NUMBERED}),
        (at(3, "size", 5), {NUMBERED}),
        (lambda frame: frame[1:], {NUMBERED, GROWS, ALONE}),  # without the first
        (lambda frame: pl.concat([frame[:1], frame[2:]]), {NUMBERED, GROWS}),
        (at(1, "restored", 0.8), {GROWS}),
        (at(1, "restored", NAN), {GROWS, TOLD}),
        (at(1, "added", 0.2), {GROWS}),
        (at(1, "added", NAN), {GROWS}),
        (at(0, "restored", 0.6), {GROWS, ALONE}),
        (lambda frame: at(3, "restored", 0.880)(at(3, "added", 0.005)(frame)), {GROWS}),  # less than 1 % was added
        (at(3, "neuron", 2), {TWICE, ALONE}),
        (at(1, "alone", 0.2), {ALONE}),
        (at(1, "alone", NAN), {ALONE}),
        (at(1, "layer", 1), {ALONE}),  # a layer that was not patched
        (lambda frame: frame.with_columns(neuron=pl.col("neuron").reverse(), alone=pl.col("alone").reverse()), {ALONE}),
        (at(2, "is_told", False), {TOLD}),
        (at(3, "is_told", True), {TOLD}),
    ],
)
def test_each_fault_is_found_by_its_own_sentence(sets: pl.DataFrame, patched: pl.DataFrame, change: Change, broken: set[str]) -> None:
    assert set(failures(neuron_set_quality(change(sets).cast(sets.schema), patched))) == broken


def test_a_set_of_a_prompt_that_was_not_patched_is_found(sets: pl.DataFrame, patched: pl.DataFrame) -> None:
    assert failures(neuron_set_quality(sets, patched.filter(prompt="pear"))) == [ALONE]
