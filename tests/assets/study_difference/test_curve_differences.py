"""Curves folded into shared bins: against counting every position again."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.contracts import STUDY_DIFFERENCE_CURVES, STUDY_DIFFERENCE_PAIRS
from assets.counting.histograms import ActivationBins
from assets.study_difference.curve_differences import Curves, curve_differences
from assets.study_difference.fact_differences import fact_differences
from tests.study_difference import AN, A, bins_of, curve

POSITIONS = st.lists(st.tuples(st.integers(-150, 150).map(lambda number: (2 * number + 1) / 128), st.booleans()), min_size=1, max_size=60)
WIDTHS = st.sampled_from([1.0, 2.0, 4.0])


def sign(value: int) -> pl.DataFrame:
    return pl.DataFrame({"layer": [0], "neuron": [0], "sign": [value]}, schema={"layer": pl.Int32, "neuron": pl.Int32, "sign": pl.Int8})


def split(positions: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    values, predicted = zip(*positions, strict=True)
    return np.asarray(values), np.asarray(predicted)


def bins_at(per_unit: float) -> ActivationBins:
    return bins_of((per_unit, -4), bins=8)


@settings(max_examples=100, deadline=None)
@given(POSITIONS, POSITIONS, WIDTHS, WIDTHS, st.sampled_from([1, -1]))
def test_folded_counts_are_those_of_the_positions(
    ours: list[tuple[float, bool]], theirs: list[tuple[float, bool]], width: float, other_width: float, turned: int
) -> None:
    bins, other_bins = bins_at(width), bins_at(other_width)
    curves = [Curves(curve(*split(positions), own, 0), own, 2) for positions, own in ((ours, bins), (theirs, other_bins))]
    pairs, folded = curve_differences(curves[0], curves[1], sign(turned))
    assert (pairs.schema, folded.schema) == (STUDY_DIFFERENCE_PAIRS.schema, STUDY_DIFFERENCE_CURVES.schema)
    edges = sorted(set(bins.edges(0, 0)) & set(other_bins.edges(0, 0)))
    assert folded["bin_right"].to_list() == [*edges, np.inf]
    apart = []
    for row in folded.iter_rows(named=True):
        reliable = True
        for side, positions, factor in (("a", ours, 1), ("b", theirs, turned)):
            inside = [predicted for value, predicted in positions if row["bin_left"] <= factor * value < row["bin_right"]]
            assert (row[f"count_{side}"], row[f"top_prediction_count_{side}"]) == (len(inside), sum(inside))
            assert row[f"proportion_{side}"] == (sum(inside) / len(inside) if inside else None)
            reliable &= len(inside) >= 2
        assert row["reliable"] == reliable
        apart += [abs(row["proportion_a"] - row["proportion_b"])] if reliable else []
    told = pairs.row(0, named=True)
    assert (told["reliable_bins"], told["largest_difference"]) == (len(apart), max(apart, default=None))


def test_pairs_that_one_study_alone_studied_are_left_out_and_the_larger_min_count_decides() -> None:
    values, predicted = np.asarray([0.1, 0.2, 0.3, 0.9]), np.asarray([True, False, True, True])
    both = pl.concat([curve(values, predicted, bins_at(1.0), 0), curve(values, predicted, bins_at(1.0), 0, A)])
    pairs, _ = curve_differences(Curves(both, bins_at(1.0), 1), Curves(both.filter(token_id=AN), bins_at(1.0), 5), sign(1))
    assert pairs.select("token_id", "reliable_bins", "largest_difference").rows() == [(AN, 0, None)]
    pairs, curves = curve_differences(Curves(both, bins_at(1.0), 1), Curves(both.clear(), bins_at(1.0), 1), sign(1))
    assert pairs.is_empty()
    assert curves.is_empty()


def test_fields_of_studies_stand_beside_each_other_with_those_that_one_alone_has() -> None:
    ours = {"model": {"id": "one"}, "tokens": [" an"], "min_count": 1, "groups": {}, "corpus": {"id": None}}
    theirs = {"model": {"id": "other"}, "tokens": [" an"], "min_count": 1, "groups": {"an": [" an"]}, "corpus": {"id": None}}
    rows = fact_differences(ours, theirs).rows()
    assert rows == [
        ("model.id", "one", "other", False),
        ("tokens", '[" an"]', '[" an"]', True),
        ("min_count", "1", "1", True),
        ("groups", "{}", None, False),
        ("corpus.id", None, None, True),
        ("groups.an", None, '[" an"]', False),
    ]


@pytest.mark.parametrize("text", ["</script>", "\u202e", ""])
def test_texts_stay_as_they_are(text: str) -> None:
    assert fact_differences({"question": text}, {})["value_a"].to_list() == [text]
