"""Exact numbers of broken rules in the table position_predictions of a shard: frames that are then judged. Holds counting only."""

import numpy as np
import polars as pl

from assets.counting.batches import first_counted
from assets.counting.histograms import Histograms

WINDOW = ["document", "window_in_document"]


def prediction_violations(predictions: pl.DataFrame, windows: pl.LazyFrame, histograms: Histograms, *, count_bos: bool) -> pl.DataFrame:
    """One row. All of one shard: `predictions` the table position_predictions, `windows` token_windows, `histograms` its counters.

    `windows` of the corpus; `unlike_window`: those without as many predictions as tokens, and predictions of what is no window; `entries`
    of the vocabulary; `unlike_counted`: those that are predicted more or less often than was counted.
    """
    lengths = windows.select(*WINDOW, "length").collect()
    told = predictions.select(*WINDOW, told=pl.col("predictions").list.len())
    joined = lengths.join(told, on=WINDOW, how="full", nulls_equal=True)
    alike = joined.select((pl.col("length").cast(pl.Int64) == pl.col("told").cast(pl.Int64)).fill_null(False).sum()).item()
    counted = np.asarray(histograms["predictions"][:])
    return pl.DataFrame(
        {
            "windows": lengths.height,
            "unlike_window": joined.height - alike,
            "entries": counted.size,
            "unlike_counted": int((times_predicted(predictions, counted.size, count_bos=count_bos) != counted).sum()),
        }
    )


def times_predicted(predictions: pl.DataFrame, vocabulary: int, *, count_bos: bool) -> np.ndarray:
    """Int64 [vocabulary]: at how many counted positions each entry is predicted; what is no entry is left out."""
    counted = predictions.select(pl.col("predictions").list.slice(first_counted(count_bos)))
    ids = counted.explode("predictions", empty_as_null=False, keep_nulls=False)["predictions"].to_numpy()
    return np.bincount(ids[(ids >= 0) & (ids < vocabulary)], minlength=vocabulary)
