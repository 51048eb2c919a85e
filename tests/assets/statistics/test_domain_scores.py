"""What neurons do by domain: a neuron that works in one domain alone is found, one that works alike in all is not, and the test is Welch's."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import f_oneway, kstest

from assets.counting.histograms import ActivationBins, Histograms
from assets.statistics.domain_scores import DomainTables, domain_scores, welch
from assets.statistics.token_neuron_scores import area_under_roc
from tests.simulated_counters import SEARCH_LEVELS, Search

NO_MODEL: Any = None  # without a screen no weights are asked for
DOMAINS = 3
PAIRS = pl.Schema({"layer": pl.Int32, "neuron": pl.Int32, "token_id": pl.Int32})


def tables(histograms: Histograms, neurons: int, names: dict[int, str] | None = None) -> DomainTables:
    bins = ActivationBins(np.full((1, neurons), 2, np.float32), np.full((1, neurons), -4, np.int32), SEARCH_LEVELS - 2)
    pairs = pl.DataFrame([(0, neuron, 2) for neuron in range(neurons)], schema=PAIRS, orient="row")
    return domain_scores(NO_MODEL, histograms, bins, pairs, {}, names or {}, {2: " an"})


def search(neurons: int, everywhere: float = 0.4) -> Search:
    effect = np.full((neurons, DOMAINS * 8), everywhere)
    effect[0] = 0
    effect[0, :8] = 0.9  # neuron 0 works in domain 0 alone
    return Search(effect, drift=0.2)


def results_of(found: DomainTables, measure: str) -> pl.DataFrame:
    return found.tests.filter(measure=measure).sort("neuron")


@pytest.fixture(scope="module")
def found() -> DomainTables:
    return tables(search(400).histograms(np.random.default_rng(1), DOMAINS), 400, {1: "code"})


@pytest.mark.parametrize("measure", ["auroc", "average_precision"])
def test_a_neuron_that_works_in_one_domain_alone_is_found_and_one_that_works_alike_is_not(found: DomainTables, measure: str) -> None:
    p_values = results_of(found, measure)["p_value"].to_numpy()
    assert p_values[0] < 0.001
    assert kstest(p_values[1:], "uniform").pvalue > 0.01
    assert 0.02 <= (p_values[1:] <= 0.05).mean() <= 0.09


def test_its_numbers_are_those_of_the_domain_counted_by_itself(found: DomainTables) -> None:
    histograms = search(400).histograms(np.random.default_rng(1), DOMAINS)
    own = found.scores.filter(neuron=0).sort("domain")
    assert own["name"].to_list() == ["0", "code", "2"]
    assert own["auroc"].to_list()[0] > 0.7
    assert all(abs(area - 0.5) < 0.05 for area in own["auroc"].to_list()[1:])
    for domain, row in enumerate(own.iter_rows(named=True)):
        cases, count = (
            np.concatenate([held[f"{name}outside"][..., :1], held[f"{name}count"], held[f"{name}outside"][..., 1:2]], axis=-1)
            for held, name in ((histograms, "block_top_prediction_"), (histograms, "block_"))
        )
        there = slice(8 * domain, 8 * domain + 8)
        mine, every = cases[there, 0, 0, 0].sum(0).astype(float), count[there, 0, 0].sum(0).astype(float)
        assert row["auroc"] == pytest.approx(float(area_under_roc(mine, every - mine)[0]))
        assert (row["positions"], row["cases"]) == (every.sum(), mine.sum())
        assert row["auroc_low"] < row["auroc"] < row["auroc_high"]
        assert row["contribution"] is row["contribution_low"] is None
        curve = found.curves.filter(neuron=0, domain=domain).sort("bin_left")
        assert curve["count"].to_list() == every.tolist()
        assert curve["cases"].to_list() == mine.tolist()
        np.testing.assert_allclose(curve["proportion"].fill_null(0) * curve["count"], curve["cases"], atol=1e-9)


def test_a_corpus_of_one_domain_has_no_rows() -> None:
    found = tables(Search(np.zeros((3, 8))).histograms(np.random.default_rng(2)), 3)
    assert [frame.height for frame in found] == [0, 0, 0]


def test_contributions_by_domain_are_not_told_without_a_screen(found: DomainTables) -> None:
    assert results_of(found, "contribution")["p_value"].null_count() == 400


def test_the_test_is_welchs() -> None:
    generator = np.random.default_rng(3)
    groups = [generator.standard_normal(8) * size + shift for size, shift in ((1, 0), (2, 0.5), (0.7, -1))]
    means, variances = (np.array([how(group) for group in groups]) for how in (np.mean, lambda group: group.var(ddof=1) / 8))
    found = welch(means, variances, np.full(3, 7.0))
    expected = f_oneway(*groups, equal_var=False)
    assert found is not None
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.degrees == 2


def test_a_domain_that_says_nothing_has_no_part_in_the_test() -> None:
    means, variances = np.array([1.0, 2.0, np.nan, np.inf]), np.array([0.1, 0.2, 0.1, 0.3])
    degrees = np.full(4, 7.0)
    assert welch(means, variances, degrees) == welch(means[:2], variances[:2], degrees[:2])
    assert welch(means[1:], variances[1:], degrees[1:]) is None
    assert welch(means, np.array([0.1, 0, 0.1, 0.1]), degrees) is None
