"""Proportion curves: which pairs get one, every level with its count and interval, by hand and against raw positions."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.contracts import PROPORTION_CURVES, conform
from assets.counting.histograms import ActivationBins
from assets.statistics.proportion_curves import proportion_curves, wilson_interval
from assets.statistics.token_neuron_scores import token_neuron_scores
from tests.assets.statistics.test_token_neuron_scores import HAND, HAND_BINS, TEXTS
from tests.candidate_choice import pairs_of
from tests.slow_statistics import count_slowly, level_of, random_recording, wilson_slowly

PAIR = pl.DataFrame(
    {"layer": [0], "neuron": [0], "token_id": [2]}, schema_overrides=dict.fromkeys(("layer", "neuron", "token_id"), pl.Int32)
)


def test_a_curve_worked_out_by_hand_has_a_row_for_every_level() -> None:
    frame = proportion_curves(HAND, HAND_BINS, PAIR, TEXTS, min_count=4)
    assert conform(PROPORTION_CURVES, frame).equals(frame)
    assert frame["bin_left"].to_list() == [-math.inf, -0.5, 0, 0.5, 1, 1.5]
    assert frame["bin_right"].to_list() == [-0.5, 0, 0.5, 1, 1.5, math.inf]
    assert frame["count"].to_list() == [2, 4, 4, 2, 1, 2]
    assert frame["top_prediction_count"].to_list() == [0, 1, 1, 1, 1, 2]
    assert frame["proportion"].to_list() == [0, 0.25, 0.25, 0.5, 1, 1]
    assert frame["reliable"].to_list() == [False, True, True, False, False, False]
    assert frame["token"].unique().to_list() == [" an"]


def test_an_empty_bin_keeps_its_row_with_nothing_in_it() -> None:
    emptied = {**HAND.tensors, "count": np.array([[[4, 0, 2, 1]]]), "top_prediction_count": np.array([[[[1, 0, 1, 1]]]])}
    row = proportion_curves(type(HAND)(emptied, 12, (2,)), HAND_BINS, PAIR, TEXTS, min_count=1).row(2, named=True)
    assert (row["count"], row["proportion"], row["ci_low"], row["ci_high"], row["reliable"]) == (0, None, None, None, False)


def test_wilson_interval_by_the_formula_for_one_success_in_four() -> None:
    # z^2 = 3.841459; centre (0.25 + z^2 / 8) / (1 + z^2 / 4) = 0.730182 / 1.960365 = 0.372473;
    # half width z / 1.960365 x sqrt(0.25 x 0.75 / 4 + z^2 / 64) = 0.999795 x 0.326928 = 0.326861.
    low, high = wilson_interval(np.array([1]), np.array([4]))
    assert low[0] == pytest.approx(0.045587, abs=2e-6)
    assert high[0] == pytest.approx(0.699358, abs=2e-6)


@given(st.integers(1, 5000).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_wilson_interval_holds_the_proportion_and_ends_where_the_score_test_rejects(counts: tuple[int, int]) -> None:
    successes, trials = counts
    low, high = wilson_interval(np.array([successes]), np.array([trials]))
    assert 0 <= low[0] <= successes / trials <= high[0] <= 1
    assert (low[0], high[0]) == pytest.approx(wilson_slowly(successes, trials), abs=1e-9)


def test_curves_equal_counting_raw_positions_one_by_one() -> None:
    recording = random_recording(seed=5)
    bins = ActivationBins(np.array([[2, 1, 4], [2, 2, 0.5]], np.float32), np.array([[-3, -1, -8], [-4, -3, -2]], np.int32), 9)
    histograms = count_slowly(recording, bins, (4, 1), 5)
    scores = token_neuron_scores(histograms, bins, TEXTS, min_count=10)
    pairs = pairs_of(scores, (4, 1), [(1, 2), (1, 0)], best=1)
    frame = proportion_curves(histograms, bins, pairs, TEXTS, min_count=10)
    assert (0, 1, 1) in pairs.rows(), "the neuron that carries token 1 must be its best"
    assert len(frame) == len(pairs) * (bins.bins + 2)
    for layer, neuron, token in pairs.rows():
        curve = frame.filter(layer=layer, neuron=neuron, token_id=token)
        levels = [
            level_of(float(value), int(bins.first_bin[layer, neuron]), float(bins.per_unit[layer, neuron]), bins.bins)
            for value in recording.activations[layer, neuron]
        ]
        assert curve["count"].sum() == sum(level is not None for level in levels)
        for row in curve.filter(pl.col("bin_left").is_finite() & pl.col("bin_right").is_finite()).iter_rows(named=True):
            inside = [
                prediction == token
                for value, prediction in zip(recording.activations[layer, neuron], recording.predictions, strict=True)
                if row["bin_left"] <= value < row["bin_right"]
            ]
            assert (row["count"], row["top_prediction_count"]) == (len(inside), sum(inside))


def test_no_pair_gives_an_empty_table_that_keeps_its_contract() -> None:
    frame = proportion_curves(HAND, HAND_BINS, PAIR.clear(), TEXTS, min_count=20)
    assert frame.schema == PROPORTION_CURVES.schema
    assert frame.is_empty()


@pytest.mark.parametrize(
    ("pair", "message"),
    [((0, 0, 1), "token id 1 was not tracked; tracked are \\[2\\]"), ((0, 5, 2), "neuron \\(layer 0, neuron 5\\) does not exist; layers")],
)
def test_an_unknown_token_or_neuron_is_refused_with_what_is_allowed(pair: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        proportion_curves(HAND, HAND_BINS, pl.DataFrame([pair], schema=PAIR.schema, orient="row"), TEXTS, min_count=20)
