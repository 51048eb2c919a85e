"""Exact numbers of broken rules in what is told by folds of documents: intervals, halves, growth and domains. Holds counting only."""

from collections.abc import Mapping, Sequence

import polars as pl

from assets.quality.table_violations import out_of_order
from assets.statistics.half_scores import TESTED
from assets.statistics.luck import DISCOVERY_RATE

ROUNDING = 1e-9  # of an end that is computed through a logarithm
_PAIR = ("outcome", "token_id", "layer", "neuron")


def intervals(frame: pl.DataFrame, by: Sequence[str], ends: Mapping[str, str]) -> pl.DataFrame:
    """One row per `by`: rows, and those of which an interval has one end alone, is of nothing, or does not hold its value. `ends`: the
    beginning of the names of an interval's columns, by the column that it is of."""
    crossed = pl.any_horizontal(_crossed(value, end) for value, end in ends.items())
    return frame.group_by(by, maintain_order=True).agg(rows=pl.len().cast(pl.Int64), crossed=crossed.sum().cast(pl.Int64))


def _crossed(value: str, end: str) -> pl.Expr:
    low, high, held = pl.col(f"{end}_low"), pl.col(f"{end}_high"), pl.col(value)
    within = (low <= held + ROUNDING * (1 + held.abs())) & (held <= high + ROUNDING * (1 + held.abs()))
    return pl.when(low.is_null() & high.is_null()).then(False).otherwise(~within.fill_null(False))


def halves(half_scores: pl.DataFrame) -> pl.DataFrame:
    """One row per outcome and token: neurons; those whose direction or separations are not those of their AUROCs; those with a rate that
    cannot be; and whether some alone are scored in both halves."""
    first, second, direction = pl.col("discovery_auroc"), pl.col("telling_auroc"), pl.col("direction")
    read = 0.5 + direction * (second - 0.5)
    astray = (
        (direction.ne_missing((first - 0.5).sign().cast(pl.Int8)))
        | ~_near("discovery_separation", 0.5 + (first - 0.5).abs())
        | ~_near("telling_separation", read)
    )
    unlikely = pl.any_horizontal(_unlikely(measure) for measure in TESTED)
    unscored = pl.col("telling_separation").is_null().sum().cast(pl.Int64)
    return half_scores.group_by("outcome", "token_id", maintain_order=True).agg(
        neurons=pl.len().cast(pl.Int64),
        astray=astray.fill_null(True).sum().cast(pl.Int64),
        unlikely=unlikely.sum().cast(pl.Int64),
        partly_scored=pl.when(unscored < pl.len()).then(unscored).otherwise(0),
    )


def _near(column: str, expected: pl.Expr) -> pl.Expr:
    """Whether the column is this to rounding, or both are missing."""
    found = pl.col(column)
    return (
        pl.when(found.is_null() | expected.is_null())
        .then(found.is_null() == expected.is_null())
        .otherwise((found - expected).abs() <= ROUNDING)
    )


def _unlikely(measure: str) -> pl.Expr:
    p_value, rate = pl.col(f"{measure}_p"), pl.col(f"{measure}_q")
    possible = (p_value > 0) & (p_value <= rate + ROUNDING) & (rate <= 1)
    return pl.when(p_value.is_null() & rate.is_null()).then(False).otherwise(~possible.fill_null(False))


def agreement(half_agreement: pl.DataFrame, half_scores: pl.DataFrame) -> pl.DataFrame:
    """One row per outcome and token of half_agreement: rows, and those whose first neuron, its values or discoveries are not those of
    half_scores."""
    parts = []
    for (measure,), rows in half_agreement.partition_by("measure", as_dict=True, maintain_order=True).items():
        found, told = pl.col(f"discovery_{measure}"), pl.col(f"telling_{measure}")
        known = half_scores.drop_nulls([f"discovery_{measure}", f"telling_{measure}"])
        rate = f"{measure}_q" if measure in TESTED else None
        discoveries = half_scores.group_by("outcome", "token_id").agg(
            counted=(pl.col(rate) <= DISCOVERY_RATE).sum().cast(pl.Int32) if rate else pl.lit(None, pl.Int32)
        )
        most = known.group_by("outcome", "token_id").agg(most=found.max(), largest_told=told.max())
        first = known.select(*_PAIR, own=found, own_told=told)
        joined = (
            rows.join(most, on=["outcome", "token_id"], how="left", maintain_order="left")
            .join(discoveries, on=["outcome", "token_id"], how="left", maintain_order="left")
            .join(
                first,
                left_on=["outcome", "token_id", "first_layer", "first_neuron"],
                right_on=list(_PAIR),
                how="left",
                maintain_order="left",
            )
        )
        unlike = (
            pl.col("first_discovery").ne_missing(pl.col("most"))
            | pl.col("first_discovery").ne_missing(pl.col("own"))
            | pl.col("first_telling").ne_missing(pl.col("own_told"))
            | pl.col("largest").ne_missing(pl.col("largest_told"))
            | (pl.col("discoveries").is_not_null() & pl.col("discoveries").ne_missing(pl.col("counted")))
        )
        parts.append(joined.select("outcome", "token_id", unlike=unlike))
    every = pl.concat(parts) if parts else half_agreement.select("outcome", "token_id", unlike=pl.lit(False))
    return every.group_by("outcome", "token_id", maintain_order=True).agg(
        rows=pl.len().cast(pl.Int64), unlike=pl.col("unlike").sum().cast(pl.Int64)
    )


