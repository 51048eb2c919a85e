"""Looked for in one half, told in the other: real neurons found among thousands, luck refused, and every number against plain code."""

from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import kstest, spearmanr

from assets.contracts import HALF_SCORES
from assets.counting.document_blocks import DISCOVERY, TELLING
from assets.counting.histograms import FURTHER_OUTCOMES
from assets.statistics import fold_counts
from assets.statistics.fold_counts import FoldTotals
from assets.statistics.half_agreement import half_agreement
from assets.statistics.half_scores import MEASURES, OutcomeHalves, _add_p_values, half_scores, halves_of, outcome_halves
from assets.statistics.levels import ascending_levels
from assets.statistics.token_neuron_scores import area_under_roc, average_precision
from tests.simulated_counters import Search, mirrored

NO_MODEL: Any = None  # without a screen there are no contributions, and no weights are asked for
TEXTS = {2: " an"}
EVERYWHERE = 0.55  # of a standard deviation: an AUROC of 0.65


def found_in(search: Search, seed: int) -> OutcomeHalves:
    (one,) = outcome_halves(NO_MODEL, search.histograms(np.random.default_rng(seed)), {})
    return one


def effects(neurons: int, **of_few: float) -> np.ndarray:
    """[neuron, fold]: nothing, but `discovery` and `telling` for neuron 0 in these halves, or `everywhere` for the first five."""
    effect = np.zeros((neurons, 8))
    effect[0, list(DISCOVERY)] = of_few.get("discovery", 0)
    effect[0, list(TELLING)] = of_few.get("telling", 0)
    effect[:5] += of_few.get("everywhere", 0)
    return effect


def scores(one: OutcomeHalves, name: str) -> np.ndarray:
    """[neuron] of the one token and layer."""
    return one.scores[name][0, 0]


@pytest.mark.slow
def test_five_real_neurons_are_found_among_five_thousand_and_few_that_are_not() -> None:
    search = Search(effects(5005, everywhere=EVERYWHERE))
    power, false = [], []
    for seed in range(200):
        discoveries = np.flatnonzero(scores(found_in(search, seed), "separation_q") <= 0.1)
        power.append((discoveries < 5).sum() / 5)
        false.append((discoveries >= 5).sum() / max(len(discoveries), 1))
    assert np.mean(power) >= 0.9
    assert np.mean(false) <= 0.1


def test_p_values_of_neurons_that_tell_nothing_are_uniform() -> None:
    many = [scores(found_in(Search(effects(2000)), seed), "separation_p") for seed in range(20)]
    p_values = np.concatenate([one[:100] for one in many])  # few of each search, for all of a search share their null values
    assert kstest(p_values, "uniform").pvalue > 0.01
    p_values = np.concatenate(many)
    assert 0.04 <= (p_values <= 0.05).mean() <= 0.06
    assert (p_values <= 0.001).mean() <= 0.002


def test_without_a_real_neuron_a_search_seldom_discovers_any() -> None:
    found = [(scores(found_in(Search(effects(2000)), seed), "separation_q") <= 0.1).any() for seed in range(40)]
    assert np.mean(found) <= 0.2


def test_scores_and_luck_do_not_depend_on_how_many_neurons_are_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    together = found_in(Search(effects(40, everywhere=EVERYWHERE)), 3)
    monkeypatch.setattr(fold_counts, "COUNTERS", 1)  # neuron by neuron
    apart = found_in(Search(effects(40, everywhere=EVERYWHERE)), 3)
    for name, values in {**together.scores, **together.null}.items():
        np.testing.assert_allclose({**apart.scores, **apart.null}[name], values, rtol=1e-12, err_msg=name)
    assert len(np.unique(together.null["separation"])) > 30


def test_a_neuron_that_tells_the_token_in_the_discovery_half_alone_is_refused() -> None:
    one = found_in(Search(effects(1000, discovery=1.0)), 1)
    assert scores(one, "discovery_separation")[0] == scores(one, "discovery_separation").max() > 0.7
    assert scores(one, "telling_separation")[0] == pytest.approx(0.5, abs=0.05)
    assert scores(one, "telling_separation_low")[0] < 0.5 < scores(one, "telling_separation_high")[0]
    assert scores(one, "separation_q")[0] > 0.5
    row = half_agreement([one], HALVES, TEXTS, {2: [0]}).row(0, named=True)
    assert (row["first_neuron"], row["discoveries"]) == (0, 0)
    assert row["first_telling"] < row["largest_by_luck"] < row["first_discovery"]


HALVES = halves_of(Search(effects(5)).histograms(np.random.default_rng(0)))


def test_a_neuron_that_tells_it_the_other_way_round_in_the_telling_half_lies_below_one_half() -> None:
    one = found_in(Search(effects(1000, discovery=1.0, telling=-1.0)), 1)
    assert scores(one, "telling_separation")[0] < 0.3
    assert scores(one, "separation_p")[0] > 0.99


