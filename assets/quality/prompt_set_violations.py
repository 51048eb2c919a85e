"""Exact numbers of broken rules in the tables of prompt sets: a frame that is then judged. Holds counting only."""

import polars as pl

from assets.prompts.prompt_set_patching import FIRST

_WHOLE = 1e-9  # shares of up to 512 pairs, times the pairs, are whole to far more digits


def prompt_set_violations(prompt_sets: pl.DataFrame, prompt_set_pairs: pl.DataFrame, prompt_set_patching: pl.DataFrame) -> pl.DataFrame:
    """One row per prompt set of any of the three tables, with whatever breaks a rule.

    `neurons` of prompt_set_patching; `disordered`: those whose quartiles do not enclose the median. `partial`: those that are among the first ten
    in no whole number of pairs. `crowded`: places among the first ten beyond ten a pair. `pairs` of prompt_set_pairs; `unlike`: those whose
    first neuron is not given exactly where it was patched, is never among the first ten though it restores something, or whose preference is
    not what its logit differences say. `miscounted`: numbers of pairs that differ between the tables or exceed what they are taken from.
    """
    neurons = prompt_set_patching.group_by("prompt_set", maintain_order=True).agg(
        neurons=pl.len().cast(pl.Int64),
        disordered=(~_ordered()).fill_null(True).sum().cast(pl.Int64),
        partial=((_places() - _places().round()).abs() > _WHOLE).fill_null(True).sum().cast(pl.Int64),
        crowded=(_places().fill_nan(0).sum().round() - FIRST * pl.col("pairs").max()).clip(lower_bound=0).cast(pl.Int64),
        fewest=pl.col("pairs").min(),
        most=pl.col("pairs").max(),
    )
    among = prompt_set_patching.select("prompt_set", "layer", "neuron", "first_ten_share")
    pairs = prompt_set_pairs.join(among, on=["prompt_set", "layer", "neuron"], how="left", maintain_order="left")
    of_pairs = pairs.group_by("prompt_set", maintain_order=True).agg(
        pairs=pl.len().cast(pl.Int64), unlike=(~_alike()).fill_null(True).sum().cast(pl.Int64), were_patched=pl.col("is_patched").sum()
    )
    every = pl.concat([frame.select("prompt_set") for frame in (prompt_sets, prompt_set_pairs, prompt_set_patching)]).unique(
        maintain_order=True
    )
    joined = every
    for frame in (prompt_sets.drop("text"), of_pairs, neurons):
        joined = joined.join(frame, on="prompt_set", how="left", maintain_order="left")
    counts = (
        pl.col("drawn") != pl.col("pairs"),
        pl.col("patched") != pl.col("were_patched"),
        pl.col("patched") != pl.col("fewest"),
        pl.col("patched") != pl.col("most"),
        pl.col("drawn") > pl.col("of_equal_length"),
        pl.col("of_equal_length") > pl.col("fillers").cast(pl.Int64) * pl.col("corrupt_fillers"),
    )
    told = joined.with_columns(miscounted=pl.sum_horizontal(rule.fill_null(True).cast(pl.Int64) for rule in counts))
    return told.select("prompt_set", pl.col("neurons", "disordered", "partial", "crowded", "pairs", "unlike", "miscounted").fill_null(0))


def _places() -> pl.Expr:
    """Pairs in which the neuron is among the first ten."""
    return pl.col("first_ten_share") * pl.col("pairs")


def _ordered() -> pl.Expr:
    ends = (pl.col("lower_quartile"), pl.col("median"), pl.col("upper_quartile"))
    return (ends[0] <= ends[1]) & (ends[1] <= ends[2]) & pl.all_horizontal(end.is_finite() for end in ends)  # polars holds NaN for largest


def _alike() -> pl.Expr:
    leader = pl.col("layer").is_not_null() & pl.col("neuron").is_not_null() & pl.col("improvement").is_not_null()
    among = ~pl.col("is_patched") | (pl.col("improvement") <= 0) | (pl.col("first_ten_share") > 0)
    prefers = (pl.col("clean_difference") > 0) & (pl.col("corrupt_difference") < 0)
    return (leader == pl.col("is_patched")) & among & (prefers == pl.col("prefers_both"))
