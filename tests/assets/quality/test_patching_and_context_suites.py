"""The suites of patched components and of contexts pass on sound tables and on empty ones, and fail on tables broken in one way."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from assets.contracts import ACTIVATION_PATCHING, NEURON_CONTEXTS
from assets.counting.histograms import BEFORE, BETWEEN
from assets.quality.expectations import Outcome
from tests.assets.counting.made_batches import made_bins, random_histograms
from tests.assets.quality.judged import context_quality, example_context_quality, patching_quality

NAN = float("nan")
NAMED = "a head is named where a single head was patched, and nowhere else"
COMPLETE = "every component and head was patched at every layer and position"


def patched() -> pl.DataFrame:
    """Two layers of two heads, three positions."""
    outputs = [("residual", None), ("attention", None), ("mlp", None), ("head", 0), ("head", 1)]
    rows = [("apple", *output, layer, place, " x", 0.5, 0.1) for output in outputs for layer in range(2) for place in range(3)]
    names = ["prompt", "component", "head", "layer", "position", "token", "difference", "improvement"]
    return pl.DataFrame(rows, schema={name: ACTIVATION_PATCHING.schema[name] for name in names}, orient="row")


def failures(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.expectation: outcome.observed for outcome in outcomes if not outcome.passed}


def test_sound_and_empty_tables_pass() -> None:
    assert failures(patching_quality(patched(), 2)) == {}
    assert failures(patching_quality(patched().clear(), 2)) == {}
    assert failures(context_quality(contexts())) == {}
    assert failures(context_quality(contexts().clear())) == {}


def test_a_head_without_its_number_and_another_component_with_one_fail() -> None:
    numbered = patched().with_columns(head=pl.when(pl.col("component") == "mlp").then(pl.lit(0, pl.Int32)).otherwise(pl.col("head")))
    assert failures(patching_quality(numbered, 2)) == {NAMED: "6 of 30 cells; most in prompt 'apple' (6)"}
    nameless = patched().with_columns(head=pl.when(pl.col("head") == 0).then(None).otherwise(pl.col("head")))
    assert NAMED in failures(patching_quality(nameless, 2))


def test_a_missing_cell_a_missing_head_and_a_missing_layer_fail() -> None:
    assert failures(patching_quality(patched()[1:], 2)) == {COMPLETE: "1 cells missing; most in prompt 'apple' (1)"}
    one_head_in_layer_1 = patched().filter((pl.col("layer") == 0) | pl.col("head").ne_missing(1))
    assert failures(patching_quality(one_head_in_layer_1, 2)) == {COMPLETE: "3 cells missing; most in prompt 'apple' (3)"}
    assert failures(patching_quality(patched(), 3)) == {COMPLETE: "15 cells missing; most in prompt 'apple' (15)"}


def contexts(**changes: object) -> pl.DataFrame:
    """Two contexts of two tokens of one neuron, the second drawn at random; `changes` replace columns of all rows."""
    rows = [
        (1, 3, side, 1, 9, 0, 5, peak, position, 2, " x", activation, 2, " x")
        for side, peak in (("top", 4.0), ("random", -0.1))
        for position, activation in ((4, 0.5), (5, peak))
    ]
    return pl.DataFrame(rows, schema=NEURON_CONTEXTS.schema, orient="row").with_columns(**{k: pl.lit(v) for k, v in changes.items()})


@pytest.mark.parametrize(
    "changes",
    [{"side": "best"}, {"peak_position": 6}, {"peak_activation": 2.0}, {"activation": NAN}],
    ids=lambda changes: next(iter(changes)),
)
def test_contexts_of_an_unknown_side_without_their_place_or_at_odds_with_it_fail(changes: dict[str, object]) -> None:
    (observed,) = failures(context_quality(contexts(**changes)[:2])).values()
    assert observed == "1 of 1 contexts wrong; most in layer 1, neuron 3 (1)"


MIDDLE = "in the middle of every example's context stands its own activation, and nothing before its window"
IN_BAND = "every example of the levels between is in its band of the bins"
NOTHING = "where there is no example there is no context"


def put(name: str, index: tuple[int, ...], value: float) -> dict[str, np.ndarray]:
    """The tensors of counted histograms with one number replaced."""
    histograms = random_histograms(3)
    changed = histograms[name].copy()
    changed[index] = value
    return {**histograms.tensors, name: changed}


def test_contexts_of_examples_pass_and_each_fault_is_found() -> None:
    histograms = random_histograms(3)
    outcomes = example_context_quality(histograms, made_bins(2, 3))
    assert failures(outcomes) == {}
    assert {outcome.severity for outcome in outcomes} == {"blocking"}
    ranks = histograms["top_document"].shape[2]
    examples = int((histograms["top_document"][1] >= 0).sum() + (histograms["bottom_document"][1] >= 0).sum())
    assert (histograms["top_document"][1, 2] < 0).any() or examples == 2 * 3 * ranks
    for tensors, broken in (
        (put("top_context", (1, 2, 0, BEFORE), 77), MIDDLE),
        (put("bottom_context", (1, 0, 0, 0), 1), MIDDLE),
        (put("bottom_value", (1, 0, 0), 77), MIDDLE),
        (put("top_document", (1, 2, 0), -1), NOTHING),
        (put("between_bottom_context", (1, 0, 0, BEFORE), 77), MIDDLE),
        (put("random_value", (1, 0, 1), 77), MIDDLE),
        (put("random_context", (1, 0, 1, 0), 7), MIDDLE),
    ):
        (found,) = failures(example_context_quality(dataclasses.replace(histograms, tensors=tensors), made_bins(2, 3))).items()
        assert found[0] == broken
        assert found[1].startswith("1 ")
        assert "layer 1" in found[1]
    assert histograms["bottom_position"][1, 0, 0] < BEFORE


def test_an_example_in_another_band_than_its_own_is_found() -> None:
    histograms = random_histograms(3)
    held = np.argwhere(histograms["between_bottom_document"][1] >= 0)
    neuron, band = held[-1].tolist()
    for other in (0.01, -(2.0**-band) * 0.499 if band < 3 else -0.5, 1.0):
        tensors = put("between_bottom_value", (1, neuron, band), other)
        tensors["between_bottom_context"] = histograms["between_bottom_context"].copy()
        tensors["between_bottom_context"][1, neuron, band, BEFORE] = other
        found = failures(example_context_quality(dataclasses.replace(histograms, tensors=tensors), made_bins(2, 3)))
        assert set(found) == {IN_BAND}
    no_bins = example_context_quality(histograms, made_bins(2, 3, first_bin=0))
    every = sum(int((histograms[f"{side}_document"][:] >= 0).sum()) for side in BETWEEN)
    assert every > 0
    assert set(failures(no_bins)) == {IN_BAND}, "bins that do not reach below 0 have no bands there"
