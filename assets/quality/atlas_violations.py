"""Exact numbers of broken rules in the tables of the atlas: frames that are then judged, one row a layer. Holds counting only.

Each function but `neighbours` takes a table whole or a part of it that holds whole neurons, so that a check can look at one layer after the other.
"""

import numpy as np
import polars as pl

from assets.atlas.atlas_texts import KEY, PIECE, WINDOW, piece_of
from assets.counting.example_contexts import halves
from assets.counting.histograms import AFTER, BEFORE, BETWEEN

NEURON = ["layer", "neuron"]
PLACE = ["document", "window_in_document", "position"]


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


def texts(atlas_texts: pl.DataFrame) -> pl.DataFrame:
    """One row: `pieces`; `uneven`: those whose lists differ in length, are empty or longer than a piece; `astray`: those that do not begin
    where pieces do; `disordered`: those not after the piece before them."""
    length, key = pl.col("token_ids").list.len(), pl.struct(KEY)
    found = atlas_texts.select(
        uneven=(length != pl.col("prediction_ids").list.len()) | ~length.is_between(1, PIECE),
        astray=pl.col("first_position") % PIECE != 0,
        disordered=(pl.struct(KEY).rank("dense") != pl.int_range(1, pl.len() + 1)) if atlas_texts.height else key.is_null(),
    )
    return found.select(pl.len().cast(pl.Int64).alias("pieces"), pl.all().sum().cast(pl.Int64))


def examples(atlas_examples: pl.DataFrame, atlas_texts: pl.DataFrame) -> pl.DataFrame:
    """Per layer: `examples`; `unlike`: those whose list has another activation at their place than their own, in half precision; `reaching`:
    those whose list reaches farther than the pass keeps; `without_text`: those whose first or last token is in no piece of atlas_texts;
    `misranked`: those out of the order of their neuron and side; `repeated`: those of a document that their neuron and side has already, but
    for the levels between; `shown`: those of the levels between whose place their neuron has already."""
    side, place = [*NEURON, "side"], pl.col("position") - pl.col("first_position")
    length = pl.col("activations").list.len().cast(pl.Int64)
    is_between = pl.col("side").is_in(BETWEEN)
    is_high = pl.col("side").str.ends_with("top")
    outwards = pl.when(is_high).then(-pl.col("activation")).when(pl.col("side") != "random").then("activation")  # the first is the least
    own = atlas_examples.select(pl.col("activations").list.get(place, null_on_oob=True)).to_series()
    kept = pl.Series(halves(atlas_examples["activation"].to_numpy())).cast(pl.Float32)
    found = atlas_examples.with_columns(
        without_text=~(
            _is_in(atlas_texts, atlas_examples, pl.col("first_position"))
            & _is_in(atlas_texts, atlas_examples, pl.col("first_position") + length - 1)
        ),
        unlike=own.ne_missing(kept),
        reaching=~place.is_between(0, BEFORE) | ~(length - 1 - place).is_between(0, AFTER),
        misranked=_is_misranked(side) | (outwards < outwards.shift().over(side)).fill_null(False),
        repeated=~is_between & pl.struct(*side, "document").is_first_distinct().not_(),
        shown=is_between & pl.struct(*NEURON, *PLACE).is_first_distinct().not_(),  # the highest and lowest stand before
    )
    return _by_layer(found, "examples", "unlike", "reaching", "without_text", "misranked", "repeated", "shown")


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


def _is_in(atlas_texts: pl.DataFrame, examples: pl.DataFrame, position: pl.Expr) -> pl.Series:
    """Whether a position of each example's window is in a piece."""
    ends = atlas_texts.select(*KEY, end=pl.col("first_position") + pl.col("token_ids").list.len())
    places = examples.select(*WINDOW, position=position).with_columns(first_position=piece_of(pl.col("position")).cast(pl.Int32))
    joined = places.join(ends, on=KEY, how="left", maintain_order="left")
    return (joined["position"] < joined["end"]).fill_null(False)


def neighbours(atlas_neighbours: pl.DataFrame) -> pl.DataFrame:
    """Per layer: `neighbours`; `misranked`: those out of the order of their neuron, kind and end; `astray`: those at the end that their likeness
    does not say; `twice`: those that their neuron and kind has already; `itself`: those that are their own neuron; `one_sided`: those whose
    likeness is not the one that the neighbour's own row says. The table must be whole."""
    end, other = [*NEURON, "kind", "end"], ["other_layer", "other_neuron"]
    place = pl.struct(pl.col("likeness").abs() * -1, *other)
    back = atlas_neighbours.select("kind", *(pl.col(name).alias(turned) for name, turned in zip(NEURON, other, strict=True)),
                                   *(pl.col(turned).alias(name) for name, turned in zip(NEURON, other, strict=True)), back="likeness")  # fmt: skip
    pairs = back.unique(["kind", *NEURON, *other], keep="first", maintain_order=True)  # one that stands twice is counted as such
    found = atlas_neighbours.join(pairs, on=["kind", *NEURON, *other], how="left", maintain_order="left").with_columns(
        misranked=_is_misranked(end) | (place.rank("ordinal").over(end) != pl.int_range(1, pl.len() + 1).over(end)),
        astray=~pl.when(pl.col("end") == "alike").then(pl.col("likeness") > 0).otherwise(pl.col("likeness") < 0),
        twice=pl.struct(*NEURON, "kind", *other).is_first_distinct().not_(),
        itself=(pl.col("layer") == pl.col("other_layer")) & (pl.col("neuron") == pl.col("other_neuron")),
        one_sided=(pl.col("back") != pl.col("likeness")).fill_null(False),
    )
    return _by_layer(found, "neighbours", "misranked", "astray", "twice", "itself", "one_sided")


def _is_misranked(group: list[str]) -> pl.Expr:
    """Whether a row's rank is not its place among the rows of its group."""
    return pl.col("rank") != pl.int_range(1, pl.len() + 1).over(group)


def _by_layer(found: pl.DataFrame, rows: str, *violations: str) -> pl.DataFrame:
    sums = (pl.col(name).sum().cast(pl.Int64) for name in violations)
    return found.group_by("layer", maintain_order=True).agg(pl.len().cast(pl.Int64).alias(rows), *sums)
