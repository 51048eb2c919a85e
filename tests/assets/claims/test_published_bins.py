"""The post's levels from exact bins, against the post's own arithmetic on every single activation."""

from collections import Counter

import numpy as np
import polars as pl
import pytest

from assets.claims.claim_tables import NotRunError
from assets.claims.published_bins import exact_levels, published_levels


def curve(activations: np.ndarray, hits: np.ndarray, per_unit: int) -> pl.DataFrame:
    """Rows of proportion_curves between -1 and 15, counted one activation at a time."""
    counts: Counter = Counter()
    tops: Counter = Counter()
    for activation, hit in zip(activations, hits, strict=True):
        index = int(np.floor(activation * per_unit))
        counts[index] += 1
        tops[index] += int(hit)
    indices = range(-per_unit, 15 * per_unit)
    return pl.DataFrame(
        {
            "bin_left": [index / per_unit for index in indices],
            "bin_right": [(index + 1) / per_unit for index in indices],
            "count": [counts[index] for index in indices],
            "top_prediction_count": [tops[index] for index in indices],
        }
    )


def test_regrouped_bins_are_those_of_the_posts_arithmetic_on_each_activation() -> None:
    generator = np.random.default_rng(3)
    activations = generator.uniform(-0.9, 14.9, 20_000).astype(np.float32)
    hits = generator.random(20_000) < activations / 15
    counts: Counter = Counter()
    tops: Counter = Counter()
    for activation, hit in zip(activations, hits, strict=True):
        level = int(float(np.round(activation, 1)) * 5) / 5  # a float32 of one decimal, times 5, cut off
        counts[level] += 1
        tops[level] += int(hit)
    levels = published_levels(curve(activations, hits, 20))
    assert levels["level"].to_list() == pytest.approx(sorted(counts))
    assert levels["count"].to_list() == [counts[level] for level in sorted(counts)]
    assert levels["proportion"].to_list() == pytest.approx([tops[level] / counts[level] for level in sorted(counts)])


def test_the_level_at_zero_is_three_tenths_wide_and_a_float32_below_its_tenth_falls_one_level_down() -> None:
    activations = np.array([-0.12, -0.01, 0.12, 0.16, 1.42, 1.48, 4.61], dtype=np.float32)
    levels = published_levels(curve(activations, np.zeros(7, dtype=bool), 20))
    # 1.4 and 4.6 lie below their tenths as float32, 1.5 does not
    assert levels.select("level", "count").rows() == [(0.0, 3), (0.2, 1), (1.2, 1), (1.4, 1), (4.4, 1)]


def test_bins_too_wide_and_positions_outside_the_bins_say_why_nothing_can_be_compared() -> None:
    activations, hits = np.array([0.3], dtype=np.float32), np.array([True])
    with pytest.raises(NotRunError, match=r"cannot be made of bins 0\.2 wide: bins\.per_unit must be a multiple of 20"):
        published_levels(curve(activations, hits, 5))
    outside = pl.DataFrame({"bin_left": [15.0], "bin_right": [float("inf")], "count": [4], "top_prediction_count": [4]})
    with pytest.raises(NotRunError, match="4 positions lie outside the study's bins"):
        published_levels(outside)


def test_exact_bins_narrower_than_the_published_ones_are_added_up_to_their_width_and_others_are_left() -> None:
    activations = np.array([0.05, 0.15, 0.21, 0.39, 0.41, 7.0, -0.01], dtype=np.float32)
    hits = np.array([True, False, True, False, True, True, False])
    for per_unit in (20, 10):
        levels = exact_levels(curve(activations, hits, per_unit), min_count=1)
        assert levels["level"].to_list() == pytest.approx([-0.2, 0.0, 0.2, 0.4, 7.0])
        assert levels["end"].to_list() == pytest.approx([0.0, 0.2, 0.4, 0.6, 7.2])
        assert levels.select("count", "proportion").rows() == [(1, 0.0), (2, 0.5), (2, 0.5), (1, 1.0), (1, 1.0)]
        assert exact_levels(curve(activations, hits, per_unit), min_count=2)["level"].to_list() == pytest.approx([0.0, 0.2])
    for per_unit in (5, 4, 2, 8):  # as wide, wider, and of a width of which no whole number makes 0.2
        levels = exact_levels(curve(activations, hits, per_unit), min_count=1)
        assert (levels["end"] - levels["level"]).to_list() == pytest.approx([1 / per_unit] * levels.height)
    outside = pl.DataFrame({"bin_left": [15.0], "bin_right": [float("inf")], "count": [4], "top_prediction_count": [4]})
    assert exact_levels(outside, min_count=1)["proportion"].to_list() == [1.0]
