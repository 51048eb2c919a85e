"""Every suite passes on sound outputs, and every one of its expectations fails on an output broken in that one way."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from assets.contracts import ACROSS_MODELS_TABLES, NEURON_STATISTICS, TABLES, TOKEN_NEURON_SCORES, Column, Table
from assets.counting.histograms import PROBABILITY_UNITS, ActivationBins, Histograms
from assets.quality import table_violations
from assets.quality.checks.inputs import PARITY_TOLERANCE
from assets.quality.expectations import Outcome
from assets.statistics.embedding_predictions import embedding_curves
from assets.statistics.neuron_statistics import neuron_statistics
from assets.statistics.proportion_curves import proportion_curves
from assets.statistics.token_neuron_scores import token_neuron_scores
from tests.assets.counting.made_batches import windows_frame
from tests.assets.quality import judged
from tests.assets.statistics.test_proportion_curves import PAIR as HAND_PAIR
from tests.assets.statistics.test_token_neuron_scores import HAND, HAND_BINS, mirrored
from tests.candidate_choice import pairs_of
from tests.slow_statistics import Recording, count_slowly, random_recording

TEXTS = ["<s>", " a", " an", " the", " of"]
BINS = ActivationBins(np.full((2, 3), 2, np.float32), np.full((2, 3), -20, np.int32), 40)  # [-10, 10): holds every activation
TRACKED = (1, 4)


def sound_histograms() -> Histograms:
    """2 layers, 3 neurons, 400 positions, nothing outside the bins and no NaN."""
    recording = random_recording(seed=3)
    return count_slowly(Recording(np.nan_to_num(recording.activations), recording.tokens, recording.predictions), BINS, TRACKED, 5)


@pytest.fixture
def histograms() -> Histograms:
    return sound_histograms()


@pytest.fixture
def scores(histograms: Histograms) -> pl.DataFrame:
    return token_neuron_scores(histograms, BINS, TEXTS, min_count=10)


@pytest.fixture
def curves(histograms: Histograms, scores: pl.DataFrame) -> pl.DataFrame:
    return proportion_curves(histograms, BINS, pairs_of(scores, TRACKED, [(0, 0)], 1), TEXTS, min_count=2)


def failures(outcomes: list[Outcome]) -> dict[str, str]:
    """Sentences that do not hold, and what was observed."""
    return {outcome.expectation: outcome.observed for outcome in outcomes if not outcome.passed}


def changed(histograms: Histograms, name: str, change: Callable[[Any], Any]) -> Histograms:
    """The histograms with one tensor replaced, or changed in place in a copy."""
    tensor = histograms[name].copy()
    replaced = change(tensor)
    return dataclasses.replace(histograms, tensors={**histograms.tensors, name: tensor if replaced is None else replaced})


# --- histogram_quality ------------------------------------------------------------------------------------------------------

BALANCED = "for every neuron, bins + underflow + overflow + NaN = counted positions"
SAME_SUM = "for every tracked token, top-prediction counts sum to the same number for every neuron"
OWN_SUM = "for every tracked token, top-prediction counts sum to the token's own count of predictions"
NOT_ABOVE = "top-prediction counts are never above the count of their bin"
NOT_NAN = "no activation is NaN"
FEW_ABOVE = "few activations lie above the bins"


def test_sound_counters_pass_and_every_check_but_the_overflow_share_is_blocking(histograms: Histograms) -> None:
    outcomes = judged.histogram_quality(histograms, "activation_histograms")
    assert failures(outcomes) == {}
    assert {outcome.asset for outcome in outcomes} == {"activation_histograms"}
    assert [outcome.expectation for outcome in outcomes if outcome.severity == "warning"] == [FEW_ABOVE]
    observed = {outcome.expectation: (outcome.expected, outcome.observed) for outcome in outcomes}
    assert observed[BALANCED] == ("400 for every neuron", "0 of 6 neurons unbalanced")


def put(index: tuple[int, ...], value: int) -> Callable[[np.ndarray], None]:
    return lambda tensor: tensor.__setitem__(index, value)


def add(index: tuple[int | slice, ...], value: int) -> Callable[[np.ndarray], None]:
    return lambda tensor: tensor.__setitem__(index, tensor[index] + value)


FULL_BIN = 20  # activations from 0 to 0.5: dozens of positions for every neuron
EMPTY_BIN = 39  # activations from 9.5 to 10: none


@pytest.mark.parametrize(
    ("name", "change", "broken"),
    [
        ("count", add((1, 2, FULL_BIN), 1), {BALANCED: "1 of 6 neurons unbalanced; most in layer 1 (1)"}),
        (
            "count",
            lambda tensor: tensor.astype(np.float64),
            {"counts are whole numbers (int64)": "1 of 8 differ; first count: float64 instead of int64"},
        ),
        (
            "top_prediction_count",
            add((0, 1, 2, FULL_BIN), -1),
            {SAME_SUM: "1 of 12 sums differ; most in layer 1, token_id 1 (1)", OWN_SUM: ...},
        ),
        (
            "top_prediction_outside",
            add((1, 0, 1, 1), 1),
            {SAME_SUM: ..., OWN_SUM: ..., NOT_ABOVE: "1 bins too high; most in layer 0, token_id 4 (1)"},
        ),
        (
            "predictions",
            add((1,), 1),
            {
                OWN_SUM: "6 of 12 sums differ; most in layer 0, token_id 1 (3)",
                "over the vocabulary, predictions add up to the counted positions": "401 positions",
            },
        ),
        ("occurrences", add((0,), -1), {"over the vocabulary, occurrences add up to the counted positions": "399 positions"}),
        (
            "correct_predictions",
            put((2,), 401),
            {"no entry is predicted rightly more often than it is predicted": "1 entries too often right"},
        ),
        ("above_zero", put((0, 0), -1), {"counts are not negative": "1 negative counters; most in tensor 'above_zero' (1)"}),
    ],
)
def test_each_fault_in_the_counters_is_found_and_named(
    histograms: Histograms, name: str, change: Callable[[Any], Any], broken: dict[str, Any]
) -> None:
    assert_found(failures(judged.histogram_quality(changed(histograms, name, change))), broken)


def assert_found(found: dict[str, str], broken: dict[str, Any]) -> None:
    """These sentences fail and no others; `...` stands for any observation."""
    assert found.keys() == broken.keys()
    told = {sentence: text for sentence, text in broken.items() if text is not ...}
    assert {sentence: found[sentence] for sentence in told} == told


def with_embedding_predictions(histograms: Histograms) -> Histograms:
    """As if the embedding predicted what the model does."""
    same = {f"embedding_prediction_{part}": histograms[f"top_prediction_{part}"].copy() for part in ("count", "outside")}
    tensors = {**histograms.tensors, **same, "embedding_predictions": histograms["predictions"].copy()}
    return dataclasses.replace(histograms, tensors=tensors)


BY_EMBEDDING = "counts of top predictions by the embedding"
EMBEDDING_SAME = f"for every tracked token, {BY_EMBEDDING} sum to the same number for every neuron"
EMBEDDING_OWN = f"for every tracked token, {BY_EMBEDDING} sum to the token's own count of predictions"
EMBEDDING_TOTAL = "over the vocabulary, top predictions by the embedding add up to the counted positions"


@pytest.mark.parametrize(
    ("name", "change", "broken"),
    [
        ("count", add((0, 0, FULL_BIN), 0), {}),
        (
            "embedding_prediction_count",
            add((0, 1, 2, FULL_BIN), -1),
            {EMBEDDING_SAME: "1 of 12 sums differ; most in layer 1, token_id 1 (1)", EMBEDDING_OWN: ...},
        ),
        (
            "embedding_prediction_outside",
            add((1, 0, 1, 1), 1),
            {
                EMBEDDING_SAME: ...,
                EMBEDDING_OWN: ...,
                f"{BY_EMBEDDING} are never above the count of their bin": "1 bins too high; most in layer 0, token_id 4 (1)",
            },
        ),
        ("embedding_predictions", add((0,), 2), {EMBEDDING_TOTAL: "402 positions"}),
        ("embedding_predictions", add((1,), 1), {EMBEDDING_TOTAL: "401 positions", EMBEDDING_OWN: "6 of 12 sums differ; most in layer 0, token_id 1 (3)"}),
        (
            "embedding_predictions",
            put((0,), -1),
            {"counts are not negative": "1 negative counters; most in tensor 'embedding_predictions' (1)", EMBEDDING_TOTAL: ...},
        ),
        (
            "embedding_prediction_count",
            lambda tensor: tensor.astype(np.int32),
            {"counts are whole numbers (int64)": "1 of 11 differ; first embedding_prediction_count: int32 instead of int64"},
        ),
    ],
)  # fmt: skip
def test_each_fault_in_the_counters_by_the_embedding_is_found_and_named(
    histograms: Histograms, name: str, change: Callable[[Any], Any], broken: dict[str, Any]
) -> None:
    both = with_embedding_predictions(histograms)
    assert len(judged.histogram_quality(both)) == len(judged.histogram_quality(histograms)) + 4
    assert_found(failures(judged.histogram_quality(changed(both, name, change))), broken)


def with_outcomes(histograms: Histograms) -> Histograms:
    """As if a token came next where the model predicts it, but nothing after its predictions of token 0; probabilities of one half there."""
    same = {f"next_token_{part}": histograms[f"top_prediction_{part}"].copy() for part in ("count", "outside")}
    halves = {f"probability_{part}": histograms[f"top_prediction_{part}"] * (PROBABILITY_UNITS // 2) for part in ("count", "outside")}
    following = histograms["predictions"].copy()
    without = {f"no_next_token_{part}": np.zeros_like(histograms[part]) for part in ("count", "outside")}
    held = np.minimum(np.cumsum(histograms["count"], axis=-1), following[0])  # the lowest so many of every neuron
    without["no_next_token_count"] = np.diff(held, axis=-1, prepend=0)
    following[0] = 0
    sums = np.where(np.isin(np.arange(following.size), TRACKED), histograms["predictions"], 0) * (PROBABILITY_UNITS // 2)
    tensors = {**histograms.tensors, **same, **halves, **without, "next_tokens": following, "probability_sums": sums}
    return dataclasses.replace(histograms, tensors=tensors)


NEXT_OWN = "for every tracked token, counts of next tokens sum to the token's own times that it comes next"
NEXT_SAME = "for every tracked token, counts of next tokens sum to the same number for every neuron"
ENDS = "for every neuron, positions with and without a next token add up to the counted positions"
ENDS_HELD = "positions without a next token are never above the count of their bin"
SUMS_OWN = "for every tracked token, sums of probabilities sum to the token's own sum of probabilities"
SUMS_SAME = "for every tracked token, sums of probabilities sum to the same number for every neuron"


@pytest.mark.parametrize(
    ("name", "change", "broken"),
    [
        ("count", add((0, 0, FULL_BIN), 0), {}),
        ("next_token_count", add((0, 1, 2, FULL_BIN), -1), {NEXT_SAME: ..., NEXT_OWN: "1 of 12 sums differ; most in layer 1, token_id 1 (1)"}),
        ("next_tokens", add((4,), 1), {NEXT_OWN: "6 of 12 sums differ; most in layer 0, token_id 4 (3)", ENDS: "6 of 6 neurons with another number; most in layer 0 (3)"}),
        ("no_next_token_count", add((1, 2, FULL_BIN), 1), {ENDS: "1 of 6 neurons with another number; most in layer 1 (1)"}),
        ("no_next_token_outside", add((0, 1, 0), 1), {ENDS: ..., ENDS_HELD: "1 bins wrong; most in layer 0 (1)"}),
        ("probability_count", add((0, 1, 2, FULL_BIN), 1), {SUMS_SAME: ..., SUMS_OWN: "1 of 12 sums differ; most in layer 1, token_id 1 (1)"}),
        (
            "probability_outside",
            add((1, 0, 1, 1), 1),
            {SUMS_SAME: ..., SUMS_OWN: ..., "sums of probabilities are never above the count of their bin": "1 bins too high; most in layer 0, token_id 4 (1)"},
        ),
    ],
)  # fmt: skip
def test_each_fault_in_the_counters_of_further_outcomes_is_found_and_named(
    histograms: Histograms, name: str, change: Callable[[Any], Any], broken: dict[str, Any]
) -> None:
    both = with_outcomes(histograms)
    assert len(judged.histogram_quality(both)) == len(judged.histogram_quality(histograms)) + 3 + 3 + 2
    assert_found(failures(judged.histogram_quality(changed(both, name, change))), broken)


def moved(histograms: Histograms, place: tuple[int, ...], outcome: int, positions: int) -> Histograms:
    """Positions taken out of a neuron's full bin and put outside the bins, so that the neuron stays balanced."""
    taken = changed(histograms, "count", add((*place, FULL_BIN), -positions))
    return changed(taken, "outside", add((*place, outcome), positions))


