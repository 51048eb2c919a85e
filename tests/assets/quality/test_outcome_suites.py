"""The checks of outcomes, their curves and contributions, and of contrasts: sound tables pass, and each planted fault is named."""

from collections.abc import Callable

import polars as pl
import pytest

from assets.contracts import CONTRASTS
from assets.quality import table_violations
from assets.quality.checks import statistics
from assets.quality.expectations import Outcome
from assets.statistics.outcome_scores import outcome_scores
from assets.statistics.outcomes import token_outcomes
from assets.statistics.proportion_curves import outcome_curves
from tests.assets.quality.judged import check
from tests.assets.statistics.test_outcomes import BINS, TEXTS, counted

Change = Callable[[pl.DataFrame], pl.DataFrame]
ROW = (pl.col("layer") == 0) & (pl.col("neuron") == 1)


def failed(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.expectation: outcome.observed for outcome in outcomes if not outcome.passed}


def put(column: str, value: object, where: pl.Expr) -> Change:
    """The frame with a value in a column of some rows."""
    return lambda frame: frame.with_columns(pl.when(where).then(pl.lit(value)).otherwise(column).cast(frame.schema[column]).alias(column))


FIRST = (pl.col("token_id") == 1) & (pl.col("outcome") == "next_token")
ASTRAY = "separation is max(auroc, 1 - auroc), and direction is -1 where auroc is below 0.5, 1 elsewhere"


@pytest.mark.parametrize(
    ("table", "change", "broken"),
    [
        ("token_outcomes", put("leads", True, FIRST), {"one outcome leads for every tracked token"}),
        ("token_outcomes", put("leads", False, pl.col("token_id") == 1), {"one outcome leads for every tracked token"}),
        ("token_outcomes", put("share", 0.9, FIRST), {"every share is cases / positions"}),
        ("token_outcomes", put("cases", 10_000.0, FIRST), {"every share is cases / positions"}),
        ("outcome_scores", put("direction", 0, FIRST & ROW), {ASTRAY}),
        ("outcome_scores", put("separation", 0.5001, FIRST & ROW), {ASTRAY}),
        ("outcome_scores", put("auroc", None, FIRST & ROW), {ASTRAY, "a token has an AUROC for every neuron or for none"}),
        (
            "outcome_scores",
            put("recall_beyond_half", None, pl.col("half_activation").is_not_null()),
            {"half_activation and recall are given exactly where a reliable bin reaches one half"},
        ),
    ],
)
def test_each_fault_in_outcomes_and_their_scores_is_found(table: str, change: Change, broken: set[str]) -> None:
    histograms, _ = counted()
    frames = {
        "token_outcomes": token_outcomes(histograms, TEXTS, "top_prediction", 1),
        "outcome_scores": outcome_scores(histograms, BINS, TEXTS, 1),
    }
    judge = check("outcome_values", "outcome_scores").judged
    assert failed(judge(statistics.outcome_frames(**frames))) == {}
    assert failed(judge(statistics.outcome_frames(**{**frames, table: change(frames[table])}))).keys() == broken


FILLED = (pl.col("outcome") == "next_token") & (pl.col("count") > 0)
GIVEN = (pl.col("outcome") == "probability") & (pl.col("count") > 0)
QUOTIENT = "every such proportion is cases / count and lies between 0 and 1"
INTERVAL = "every such interval lies between 0 and 1 and holds its proportion; under probability there is none"


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (put("proportion", 0.999, FILLED), {QUOTIENT, INTERVAL}),
        (lambda frame: frame.filter(~(FILLED & (pl.col("bin_left") == 0))), {"under every outcome, the counts of every curve add up to the positions that it is read over"}),
        (put("ci_high", -0.5, FILLED), {INTERVAL}),
        (put("ci_low", 0.0, GIVEN), {INTERVAL}),
    ],
)  # fmt: skip
def test_each_fault_in_the_curves_of_outcomes_is_found(change: Change, broken: set[str]) -> None:
    histograms, _ = counted()
    pairs = pl.DataFrame(
        {"layer": [1], "neuron": [2], "token_id": [6]}, schema={"layer": pl.Int32, "neuron": pl.Int32, "token_id": pl.Int32}
    )
    curves = outcome_curves(histograms, BINS, pairs, TEXTS, 1)
    positions = dict(token_outcomes(histograms, TEXTS, "top_prediction", 1).select("outcome", "positions").unique().iter_rows())
    judge = check("curve_values", "proportion_curves").judged
    assert failed(judge({"outcomes": table_violations.outcome_curves(curves, positions)})) == {}
    assert failed(judge({"outcomes": table_violations.outcome_curves(change(curves), positions)})).keys() == broken


def test_a_contribution_under_an_outcome_that_is_no_difference_is_found() -> None:
    sound = pl.DataFrame({"outcome": ["next_token"] * 2, "token_id": [1, 1], "contribution_where_predicted": [0.5, 0.1],
                          "contribution_elsewhere": [0.2, 0.3], "contribution": [0.5 - 0.2, 0.1 - 0.3]})  # fmt: skip
    judge = check("contribution_values", "contributions").judged
    for frame, faults in ((sound, 0), (sound.with_columns(contribution=pl.lit(0.3)), 1)):
        found = failed(judge({"outcomes": table_violations.contributions(frame, ("outcome", "token_id"))}))
        assert len(found) == faults
        assert all(observed.startswith("1 of 2 contributions contradictory") for observed in found.values())


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (put("direction", 1, ROW), {ASTRAY}),
        (put("separation", 0.6, ROW), {ASTRAY}),
        (put("auroc", None, ROW), {ASTRAY, "a pair has an AUROC for every neuron or for none"}),
    ],
)
def test_each_fault_in_contrasts_is_found(change: Change, broken: set[str]) -> None:
    sound = pl.DataFrame(
        {"token_id": [1, 1], "token": ["x", "x"], "other_id": [2, 2], "other": ["y", "y"], "outcome": ["next_token"] * 2, "layer": [0, 0],
         "neuron": [0, 1], "auroc": [0.75, 0.25], "auroc_standard_error": [0.1, 0.1], "direction": [1, -1], "separation": [0.75, 0.75],
         "congruence": [1.0, 1.0], "contribution": [0.1, 0.2], "auroc_low": [0.7, 0.2], "auroc_high": [0.8, 0.3],
         "contribution_low": [0.0, 0.1], "contribution_high": [0.2, 0.3]},
        schema=CONTRASTS.schema,
    )  # fmt: skip
    judge = check("contrast_values", "contrasts").judged
    assert failed(judge({"pairs": table_violations.contrasts(sound)})) == {}
    assert failed(judge({"pairs": table_violations.contrasts(change(sound))})).keys() == broken
