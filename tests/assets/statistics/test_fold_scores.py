"""Scores of any union of folds: against the scores of the same positions counted by themselves, in memory and with a model."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from assets.contracts import TOKEN_GROUPS
from assets.counting.document_blocks import DISCOVERY, FOLDS, TELLING, fold_of
from assets.counting.histograms import FURTHER_OUTCOMES, Histograms
from assets.histograms.activation_bins import fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.model.loading import load
from assets.statistics.contrasts import Contrast, contrasts
from assets.statistics.contributions import contributions, group_contributions, outcome_contributions
from assets.statistics.fold_contributions import told
from assets.statistics.fold_counts import (
    FoldLevels,
    fold_cases_by_level,
    fold_positions_by_level,
    fold_totals,
    without_each,
)
from assets.statistics.fold_intervals import jackknife_variance
from assets.statistics.fold_scores import aurocs, average_precisions
from assets.statistics.grouped_histograms import members_of, with_groups
from assets.statistics.half_scores import half_scores, outcome_halves
from assets.statistics.outcome_scores import outcome_scores
from assets.statistics.outcomes import all_levels, cases_of, positions_of, token_levels
from assets.statistics.token_neuron_scores import area_under_roc, average_precision, token_neuron_scores
from assets.study import FixedBins
from tests.assets.congruence.tiny_models import tiny_model
from tests.assets.counting.made_batches import windows_frame
from tests.assets.statistics.test_outcomes import TRACKED, counted
from tests.told import steps_told

TOKENS = [2, 6, 9]
GROUPS = pl.DataFrame([(500, "two", 2, "x"), (500, "two", 9, "y")], schema=TOKEN_GROUPS.schema, orient="row")
TEXTS = {**{entry: str(entry) for entry in range(60)}, 500: "two"}


def test_scores_of_a_union_are_those_of_its_counts_together() -> None:
    generator = np.random.default_rng(1)
    cases = generator.poisson(0.6, (5, 3, FOLDS, 9)).astype(float)
    positions = cases.sum(1) + generator.poisson(3, (5, FOLDS, 9))
    levels = FoldLevels(cases, positions)
    unions = np.concatenate([without_each(range(8)), without_each((1, 4)), generator.integers(0, 2, (4, FOLDS))])
    directions = np.tile([1, -1, 0], (5, 1))
    area, precision = aurocs(levels, unions), average_precisions(levels, unions, directions)
    for neuron, token, union in np.ndindex(area.shape):
        own, every = unions[union] @ cases[neuron, token], unions[union] @ positions[neuron]
        expected, _ = area_under_roc(own, every - own)
        assert area[neuron, token, union] == pytest.approx(float(expected), nan_ok=True)
        step = directions[neuron, token]
        in_order = average_precision(own[::step], every[::step]) if step else own.sum() / every.sum()
        assert precision[neuron, token, union] == pytest.approx(float(in_order), nan_ok=True)


def test_a_token_that_is_nowhere_or_everywhere_in_a_union_has_no_area() -> None:
    levels = FoldLevels(np.array([[[[0.0, 0], [2, 1]] * 4]]), np.array([[[3.0, 1], [2, 1]] * 4]))
    nowhere, everywhere = np.eye(FOLDS)[:2]
    assert np.isnan(aurocs(levels, np.stack([nowhere, everywhere]))).all()
    found = average_precisions(levels, np.stack([nowhere, everywhere]), np.ones((1, 1)))
    assert np.isnan(found[0, 0, 0])
    assert found[0, 0, 1] == 1


@pytest.mark.parametrize("outcome", ["top_prediction", *FURTHER_OUTCOMES])
def test_folds_add_up_to_the_whole_and_groups_to_their_members(outcome: str) -> None:
    histograms, _ = counted(16)
    grouped = with_groups(histograms, {40: (1, 6)})
    cases = fold_cases_by_level(grouped, outcome, slice(None), 1)  # [neuron, token, fold, level]
    np.testing.assert_allclose(cases.sum(2).swapaxes(0, 1), token_levels(grouped, outcome, slice(None), 1))
    np.testing.assert_allclose(cases[:, -1], cases[:, [0, 2]].sum(1))
    np.testing.assert_array_equal(fold_positions_by_level(grouped, outcome, 1).sum(1), all_levels(grouped, outcome, 1))
    picked = np.array([2, 0, 2])
    np.testing.assert_array_equal(fold_cases_by_level(grouped, outcome, slice(None), 1, picked), cases[picked])
    np.testing.assert_array_equal(fold_cases_by_level(grouped, outcome, slice(3, 4), 1), cases[:, 3:])
    totals = fold_totals(grouped, outcome)
    assert totals.positions.sum() == positions_of(histograms, outcome)
    assert (totals.positions > 0).sum() > 2, "several folds hold documents"
    np.testing.assert_allclose(totals.cases[: len(TRACKED)].sum(1), cases_of(histograms, outcome))


@pytest.fixture(scope="module")
def corpus() -> pl.DataFrame:
    generator = np.random.default_rng(3)
    return windows_frame([[0, *generator.integers(1, 30, size).tolist()] for size in generator.integers(6, 28, 70)])


class Counted:
    """A tiny model's counters over some documents."""

    def __init__(self, folder: Path, windows: pl.DataFrame) -> None:
        self.model = load.__wrapped__(folder, device="cpu")
        self.bins = fixed_bins(self.model.facts.layers, self.model.facts.neurons, FixedBins())
        self.histograms: Histograms = count_windows(
            self.model, windows, self.bins, TOKENS, count_bos=False, examples=1, batch_positions=128, outcomes=FURTHER_OUTCOMES,
            screened_ids=sorted({*range(20), *TOKENS}),
        )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("halves") / "gpt2", "gpt2")