def test_a_nan_that_keeps_the_balance_is_found(histograms: Histograms) -> None:
    assert failures(judged.histogram_quality(moved(histograms, (1, 0), 2, 1))) == {
        NOT_NAN: "1 of 2,400 activations NaN; most in layer 1 (1)"
    }


def test_a_top_prediction_in_an_empty_bin_is_found_although_the_sums_agree(histograms: Histograms) -> None:
    shifted = changed(histograms, "top_prediction_count", add((0, 0, 1, FULL_BIN), -1))
    shifted = changed(shifted, "top_prediction_count", add((0, 0, 1, EMPTY_BIN), 1))
    assert failures(judged.histogram_quality(shifted)) == {NOT_ABOVE: "1 bins too high; most in layer 0, token_id 1 (1)"}


def test_tokens_whose_sums_agree_with_each_other_but_not_with_the_count_of_predictions_are_found(histograms: Histograms) -> None:
    fewer = changed(histograms, "top_prediction_count", lambda tensor: np.where(np.arange(40) == FULL_BIN, tensor - 1, tensor))
    assert failures(judged.histogram_quality(fewer)) == {OWN_SUM: "12 of 12 sums differ; most in layer 0, token_id 1 (3)"}


def test_a_layer_that_agrees_with_itself_but_not_with_the_others_is_found(histograms: Histograms) -> None:
    fewer = changed(histograms, "top_prediction_count", add((0, 1, slice(None), FULL_BIN), -1))
    assert failures(judged.histogram_quality(fewer))[SAME_SUM] == "3 of 12 sums differ; most in layer 1, token_id 1 (3)"


