"""Moments and activity of neurons: by hand, and against the slow re-implementation."""

import math

import numpy as np
import polars as pl
import pytest

from assets.contracts import NEURON_STATISTICS, conform
from assets.counting.histograms import ActivationBins, Histograms
from assets.statistics.neuron_statistics import neuron_statistics
from tests.slow_statistics import Recording, count_slowly, random_recording

# Bins of width 1 from 0 to 3. Four neurons at positions 0..3:
#   0: 0, 0, 0, 4      mean 1, variance 3, deviations -1 -1 -1 3: third moment 6, fourth 21; 4 lies above the bins
#   1: -1, -1, NaN, NaN  constant: variance 0; below the bins
#   2: NaN everywhere
#   3: -2, 0, -1, -1   never above 0
BINS = ActivationBins(np.ones((1, 4), np.float32), np.zeros((1, 4), np.int32), 3)
NAN = math.nan
ACTIVATIONS = np.array([[[0, 0, 0, 4], [-1, -1, NAN, NAN], [NAN, NAN, NAN, NAN], [-2, 0, -1, -1]]], dtype=np.float32)


@pytest.fixture
def small() -> Histograms:
    return count_slowly(Recording(ACTIVATIONS, [0] * 4, [0] * 4), BINS, (0,), 1)


def test_moments_are_population_moments_worked_out_by_hand(small: Histograms) -> None:
    first = neuron_statistics(small, is_gated=False).row(0, named=True)
    assert first["mean"] == 1
    assert first["variance"] == 3  # (1 + 1 + 1 + 9) / 4
    assert first["skewness"] == pytest.approx(6 / 3**1.5)
    assert first["kurtosis"] == pytest.approx(21 / 9)
    assert (first["minimum"], first["maximum"]) == (0, 4)
    assert first["share_above_zero"] == 0.25


def test_strays_are_counted_apart_and_stay_in_the_count(small: Histograms) -> None:
    frame = neuron_statistics(small, is_gated=False)
    assert frame["count"].to_list() == [4, 4, 4, 4]
    assert frame["underflow"].to_list() == [0, 2, 0, 3]
    assert frame["overflow"].to_list() == [1, 0, 0, 0]
    assert frame["nan"].to_list() == [0, 2, 4, 0]


def test_a_constant_neuron_has_no_shape_and_a_never_measured_one_has_nothing(small: Histograms) -> None:
    frame = neuron_statistics(small, is_gated=False)
    constant, unmeasured = frame.row(1, named=True), frame.row(2, named=True)
    assert (constant["mean"], constant["variance"], constant["skewness"], constant["kurtosis"]) == (-1, 0, None, None)
    assert [unmeasured[name] for name in ("mean", "variance", "skewness", "kurtosis", "minimum", "maximum")] == [None] * 6
    assert unmeasured["share_above_zero"] == 0


def test_a_dead_neuron_never_rises_above_zero_but_in_a_gated_model_it_never_leaves_zero(small: Histograms) -> None:
    assert neuron_statistics(small, is_gated=False)["is_dead"].to_list() == [False, True, True, True]
    assert neuron_statistics(small, is_gated=True)["is_dead"].to_list() == [False, False, True, False]


def test_an_infinite_activation_leaves_not_a_number_for_the_checks_to_find(small: Histograms) -> None:
    tensors = {**small.tensors, "moment_2": np.full((1, 4), np.nan), "moment_3": np.full((1, 4), np.nan)}
    first = neuron_statistics(Histograms(tensors, 4, (0,)), is_gated=False).row(0, named=True)
    assert math.isnan(first["variance"])
    assert math.isnan(first["skewness"])


def test_without_a_position_every_share_is_zero_and_nothing_fails() -> None:
    empty = count_slowly(Recording(np.zeros((1, 4, 0), np.float32), [], []), BINS, (0,), 1)
    frame = neuron_statistics(empty, is_gated=False)
    assert frame["share_above_zero"].to_list() == [0, 0, 0, 0]
    assert frame["minimum"].null_count() == 4


def test_the_table_equals_the_slow_one_on_random_activations_and_keeps_its_contract() -> None:
    recording = random_recording(seed=3)
    bins = ActivationBins(np.full((2, 3), 2, np.float32), np.full((2, 3), -3, np.int32), 9)
    frame = neuron_statistics(count_slowly(recording, bins, (1,), 5), is_gated=False)
    assert conform(NEURON_STATISTICS, frame).equals(frame)
    assert frame.select("layer", "neuron").rows() == [(layer, neuron) for layer in range(2) for neuron in range(3)]
    for row in frame.iter_rows(named=True):
        values = [float(value) for value in recording.activations[row["layer"], row["neuron"]] if not math.isnan(value)]
        mean = math.fsum(values) / len(values)
        deviations = [value - mean for value in values]
        variance = math.fsum(d**2 for d in deviations) / len(values)
        assert row["mean"] == pytest.approx(mean)
        assert row["variance"] == pytest.approx(variance)
        assert row["skewness"] == pytest.approx(math.fsum(d**3 for d in deviations) / len(values) / variance**1.5)
        assert row["kurtosis"] == pytest.approx(math.fsum(d**4 for d in deviations) / len(values) / variance**2)
        assert row["share_above_zero"] == sum(value > 0 for value in values) / 400
    assert frame.schema["share_above_zero"] == pl.Float64
