"""The halves' curves, and what is read off the telling half's: those of its documents counted alone."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from assets.counting.document_blocks import DISCOVERY, TELLING, fold_of
from assets.statistics.fold_contributions import told
from assets.statistics.half_curves import half_curves
from assets.statistics.half_scores import CurveReading, half_scores, outcome_halves
from assets.statistics.outcome_scores import outcome_scores
from assets.statistics.proportion_curves import outcome_curves, proportion_curves
from assets.statistics.token_neuron_scores import token_neuron_scores
from tests.assets.statistics.test_fold_scores import TEXTS, TOKENS, Counted, corpus, folder, whole

__all__ = ["corpus", "folder", "whole"]  # fixtures
MIN_COUNT = 3
KEY = ["outcome", "token_id", "layer", "neuron"]


def alone(folder: Path, corpus: pl.DataFrame, half: range) -> Counted:
    """The counters of one half's documents by themselves."""
    return Counted(folder, corpus.filter(pl.Series(fold_of(corpus["document"].to_numpy())).is_in(list(half))))


@pytest.mark.parametrize(("name", "half"), [("discovery", DISCOVERY), ("telling", TELLING)])
def test_a_half_s_curve_is_that_of_its_documents(folder: Path, corpus: pl.DataFrame, whole: Counted, name: str, half: range) -> None:
    pairs = pl.DataFrame(
        [(layer, neuron, token) for layer in (0, 1) for neuron in (0, 3) for token in TOKENS],
        schema={"layer": pl.Int32, "neuron": pl.Int32, "token_id": pl.Int32},
        orient="row",
    )
    own = alone(folder, corpus, half)
    published = proportion_curves(own.histograms, own.bins, pairs, TEXTS, MIN_COUNT).with_columns(
        outcome=pl.lit("top_prediction"), cases=pl.col("top_prediction_count").cast(pl.Float64)
    )
    columns = [*KEY, "bin_left", "bin_right", "count", "cases", "proportion", "reliable"]
    further = outcome_curves(own.histograms, own.bins, pairs, TEXTS, MIN_COUNT)
    expected = pl.concat([frame.select(columns) for frame in (published, further)]).sort(*KEY, "bin_left")
    found = half_curves(whole.histograms, whole.bins, pairs, MIN_COUNT).filter(half=name).select(columns).sort(*KEY, "bin_left")
    assert found["reliable"].any()
    assert_frame_equal(found, expected, rel_tol=1e-12)


def test_what_is_read_off_the_telling_half_s_curve_is_read_off_its_documents(folder: Path, corpus: pl.DataFrame, whole: Counted) -> None:
    found = outcome_halves(whole.model, whole.histograms, {}, CurveReading(whole.bins, MIN_COUNT))
    table = half_scores(found, TEXTS, told(whole.histograms, {}))
    own = alone(folder, corpus, TELLING)
    published = token_neuron_scores(own.histograms, own.bins, TEXTS, MIN_COUNT).with_columns(outcome=pl.lit("top_prediction"))
    scores = pl.concat([published, outcome_scores(own.histograms, own.bins, TEXTS, MIN_COUNT).select(published.columns)])
    joined = table.join(scores, on=KEY, suffix="_alone").filter(pl.col("direction") == pl.col("direction_alone"))  # else read the other way
    assert joined.height > 100
    for name in ("highest_proportion", "highest_proportion_at", "half_activation", "recall_beyond_half"):
        read, expected = joined[f"telling_{name}"], joined[name]
        assert (read.is_null() == expected.is_null()).all(), name
        if name.startswith("highest"):  # no token is half of what a random model predicts
            assert read.drop_nulls().len() > 10, name
        np.testing.assert_allclose(read.drop_nulls(), expected.drop_nulls(), rtol=1e-12, err_msg=name)
