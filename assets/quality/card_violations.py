"""Exact numbers of broken rules in evidence cards and in the curves of both halves. Holds counting only."""

import polars as pl

from assets.evidence_cards.evidence_lines import LINE_NAMES, NOT_MEASURED, VERDICTS
from assets.quality.half_violations import ROUNDING

_PAIR = ("token_id", "layer", "neuron")


def cards(evidence_cards: pl.DataFrame) -> pl.DataFrame:
    """One row per pair: lines; lines that are missing, double or unknown; verdicts that there are not; lines measured without a number, or
    with a number though not measured; intervals that do not hold their number."""
    value, low, high = pl.col("value"), pl.col("low"), pl.col("high")
    is_measured = pl.col("verdict") != NOT_MEASURED
    crossed = (low > value + ROUNDING * (1 + value.abs())) | (high < value - ROUNDING * (1 + value.abs()))
    known = pl.col("line").filter(pl.col("line").is_in(LINE_NAMES))
    return evidence_cards.group_by(_PAIR, maintain_order=True).agg(
        lines=pl.len().cast(pl.Int64),
        astray=(len(LINE_NAMES) - known.n_unique().cast(pl.Int64) + pl.len().cast(pl.Int64) - known.n_unique().cast(pl.Int64)),
        unknown=pl.col("verdict").is_in(VERDICTS).not_().sum().cast(pl.Int64),
        unnumbered=(is_measured != value.is_not_null()).sum().cast(pl.Int64),
        crossed=crossed.fill_null(False).sum().cast(pl.Int64),
    )


def half_curves(half_curves: pl.DataFrame, proportion_curves: pl.DataFrame, outcome_curves: pl.DataFrame) -> pl.DataFrame:
    """One row per pair and outcome of half_curves: levels, and those at which the halves do not add up to the whole curve."""
    by = ["outcome", *_PAIR]
    predicted = proportion_curves.select(
        *_PAIR, "bin_left", "count", outcome=pl.lit("top_prediction"), cases=pl.col("top_prediction_count").cast(pl.Float64)
    )
    whole = pl.concat([frame.select(*by, "bin_left", "count", "cases") for frame in (predicted, outcome_curves)])
    both = half_curves.group_by(*by, "bin_left", maintain_order=True).agg(own=pl.col("count").sum(), own_cases=pl.col("cases").sum())
    joined = both.join(whole, on=[*by, "bin_left"], how="left", maintain_order="left")
    is_even = (pl.col("own") == pl.col("count")) & ((pl.col("own_cases") - pl.col("cases")).abs() <= ROUNDING * (1 + pl.col("count")))
    is_torn = is_even.fill_null(False).not_()
    return joined.group_by(by, maintain_order=True).agg(levels=pl.len().cast(pl.Int64), torn=is_torn.sum().cast(pl.Int64))
