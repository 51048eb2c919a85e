"""How the first neurons moved as documents were added: every step against the scores of its documents alone."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from assets.counting.histograms import Histograms
from assets.statistics.corpus_growth import corpus_growth, largest
from assets.statistics.grouped_histograms import with_groups
from assets.statistics.outcome_scores import outcome_scores
from assets.statistics.token_neuron_scores import token_neuron_scores
from tests.assets.statistics.test_outcomes import BINS, TEXTS, TRACKED, counted
from tests.told import steps_told

NO_MODEL: Any = None  # without a screen no weights are asked for
NAMES = {**dict(enumerate(TEXTS)), 40: "either"}
GROUPS = {40: [1, 6]}


def of_folds(histograms: Histograms, folds: int) -> Histograms:
    """The counters of the first folds alone, as if they were the whole corpus."""
    tensors = dict(histograms.tensors)
    names = [name.removeprefix("block_") for name in tensors if name.startswith("block_") and name.endswith(("_count", "_outside"))]
    for name in (*names, "count", "outside"):
        tensors[name] = np.asarray(histograms[f"block_{name}"][:folds]).sum(0, dtype=np.int64)
    return Histograms(tensors, int(np.asarray(histograms["block_positions"][:folds]).sum()), histograms.token_ids)


@pytest.fixture(scope="module")
def histograms() -> Histograms:
    return counted(24)[0]


def test_each_step_ranks_neurons_as_the_scores_of_its_documents_do(histograms: Histograms) -> None:
    found = corpus_growth(NO_MODEL, histograms, BINS, GROUPS, NAMES, 2)
    assert found["measure"].unique().to_list() == ["separation"], "no contribution without a screen"
    compared = 0
    for step in range(1, 9):
        alone = with_groups(of_folds(histograms, step), GROUPS)
        published = token_neuron_scores(alone, BINS, NAMES, 2).with_columns(outcome=pl.lit("top_prediction"))
        scores = pl.concat([published, outcome_scores(alone, BINS, NAMES, 2).select(published.columns)])
        for (outcome, token), rows in found.filter(step=step).partition_by("outcome", "token_id", as_dict=True).items():
            expected = scores.filter(outcome=outcome, token_id=token).sort(
                pl.col("separation").round(10), "layer", "neuron", descending=[True, False, False], nulls_last=True
            )
            assert rows["rank"].to_list() == list(range(1, rows.height + 1))
            np.testing.assert_allclose(rows["value"], expected["separation"][: rows.height], atol=1e-7)
            for row in rows.iter_rows(named=True):
                own = expected.filter(layer=row["layer"], neuron=row["neuron"])
                assert row["value"] == pytest.approx(own["separation"].item(), abs=1e-7)
                assert row["half_activation"] == own["half_activation"].item()
                compared += 1
    assert compared > 300
    assert found["half_activation"].drop_nulls().len() > 20


def test_the_last_step_is_the_whole_corpus_and_steps_grow(histograms: Histograms) -> None:
    found = corpus_growth(NO_MODEL, histograms, BINS, {}, NAMES, 2)
    sizes = found.filter(outcome="top_prediction", token_id=TRACKED[0], rank=1).sort("step")
    assert sizes["step"].to_list()[-1] == 8
    assert sizes["positions"].to_list()[-1] == histograms.positions
    assert sizes["cases"].to_list()[-1] == int(histograms["predictions"][TRACKED[0]])
    assert sizes["positions"].is_sorted()
    assert found.filter(step=8)["rank"].max() == 6, "two layers of three neurons"


def test_the_largest_come_first_and_equals_in_their_order() -> None:
    values = np.array([0.5, np.nan, 0.9, 0.5, 0.9, -np.inf])
    assert largest(values, 3).tolist() == [2, 4, 0]
    assert largest(values, 0).size == 0
    assert largest(values, 4).tolist() == [2, 4, 0, 3]


def test_progress_counts_pairs_of_every_outcome(histograms: Histograms) -> None:
    steps = steps_told(lambda progress: corpus_growth(NO_MODEL, histograms, BINS, GROUPS, NAMES, 2, progress))
    told_of = len(histograms.token_ids) + len(GROUPS)
    assert steps[-1] == len(histograms.outcomes) * told_of * histograms.layers * histograms.neurons
