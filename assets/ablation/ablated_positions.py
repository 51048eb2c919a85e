"""Where neurons are ablated: positions at which a token is the top prediction, and as many of the same windows at which it is not.

Holds the seeded choice of windows, the model's predictions in them, and the choice of positions. Changes nothing in the model.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from assets.counting.batches import Batch, batches, padded_lengths, rows_of_batch
from assets.model.language_model import LanguageModel
from assets.predictions.top_predictions import predictor

SEED = 20230211
KINDS_OF_POSITION = ("predicted", "other")
PER_DOCUMENT = 4  # positions of one kind from one document: positions of a document are alike, and intervals come from documents
MOST_READ = 1024  # positions read per position wanted: enough for a token predicted at one position in a thousand

READ = pl.Schema(
    {
        "document": pl.Int64,
        "window_in_document": pl.Int32,
        "position": pl.Int32,
        "prediction": pl.Int64,
        "next_token_id": pl.Int64,
    }
)


def chosen_windows(windows: pl.LazyFrame, most_positions: int, seed: int = SEED) -> pl.DataFrame:
    """Windows in a seeded order, at most `most_positions` positions of them (at least one window).

    `windows` is the table token_windows, all shards; how they are cut does not matter. Windows of fewer than three tokens hold no
    position with both a token before and a token after it, and are left out.
    """
    place = ["document", "window_in_document"]
    found = windows.filter(pl.col("length") > 2).select(*place, "length").sort(place).collect()
    order = np.random.default_rng(seed).permutation(found.height)
    shuffled = found[order].with_columns(read=pl.col("length").cast(pl.Int64).cum_sum())
    kept = shuffled.filter((pl.col("read") <= most_positions) | (pl.int_range(pl.len()) == 0)).select(place)
    return kept.lazy().join(windows, on=place, how="left", maintain_order="left").collect()


def padded_batches(model: LanguageModel, windows: pl.DataFrame, batch_positions: int) -> list[Batch]:
    """The windows as padded batches of about `batch_positions` positions."""
    import torch

    lengths = np.unique(padded_lengths(windows["length"].to_numpy().astype(np.int64), model.facts.context_length))
    rows = {length: rows_of_batch(length, batch_positions, torch.get_num_threads()) for length in lengths.tolist()}
    return list(batches(windows, model.facts.context_length, model.facts.beginning_token_id, rows))


def ablated_positions(
    model: LanguageModel, windows: pl.DataFrame, token_ids: Sequence[int], wanted: int, batch_positions: int, seed: int = SEED
) -> pl.DataFrame:
    """Up to `wanted` positions of each kind per token: token_id, positions, document, window_in_document, position, next_token_id.

    `windows` comes from chosen_windows and is read from its start until every token has enough predicted positions, or to its end.
    Each predicted position has one `other` partner in the same window, where one is left, so that both kinds come from the same
    text. Position 0 (the beginning-of-sequence token) and the last of a window (its next token is unknown) are never chosen.
    """
    read = _read(model, windows, token_ids, wanted, batch_positions)
    parts = [_of_token(read, token_id, wanted, np.random.default_rng([seed, token_id])) for token_id in token_ids]
    return pl.concat(parts) if parts else _of_token(read, 0, 0, np.random.default_rng(seed))


def _read(model: LanguageModel, windows: pl.DataFrame, token_ids: Sequence[int], wanted: int, batch_positions: int) -> pl.DataFrame:
    """Predictions (columns of READ) of as many windows as are needed."""
    step = max(64, 2 * wanted // PER_DOCUMENT)  # windows between two looks at what was found
    parts = [pl.DataFrame(schema=READ)]
    for start in range(0, windows.height, step):
        parts += _predictions(model, windows[start : start + step], batch_positions)
        read = pl.concat(parts)
        if all(_predicted(read, token_id).height >= wanted for token_id in token_ids):
            break
    return pl.concat(parts)


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


def _predicted(read: pl.DataFrame, token_id: int) -> pl.DataFrame:
    """At most PER_DOCUMENT positions of a document at which the token is predicted."""
    return read.filter((pl.col("prediction") == token_id) & (pl.int_range(pl.len()).over("document", "prediction") < PER_DOCUMENT))


def _of_token(read: pl.DataFrame, token_id: int, wanted: int, generator: np.random.Generator) -> pl.DataFrame:
    read = read.sort("document", "window_in_document", "position").with_columns(pl.Series("draw", generator.random(read.height)))
    shuffled = read.sort("draw")  # so that PER_DOCUMENT keeps any of a document's positions
    window = ["document", "window_in_document"]
    partner = pl.int_range(pl.len()).over(window)
    predicted = _predicted(shuffled, token_id).head(wanted).with_columns(partner=partner)
    other = shuffled.filter(pl.col("prediction") != token_id).with_columns(partner=partner)
    other = other.join(predicted.select(*window, "partner"), on=[*window, "partner"], how="semi")
    kinds = zip(KINDS_OF_POSITION, (predicted, other), strict=True)
    both = pl.concat([frame.with_columns(positions=pl.lit(kind)) for kind, frame in kinds])
    return both.select(pl.lit(token_id, dtype=pl.Int32).alias("token_id"), "positions", *window, "position", "next_token_id").sort(
        *window, "position", "positions"
    )
