"""Where neurons are ablated: sampled positions of each token's own, and as many of the same windows that are not.

A token's own positions are those at which it is the top prediction or, where so asked, the next token. The one pass sampled them
(assets/counting/position_samples.py), so that they are found wherever they are, and it wrote down what the model predicts everywhere, so that
no window is run to tell where the token is not predicted. Neurons are chosen by the discovery half of the documents, so positions come from
the telling half alone, and its documents had no say in who is ablated.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from assets.counting.document_blocks import TELLING, fold_of
from assets.counting.position_samples import NEXT_TOKEN, TOP_PREDICTION, position_hash

SEED = 20230211
OTHER = "other"
OWN_POSITIONS = {TOP_PREDICTION: "predicted", NEXT_TOKEN: "next_token"}  # outcome -> kind of position
KINDS_OF_POSITION = (*OWN_POSITIONS.values(), OTHER)
COMPARED = 16  # positions of each kind at which controls, nearly all that ablation costs, are ablated too

WINDOW = ["document", "window_in_document"]
PLACE = [*WINDOW, "position"]


def of_telling_half(sampled: pl.DataFrame) -> pl.DataFrame:
    """The sampled positions, as of position_samples.sampled_positions, whose documents are of the telling half, in their order."""
    folds = pl.Series(fold_of(sampled["document"].to_numpy()))
    return sampled.filter(folds.is_in(list(TELLING)))


def own_positions(sampled: pl.DataFrame, outcome_of_token: Mapping[int, str], wanted: int) -> pl.DataFrame:
    """`wanted` of the sampled positions of each token: token_id, positions, document, window_in_document, position; as in_shared_turn has them.

    `sampled` as of position_samples.sampled_positions; `outcome_of_token` says by which outcome a token's positions are taken. Raises
    ValueError for an outcome that was not sampled.
    """
    unknown = sorted(set(outcome_of_token.values()) - OWN_POSITIONS.keys())
    if unknown:
        raise ValueError(f"positions by outcome {unknown[0]!r}: only {list(OWN_POSITIONS)} are sampled; take one of these")
    asked = pl.DataFrame(list(outcome_of_token.items()), schema={"token_id": pl.Int32, "outcome": pl.String}, orient="row")
    own = sampled.join(asked, on=["token_id", "outcome"], how="semi", maintain_order="left")
    first = in_shared_turn(own).filter(pl.int_range(pl.len()).over("token_id") < wanted)
    return first.select("token_id", pl.col("outcome").replace_strict(OWN_POSITIONS, return_dtype=pl.String).alias("positions"), *PLACE)


def in_shared_turn(sampled: pl.DataFrame) -> pl.DataFrame:
    """Rows of `sampled` (token_id and PLACE), by token in a random order, each token's evenly drawn: tokens as far as may be from the same documents.

    Each position has a clock that rings after a time of exponential distribution, and they come as their clocks ring. Of the n of a token in
    a document the next rings after an exponential time over the number that have not rung; these times are drawn from document and turn, for
    all tokens alike. So of one token any order is as likely as any other, and where one token's documents come early, so do all others'.
    """
    of_document = ["token_id", "document"]
    hashes = _draw(sampled, SEED + 4).alias("hash")
    turns = sampled.with_columns(hashes).sort(*of_document, "hash", *PLACE).with_columns(turn=pl.int_range(pl.len()).over(of_document))
    drawn = position_hash(turns["document"].to_numpy(), turns["turn"].to_numpy(), 0, seed=SEED + 5) >> np.uint64(11)
    waits = pl.Series("wait", -np.log1p(-drawn.astype(np.float64) / 2**53))
    rings = (pl.col("wait") / (pl.len().over(of_document) - pl.col("turn"))).cum_sum().over(of_document)
    return turns.with_columns(waits).with_columns(rings=rings).sort("token_id", "rings", *PLACE).select(sampled.columns)


def windows_of(windows: pl.LazyFrame, places: pl.DataFrame) -> pl.DataFrame:
    """The windows, of the table token_windows, that hold any of the places, in the order of the corpus."""
    return windows.join(places.lazy().select(WINDOW).unique(), on=WINDOW, how="semi").collect().sort(WINDOW)


def ablated_positions(windows: pl.DataFrame, predictions: pl.LazyFrame, own: pl.DataFrame) -> pl.DataFrame:
    """The positions of `own`, and partners: token_id, positions, document, window_in_document, position, next_token_id.

    `windows` holds at least the windows of `own`, which comes from own_positions; `predictions` is the table position_predictions, all
    shards. Each position has one `other` partner in the same window, where one is left, so that both kinds come from the same text: of the
    positions at which the token is not predicted (and, beside positions of the next token, does not follow) those of lowest seeded hash.
    The beginning-of-sequence token and the last of a window, whose next token is unknown, are no partners.
    """
    places = own.select(WINDOW).unique()
    texts = windows.select(*WINDOW, next_token_id=pl.col("token_ids").list.slice(1)).join(places, on=WINDOW, how="semi")
    read = (
        predictions.join(places.lazy(), on=WINDOW, how="semi")
        .collect()
        .join(texts, on=WINDOW)
        .select(
            *WINDOW,
            position=pl.int_ranges(0, pl.col("next_token_id").list.len(), dtype=pl.Int32),
            prediction=pl.col("predictions").list.head(pl.col("next_token_id").list.len()),
            next_token_id="next_token_id",
        )
        .explode("position", "prediction", "next_token_id")
        .filter(pl.col("position") > 0)
    )
    return _with_partners(own, read).sort("token_id", *PLACE, "positions")


def _with_partners(own: pl.DataFrame, read: pl.DataFrame) -> pl.DataFrame:
    """`read` holds every position of the windows of `own`, with its prediction and next_token_id."""
    amount = own.group_by("token_id", "positions", *WINDOW).agg(amount=pl.len())
    follows_too = (pl.col("positions") == OWN_POSITIONS[NEXT_TOKEN]) & (pl.col("next_token_id") == pl.col("token_id"))
    unlike = amount.join(read, on=WINDOW).filter((pl.col("prediction") != pl.col("token_id")) & ~follows_too)
    shuffled = unlike.with_columns(_draw(unlike, SEED + 1)).sort("token_id", *WINDOW, "draw", "position")
    partners = shuffled.filter(pl.int_range(pl.len()).over("token_id", *WINDOW) < pl.col("amount")).with_columns(positions=pl.lit(OTHER))
    columns = ["token_id", "positions", *PLACE, "next_token_id"]
    return pl.concat([own.join(read, on=PLACE).select(columns), partners.select(columns)])


def with_compared(places: pl.DataFrame, most: int = COMPARED) -> pl.DataFrame:
    """`places`, of ablated_positions, with the column is_compared: up to `most` of each token and kind, at which controls are ablated too.

    One of each window before a second of any, so that they come from as many texts as there are; windows and positions in a seeded
    order, the same for every kind, so that both kinds of a token come from the same windows.
    """
    kind = ["token_id", "positions"]
    by_window = _draw(places.with_columns(position=pl.lit(0, pl.Int32)), SEED + 2).alias("window_draw")
    drawn = places.with_row_index("row").with_columns(_draw(places, SEED + 3), by_window).sort(*kind, *WINDOW, "draw", "position")
    in_turn = drawn.with_columns(turn=pl.int_range(pl.len()).over(*kind, *WINDOW)).sort(*kind, "turn", "window_draw", *WINDOW)
    marked = in_turn.with_columns(is_compared=pl.int_range(pl.len()).over(kind) < most)
    return marked.sort("row").select(*places.columns, "is_compared")


def _draw(places: pl.DataFrame, seed: int) -> pl.Series:
    document, window, position = (places[name].to_numpy() for name in PLACE)
    return pl.Series("draw", position_hash(document, window, position, seed=seed))
