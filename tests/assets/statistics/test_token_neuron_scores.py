"""Scores of a token and a neuron from histograms: by hand, against raw activations, and what must hold of any counts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.contracts import TOKEN_NEURON_SCORES, conform
from assets.counting.histograms import ActivationBins, Histograms
from assets.statistics import token_neuron_scores as module
from assets.statistics.token_neuron_scores import area_under_roc, average_precision, token_neuron_scores
from tests.slow_statistics import Recording, count_slowly, random_recording, scores_slowly

TEXTS = ["<s>", " a", " an", " the", " never"]

# One neuron, bins of width 0.5 from -0.5: [-0.5, 0), [0, 0.5), [0.5, 1), [1, 1.5). Positions and top predictions of " an":
#   level              underflow  bin 0  bin 1  bin 2  bin 3  overflow  NaN
#   positions                  2      4      4      2      1         2    1
#   " an" predicted            0      1      1      1      1         2    1
# Without NaN: 6 positives, 9 negatives (2, 3, 3, 1, 0, 0).
HAND = Histograms(
    {
        "count": np.array([[[4, 4, 2, 1]]], dtype=np.int64),
        "outside": np.array([[[2, 2, 1]]], dtype=np.int64),
        "top_prediction_count": np.array([[[[1, 1, 1, 1]]]], dtype=np.int64),
        "top_prediction_outside": np.array([[[[0, 2, 1]]]], dtype=np.int64),
    },
    positions=16,
    token_ids=(2,),
)
HAND_BINS = ActivationBins(np.array([[2]], np.float32), np.array([[-1]], np.int32), 4)


def test_scores_worked_out_by_hand() -> None:
    row = token_neuron_scores(HAND, HAND_BINS, TEXTS, min_count=2).row(0, named=True)
    assert (row["token_id"], row["token"], row["layer"], row["neuron"]) == (2, " an", 0, 0)
    # Negatives below, and half of those tied, for each positive: bin 0: 2 + 1.5, bin 1: 5 + 1.5, bin 2: 8 + 0.5, then 9, 9, 9.
    assert row["auroc"] == pytest.approx((3.5 + 6.5 + 8.5 + 9 + 9 + 9) / (6 * 9))
    # Positives of a level x precision from there up: overflow 2 x 2/2, bin 3 1 x 3/3, bin 2 1 x 4/5, bin 1 1 x 5/9, bin 0 1 x 6/13.
    assert row["average_precision"] == pytest.approx((2 + 1 + 4 / 5 + 5 / 9 + 6 / 13) / 6)
    # Bin 3 has one position only, so with min_count 2 bin 2 is the highest and the first at one half; it begins at 0.5.
    assert (row["highest_proportion"], row["highest_proportion_at"]) == (0.5, 0.5)
    assert row["half_activation"] == 0.5
    assert row["recall_beyond_half"] == pytest.approx(4 / 6)  # bin 2, bin 3 and the overflow hold 4 of 6


def test_the_first_of_equal_bins_is_named_and_overflow_is_never_the_place_of_a_proportion() -> None:
    row = token_neuron_scores(HAND, HAND_BINS, TEXTS, min_count=1).row(0, named=True)
    assert (row["highest_proportion"], row["highest_proportion_at"]) == (1.0, 1.0)  # bin 3; the overflow, also 1, has no width
    unreliable = token_neuron_scores(HAND, HAND_BINS, TEXTS, min_count=5).row(0, named=True)
    assert [unreliable[name] for name in module.SCORES[3:]] == [None] * 4
    three_of_four = Histograms({**HAND.tensors, "top_prediction_count": np.array([[[[3, 3, 1, 0]]]])}, 16, (2,))
    assert token_neuron_scores(three_of_four, HAND_BINS, TEXTS, min_count=2)["highest_proportion_at"].to_list() == [-0.5]


def test_a_neuron_that_separates_perfectly_scores_one_with_no_error() -> None:
    area, error = area_under_roc(np.array([0.0, 0.0, 5.0]), np.array([3.0, 4.0, 0.0]))
    assert (area, error) == (1, 0)
    assert average_precision(np.array([0.0, 0.0, 5.0]), np.array([3.0, 4.0, 5.0])) == 1


def test_standard_error_worked_out_by_hand() -> None:
    # Levels 0, 1, 2: positives at 1 and 2, negatives at 0 and 1. Of the four pairs one is a tie: AUROC 3.5 / 4 = 0.875.
    # Shares of won pairs: positives 0.75 and 1, negatives 1 and 0.75; each sample variance is 0.03125; error sqrt(2 x 0.03125 / 2).
    area, error = area_under_roc(np.array([0.0, 1.0, 1.0]), np.array([1.0, 1.0, 0.0]))
    assert area == 0.875
    assert error == pytest.approx(math.sqrt(0.03125))


def test_a_token_that_is_never_or_always_predicted_has_missing_scores_and_no_error() -> None:
    predictions = [3, 3, 3, 3]
    recording = Recording(np.array([[[0, 1, 2, 3]]], np.float32), [0] * 4, predictions)
    bins = ActivationBins(np.ones((1, 1), np.float32), np.zeros((1, 1), np.int32), 4)
    frame = token_neuron_scores(count_slowly(recording, bins, (4, 3), 5), bins, TEXTS, min_count=1)
    never, always = frame.rows(named=True)
    assert [name for name in module.SCORES if never[name] is not None] == ["highest_proportion", "highest_proportion_at"]
    assert (never["highest_proportion"], never["highest_proportion_at"]) == (0, 0)
    assert [always[name] for name in ("auroc", "auroc_standard_error", "direction", "separation")] == [None] * 4
    assert (always["average_precision"], always["half_activation"], always["recall_beyond_half"]) == (1, 0, 1)


@pytest.mark.parametrize("counters_at_once", [1, 10**9])
def test_every_token_and_neuron_equals_the_slow_scores_from_raw_activations(counters_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_COUNTERS", counters_at_once)  # neuron by neuron, and all at once
    recording = random_recording(seed=7)
    predicts_low = np.array(recording.predictions) == 4
    recording.activations[0, 0, predicts_low] = 0.1 * recording.activations[0, 0, predicts_low] - 1.25
    bins = ActivationBins(np.array([[2, 1, 4], [2, 2, 0.5]], np.float32), np.array([[-3, -1, -8], [-4, -3, -2]], np.int32), 9)
    frame = token_neuron_scores(count_slowly(recording, bins, (1, 4, 2), 5), bins, TEXTS, min_count=10)
    assert conform(TOKEN_NEURON_SCORES, frame).equals(frame)
    assert frame.select("token_id", "layer", "neuron").rows() == [(t, la, n) for t in (1, 4, 2) for la in range(2) for n in range(3)]
    reaching = frame.drop_nulls("half_activation")
    assert set(reaching["direction"]) == {1, -1}, "the recording must have neurons that reach one half in either direction"
    for row in frame.iter_rows(named=True):
        expected = scores_slowly(recording, bins, row["token_id"], row["layer"], row["neuron"], min_count=10)
        found = {name: row[name] for name in expected}
        assert found == pytest.approx(expected, abs=1e-12), f"token {row['token_id']}, layer {row['layer']}, neuron {row['neuron']}"


def mirrored(histograms: Histograms, bins: ActivationBins) -> tuple[Histograms, ActivationBins]:
    """The counters of the same neurons with every activation negated."""
    tensors = {
        name: tensor[..., [1, 0, 2]] if name.endswith("outside") else tensor[..., ::-1] for name, tensor in histograms.tensors.items()
    }
    return (
        Histograms(tensors, histograms.positions, histograms.token_ids),
        ActivationBins(bins.per_unit, -(bins.first_bin + bins.bins), bins.bins),
    )


def test_a_neuron_that_is_low_where_the_token_is_predicted_scores_as_its_mirror_image_worked_out_by_hand() -> None:
    row = token_neuron_scores(*mirrored(HAND, HAND_BINS), TEXTS, min_count=2).row(0, named=True)
    # The activations of HAND negated: bins [-1.5, -1), [-1, -0.5), [-0.5, 0), [0, 0.5); what was bin 2 is [-1, -0.5).
    assert row["auroc"] == pytest.approx(1 - (3.5 + 6.5 + 8.5 + 9 + 9 + 9) / (6 * 9))
    assert (row["direction"], row["separation"]) == (-1, pytest.approx((3.5 + 6.5 + 8.5 + 9 + 9 + 9) / (6 * 9)))
    assert row["average_precision"] == pytest.approx((2 + 1 + 4 / 5 + 5 / 9 + 6 / 13) / 6)
    assert (row["highest_proportion"], row["highest_proportion_at"]) == (0.5, -0.5)
    assert (row["half_activation"], row["recall_beyond_half"]) == (-0.5, pytest.approx(4 / 6))


def test_an_activation_that_says_nothing_is_read_upwards() -> None:
    tensors = {**HAND.tensors, "count": np.array([[[4, 0, 0, 4]]]), "outside": np.zeros((1, 1, 3), np.int64)}
    tensors |= {"top_prediction_count": np.array([[[[2, 0, 0, 2]]]]), "top_prediction_outside": np.zeros((1, 1, 1, 3), np.int64)}
    row = token_neuron_scores(Histograms(tensors, 8, (2,)), HAND_BINS, TEXTS, min_count=2).row(0, named=True)
    assert [row[name] for name in ("auroc", "direction", "separation", "half_activation")] == [0.5, 1, 0.5, -0.5]


@st.composite
def counters(draw: st.DrawFn) -> tuple[Histograms, ActivationBins]:
    """Random counters of four neurons and two tokens, with bins of random width and place."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    bins, largest = draw(st.integers(1, 9)), draw(st.sampled_from([3, 40, 10**6]))
    count, outside = generator.integers(0, largest, (1, 4, bins)), generator.integers(0, largest, (1, 4, 3))
    share = generator.random((2, 1, 4, 1))
    tensors = {
        "count": count,
        "outside": outside,
        "top_prediction_count": generator.binomial(count, np.broadcast_to(share, (2, 1, 4, bins)) * generator.random((2, 1, 4, bins))),
        "top_prediction_outside": generator.binomial(outside, np.broadcast_to(share, (2, 1, 4, 3))),
    }
    places = generator.integers(-20, 20, (1, 4)).astype(np.int32)
    return Histograms(tensors, 0, (1, 4)), ActivationBins(generator.choice([0.5, 3, 20], (1, 4)).astype(np.float32), places, bins)


