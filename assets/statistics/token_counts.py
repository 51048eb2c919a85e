"""The table `token_counts`: how often every vocabulary entry occurs, is predicted, and is predicted rightly."""

import numpy as np
import polars as pl

from assets.contracts import TOKEN_COUNTS, conform
from assets.counting.histograms import Histograms


def token_counts(histograms: Histograms, token_texts: list[str]) -> pl.DataFrame:
    """One row per vocabulary entry, in id order. `token_texts[id]` is its text.

    Raises ValueError where the texts are not of the vocabulary that was counted.
    """
    counters = {name: np.asarray(histograms[name][:]) for name in ("occurrences", "predictions", "correct_predictions")}
    entries = len(counters["occurrences"])
    if len(token_texts) != entries:
        raise ValueError(
            f"{len(token_texts)} token texts were given for {entries} counted vocabulary entries; "
            "give the texts of the model that was counted"
        )
    frame = pl.DataFrame({"token_id": np.arange(entries, dtype=np.int32), "token": token_texts, **counters})
    return conform(TOKEN_COUNTS, frame)
