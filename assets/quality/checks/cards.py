"""The checks of evidence cards, and of the curves of both halves, of which cards and pages tell."""

import polars as pl

from assets.quality import card_violations
from assets.quality.check import Check, Frames
from assets.quality.expectations import none_of

_PAIR = ("token_id", "layer", "neuron")


def card_frames(evidence_cards: pl.DataFrame) -> Frames:
    """The cards of all studied pairs."""
    return {"cards": card_violations.cards(evidence_cards)}


def half_curve_frames(half_curves: pl.DataFrame, proportion_curves: pl.DataFrame, outcome_curves: pl.DataFrame) -> Frames:
    """The halves' curves beside those of the whole corpus."""
    return {"curves": card_violations.half_curves(half_curves, proportion_curves, outcome_curves)}


CHECKS = (
    Check(
        name="card_values",
        asset="evidence_cards",
        promise="Every studied pair has every line of evidence once, with a verdict and, where it was measured, its number.",
        needs=("evidence_cards",),
        count=lambda reading, shard: card_frames(reading.raw("evidence_cards")),
        sentences={
            "cards": [
                none_of(sentence, column, words, of="lines", by=_PAIR)
                for sentence, column, words in (
                    ("a pair has each line of evidence once and no other", "astray", "lines too few, too many or unknown"),
                    ("a verdict is supported, against, unclear or not measured", "unknown", "other verdicts"),
                    ("a line has a number exactly where it was measured", "unnumbered", "lines without, or with one too many"),
                    ("an interval holds its number", "crossed", "intervals beside their number"),
                )
            ]
        },
    ),
    Check(
        name="half_curves",
        asset="proportion_curves",
        promise="The curves of the two halves add up to those of the whole corpus.",
        needs=("half_curves", "proportion_curves", "outcome_curves"),
        count=lambda reading, shard: half_curve_frames(*(reading.raw(name) for name in ("half_curves", "proportion_curves", "outcome_curves"))),
        sentences={
            "curves": [
                none_of(
                    "at every level the halves' positions and cases are those of the corpus",
                    "torn",
                    "levels that do not add up",
                    of="levels",
                    by=("outcome", *_PAIR),
                )
            ]
        },
    ),
)  # fmt: skip