@pytest.fixture(scope="module")
def whole(folder: Path, corpus: pl.DataFrame) -> Counted:
    return Counted(folder, corpus)


def test_each_half_says_what_its_documents_say_when_they_are_counted_alone(folder: Path, corpus: pl.DataFrame, whole: Counted) -> None:
    groups = members_of(GROUPS)
    found = outcome_halves(whole.model, whole.histograms, groups)
    table = half_scores(found, TEXTS, told(whole.histograms, groups))
    assert table.height == 3 * 4 * whole.histograms.layers * whole.histograms.neurons
    folds = pl.Series(fold_of(corpus["document"].to_numpy()))
    compared = 0
    for half, chosen in (("discovery", DISCOVERY), ("telling", TELLING)):
        alone = Counted(folder, corpus.filter(folds.is_in(list(chosen))))
        grouped = with_groups(alone.histograms, groups)
        published = token_neuron_scores(grouped, alone.bins, TEXTS, 1).with_columns(outcome=pl.lit("top_prediction"))
        scores = pl.concat([published, outcome_scores(grouped, alone.bins, TEXTS, 1).select(published.columns)])
        first = contributions(alone.model, alone.histograms, TOKENS, 1).every.with_columns(outcome=pl.lit("top_prediction"))
        further = [outcome_contributions(alone.model, alone.histograms, TOKENS), group_contributions(alone.model, alone.histograms, GROUPS)]
        written = pl.concat([first, *(frame.select(first.columns) for frame in further)])
        key = ["outcome", "token_id", "layer", "neuron"]
        joined = table.join(scores.select(*key, "auroc"), on=key, how="left").join(
            written.select(*key, "contribution"), on=key, how="left", suffix="_alone"
        )
        for name, expected in ((f"{half}_auroc", "auroc"), (f"{half}_contribution", "contribution")):
            assert (joined[name].is_null() == joined[expected].is_null()).all(), name
            np.testing.assert_allclose(joined[name].drop_nulls(), joined[expected].drop_nulls(), rtol=1e-5, atol=1e-6, err_msg=name)
            compared += joined[name].drop_nulls().len()
    assert compared > 1000


def test_the_null_contributions_are_those_of_labels_that_say_nothing(whole: Counted) -> None:
    for one in outcome_halves(whole.model, whole.histograms, {})[:2]:
        null = one.null["contribution"]
        real = one.scores["telling_contribution"]
        assert (np.isfinite(null) == np.isfinite(real)).all()
        assert not np.allclose(null[np.isfinite(null)], real[np.isfinite(real)])
        p_values = one.scores["contribution_p"][np.isfinite(one.scores["contribution_p"])]
        assert p_values.size
        assert ((p_values > 0) & (p_values <= 1)).all()


