"""The checks of evidence cards and of the halves' curves: sound tables pass, and each planted fault is named."""

from collections.abc import Callable

import polars as pl
import pytest

from assets.quality.checks import cards
from assets.statistics.half_curves import half_curves
from assets.statistics.proportion_curves import outcome_curves, proportion_curves
from tests.assets.evidence_cards.test_evidence_cards import LAYER, card_frame, halves
from tests.assets.quality.judged import check
from tests.assets.quality.test_outcome_suites import failed, put
from tests.assets.statistics.test_outcomes import BINS, TEXTS, counted

Change = Callable[[pl.DataFrame], pl.DataFrame]
WRITES = (pl.col("layer") == LAYER) & (pl.col("neuron") == 0) & (pl.col("line") == "writes")
EACH = "a pair has each line of evidence once and no other"
KNOWN = "a verdict is supported, against, unclear or not measured"
NUMBERED = "a line has a number exactly where it was measured"
WITHIN = "an interval holds its number"


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda frame: frame.filter(~WRITES), {EACH}),
        (put("line", "luck", WRITES), {EACH}),
        (put("line", "goes_along", WRITES), {EACH}),
        (put("verdict", "maybe", WRITES), {KNOWN}),
        (put("value", None, WRITES), {NUMBERED}),
        (put("verdict", "not measured", WRITES), {NUMBERED}),
        (put("low", 1.1, WRITES), {WITHIN}),
        (put("high", 0.9, WRITES), {WITHIN}),
    ],
)
def test_each_fault_in_a_card_is_found(change: Change, broken: set[str]) -> None:
    sound = card_frame(2, half_scores=halves({}, {"telling_contribution": None}))
    judge = check("card_values", "evidence_cards").judged
    assert failed(judge(cards.card_frames(sound))) == {}
    assert failed(judge(cards.card_frames(change(sound)))).keys() == broken


def test_halves_that_do_not_add_up_are_found() -> None:
    histograms = counted(40)[0]
    pairs = pl.DataFrame(
        {"layer": [0, 0], "neuron": [0, 1], "token_id": [1, 2]}, schema={"layer": pl.Int32, "neuron": pl.Int32, "token_id": pl.Int32}
    )
    curves = half_curves(histograms, BINS, pairs, 1)
    whole = proportion_curves(histograms, BINS, pairs, TEXTS, 1), outcome_curves(histograms, BINS, pairs, TEXTS, 1)
    judge = check("half_curves", "proportion_curves").judged
    assert curves.height == len(histograms.outcomes) * 2 * 2 * (histograms.bins + 2)
    assert failed(judge(cards.half_curve_frames(curves, *whole))) == {}
    level = pl.col("bin_left") == pl.col("bin_left").filter(pl.col("count") > 0).first()
    wrong = curves.with_columns(
        count=pl.when(level & (pl.col("half") == "telling") & (pl.col("neuron") == 1)).then(pl.col("count") + 1).otherwise("count")
    )
    assert len(failed(judge(cards.half_curve_frames(wrong, *whole)))) == 1
    lost = curves.with_columns(
        cases=pl.when((pl.col("half") == "discovery") & (pl.col("cases") > 0)).then(pl.col("cases") - 1).otherwise("cases")
    )
    assert len(failed(judge(cards.half_curve_frames(lost, *whole)))) == 1