def test_the_best_of_many_by_luck_has_an_interval_that_holds_one_half() -> None:
    """The first of 300 neurons that tell nothing: the very half that chose it shows it as something, the other does not."""
    held, chosen = [], []
    for seed in range(400):
        one = found_in(Search(effects(300)), seed)
        first = scores(one, "discovery_separation").argmax()
        held.append(scores(one, "telling_separation_low")[first] <= 0.5 <= scores(one, "telling_separation_high")[first])
        chosen.append(scores(one, "discovery_separation")[first])
    assert 0.92 <= np.mean(held) <= 0.98
    assert np.mean(chosen) > 0.55


def test_halves_that_agree_rank_alike_and_halves_of_luck_do_not() -> None:
    several = np.zeros((1000, 8))
    several[:300] = np.linspace(0, 1, 300)[:, None]
    alike, apart = (
        half_agreement([found_in(Search(effect), 2)], HALVES, TEXTS, {2: [0]}).filter(measure="separation").row(0, named=True)
        for effect in (several, effects(1000))
    )
    assert alike["rank_correlation"] > 0.3 > 0.1 > abs(apart["rank_correlation"])
    assert alike["common_of_ten"] > apart["common_of_ten"]
    assert alike["beyond_luck"] > 50
    assert apart["beyond_luck"] <= 2
    assert alike["discoveries"] > 100
    assert apart["discoveries"] == 0


def test_every_number_is_that_of_the_half_counted_by_itself() -> None:
    search = Search(effects(40, everywhere=EVERYWHERE), cases=7, others=40)
    histograms = search.histograms(np.random.default_rng(3))
    (one,) = outcome_halves(NO_MODEL, histograms, {})
    table = half_scores([one], TEXTS, {2: [0]})
    assert table.height == 40
    parts = {
        name: ascending_levels(histograms[f"{name}count"], histograms[f"{name}outside"]) for name in ("block_", "block_top_prediction_")
    }
    null = ascending_levels(histograms["null_top_prediction_count"], histograms["null_top_prediction_outside"])[0, 0]
    for row in table.iter_rows(named=True):
        neuron = row["neuron"]
        halves = []
        for folds in (DISCOVERY, TELLING):
            own = parts["block_top_prediction_"][list(folds), 0, 0, neuron].sum(0).astype(float)
            every = parts["block_"][list(folds), 0, neuron].sum(0).astype(float)
            halves.append((own, every, area_under_roc(own, every - own)[0]))
        (first, first_every, first_area), (second, second_every, second_area) = halves
        assert (row["discovery_auroc"], row["telling_auroc"]) == (pytest.approx(first_area), pytest.approx(second_area))
        assert row["direction"] == (-1 if first_area < 0.5 else 1)
        assert row["discovery_separation"] == pytest.approx(max(first_area, 1 - first_area))
        assert row["telling_separation"] == pytest.approx(second_area if row["direction"] == 1 else 1 - second_area)
        step = row["direction"]
        assert row["discovery_average_precision"] == pytest.approx(average_precision(first[::step], first_every[::step]))
        assert row["telling_average_precision"] == pytest.approx(average_precision(second[::step], second_every[::step]))
        turned = area_under_roc(null[neuron].astype(float), second_every - null[neuron])[0]
        assert one.null["separation"][0, 0, neuron] == pytest.approx(turned if step == 1 else 1 - turned)
        assert row["telling_separation_low"] < row["telling_separation"] < row["telling_separation_high"]
        assert row["discovery_contribution"] is row["contribution_q"] is None


def test_negated_activations_change_nothing_but_the_direction() -> None:
    histograms = Search(effects(300, everywhere=EVERYWHERE), drift=0.3).histograms(np.random.default_rng(4))
    one, other = (half_scores(outcome_halves(NO_MODEL, counted, {}), TEXTS, {2: [0]}) for counted in (histograms, mirrored(histograms)))
    signed = ["direction", "discovery_auroc", "telling_auroc"]
    for name in (column for column, kind in one.schema.items() if kind.is_float() and column not in signed):
        np.testing.assert_allclose(one[name].cast(float).to_numpy(), other[name].cast(float).to_numpy(), rtol=1e-9, err_msg=name)
    assert (one["direction"] == -other["direction"]).all()
    np.testing.assert_allclose(one["telling_auroc"], 1 - other["telling_auroc"])