def test_overflow_warns_above_one_in_a_thousand_and_names_the_worst_layer(histograms: Histograms) -> None:
    # 2 and 3 of 2,400 activations are 0.083 % and 0.125 %; layer 1 holds 1,200.
    assert failures(judged.histogram_quality(moved(histograms, (1, 1), 1, 2))) == {}
    assert failures(judged.histogram_quality(moved(histograms, (1, 1), 1, 3))) == {
        FEW_ABOVE: "0.1250% (3 of 2,400); most in layer 1 (0.2500%)"
    }


def test_a_shard_without_a_position_is_sound() -> None:
    empty = count_slowly(Recording(np.zeros((2, 3, 0), np.float32), [], []), BINS, TRACKED, 5)
    assert failures(judged.histogram_quality(empty, "activation_histograms")) == {}


# --- merge_quality ----------------------------------------------------------------------------------------------------------

ONCE = "every partition is merged exactly once"
ADD_UP = "the positions of the partitions add up to the merged positions"


@pytest.mark.parametrize(
    ("merged", "positions", "broken"),
    [
        (["0001", "0000"], [150, 250], {}),
        (["0000"], [400], {ONCE: "1 of 2 partitions wrong; first 0001: merged 0 times, 1 expected"}),
        (["0000", "0001", "0001"], [150, 125, 125], {ONCE: "1 of 2 partitions wrong; first 0001: merged 2 times, 1 expected"}),
        (["0000", "0001", "0002"], [150, 125, 125], {ONCE: "1 of 3 partitions wrong; first 0002: merged 1 times, 0 expected"}),
        (["0000", "0001"], [150, 251], {ADD_UP: "400 positions"}),
    ],
)
def test_a_merge_holds_every_partition_once_and_all_their_positions(
    histograms: Histograms, merged: list[str], positions: list[int], broken: dict[str, str]
) -> None:
    outcomes = judged.merge_quality(["0000", "0001"], merged, positions, histograms)
    assert failures(outcomes) == broken
    assert {outcome.severity for outcome in outcomes} == {"blocking"}