def test_intervals_of_contributions_are_those_of_leaving_out_each_fold(folder: Path, corpus: pl.DataFrame, whole: Counted) -> None:
    rows = outcome_contributions(whole.model, whole.histograms, TOKENS).filter(outcome="next_token", token_id=6).sort("layer", "neuron")
    folds = pl.Series(fold_of(corpus["document"].to_numpy()))
    left_out = []
    for fold in range(FOLDS):
        alone = Counted(folder, corpus.filter(folds != fold))
        frame = (
            outcome_contributions(alone.model, alone.histograms, TOKENS).filter(outcome="next_token", token_id=6).sort("layer", "neuron")
        )
        left_out.append(frame["contribution"].to_numpy())
    spread = jackknife_variance(np.stack(left_out, axis=-1)) ** 0.5
    widths = (rows["contribution_high"] - rows["contribution_low"]).to_numpy() / 2
    held = (fold_totals(whole.histograms, "next_token").cases[TOKENS.index(6)] > 0).sum()
    from scipy.stats import t

    np.testing.assert_allclose(widths, t.ppf(0.975, held - 1) * spread, rtol=1e-3, atol=1e-7)
    centre = (rows["contribution_high"] + rows["contribution_low"]).to_numpy() / 2
    np.testing.assert_allclose(centre, rows["contribution"].to_numpy(), atol=1e-12)


def test_intervals_of_contrasts_hold_their_values(whole: Counted) -> None:
    found = contrasts(whole.model, whole.histograms, [Contrast(2, 6), Contrast(6, 9)]).drop_nulls(["auroc_low", "contribution_low"])
    assert found.height > 100
    for value, end in (("auroc", "auroc"), ("contribution", "contribution")):
        assert (found[f"{end}_low"] <= found[value] + 1e-12).all()
        assert (found[value] <= found[f"{end}_high"] + 1e-12).all()
    one = found.filter(outcome="next_token", token_id=2, other_id=6, layer=0, neuron=1).row(0, named=True)
    cases = fold_cases_by_level(whole.histograms, "next_token", slice(0, 2), 0)[1]  # [token, fold, level]
    by_hand = []
    for fold in range(FOLDS):
        own, other = (np.delete(cases[row], fold, axis=0).sum(0) for row in (0, 1))
        by_hand.append(area_under_roc(own, other)[0])
    logits = np.log(by_hand) - np.log1p(-np.array(by_hand))
    centre = (np.log(one["auroc_low"] / (1 - one["auroc_low"])) + np.log(one["auroc_high"] / (1 - one["auroc_high"]))) / 2
    assert centre == pytest.approx(np.log(one["auroc"] / (1 - one["auroc"])))
    held = min((fold_totals(whole.histograms, "next_token").cases[row] > 0).sum() for row in (0, 1))
    from scipy.stats import t

    width = np.log(one["auroc_high"] / (1 - one["auroc_high"])) - centre
    assert width == pytest.approx(t.ppf(0.975, held - 1) * jackknife_variance(logits) ** 0.5)


def test_every_counter_of_a_group_is_the_sum_of_its_members(whole: Counted) -> None:
    grouped = with_groups(whole.histograms, {500: [2, 9]})
    axes = {
        **{f"block_{outcome}_{part}": 1 for outcome in grouped.outcomes for part in ("count", "outside")},
        **{f"block_{outcome}_scaled": 2 for outcome in grouped.outcomes},
        **{f"null_{outcome}_{part}": 0 for outcome in grouped.outcomes[:2] for part in ("count", "outside")},
        **{f"null_{outcome}_scaled": 1 for outcome in grouped.outcomes[:2]},
    }
    for name, axis in axes.items():
        whole_array, found = np.moveaxis(np.asarray(whole.histograms[name][:]), axis, 0), np.moveaxis(grouped[name][:], axis, 0)
        np.testing.assert_array_equal(found[:3], whole_array, err_msg=name)
        np.testing.assert_array_equal(found[3], whole_array[0] + whole_array[2], err_msg=name)


def test_progress_counts_pairs_of_every_outcome(whole: Counted) -> None:
    groups, histograms = members_of(GROUPS), whole.histograms
    steps = steps_told(lambda progress: outcome_halves(whole.model, histograms, groups, progress=progress))
    assert steps[-1] == len(histograms.outcomes) * (len(TOKENS) + len(groups)) * histograms.layers * histograms.neurons