def test_a_neuron_that_is_the_same_everywhere_has_no_direction_and_says_nothing() -> None:
    search = Search(effects(20))
    histograms = search.histograms(np.random.default_rng(5))
    tensors = {name: np.array(tensor) for name, tensor in histograms.tensors.items()}
    for name in ("block_", "block_top_prediction_", "null_top_prediction_"):
        moved = tensors[f"{name}count"][..., 0, :]
        total = moved.sum(-1) + tensors[f"{name}outside"][..., 0, :].sum(-1)
        tensors[f"{name}outside"][..., 0, :], moved[...] = 0, 0
        moved[..., 3] = total
    (one,) = outcome_halves(NO_MODEL, type(histograms)(tensors, histograms.positions, histograms.token_ids), {})
    row = half_scores([one], TEXTS, {2: [0]}).row(0, named=True)
    assert (row["direction"], row["discovery_separation"], row["telling_separation"]) == (0, 0.5, 0.5)
    assert row["telling_average_precision"] == pytest.approx(60 / 660)  # the token's share of all positions
    assert row["separation_p"] > 0.3


def test_agreement_is_counted_as_told() -> None:
    one = found_in(Search(effects(200, everywhere=EVERYWHERE)), 6)
    rows = half_agreement([one], HALVES, TEXTS, {2: [0]})
    assert rows["measure"].to_list() == list(MEASURES)
    row = rows.row(0, named=True)
    first, second = (scores(one, f"{half}_separation") for half in ("discovery", "telling"))
    assert row["rank_correlation"] == pytest.approx(spearmanr(first, second).statistic)
    assert row["common_of_ten"] == len(set(np.argsort(-first)[:10]) & set(np.argsort(-second)[:10]))
    assert row["first_neuron"] == first.argmax()
    assert row["first_telling"] == second[first.argmax()]
    assert row["largest"] == second.max()
    luck = np.abs(one.null["separation"] - 0.5).max() + 0.5
    assert (row["largest_by_luck"], row["beyond_luck"]) == (luck, (second > luck).sum())
    assert (row["discovery_cases"], row["telling_cases"]) == (4 * 60, 4 * 60)
    assert (row["discovery_positions"], row["telling_positions"]) == (4 * 660, 4 * 660)
    assert row["discoveries"] == (scores(one, "separation_q") <= 0.1).sum() > 0
    assert rows["discoveries"].to_list()[1:] == [None, None]


def test_what_cannot_be_said_is_missing() -> None:
    histograms = Search(effects(30)).histograms(np.random.default_rng(7))
    tensors = dict(histograms.tensors)
    for name, empty in product(("block_top_prediction_count", "block_top_prediction_outside"), TELLING):
        tensors[name] = tensors[name].copy()
        tensors[name][empty] = 0  # the token is not predicted in the telling half
    counted = type(histograms)(tensors, histograms.positions, histograms.token_ids)
    found = outcome_halves(NO_MODEL, counted, {})
    table = half_scores(found, TEXTS, {2: [0]})
    assert table["discovery_separation"].null_count() == 0
    for name in ("telling_separation", "telling_separation_low", "separation_p", "separation_q", "telling_average_precision"):
        assert table[name].null_count() == table.height, name
    row = half_agreement(found, HALVES, TEXTS, {2: [0]}).row(0, named=True)
    assert row["telling_cases"] == 0
    assert row["first_neuron"] is row["rank_correlation"] is row["discoveries"] is None
    assert isinstance(table, pl.DataFrame)
    assert set(FURTHER_OUTCOMES).isdisjoint(table["outcome"])


def test_a_quiet_writer_is_beyond_luck_though_loud_neurons_move_more_by_luck() -> None:
    """Contributions of neurons whose scales differ by orders of magnitude: luck is that of a neuron's own scale, and uniform."""
    generator = np.random.default_rng(5)
    shape, writers = (1, 1, 5000), slice(0, 5)
    scale = np.exp(generator.normal(0, 2, shape))
    scale[..., writers] = 1.0
    told = scale * generator.normal(size=shape)
    told[..., writers] = 30.0
    width = 2 * 2.45 * scale * np.sqrt(generator.chisquare(6, shape) / 6)
    scores = {column.name: np.full(shape, np.nan) for column in HALF_SCORES.columns if column.dtype.is_float()}
    scores |= {
        "discovery_contribution": told, "telling_contribution": told, "telling_contribution_low": told - width / 2,
        "telling_contribution_high": told + width / 2,
    }  # fmt: skip
    scores["discovery_contribution"] = np.where(told == 30.0, told, scale * generator.normal(size=shape))
    null = {measure: np.full(shape, np.nan) for measure in ("separation", "average_precision", "contribution")}
    null["contribution"] = scale * generator.normal(size=shape)
    assert (np.abs(null["contribution"]) > 30).sum() > 50, "luck of the loud is larger than what the writers write"
    one = OutcomeHalves("top_prediction", FoldTotals(np.ones(8), np.ones((1, 8))), scores, null)
    _add_p_values(one)
    assert (one.scores["contribution_q"][0, 0, writers] <= 0.1).all()
    unrelated = one.scores["contribution_p"][0, 0, 5:]
    assert 0.035 < (unrelated <= 0.05).mean() < 0.065
    assert (one.scores["contribution_q"][0, 0, 5:] <= 0.1).mean() < 0.001