# --- table_quality ----------------------------------------------------------------------------------------------------------

GRID = {"token_id": TRACKED, "layer": range(2), "neuron": range(3)}
CONTRACT = "columns, their order and their types are those of the contract"
MISSING = "nothing is missing or NaN where the contract does not allow it"
LIMITS = "every number lies within the limits of its column"
UNIQUE = "each token_id, layer, neuron stands in one row only"
COMPLETE = "the grid is complete"
BESIDE = "no row lies beside the grid"


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda frame: frame, {}),
        (
            lambda frame: frame.cast({"auroc": pl.Float32}),
            {CONTRACT: "1 of 17 differ; first auroc: 4: auroc Float32 instead of 4: auroc Float64"},
        ),
        (
            lambda frame: frame.with_columns(extra=1),
            {CONTRACT: "1 of 18 differ; first extra: 17: extra Int32 instead of absent"},
        ),
        (
            lambda frame: frame.select("token", "token_id", *frame.columns[2:]),
            {CONTRACT: "2 of 17 differ; first token_id: 1: token_id Int32 instead of 0: token_id Int32"},
        ),
        (
            lambda frame: frame.with_columns(token=pl.when(pl.int_range(pl.len()) > 1).then("token")),
            {MISSING: "2 missing values; most in column 'token' (2)"},
        ),
        (
            lambda frame: frame.with_columns(auroc=pl.when(pl.col("neuron") == 1).then(1.5).otherwise("auroc")),
            {LIMITS: "4 numbers outside; most in column 'auroc' (4)"},
        ),
        (lambda frame: pl.concat([frame, frame.head(1)]), {UNIQUE: "1 of 13 rows repeated"}),
        (lambda frame: frame.tail(-2), {COMPLETE: "2 of 12 cells missing"}),
        (
            lambda frame: frame.with_columns(neuron=pl.col("neuron") + 1),
            {COMPLETE: "4 of 12 cells missing", BESIDE: "4 of 12 rows beside it"},
        ),
        (lambda frame: frame.drop("neuron"), {CONTRACT: ..., UNIQUE: ..., COMPLETE: "12 of 12 cells missing"}),
        (lambda frame: frame.drop("neuron", "layer", "token_id"), {CONTRACT: ..., UNIQUE: ..., COMPLETE: "12 of 12 cells missing"}),
    ],
)
def test_a_table_is_held_against_its_contract_and_its_grid(
    scores: pl.DataFrame, change: Callable[[pl.DataFrame], pl.DataFrame], broken: dict[str, Any]
) -> None:
    outcomes = judged.table_quality(TOKEN_NEURON_SCORES, change(scores), GRID)
    found = failures(outcomes)
    assert found.keys() == broken.keys()
    assert [found[sentence] for sentence, text in broken.items() if text is not ...] == [
        text for text in broken.values() if text is not ...
    ]
    assert {(outcome.asset, outcome.check) for outcome in outcomes} == {("token_neuron_scores", "token_neuron_scores_contract")}
    whole = table_violations.of_contract(TOKEN_NEURON_SCORES, change(scores), GRID)
    parts = [change(scores).clear(), *change(scores).iter_slices(5)]
    in_parts = table_violations.of_contract_in_parts(TOKEN_NEURON_SCORES, parts, GRID)
    assert in_parts.keys() == whole.keys()
    assert all(in_parts[name].equals(whole[name]) for name in whole)


