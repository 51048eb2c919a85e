"""Distances against counting every value at every level; signs; what both write. Values are whole multiples of 1/64, so that nothing rounds."""

from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from assets.contracts import STUDY_DIFFERENCE_NEURONS
from assets.counting.histograms import ActivationBins
from assets.study_difference.half_distances import half_distances
from assets.study_difference.histogram_distance import distances
from assets.study_difference.levels import Edges, layer_levels, shared_edges
from assets.study_difference.neuron_differences import neuron_differences
from tests.study_difference import bins_of, counted, written

HALVES = ([0, 1, 2, 3], [4, 5, 6, 7])  # folds of documents
WIDTHS = st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 8.0])
NOTHING = written()
ALIKE = {1: 2.0, 2: 1.0, 3: -1.0}


def slow_edges(bins: ActivationBins, neuron: int) -> set[Fraction]:
    per_unit, first = Fraction(float(bins.per_unit[0, neuron])), int(bins.first_bin[0, neuron])
    return {Fraction(first + place) / per_unit for place in range(bins.bins + 1)}


def slow_distance(one: np.ndarray, other: np.ndarray, edges: set[Fraction]) -> float | None:
    """Over every level, and both sides of 0, from the values themselves."""
    known = [[Fraction(float(value)) for value in values if not np.isnan(value)] for values in (one, other)]
    if not edges or not all(known):
        return None
    levels = [(edge, False) for edge in edges] + ([(Fraction(0), True)] if 0 in edges else [])
    shares = [
        [Fraction(sum(value < edge or (up_to and value == edge) for value in values), len(values)) for edge, up_to in levels]
        for values in known
    ]
    return float(max(abs(ours - theirs) for ours, theirs in zip(*shares, strict=True)))


@st.composite
def bins(draw: st.DrawFn) -> ActivationBins:
    """Bins of one neuron."""
    return bins_of((draw(WIDTHS), draw(st.integers(-12, 4))), bins=draw(st.integers(1, 16)))


VALUES = st.lists(st.integers(-200, 200).map(lambda number: number / 64) | st.just(0.0) | st.just(np.nan), min_size=0, max_size=30)
OFF_EDGES = st.lists(st.integers(-200, 200).map(lambda number: (2 * number + 1) / 128) | st.just(0.0), min_size=1, max_size=30)


def as_values(values: list[float]) -> np.ndarray:
    return np.asarray([values], dtype=np.float64).reshape(1, -1)


@settings(max_examples=200, deadline=None)
@given(VALUES, VALUES, bins(), bins())
def test_a_distance_is_that_of_the_values_at_every_level_that_both_counted_at(
    ours: list[float], theirs: list[float], our_bins: ActivationBins, their_bins: ActivationBins
) -> None:
    one, other = as_values(ours), as_values(theirs)
    edges = slow_edges(our_bins, 0) & slow_edges(their_bins, 0)
    found, shared = distances(layer_levels(counted(one, our_bins), our_bins, 0), layer_levels(counted(other, their_bins), their_bins, 0))
    expected = slow_distance(one[0], other[0], edges)
    assert shared.tolist() == [len(edges)]
    assert (None if np.isnan(found[0]) else found[0]) == (None if expected is None else pytest.approx(expected, abs=1e-12))