@given(counters())
def test_negated_activations_are_scored_the_same_in_the_other_direction(drawn: tuple[Histograms, ActivationBins]) -> None:
    given_scores = token_neuron_scores(*drawn, TEXTS, min_count=2)
    others = token_neuron_scores(*mirrored(*drawn), TEXTS, min_count=2)
    for row, other in zip(given_scores.iter_rows(named=True), others.iter_rows(named=True), strict=True):
        if row["auroc"] is None or abs(row["auroc"] - 0.5) < 1e-9:
            continue  # has no direction of its own
        assert other["direction"] == -row["direction"]
        for name in ("auroc_standard_error", "separation"):
            assert other[name] == pytest.approx(row[name], abs=1e-9), name
        for name in ("average_precision", "highest_proportion", "recall_beyond_half"):
            assert other[name] == row[name], name
        for name in ("highest_proportion_at", "half_activation"):
            assert other[name] == (None if row[name] is None else -row[name]), name


@st.composite
def two_classes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Counts of positives and negatives over the same 2 to 12 levels, at least one of each."""
    levels = draw(st.integers(2, 12))
    counts = st.lists(st.integers(0, 10**7), min_size=levels, max_size=levels).filter(any).map(np.array)
    return draw(counts).astype(np.float64), draw(counts).astype(np.float64)


@given(two_classes())
def test_area_lies_between_0_and_1_and_swapping_the_classes_mirrors_it_with_the_same_error(counts: tuple[np.ndarray, np.ndarray]) -> None:
    positives, negatives = counts
    area, error = area_under_roc(positives, negatives)
    mirrored, same_error = area_under_roc(negatives, positives)
    assert 0 <= area <= 1 + 1e-12
    assert area + mirrored == pytest.approx(1)
    assert error == pytest.approx(same_error, nan_ok=True, abs=1e-9)
    reversed_area, _ = area_under_roc(positives[::-1], negatives[::-1])
    assert reversed_area == pytest.approx(mirrored)


@given(two_classes())
def test_average_precision_lies_between_0_and_1_and_is_the_base_rate_when_all_positions_are_tied(
    counts: tuple[np.ndarray, np.ndarray],
) -> None:
    positives, negatives = counts
    found = average_precision(positives, positives + negatives)
    one_level = positives.sum() / (positives.sum() + negatives.sum())  # all ties: precision is the base rate
    assert 0 < found <= 1 + 1e-12
    assert average_precision(positives.sum(keepdims=True), (positives + negatives).sum(keepdims=True)) == pytest.approx(one_level)