def test_a_table_without_a_grid_is_held_against_its_contract_alone_and_nan_counts_as_missing(histograms: Histograms) -> None:
    frame = neuron_statistics(histograms, is_gated=False)
    sound = judged.table_quality(NEURON_STATISTICS, frame)
    assert failures(sound) == {}
    assert [outcome.expectation for outcome in sound] == [CONTRACT, MISSING, LIMITS, "each layer, neuron stands in one row only"]
    broken = frame.with_columns(share_above_zero=pl.lit(math.nan), mean=pl.lit(math.nan))  # mean may be missing, the share may not
    assert failures(judged.table_quality(NEURON_STATISTICS, broken)) == {MISSING: "6 missing values; most in column 'share_above_zero' (6)"}


def test_an_empty_table_keeps_its_contract_but_not_its_grid(scores: pl.DataFrame) -> None:
    assert failures(judged.table_quality(TOKEN_NEURON_SCORES, scores.clear())) == {}
    assert failures(judged.table_quality(TOKEN_NEURON_SCORES, scores.clear(), GRID)) == {COMPLETE: "12 of 12 cells missing"}


EVERY_TABLE = {**TABLES, **ACROSS_MODELS_TABLES}
NUMBERS = [(table, column) for table in EVERY_TABLE.values() for column in table.columns if column.dtype.is_numeric()]


@pytest.mark.parametrize(("table", "column"), [pytest.param(*one, id=f"{one[0].name}.{one[1].name}") for one in NUMBERS])
def test_a_number_beyond_the_limits_of_its_column_is_found_in_every_table(table: Table, column: Column) -> None:
    """NaN and infinity, and what no share, index or count can be; in columns that are open, NaN alone, and only if none may be missing."""
    beyond = [math.nan, math.inf, -math.inf] if column.dtype.is_float() else []
    beyond += [-1, 1.001] if column.unit == "share" else [-1] if column.unit in ("index", "position", "byte", "length", "multiple") else []
    beyond += [column.between[0] - 0.25, column.between[1] + 1] if column.between and column.dtype.is_float() else []
    beyond += [column.between[0] - 1, column.between[1] + 1] if column.between and not column.dtype.is_float() else []
    for value in beyond:
        frame = pl.DataFrame({column.name: [value]}, schema={column.name: column.dtype})
        found = table_violations.columns(table, frame).filter(column=column.name).row(0, named=True)
        is_told = not column.is_open or (math.isnan(value) and not column.nullable)
        assert (found["missing"] + found["outside"] == 1) == is_told, value
    assert not column.is_open or (table.name, column.name) in OPEN


# Columns in which infinity is a value, or a check of their own warns of what is no number.
OPEN = {
    *((table, edge) for table in ("proportion_curves", "embedding_curves", "outcome_curves", "half_curves", "domain_curves") for edge in ("bin_left", "bin_right")),
    *(("neuron_statistics", name) for name in ("mean", "variance", "skewness", "kurtosis", "minimum", "maximum")),
    ("model_parity", "largest_logit_difference"), ("model_parity", "largest_logit"),
    *((table, name) for table in ("token_neuron_scores", "outcome_scores") for name in ("highest_proportion_at", "half_activation")),
    ("corpus_growth", "half_activation"), ("neuron_bands", "lowest"), ("neuron_bands", "highest"),
    ("atlas_examples", "activation"),
}  # fmt: skip


# --- parity_quality ---------------------------------------------------------------------------------------------------------

COMPARED = "positions are compared"
SAME_PREDICTION = "the top prediction is the same at every position"
SAME_LOGITS = "logits are the same within rounding"


def parity_table(
    difference: float = 1e-5, largest: float = 2.0, disagreements: int = 0, other_predictions: int = 0, other_bins: int = 0
) -> pl.DataFrame:
    windows = {"positions": [10, 20], "largest_logit_difference": [0.0, difference], "largest_logit": [2.0, largest]}
    in_float32 = {
        "float32_prediction_disagreements": [0, other_predictions],
        "activations": [1000, 2000],
        "float32_bin_disagreements": [0, other_bins],
    }
    return pl.DataFrame({**windows, "prediction_disagreements": [0, disagreements], **in_float32})


