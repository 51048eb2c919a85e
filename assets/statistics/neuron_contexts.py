"""Text with a neuron's activation and the model's prediction at each token: around its highest and lowest activations, and anywhere.

All is read off the one pass: places and activations of the extremes off the counters, tokens and predictions off the tables of windows.
Beside the extremes stand places drawn from the whole corpus (random_contexts), so that a reader sees whether the highest are special.
Runs no model. Colouring is the report's.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from assets.contracts import NEURON_CONTEXTS, conform
from assets.counting.histograms import AFTER, BEFORE, CONTEXT, EXAMPLE_PARTS, SIDES, Histograms

PLACE = ["layer", "neuron", "side", "rank", "document", "window_in_document", "peak_position", "peak_activation"]
_WINDOW = ["document", "window_in_document"]


def extreme_contexts(histograms: Histograms, neurons: Sequence[tuple[int, int]]) -> pl.DataFrame:
    """Where the extreme activations of the neurons are: one row per layer, neuron, side and rank, in the order given.

    Beside PLACE a column `context`: the neuron's CONTEXT activations from BEFORE positions before the place on.
    """
    chosen = pl.DataFrame(list(neurons), schema={"layer": pl.Int32, "neuron": pl.Int32}, orient="row").with_row_index("place")
    parts = [_of_layer(histograms, of_layer) for of_layer in chosen.partition_by("layer")]
    if not parts:
        return with_contexts(
            pl.DataFrame(schema={name: NEURON_CONTEXTS.schema[name] for name in PLACE}), np.empty((0, CONTEXT), np.float32)
        )
    return pl.concat(parts).sort("place", maintain_order=True).drop("place")


def with_contexts(places: pl.DataFrame, contexts: np.ndarray) -> pl.DataFrame:
    """PLACE and `context` of places [row] and their activations, float32 [row, CONTEXT]."""
    cast = places.select(pl.col(name).cast(NEURON_CONTEXTS.schema[name]) for name in PLACE)
    return cast.with_columns(context=pl.Series(contexts, dtype=pl.Array(pl.Float32, CONTEXT)))


def neuron_contexts(contexts: pl.DataFrame, windows: pl.LazyFrame, predictions: pl.LazyFrame, texts: Sequence[str]) -> pl.DataFrame:
    """The table `neuron_contexts`, in the order of `contexts` (as extreme_contexts gives them).

    `windows` and `predictions` are the tables token_windows and position_predictions and hold at least the windows that `contexts` names;
    `texts` are those of the vocabulary. The activation at the place itself is the one counted, those around it have float16's three digits.
    """
    wanted = contexts.lazy().select(_WINDOW).unique()
    found = windows.join(wanted, on=_WINDOW, how="semi").select(*_WINDOW, "token_ids")
    predicted = predictions.join(wanted, on=_WINDOW, how="semi")
    text = found.join(predicted, on=_WINDOW, how="inner").collect()
    begins = pl.col("peak_position") - BEFORE
    first = pl.max_horizontal(begins, 0)
    shown = pl.min_horizontal(pl.col("peak_position") + AFTER + 1, pl.col("token_ids").list.len().cast(pl.Int32)) - first
    rows = contexts.join(text, on=_WINDOW, how="inner", maintain_order="left").select(
        *PLACE,
        position=pl.int_ranges(first, first + shown, dtype=pl.Int32),
        token_id=pl.col("token_ids").list.slice(first, shown),
        activation=pl.col("context").arr.to_list().list.slice(first - begins, shown),
        prediction_id=pl.col("predictions").list.slice(first, shown),
    )
    frame = rows.explode("position", "token_id", "activation", "prediction_id", empty_as_null=False, keep_nulls=False)
    is_peak = pl.col("position") == pl.col("peak_position")
    known = pl.Series(texts, dtype=pl.String)
    frame = frame.with_columns(
        activation=pl.when(is_peak).then("peak_activation").otherwise("activation"),
        token=known.gather(frame["token_id"]),
        prediction=known.gather(frame["prediction_id"]),
    )
    return conform(NEURON_CONTEXTS, frame)


def _of_layer(histograms: Histograms, chosen: pl.DataFrame) -> pl.DataFrame:
    """extreme_contexts of neurons of one layer, with the column `place` of `chosen`."""
    layer, neurons = chosen["layer"][0], chosen["neuron"].to_numpy()
    parts = []
    for side in SIDES:
        values = {part: np.asarray(histograms[f"{side}_{part}"][layer])[neurons] for part in (*EXAMPLE_PARTS, "context")}
        rows, ranks = np.nonzero(values["document"] >= 0)  # -1 marks an empty place: fewer documents than places
        value, document, window, position, context = (of[rows, ranks] for of in values.values())
        places = chosen[rows].with_columns(
            side=pl.lit(side),
            rank=pl.Series(ranks + 1),
            document=pl.Series(document),
            window_in_document=pl.Series(window),
            peak_position=pl.Series(position),
            peak_activation=pl.Series(value),
        )
        parts.append(with_contexts(places, context.astype(np.float32)).with_columns(places["place"]))
    return pl.concat(parts)
