"""Where neurons are ablated: sampled positions of each token's own, and as many of the same windows that are not.

A token's own positions are those at which it is the top prediction or, where so asked, the next token. The one pass sampled them
(assets/counting/position_samples.py), so that they are found wherever they are; only the windows that hold them are run again, to tell
where the token is not predicted. Neurons are chosen by the discovery half of the documents, so positions come from the telling half alone,
and its documents had no say in who is ablated. Changes nothing in the model.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from assets.counting.batches import Batch, batches, padded_lengths, rows_of_batch
from assets.counting.document_blocks import TELLING, fold_of
from assets.counting.position_samples import NEXT_TOKEN, TOP_PREDICTION, position_hash
from assets.model.language_model import LanguageModel
from assets.predictions.top_predictions import predictor

SEED = 20230211
OTHER = "other"
OWN_POSITIONS = {TOP_PREDICTION: "predicted", NEXT_TOKEN: "next_token"}  # outcome -> kind of position
KINDS_OF_POSITION = (*OWN_POSITIONS.values(), OTHER)
WINDOWS_AT_ONCE = 256  # windows whose predictions are held at the same time

READ = pl.Schema(
    {
        "document": pl.Int64,
        "window_in_document": pl.Int32,
        "position": pl.Int32,
        "prediction": pl.Int64,
        "next_token_id": pl.Int64,
    }
)
WINDOW = ["document", "window_in_document"]
PLACE = [*WINDOW, "position"]


def chosen_windows(windows: pl.LazyFrame, most: int, seed: int = SEED) -> pl.DataFrame:
    """The first `most` windows in a seeded order.

    `windows` is the table token_windows, all shards; how they are cut does not matter. Windows of fewer than three tokens hold no
    position with both a token before and a token after it, and are left out.
    """
    found = windows.filter(pl.col("length") > 2).select(WINDOW).sort(WINDOW).collect()
    order = np.random.default_rng(seed).permutation(found.height)
    return found[order[:most]].lazy().join(windows, on=WINDOW, how="left", maintain_order="left").collect()


def padded_batches(model: LanguageModel, windows: pl.DataFrame, batch_positions: int) -> list[Batch]:
    """The windows as padded batches of about `batch_positions` positions."""
    import torch

    lengths = np.unique(padded_lengths(windows["length"].to_numpy().astype(np.int64), model.facts.context_length))
    rows = {length: rows_of_batch(length, batch_positions, torch.get_num_threads()) for length in lengths.tolist()}
    return list(batches(windows, model.facts.context_length, model.facts.beginning_token_id, rows))


def of_telling_half(sampled: pl.DataFrame) -> pl.DataFrame:
    """The sampled positions, as of position_samples.sampled_positions, whose documents are of the telling half, in their order."""
    folds = pl.Series(fold_of(sampled["document"].to_numpy()))
    return sampled.filter(folds.is_in(list(TELLING)))


def own_positions(sampled: pl.DataFrame, outcome_of_token: Mapping[int, str], wanted: int) -> pl.DataFrame:
    """The first `wanted` sampled positions of each token: token_id, positions, document, window_in_document, position.

    `sampled` as of position_samples.sampled_positions; `outcome_of_token` says by which outcome a token's positions are taken. Raises
    ValueError for an outcome that was not sampled.
    """
    unknown = sorted(set(outcome_of_token.values()) - OWN_POSITIONS.keys())
    if unknown:
        raise ValueError(f"positions by outcome {unknown[0]!r}: only {list(OWN_POSITIONS)} are sampled; take one of these")
    asked = pl.DataFrame(list(outcome_of_token.items()), schema={"token_id": pl.Int32, "outcome": pl.String}, orient="row")
    own = sampled.join(asked, on=["token_id", "outcome"], how="semi", maintain_order="left")
    first = own.filter(pl.int_range(pl.len()).over("token_id") < wanted)
    return first.select("token_id", pl.col("outcome").replace_strict(OWN_POSITIONS, return_dtype=pl.String).alias("positions"), *PLACE)


def windows_of(windows: pl.LazyFrame, places: pl.DataFrame) -> pl.DataFrame:
    """The windows, of the table token_windows, that hold any of the places, in the order of the corpus."""
    return windows.join(places.lazy().select(WINDOW).unique(), on=WINDOW, how="semi").collect().sort(WINDOW)


def ablated_positions(model: LanguageModel, windows: pl.DataFrame, own: pl.DataFrame, batch_positions: int) -> pl.DataFrame:
    """The positions of `own`, and partners: token_id, positions, document, window_in_document, position, next_token_id.

    `windows` holds at least the windows of `own`, which comes from own_positions. Each position has one `other` partner in the same
    window, where one is left, so that both kinds come from the same text: of the positions at which the token is not predicted (and,
    beside positions of the next token, does not follow) those of lowest seeded hash. The beginning-of-sequence token and the last of a
    window, whose next token is unknown, are no partners.
    """
    parts = [_with_partners(own.clear(), pl.DataFrame(schema=READ))]
    for start in range(0, windows.height, WINDOWS_AT_ONCE):
        some = windows[start : start + WINDOWS_AT_ONCE]
        here = own.join(some, on=WINDOW, how="semi")
        parts.append(_with_partners(here, pl.concat(_predictions(model, some, batch_positions))))
    return pl.concat(parts).sort("token_id", *PLACE, "positions")


def _with_partners(own: pl.DataFrame, read: pl.DataFrame) -> pl.DataFrame:
    """`read` (columns of READ) holds every position of the windows of `own`."""
    amount = own.group_by("token_id", "positions", *WINDOW).agg(amount=pl.len())
    follows_too = (pl.col("positions") == OWN_POSITIONS[NEXT_TOKEN]) & (pl.col("next_token_id") == pl.col("token_id"))
    unlike = amount.join(read, on=WINDOW).filter((pl.col("prediction") != pl.col("token_id")) & ~follows_too)
    document, window, position = (unlike[name].to_numpy() for name in PLACE)
    draw = pl.Series("draw", position_hash(document, window, position, seed=SEED + 1))
    shuffled = unlike.with_columns(draw).sort("token_id", *WINDOW, "draw", "position")
    partners = shuffled.filter(pl.int_range(pl.len()).over("token_id", *WINDOW) < pl.col("amount")).with_columns(positions=pl.lit(OTHER))
    columns = ["token_id", "positions", *PLACE, "next_token_id"]
    return pl.concat([own.join(read, on=PLACE).select(columns), partners.select(columns)])


def _predictions(model: LanguageModel, windows: pl.DataFrame, batch_positions: int) -> list[pl.DataFrame]:
    import torch

    top_predictions = predictor(model)
    frames = []
    for batch in padded_batches(model, windows, batch_positions):
        with torch.inference_mode():
            predictions = top_predictions(torch.from_numpy(batch.token_ids).to(model.device)).cpu().numpy()  # [row, position]
        places = np.arange(batch.token_ids.shape[1])
        rows, positions = np.nonzero((places >= 1) & (places < batch.lengths[:, None] - 1))
        frames.append(
            pl.DataFrame(
                {
                    "document": batch.documents[rows],
                    "window_in_document": batch.windows[rows],
                    "position": positions.astype(np.int32),
                    "prediction": predictions[rows, positions],
                    "next_token_id": batch.token_ids[rows, positions + 1],
                },
                schema=READ,
            )
        )
    return frames