@pytest.mark.parametrize(
    ("table", "broken"),
    [
        (parity_table(), {}),
        (parity_table(disagreements=1), {SAME_PREDICTION: "1 of 30 positions differ"}),
        (parity_table(difference=4e-4), {SAME_LOGITS: "at most 0.0002 of the largest logit in 2 windows"}),
        (parity_table(difference=math.nan), {SAME_LOGITS: "at most 0 of the largest logit in 2 windows; not a number in 1"}),
        (parity_table(largest=math.nan), {SAME_LOGITS: "at most 0 of the largest logit in 2 windows; not a number in 1"}),
        (parity_table(largest=math.inf), {SAME_LOGITS: "at most 0 of the largest logit in 2 windows"}),
        (parity_table().clear(), {COMPARED: "0 positions"}),
    ],
)
def test_the_model_predicts_what_plain_code_predicts(table: pl.DataFrame, broken: dict[str, str]) -> None:
    outcomes = judged.parity_quality(table)
    assert failures(outcomes) == broken
    assert all(outcome.severity == "blocking" for outcome in outcomes if outcome.expectation in (COMPARED, SAME_PREDICTION, SAME_LOGITS))


def test_disagreements_with_float32_are_told_and_stop_nothing() -> None:
    outcomes = judged.parity_quality(parity_table(other_predictions=3, other_bins=30), PARITY_TOLERANCE["bfloat16"])
    assert failures(outcomes) == {
        "the pass predicts what plain code predicts in float32": "3 of 30 positions differ",
        "the pass puts activations into the bins that they have in plain float32 code": "30 of 3,000 activations differ",
    }
    assert {outcome.severity for outcome in outcomes if not outcome.passed} == {"warning"}


def test_half_precision_is_allowed_a_larger_difference_that_is_stated() -> None:
    outcomes = judged.parity_quality(parity_table(difference=0.04), PARITY_TOLERANCE["bfloat16"])
    assert failures(outcomes) == {}
    assert outcomes[2].expected == "largest difference at most 0.05 of the largest logit"


# --- corpus_quality ---------------------------------------------------------------------------------------------------------


def test_an_empty_corpus_blocks_and_duplicates_warn() -> None:
    assert failures(judged.corpus_quality(documents=10, duplicates=0)) == {}
    assert failures(judged.corpus_quality(documents=0, duplicates=0, empty=3)) == {
        "there is text to read": "0 documents (3 empty ones dropped)"
    }
    repeated = judged.corpus_quality(documents=1000, duplicates=2)
    assert failures(repeated) == {"no document repeats an earlier one": "2 of 1,000 documents repeated"}
    assert [outcome.severity for outcome in repeated] == ["blocking", "warning"]


HAS_ITS_DOCUMENTS = "a domain has the documents that name it"
BY_SIZE = "domains are numbered by their documents, the rest last"


@pytest.mark.parametrize(
    ("held", "counted", "broken"),
    [
        ([0, 0, 0, 1, 2, 2], [3, 1, 2], {}),  # the last is the rest, which may be larger
        ([0, 0, 1, 1, 2, 2], [3, 1, 2], {HAS_ITS_DOCUMENTS: "2 of 3 differ; first 0: 2 instead of 3"}),
        ([0, 0, 0, 1, 2, 2, 3], [3, 1, 2], {HAS_ITS_DOCUMENTS: "1 of 4 differ; first 3: 1 instead of 0"}),
        ([0, 0, 0, 1], [3, 1, 2], {HAS_ITS_DOCUMENTS: "1 of 3 differ; first 2: 0 instead of 2"}),
        ([0, 1, 1, 2], [1, 2, 1], {BY_SIZE: "1 tables out of order"}),
    ],
)
def test_each_fault_in_domains_is_found(held: list[int], counted: list[int], broken: dict[str, str]) -> None:
    domains = pl.DataFrame({"domain": [0, 1, 2], "name": ["x", "y", "other"], "documents": counted})
    documents = pl.DataFrame({"domain": held}, schema={"domain": pl.Int32})
    assert failures(judged.domain_quality(domains.cast({"domain": pl.Int32}), documents)) == broken


# --- curve_quality ----------------------------------------------------------------------------------------------------------

BALANCED_CURVE = "the counts of every curve add up to the counted positions"
PROPORTION = "every proportion is top_prediction_count / count and lies between 0 and 1"
INTERVAL = "every interval lies between 0 and 1 and holds its proportion"
ENOUGH = "most plotted bins have enough positions (min_count)"

FILLED = (pl.col("neuron") == 0) & (pl.col("layer") == 0) & (pl.col("token_id") == 1) & (pl.col("bin_left") == 0)
EMPTY = (pl.col("neuron") == 0) & (pl.col("layer") == 0) & (pl.col("token_id") == 1) & (pl.col("bin_left") == 9.5)


