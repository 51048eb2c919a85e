"""Exact numbers of broken rules in the sampled positions of tracked tokens, held against the windows: a frame that is then judged.

Holds counting only. Of the windows, those alone are held that have a sampled position.
"""

from typing import Any

import numpy as np
import polars as pl

from assets.counting.histograms import Histograms
from assets.counting.position_samples import NEXT_TOKEN, PER_DOCUMENT, SAMPLES, TOP_PREDICTION, position_hash

COUNTED_AS = {TOP_PREDICTION: "predictions", NEXT_TOKEN: "occurrences"}  # the counter that no sample can exceed
PLACE = ["document", "window", "position"]


def sample_violations(histograms: Histograms, windows: pl.LazyFrame) -> pl.DataFrame:
    """One row per outcome and tracked token. `windows` is the table token_windows, all shards.

    `sampled` positions; `too_many`: those beyond the token's own number; `repeated`: those that stand there before, or fifth and later
    of a document; `disordered`: those behind a gap or a higher hash; `absent`: those without a window or beside its tokens that have
    one before and after; `other`: those of the outcome next_token after which another token follows.
    """
    tokens = pl.DataFrame({"token_id": histograms.token_ids}, schema={"token_id": pl.Int32})
    parts = []
    for outcome, name in SAMPLES.items():
        held = _with_text(_held(histograms, name), windows)
        most = np.asarray(histograms[COUNTED_AS[outcome]][:])[list(histograms.token_ids)]
        other = (pl.col("follows") != pl.col("token_id")).fill_null(False) if outcome == NEXT_TOKEN else pl.lit(False)
        found = held.group_by("token_id").agg(
            sampled=pl.len().cast(pl.Int64),
            repeated=pl.col("repeated").sum().cast(pl.Int64),
            disordered=pl.col("disordered").sum().cast(pl.Int64),
            absent=pl.col("follows").is_null().sum().cast(pl.Int64),
            other=other.sum().cast(pl.Int64),
        )
        rows = tokens.with_columns(most=most).join(found, on="token_id", how="left", maintain_order="left").fill_null(0)
        too_many = pl.max_horizontal(pl.col("sampled") - pl.col("most"), 0)
        parts.append(rows.select(pl.lit(outcome).alias("outcome"), pl.all(), too_many=too_many).drop("most"))
    return pl.concat(parts)


def _held(histograms: Histograms, name: str) -> pl.DataFrame:
    """The positions of one sample as they are stored: token_id, the place, `repeated`, `disordered`."""
    stored: dict[str, Any] = {part: np.asarray(histograms[f"{name}_{part}"][:]) for part in PLACE}
    rows, ranks = np.nonzero(stored["document"] >= 0)
    place = {part: values[rows, ranks] for part, values in stored.items()}
    ids = np.asarray(histograms.token_ids, np.int32)
    frame = pl.DataFrame({"token_id": ids[rows], "rank": ranks, "hash": position_hash(*place.values()), **place})
    of_token = pl.int_range(pl.len()).over("token_id")
    before = pl.int_range(pl.len()).over("token_id", *PLACE)
    of_document = pl.int_range(pl.len()).over("token_id", "document")
    falls = (pl.col("hash") < pl.col("hash").shift().over("token_id")).fill_null(False)
    return frame.with_columns(repeated=(before > 0) | (of_document >= PER_DOCUMENT), disordered=(pl.col("rank") != of_token) | falls)


def _with_text(held: pl.DataFrame, windows: pl.LazyFrame) -> pl.DataFrame:
    """With `follows`, the id of the token after each position; missing where the place is none that can be sampled."""
    window = ["document", "window_in_document"]
    places = held.rename({"window": "window_in_document"})
    read = windows.join(places.lazy().select(window).unique(), on=window, how="semi").select(*window, "length", "token_ids").collect()
    joined = places.join(read, on=window, how="left", maintain_order="left")
    is_inside = (pl.col("position") >= 1) & (pl.col("position") < pl.col("length") - 1)
    follows = pl.when(is_inside).then(pl.col("token_ids").list.get(pl.col("position") + 1, null_on_oob=True))
    return joined.with_columns(follows=follows)
