"""The tables `study_difference_tokens` and `study_difference_token_neurons`: whether the same neurons lead for a token in both studies.

Neurons are ranked by what does not change with a gated neuron's sign: the contribution to the token's logit, and the separation. A token is the
same one in both studies if number and text of its vocabulary entry are.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from assets.contracts import STUDY_DIFFERENCE_TOKEN_NEURONS, STUDY_DIFFERENCE_TOKENS, conform

FIRST = 10  # neurons of a token that are compared by name
TOKEN, NEURON = ["token_id", "token"], ["layer", "neuron"]


@dataclass(frozen=True)
class Measure:
    """One way to rank neurons for a token: table and column, and the value above which it speaks for a neuron at all."""

    name: str
    table: str
    least: float


MEASURES = (Measure("contribution", "contributions", 0.0), Measure("separation", "token_neuron_scores", 0.5))
Tables = Mapping[str, pl.DataFrame]


def token_differences(one: Tables, other: Tables) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both tables, tokens in the order of the first study. The studies' tables by contract name: token_counts, and those of MEASURES."""
    tokens, neurons = [], []
    for measure in MEASURES:
        ranked = _side_by_side(_ranked(one[measure.table], measure), _ranked(other[measure.table], measure))
        listed = pl.col("is_listed_a") | pl.col("is_listed_b")
        name = pl.lit(measure.name).alias("measure")
        neurons.append(ranked.filter(listed).with_columns(name))
        tokens.append(_told(ranked).with_columns(name))
    counts = [table["token_counts"].select(*TOKEN, "predictions") for table in (one, other)]
    predictions = counts[0].join(counts[1], on=TOKEN, suffix="_b").rename({"predictions": "predictions_a"})
    order = one["token_neuron_scores"]["token_id"].unique(maintain_order=True)  # the study's
    place = pl.col("token_id").replace_strict(order, range(len(order)), default=len(order), return_dtype=pl.Int32)
    of_tokens = pl.concat(tokens).join(predictions, on=TOKEN, how="left", maintain_order="left")
    of_neurons = pl.concat(neurons).drop("is_listed_a", "is_listed_b").sort("measure", place, "rank_a", "rank_b", nulls_last=True)
    return (
        conform(STUDY_DIFFERENCE_TOKENS, of_tokens.sort("measure", place)),
        conform(STUDY_DIFFERENCE_TOKEN_NEURONS, of_neurons),
    )


def _ranked(scores: pl.DataFrame, measure: Measure) -> pl.DataFrame:
    """Every neuron of which there is the measure: its value, its rank within the token, and whether it is among the first."""
    known = scores.select(*TOKEN, *NEURON, value=pl.col(measure.name)).drop_nulls("value")
    ordered = known.sort("token_id", "value", *NEURON, descending=[False, True, False, False])
    rank = pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("token_id")
    return ordered.with_columns(rank=rank).with_columns(is_listed=(pl.col("rank") <= FIRST) & (pl.col("value") > measure.least))


def _side_by_side(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """The neurons of both, columns of study A and of study B; of tokens that both have."""
    sides = [
        frame.join(facing.select(TOKEN).unique(), on=TOKEN, how="semi", maintain_order="left").rename(
            {name: f"{name}_{side}" for name in ("value", "rank", "is_listed")}
        )
        for frame, facing, side in ((one, other, "a"), (other, one, "b"))
    ]
    both = sides[0].join(sides[1], on=[*TOKEN, *NEURON], how="full", coalesce=True)
    return both.with_columns(pl.col("is_listed_a", "is_listed_b").fill_null(False)).sort("token_id", *NEURON)


def _told(ranked: pl.DataFrame) -> pl.DataFrame:
    """One row a token: the first neuron of each, how many are listed, how many agree, and how alike the whole order is."""
    first = {
        f"{name}_{side}": pl.col(column).filter(pl.col(f"is_listed_{side}") & (pl.col(f"rank_{side}") == 1)).first()
        for side in ("a", "b")
        for name, column in (("layer", "layer"), ("neuron", "neuron"), ("value", f"value_{side}"))
    }
    listed = {f"listed_{side}": pl.col(f"is_listed_{side}").sum() for side in ("a", "b")}
    order = pl.corr("value_a", "value_b", method="spearman").fill_nan(None).clip(-1.0, 1.0)
    agreeing = (pl.col("is_listed_a") & pl.col("is_listed_b")).sum()
    return ranked.group_by(TOKEN, maintain_order=True).agg(**first, **listed, agreeing=agreeing, rank_correlation=order)