@pytest.mark.parametrize(
    ("where", "column", "value", "broken"),
    [
        (FILLED, "count", pl.col("count") + 1, {BALANCED_CURVE, PROPORTION}),
        (FILLED, "top_prediction_count", pl.col("top_prediction_count") + 1, {PROPORTION}),
        (FILLED, "proportion", None, {PROPORTION, INTERVAL}),
        (FILLED, "proportion", math.nan, {PROPORTION, INTERVAL}),
        (EMPTY, "proportion", 0.0, {PROPORTION, INTERVAL}),
        (FILLED, "ci_low", pl.col("proportion") + 0.01, {INTERVAL}),
        (FILLED, "ci_high", pl.col("proportion") - 0.01, {INTERVAL}),
        (FILLED, "ci_low", -0.01, {INTERVAL}),
        (FILLED, "ci_high", 1.01, {INTERVAL}),
        (FILLED, "ci_high", None, {INTERVAL}),
        (EMPTY, "ci_low", 0.0, {INTERVAL}),
    ],
)
def test_each_fault_in_a_curve_is_found(curves: pl.DataFrame, where: pl.Expr, column: str, value: Any, broken: set[str]) -> None:
    assert curves.filter(where).height == 1
    replacement = value if isinstance(value, pl.Expr) else pl.lit(value, dtype=curves.schema[column])
    faulty = curves.with_columns(pl.when(where).then(replacement).otherwise(column).alias(column))
    assert failures(judged.curve_quality(faulty, 400)).keys() == broken


def test_a_proportion_above_one_is_found_although_it_is_the_quotient(curves: pl.DataFrame) -> None:
    above = pl.col("count") + 1
    faulty = curves.with_columns(
        pl.when(FILLED).then(above).otherwise("top_prediction_count").alias("top_prediction_count"),
        pl.when(FILLED).then(above / pl.col("count")).otherwise("proportion").alias("proportion"),
    )
    assert PROPORTION in failures(judged.curve_quality(faulty, 400))


def test_curves_pass_and_warn_when_more_than_half_of_their_filled_bins_are_unreliable(curves: pl.DataFrame) -> None:
    sound = judged.curve_quality(curves, 400)
    assert failures(sound) == {}
    assert [outcome.severity for outcome in sound] == ["blocking", "blocking", "blocking", "warning"]
    # The curve worked out by hand has six filled levels and 15 positions; with min_count 4 two are reliable, with 2 five.
    assert failures(judged.curve_quality(proportion_curves(HAND, HAND_BINS, HAND_PAIR, TEXTS, min_count=4), 15)) == {
        ENOUGH: "66.6667% (4 of 6)"
    }
    assert failures(judged.curve_quality(proportion_curves(HAND, HAND_BINS, HAND_PAIR, TEXTS, min_count=2), 15)) == {}
    half = proportion_curves(HAND, HAND_BINS, HAND_PAIR, TEXTS, min_count=2).with_columns(reliable=pl.Series([True, False] * 3))
    assert failures(judged.curve_quality(half, 15)) == {}


def test_no_curve_at_all_is_sound(curves: pl.DataFrame) -> None:
    assert failures(judged.curve_quality(curves.clear(), 400)) == {}


EMBEDDED = pl.col("embedding_prediction_count")


@pytest.mark.parametrize(
    ("broken", "change"),
    [
        ("the counts of every curve add up to the counted positions", pl.col("count") + 1),
        ("no level has more top predictions by the embedding than positions", (EMBEDDED - 1).alias("count")),
        ("all curves of a token hold the same number of top predictions by the embedding", EMBEDDED - 1),
    ],
)
def test_each_fault_in_the_curves_by_the_embedding_is_found(
    histograms: Histograms, curves: pl.DataFrame, broken: str, change: pl.Expr
) -> None:
    frame = embedding_curves(with_embedding_predictions(histograms), curves)
    assert failures(judged.embedding_curve_quality(frame, 400)) == {}
    assert failures(judged.embedding_curve_quality(frame.clear(), 400)) == {}
    first = frame.select((EMBEDDED > 0).arg_true().first()).item()  # a level at which the token is predicted
    name = change.meta.output_name()
    faulty = frame.with_columns(pl.when(pl.int_range(pl.len()) == first).then(change).otherwise(pl.col(name)).alias(name))
    assert broken in failures(judged.embedding_curve_quality(faulty, 400))


# --- neuron_quality ---------------------------------------------------------------------------------------------------------


def test_dead_neurons_and_statistics_that_are_not_numbers_warn_and_name_the_layer(histograms: Histograms) -> None:
    frame = neuron_statistics(histograms, is_gated=False)
    sound = judged.neuron_quality(frame)
    assert failures(sound) == {}
    assert {outcome.severity for outcome in sound} == {"warning"}
    dead = frame.with_columns(is_dead=pl.col("layer") == 1)
    assert failures(judged.neuron_quality(dead)) == {"no neuron is dead": "3 of 6 neurons dead; most in layer 1 (3)"}
    for value in (math.nan, math.inf):
        strange = frame.with_columns(kurtosis=pl.when(pl.col("neuron") == 0).then(value).otherwise("kurtosis"))
        assert failures(judged.neuron_quality(strange)) == {
            "every statistic is a finite number": "2 of 6 neurons without; most in layer 0 (1)"
        }
    assert failures(judged.neuron_quality(frame.with_columns(kurtosis=None, skewness=None))) == {}, "missing is allowed, NaN is not"


# --- score_quality ----------------------------------------------------------------------------------------------------------

