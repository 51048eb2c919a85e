"""Violations counted in the tables of corrected congruence: whether pairs, hubs and agreement say what strongest_neurons says.

Each function returns a frame of counts for the sentences of checks/statistics.py. Judges nothing.
"""

import polars as pl

MEASURES = ("plain", "corrected")
ROUNDING = 1e-4  # of a product of two float32 numbers, relative


def pairs(strongest_neurons: pl.DataFrame, corrected_mutual_pairs: pl.DataFrame) -> pl.DataFrame:
    """One row: corrected pairs, those that are not the mutual rows of strongest_neurons or the other way round, those whose score is not
    the product of their gaps, and those out of order."""
    mutual = strongest_neurons.filter(pl.col("measure") == "corrected", pl.col("is_mutual"))
    columns = ["token_id", "layer", "neuron"]
    other = (
        mutual.join(corrected_mutual_pairs, on=columns, how="anti").height
        + corrected_mutual_pairs.join(mutual, on=columns, how="anti").height
    )
    product = pl.col("token_gap") * pl.col("neuron_gap")
    return corrected_mutual_pairs.select(
        pairs=pl.len(),
        other=pl.lit(other),
        wrong=((pl.col("score") - product).abs() > ROUNDING * product.abs().clip(lower_bound=ROUNDING)).sum(),
        disordered=(pl.col("score") > pl.col("score").shift(1)).sum(),
    )


def shared(strongest_neurons: pl.DataFrame) -> pl.DataFrame:
    """One row per measure: mutual pairs, and those whose neuron is in another as well: a neuron has one strongest token."""
    mutual = strongest_neurons.filter(pl.col("is_mutual")).select(
        "measure", is_shared=pl.struct("measure", "layer", "neuron").is_duplicated()
    )
    counted = mutual.group_by("measure").agg(pairs=pl.len(), shared=pl.col("is_shared").sum())
    return pl.DataFrame({"measure": MEASURES}).join(counted, on="measure", how="left", maintain_order="left").fill_null(0)


def hubs(strongest_neurons: pl.DataFrame, congruence_hubs: pl.DataFrame) -> pl.DataFrame:
    """One row per measure: hubs, those whose tokens or share are not those of strongest_neurons, and those whose rank does not follow them."""
    rows = []
    for measure in MEASURES:
        of = strongest_neurons.filter(pl.col("measure") == measure)
        counted = of.group_by("layer", "neuron").agg(pl.len().alias("found"))
        tokens, share, rank = (pl.col(f"{measure}_{name}") for name in ("tokens", "share", "rank"))
        told = congruence_hubs.join(counted, on=["layer", "neuron"], how="left").with_columns(pl.col("found").fill_null(0))
        misses = (
            (tokens != pl.col("found"))
            | ((share - pl.col("found") / max(of.height, 1)).abs() > ROUNDING)
            | (rank.is_null() != (pl.col("found") == 0))
        )
        ranked = told.filter(rank.is_not_null()).sort(rank)
        rows.append({"measure": measure, "hubs": told.height, "other": int(told.select(misses.sum()).item()),
                     "disordered": int(ranked.select((tokens > tokens.shift(1)).sum()).item())})  # fmt: skip
    return pl.DataFrame(rows)


def agreement(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per row of congruence_agreement: whether a part of its pairs is larger than what it is a part of."""
    parts = (("told", "pairs"), ("among_writers", "told"), ("first_writer", "among_writers"), ("first_against", "among_against"))
    larger = [pl.col(part) > pl.col(whole) for part, whole in parts]
    both = pl.col("among_writers") + pl.col("among_against") > pl.col("told")
    return frame.select("measure", "pairs_of", larger=pl.any_horizontal(*larger, both).cast(pl.Int64))