@settings(max_examples=200, deadline=None)
@given(OFF_EDGES, OFF_EDGES, bins(), bins())
def test_negated_levels_are_those_of_negated_values(
    ours: list[float], theirs: list[float], our_bins: ActivationBins, their_bins: ActivationBins
) -> None:
    """Values on no edge but 0, of which the counters tell both sides."""
    one, other = as_values(ours), as_values(theirs)
    mirrored = bins_of((float(their_bins.per_unit[0, 0]), -int(their_bins.first_bin[0, 0]) - their_bins.bins), bins=their_bins.bins)
    levels = layer_levels(counted(one, our_bins), our_bins, 0)
    has_zero = 0 in slow_edges(their_bins, 0)
    values = other if has_zero else other[other != 0].reshape(1, -1)  # without an edge at 0 its sides are not told apart
    turned = layer_levels(counted(values, their_bins), their_bins, 0).negated
    again = layer_levels(counted(-values, mirrored), mirrored, 0)
    np.testing.assert_array_equal(turned.below, again.below)
    np.testing.assert_array_equal(turned.up_to_zero, again.up_to_zero)
    assert turned.edges == again.edges
    np.testing.assert_allclose(distances(levels, turned), distances(levels, again), atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(VALUES, bins(), st.booleans())
def test_the_halves_of_a_studys_documents_lie_apart_as_their_values_do(
    values: list[float], own_bins: ActivationBins, is_gated: bool
) -> None:
    edges = slow_edges(own_bins, 0)
    halves = [np.asarray([value for place, value in enumerate(values) if place % 8 in folds]) for folds in HALVES]
    expected = None
    if all(
        any(not np.isnan(value) for value in half) for half in halves
    ):  # without the value at 0: only what is below it is counted by fold
        known = [[Fraction(float(value)) for value in half if not np.isnan(value)] for half in halves]
        levels = [edge for edge in edges if edge != 0 or not is_gated]
        shares = [[Fraction(sum(value < edge for value in half), len(half)) for edge in levels] for half in known]
        expected = float(max((abs(ours - theirs) for ours, theirs in zip(*shares, strict=True)), default=Fraction(0)))
    found = half_distances(counted(as_values(values), own_bins), own_bins, 0, is_gated)[0]
    assert (None if np.isnan(found) else found) == (None if expected is None else pytest.approx(expected, abs=1e-12))


def test_power_of_two_widths_fold_into_each_other_and_other_widths_meet_at_whole_numbers() -> None:
    fine, coarse = Edges(-64, 16.0, 129), Edges(-64, 4.0, 129)
    places, facing = shared_edges(fine, coarse)
    assert fine.at(places).tolist() == coarse.at(facing).tolist() == [place / 4 for place in range(-16, 17)]
    fifths, eighths = Edges(-5, 5.0, 81), Edges(-8, 8.0, 129)
    assert fifths.at(shared_edges(fifths, eighths)[0]).tolist() == list(range(-1, 16))
    assert shared_edges(Edges(1, 1.0, 2), Edges(5, 1.0, 3))[0].tolist() == []


BINS = bins_of((8.0, -16), (4.0, -16), bins=32)
FIRST = np.asarray([[-1.30, -0.30, 0.20, 0.90, 1.60], [0.70, 0.70, -2.10, 0.0, 0.0]])
SECOND = np.asarray([[-1.10, 0.30, 0.20, 1.10, 1.70], [0.10, 0.70, -2.10, 0.0, 0.60]])


def difference(first: np.ndarray, second: np.ndarray, writes: tuple[pl.DataFrame, pl.DataFrame], is_gated: bool) -> pl.DataFrame:
    found = neuron_differences((counted(first, BINS), BINS), (counted(second, BINS), BINS), writes, is_gated)
    assert found.schema == STUDY_DIFFERENCE_NEURONS.schema
    return found


@pytest.mark.parametrize("is_gated", [False, True])
def test_equal_studies_are_at_distance_0_and_write_the_same(is_gated: bool) -> None:
    both = (written(ALIKE, {4: 0.1, 5: -0.3}),) * 2
    found = difference(FIRST, FIRST, both, is_gated)
    assert found["distance"].to_list() == [0, 0]
    assert (found["likeness"].to_list(), found["sign"].to_list()) == ([1, 1], [1, 1])
    assert found["mean_a"].equals(found["mean_b"])
    assert found["share_above_zero_a"].equals(found["share_above_zero_b"])


def negated(listed: dict[int, float]) -> dict[int, float]:
    return {token: -value for token, value in listed.items()}


def test_a_gated_neuron_whose_weights_are_negated_in_either_study_moved_as_far_and_writes_as_much_alike() -> None:
    other = {1: 1.0, 2: 1.0, 7: 3.0}
    straight = difference(FIRST, SECOND, (written(ALIKE, ALIKE), written(other, other)), is_gated=True)
    second = difference(FIRST, -SECOND, (written(ALIKE, ALIKE), written(negated(other), negated(other))), is_gated=True)
    assert second["sign"].to_list() == [-1, -1]
    assert_frame_equal(straight.drop("sign"), second.drop("sign"), abs_tol=1e-12)
    first = difference(-FIRST, SECOND, (written(negated(ALIKE), negated(ALIKE)), written(other, other)), is_gated=True)
    kept = ["layer", "neuron", "distance", "halves_distance", "shared_edges", "likeness"]
    assert_frame_equal(straight.select(kept), first.select(kept), abs_tol=1e-12)
    assert first["mean_b"].to_list() == pytest.approx([-mean for mean in straight["mean_b"]])
    assert first["share_above_zero_b"].to_list() == pytest.approx([0.2, 0.2])
    assert straight["likeness"].to_list() == pytest.approx([3 / np.sqrt(6 * 11)] * 2)


def test_where_nothing_is_known_of_what_is_written_the_smaller_distance_gives_the_sign() -> None:
    for writes in ((NOTHING, NOTHING), (written(ALIKE, ALIKE), written({8: 1.0}, {8: 1.0}))):
        found = difference(FIRST, -FIRST, writes, is_gated=True)
        assert (found["sign"].to_list(), found["distance"].to_list()) == ([-1, -1], [0, 0])
    symmetric = np.asarray([[-1.30, 1.30], [0.0, 0.0]])
    found = difference(symmetric, symmetric, (NOTHING, NOTHING), is_gated=True)
    assert (found["sign"].to_list(), found["distance"].to_list(), found["mean_b"].to_list()) == ([None, None], [0, 0], [None, None])
    assert found["likeness"].to_list() == [None, None]


def test_a_neuron_that_is_not_gated_keeps_its_sign_and_may_write_the_opposite() -> None:
    found = difference(FIRST, -FIRST, (written(ALIKE, ALIKE), written(negated(ALIKE), ALIKE)), is_gated=False)
    assert (found["sign"].to_list(), found["likeness"].to_list()) == ([1, 1], [-1, 1])
    assert found["distance"].to_list() == pytest.approx([0.2, 0.2])


def test_without_a_position_or_a_shared_edge_there_is_no_distance() -> None:
    nan = np.full((2, 3), np.nan)
    found = difference(FIRST, nan, (NOTHING, NOTHING), is_gated=False)
    assert found["distance"].to_list() == found["mean_b"].to_list() == found["share_above_zero_b"].to_list() == [None, None]
    far = bins_of((8.0, 1), (4.0, 1), bins=2)
    near = bins_of((8.0, 5), (4.0, 5), bins=2)
    found = neuron_differences((counted(FIRST, far), far), (counted(FIRST, near), near), (NOTHING, NOTHING), is_gated=True)
    assert (found["distance"].to_list(), found["shared_edges"].to_list()) == ([None, None], [0, 0])
