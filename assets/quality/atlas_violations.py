"""Exact numbers of broken rules in the tables of the atlas: frames that are then judged, one row a layer. Holds counting only.

Each function takes a table whole or a part of it that holds whole neurons, so that a check can look at one layer after the other.
"""

import numpy as np
import polars as pl

from assets.counting.example_contexts import halves
from assets.counting.histograms import AFTER, BEFORE

NEURON = ["layer", "neuron"]
LISTS = ("token_ids", "activations", "prediction_ids")


def histograms(atlas_histograms: pl.DataFrame, neuron_statistics: pl.DataFrame) -> pl.DataFrame:
    """Per layer: `neurons`; `unbalanced`: those whose bins do not sum to the positions that neuron_statistics counts within the bins;
    `negative`: those with a count below 0; `uneven`: those with another number of bins than the first."""
    within = pl.col("count") - pl.col("underflow") - pl.col("overflow") - pl.col("nan")
    counted = neuron_statistics.select(*NEURON, within=within)
    joined = atlas_histograms.join(counted, on=NEURON, how="left", maintain_order="left")
    counts = pl.col("counts")
    found = joined.with_columns(
        unbalanced=counts.list.sum().ne_missing(pl.col("within")),
        negative=(counts.list.min() < 0).fill_null(False),
        uneven=counts.list.len() != counts.list.len().first(),
    )
    return _by_layer(found, "neurons", "unbalanced", "negative", "uneven")


def examples(atlas_examples: pl.DataFrame) -> pl.DataFrame:
    """Per layer: `examples`; `unlike`: those whose list has another activation at their place than their own, in half precision; `uneven`:
    those whose lists differ in length, or reach farther than the pass keeps; `misranked`: those out of the order of their neuron and
    side; `repeated`: those of a document that their neuron and side has already."""
    side, place = [*NEURON, "side"], pl.col("position") - pl.col("first_position")
    length = pl.col("activations").list.len().cast(pl.Int64)
    outwards = pl.when(pl.col("side") == "top").then(-pl.col("activation")).otherwise("activation")  # the first is the least
    own = atlas_examples.select(pl.col("activations").list.get(place, null_on_oob=True)).to_series()
    kept = pl.Series(halves(atlas_examples["activation"].to_numpy())).cast(pl.Float32)
    found = atlas_examples.with_columns(
        unlike=own.ne_missing(kept),
        uneven=pl.any_horizontal(pl.col(name).list.len() != length for name in LISTS)
        | ~place.is_between(0, BEFORE)
        | ~(length - 1 - place).is_between(0, AFTER),
        misranked=_is_misranked(side) | (outwards < outwards.shift().over(side)).fill_null(False),
        repeated=pl.struct(*side, "document").is_first_distinct().not_(),
    )
    return _by_layer(found, "examples", "unlike", "uneven", "misranked", "repeated")


def tokens(atlas_tokens: pl.DataFrame) -> pl.DataFrame:
    """Per layer, by predicted and by current token: `tokens`; `misranked`: those out of the order of their neuron and end; `astray`: those at
    the end that their means do not say; `twice`: those that their neuron has already."""
    end = [*NEURON, "by", "end"]
    # A missing difference is an infinite one: the neuron varies within neither group.
    size = pl.col("standardized_difference").abs().fill_null(np.inf)
    gap = pl.col("mean_there") - pl.col("mean_elsewhere")
    found = atlas_tokens.with_columns(
        misranked=_is_misranked(end) | (size > size.shift().over(end)).fill_null(False),
        astray=~pl.when(pl.col("end") == "high").then(gap > 0).otherwise(gap < 0),
        twice=pl.struct(*NEURON, "by", "token_id").is_first_distinct().not_(),
    )
    return _by_layer(found, "tokens", "misranked", "astray", "twice")


def _is_misranked(group: list[str]) -> pl.Expr:
    """Whether a row's rank is not its place among the rows of its group."""
    return pl.col("rank") != pl.int_range(1, pl.len() + 1).over(group)


def _by_layer(found: pl.DataFrame, rows: str, *violations: str) -> pl.DataFrame:
    sums = (pl.col(name).sum().cast(pl.Int64) for name in violations)
    return found.group_by("layer", maintain_order=True).agg(pl.len().cast(pl.Int64).alias(rows), *sums)
