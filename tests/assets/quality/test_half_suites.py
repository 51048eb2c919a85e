"""The checks of halves, growth, domains and intervals: sound tables pass, and each planted fault is named."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from assets.quality import half_violations
from assets.quality.checks import halves
from assets.quality.expectations import Outcome
from assets.statistics.corpus_growth import corpus_growth
from assets.statistics.half_agreement import half_agreement
from assets.statistics.half_scores import half_scores, halves_of, outcome_halves
from assets.statistics.outcome_scores import outcome_scores
from assets.statistics.outcomes import token_outcomes
from assets.statistics.proportion_curves import outcome_curves, proportion_curves
from assets.statistics.token_neuron_scores import token_neuron_scores
from tests.assets.quality.judged import check
from tests.assets.quality.test_outcome_suites import failed, put
from tests.assets.statistics.test_domain_scores import DOMAINS, search, tables
from tests.assets.statistics.test_outcomes import BINS, TEXTS, counted

Change = Callable[[pl.DataFrame], pl.DataFrame]
Judge = Callable[[dict[str, pl.DataFrame]], list[Outcome]]
NO_MODEL: Any = None  # without a screen no weights are asked for
MEMBERS = {1: [0], 2: [1], 6: [2]}
ONE = (pl.col("outcome") == "next_token") & (pl.col("token_id") == 1) & (pl.col("layer") == 0) & (pl.col("neuron") == 1)
WITHIN = "every interval that respects documents has both ends, and holds the value that it is of"
READ = "direction and separation are those of the discovery half's AUROC, and the telling half's AUROC is read in that direction"
RATES = "a p-value is above 0, and its false discovery rate at least as large and at most 1"
ALL = "a token is told of every neuron or of none"
SAME = "the first neuron, what both halves say of it, the largest and the discoveries are those of half_scores"


@pytest.fixture(scope="module")
def both() -> dict[str, pl.DataFrame]:
    histograms = counted(40)[0]
    found = outcome_halves(NO_MODEL, histograms, {})
    return {
        "half_scores": half_scores(found, TEXTS, MEMBERS),
        "half_agreement": half_agreement(found, halves_of(histograms), TEXTS, MEMBERS),
    }


AGREED = (pl.col("outcome") == "next_token") & (pl.col("token_id") == 1) & (pl.col("measure") == "separation")


@pytest.mark.parametrize(
    ("table", "change", "broken"),
    [
        ("half_scores", put("direction", 0, ONE), {READ}),
        ("half_scores", put("telling_separation_low", 0.999, ONE), {WITHIN}),
        ("half_scores", put("telling_separation_high", None, ONE), {WITHIN}),
        ("half_scores", put("telling_average_precision_high", 0.0, ONE), {WITHIN}),
        ("half_scores", put("separation_p", 0.0, ONE), {RATES}),
        ("half_scores", put("separation_q", 0.0, pl.col("outcome") == "next_token"), {RATES, SAME}),
        ("half_scores", put("telling_separation", None, ONE), {READ, ALL, WITHIN}),
        ("half_agreement", put("first_telling", 0.123, AGREED), {SAME}),
        ("half_agreement", put("largest", 0.123, AGREED), {SAME}),
        ("half_agreement", put("discoveries", 5, AGREED), {SAME}),
        ("half_agreement", lambda frame: frame.with_columns(first_neuron=(pl.col("first_neuron") + 1) % 3), {SAME}),
    ],
)
def test_each_fault_in_the_halves_is_found(both: dict[str, pl.DataFrame], table: str, change: Change, broken: set[str]) -> None:
    judge = check("half_values", "half_scores").judged
    assert failed(judge(halves.half_frames(**both))) == {}
    found = failed(judge(halves.half_frames(**{**both, table: change(both[table])})))
    assert found.keys() - {SAME} == broken - {SAME}
    assert (SAME in found) >= (SAME in broken)


STEP = (pl.col("outcome") == "next_token") & (pl.col("token_id") == 1) & (pl.col("measure") == "separation") & (pl.col("step") == 8)
RANKED = "ranks within a step follow the value"
GROWS = "no step has fewer positions or cases than the one before"
WHOLE = "the last step is over the whole corpus"


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (put("value", 9.0, STEP & (pl.col("rank") == 2)), {RANKED}),
        (put("rank", 2, STEP & (pl.col("rank") == 1)), {RANKED}),
        (put("cases", 1.0, pl.col("step") == 7), {GROWS}),
        (put("positions", 10**6, STEP), {WHOLE}),
        (put("cases", 10.0**6, STEP), {WHOLE}),
    ],
)
def test_each_fault_in_the_growth_is_found(change: Change, broken: set[str]) -> None:
    histograms = counted(30)[0]
    steps = corpus_growth(NO_MODEL, histograms, BINS, {}, TEXTS, 1)  # type: ignore[arg-type]
    outcomes = token_outcomes(histograms, TEXTS, "top_prediction", 1)
    judge = check("growth_values", "corpus_growth").judged
    assert failed(judge({"steps": half_violations.growth(steps, outcomes)})) == {}
    assert failed(judge({"steps": half_violations.growth(change(steps), outcomes)})).keys() == broken


FIRST = (pl.col("neuron") == 0) & (pl.col("domain") == 1)
TOGETHER = "the domains' positions and cases add up to those of the corpus"
CURVES = "the counts of every domain's curve add up to its positions"
QUOTIENT = "every proportion is cases / count"
TESTS = "a test is given whole or not at all, and compares no more domains than there are"


@pytest.mark.parametrize(
    ("table", "change", "broken"),
    [
        (0, put("positions", 7, FIRST), {TOGETHER, CURVES}),
        (0, put("cases", 7.0, FIRST), {TOGETHER}),
        (0, put("auroc_low", 0.99, FIRST), {WITHIN}),
        (1, lambda frame: frame.filter(~(FIRST & (pl.col("bin_left") == 0))), {CURVES}),
        (1, put("proportion", 0.77, FIRST & (pl.col("bin_left") == 0)), {QUOTIENT}),
        (2, put("p_value", None, (pl.col("neuron") == 0) & (pl.col("measure") == "auroc")), {TESTS}),
        (2, put("degrees", 5, (pl.col("neuron") == 0) & (pl.col("measure") == "auroc")), {TESTS}),
        (2, put("statistic", -1.0, (pl.col("neuron") == 0) & (pl.col("measure") == "auroc")), {TESTS}),
    ],
)
def test_each_fault_in_the_domains_is_found(table: int, change: Change, broken: set[str]) -> None:
    histograms = search(4).histograms(np.random.default_rng(1), DOMAINS)
    outcomes = token_outcomes(histograms, {2: " an"}, "top_prediction", 1)
    sound = list(tables(histograms, 4))
    judge = check("domain_values", "domain_scores").judged
    assert failed(judge(halves.domain_frames(*sound, outcomes))) == {}  # type: ignore[call-arg]
    changed = [change(frame) if place == table else frame for place, frame in enumerate(sound)]
    assert failed(judge(halves.domain_frames(*changed, outcomes))).keys() == broken  # type: ignore[call-arg]


def test_intervals_that_do_not_hold_their_value_are_found_in_every_table() -> None:
    histograms = counted(30)[0]
    pairs = pl.DataFrame([(0, 1, 1)], schema={"layer": pl.Int32, "neuron": pl.Int32, "token_id": pl.Int32}, orient="row")
    written = pl.DataFrame(
        {"outcome": ["next_token"], "token_id": [1], "contribution": [0.5], "contribution_low": [0.4], "contribution_high": [0.6]}
    )
    apart = written.with_columns(auroc=0.5, auroc_low=0.4, auroc_high=0.6)
    frames = {
        "token_neuron_scores": token_neuron_scores(histograms, BINS, TEXTS, 1),
        "outcome_scores": outcome_scores(histograms, BINS, TEXTS, 1),
        "proportion_curves": proportion_curves(histograms, BINS, pairs, TEXTS, 1),
        "outcome_curves": outcome_curves(histograms, BINS, pairs, TEXTS, 1),
        "contributions": written,
        "outcome_contributions": written,
        "contrasts": apart,
    }
    assert frames.keys() == halves.BESIDE.keys()
    for name, frame in frames.items():
        asset, _, ends = halves.BESIDE[name]
        judge = check(f"{name}_intervals", asset).judged
        assert failed(judge(halves.interval_frames(name, frame))) == {}
        for value, end in ends.items():
            given = frame[f"{end}_low"].is_not_null()
            assert given.any(), name
            for low, high in ((2.0, 3.0), (None, 0.9)):
                changed = frame.with_columns(
                    pl.when(given).then(pl.lit(low, pl.Float64)).alias(f"{end}_low"), pl.when(given).then(pl.lit(high)).alias(f"{end}_high")
                )
                assert failed(judge(halves.interval_frames(name, changed))).keys() == {WITHIN}, value