def growth(corpus_growth: pl.DataFrame, token_outcomes: pl.DataFrame) -> pl.DataFrame:
    """One row per outcome, token and measure: rows; those out of order; those with fewer positions or cases than at the step before; and
    those of the last step that are not over the whole corpus."""
    key = ["outcome", "token_id", "measure"]
    whole = token_outcomes.select("outcome", "token_id", whole="positions", whole_cases="cases")
    ordered = corpus_growth.with_columns(
        disordered=out_of_order(pl.col("value")).over(*key, "step")
    ).join(whole, on=["outcome", "token_id"], how="left", maintain_order="left")  # fmt: skip
    shrinks = pl.any_horizontal((pl.col(name) < pl.col(name).shift(1)).fill_null(False) for name in ("step", "positions", "cases"))
    unlike = (pl.col("positions") != pl.col("whole")) | ((pl.col("cases") - pl.col("whole_cases")).abs() > ROUNDING * pl.col("whole_cases"))
    return ordered.group_by(key, maintain_order=True).agg(
        rows=pl.len().cast(pl.Int64),
        disordered=pl.col("disordered").sum().cast(pl.Int64),
        shrinking=shrinks.sum().cast(pl.Int64),
        unlike=((pl.col("step") == 8) & unlike.fill_null(True)).sum().cast(pl.Int64),
    )


def domains(domain_scores: pl.DataFrame, domain_curves: pl.DataFrame, token_outcomes: pl.DataFrame) -> pl.DataFrame:
    """One row per outcome and studied pair: domains; whether their positions or cases are not those of the corpus together; domains whose
    curve does not hold their positions; and levels whose proportion is not the quotient."""
    whole = token_outcomes.select("outcome", "token_id", whole="positions", whole_cases="cases")
    level = pl.when(pl.col("count") > 0).then(pl.col("cases") / pl.col("count"))
    curves = domain_curves.group_by(*_PAIR, "domain").agg(
        held=pl.col("count").sum(), wrong=pl.col("proportion").ne_missing(level).sum().cast(pl.Int64)
    )
    joined = domain_scores.join(curves, on=[*_PAIR, "domain"], how="left").join(whole, on=["outcome", "token_id"], how="left")
    missed = (pl.col("positions").sum() != pl.col("whole").first()) | (
        (pl.col("cases").sum() - pl.col("whole_cases").first()).abs() > ROUNDING * (1 + pl.col("whole_cases").first())
    )
    return joined.group_by(_PAIR, maintain_order=True).agg(
        domains=pl.len().cast(pl.Int64),
        torn=missed.fill_null(True).cast(pl.Int64),
        unbalanced=pl.col("held").ne_missing(pl.col("positions")).sum().cast(pl.Int64),
        wrong_proportion=pl.col("wrong").fill_null(1).sum().cast(pl.Int64),
    )


def domain_tests(frame: pl.DataFrame, domains: int) -> pl.DataFrame:
    """One row per outcome and studied pair: tests, and those that are given in part, or compare more domains than there are."""
    parts = [pl.col(name).is_null() for name in ("statistic", "degrees", "degrees_within", "p_value")]
    torn = pl.any_horizontal(parts) != pl.all_horizontal(parts)
    beyond = ~(pl.col("degrees").is_between(1, max(domains - 1, 1)) & (pl.col("statistic") >= 0)).fill_null(True)
    return frame.group_by(_PAIR, maintain_order=True).agg(tests=pl.len().cast(pl.Int64), strange=(torn | beyond).sum().cast(pl.Int64))