ASTRAY = "separation is max(auroc, 1 - auroc), and direction is -1 where auroc is below 0.5, 1 elsewhere"
AGREES = "half_activation and recall are given exactly where a reliable bin reaches one half"
ALL_OR_NONE = "a token has an AUROC for every neuron or for none"
PREDICTED = "every tracked token is the top prediction somewhere, and not everywhere"

ONE_PAIR = (pl.col("token_id") == 1) & (pl.col("layer") == 0) & (pl.col("neuron") == 1)  # reaches one half


@pytest.mark.parametrize(
    ("column", "value", "broken"),
    [
        ("recall_beyond_half", None, {AGREES}),
        ("half_activation", None, {AGREES}),
        ("half_activation", 99.0, {AGREES}),
        ("highest_proportion", 0.4, {AGREES}),
        ("highest_proportion_at", None, {AGREES}),
        ("auroc", None, {ALL_OR_NONE, ASTRAY}),
        ("direction", -1, {AGREES, ASTRAY}),
        ("direction", None, {ASTRAY}),
        ("direction", 0, {ASTRAY}),
        ("separation", 0.5, {ASTRAY}),
        ("separation", None, {ASTRAY}),
        ("separation", math.nan, {ASTRAY}),
    ],
)
def test_each_fault_in_a_score_is_found(scores: pl.DataFrame, column: str, value: float | None, broken: set[str]) -> None:
    assert scores.filter(ONE_PAIR & pl.col("half_activation").is_not_null()).height == 1
    faulty = scores.with_columns(pl.when(ONE_PAIR).then(pl.lit(value, dtype=scores.schema[column])).otherwise(column).alias(column))
    found = failures(judged.score_quality(faulty))
    assert found.keys() == broken
    assert all(text.startswith("1 of 12 pairs ") and text.endswith("; most in token_id 1 (1)") for text in found.values())


def test_a_first_half_behind_the_highest_proportion_is_found_in_either_direction() -> None:
    """Where the proportion is highest is never passed before it reaches one half."""
    turned = mirrored(HAND, HAND_BINS)
    for given, behind in ((token_neuron_scores(HAND, HAND_BINS, TEXTS, 1), 2.0), (token_neuron_scores(*turned, TEXTS, 1), -2.0)):
        assert failures(judged.score_quality(given)) == {}
        assert failures(judged.score_quality(given.with_columns(half_activation=behind))).keys() == {AGREES}


def test_a_tracked_token_that_is_never_predicted_warns_and_is_named(scores: pl.DataFrame) -> None:
    sound = judged.score_quality(scores)
    assert failures(sound) == {}
    assert [outcome.severity for outcome in sound] == ["blocking", "blocking", "blocking", "warning"]
    unpredicted = scores.with_columns(
        pl.when(pl.col("token_id") != 4).then(name).alias(name) for name in ("auroc", "direction", "separation")
    )
    assert failures(judged.score_quality(unpredicted)) == {PREDICTED: "1 tokens never or always predicted; most in token ' of' (1)"}


# --- position_predictions ---------------------------------------------------------------------------------------------------

EACH_TOKEN = "every window has one prediction for each of its tokens"
AS_COUNTED = "every entry of the vocabulary is predicted as often as was counted"


def test_predictions_of_another_window_or_another_number_are_found() -> None:
    """Three windows of 2, 3 and 1 tokens; position 0 is not counted."""
    windows = windows_frame([[0, 2], [0, 3, 3], [0]])
    predictions = pl.DataFrame(
        {"document": [0, 1, 2], "window_in_document": [0, 0, 0], "predictions": [[4, 1], [4, 1, 2], [3]]},
        schema=TABLES["position_predictions"].schema,
    )
    counted = Histograms({"predictions": np.array([0, 2, 1, 0, 0])}, 3, ())
    assert failures(judged.prediction_quality(predictions, windows, counted)) == {}

    def with_predictions(*lists: list[int]) -> pl.DataFrame:
        return predictions.with_columns(predictions=pl.Series(list(lists), dtype=pl.List(pl.Int32)))

    for broken, wrong in (
        (with_predictions([4, 1], [4, 2, 2], [3]), {AS_COUNTED: "2 of 5 entries with another number"}),
        (with_predictions([4, 1], [4, 1, 99], [3]), {AS_COUNTED: "1 of 5 entries with another number"}),
        (with_predictions([4, 1, 4], [1, 2], [3]), {EACH_TOKEN: "2 of 3 windows with another number", AS_COUNTED: ...}),
        (predictions[:2], {EACH_TOKEN: "1 of 3 windows with another number"}),
        (predictions.with_columns(window_in_document=pl.Series([0, 0, 1], dtype=pl.Int32)), {EACH_TOKEN: ...}),
    ):
        outcomes = judged.prediction_quality(broken, windows, counted)
        assert {outcome.severity for outcome in outcomes} == {"blocking"}
        found = failures(outcomes)
        assert found.keys() == wrong.keys()
        assert all(told is ... or found[sentence] == told for sentence, told in wrong.items())
