"""The tables `embedding_predictions` and `embedding_curves`: top predictions by the embedding W_E, as the post counted them.

They stand beside token_counts and proportion_curves, which hold the model's own top predictions, for the published convention of
the replication scorecard alone. Both are empty where the study does not count such predictions. Which prediction it is, is in
histograms/embedding_predictor.
"""

import numpy as np
import polars as pl

from assets.contracts import EMBEDDING_CURVES, EMBEDDING_PREDICTIONS, conform
from assets.counting.histograms import Histograms
from assets.statistics.levels import ascending_levels


def embedding_predictions(histograms: Histograms, token_counts: pl.DataFrame) -> pl.DataFrame:
    """One row per vocabulary entry, in id order; `token_counts` is the table, for the texts. No row where nothing was counted."""
    if not histograms.counts_embedding_predictions:
        return pl.DataFrame(schema=EMBEDDING_PREDICTIONS.schema)
    counted = pl.Series("predictions", np.asarray(histograms["embedding_predictions"][:]))
    return conform(EMBEDDING_PREDICTIONS, token_counts.sort("token_id").select("token_id", "token", counted))


def embedding_curves(histograms: Histograms, curves: pl.DataFrame) -> pl.DataFrame:
    """The pairs and levels of `curves`, the table proportion_curves, in its order. No row where nothing was counted."""
    if not histograms.counts_embedding_predictions or curves.is_empty():
        return pl.DataFrame(schema=EMBEDDING_CURVES.schema)
    parts = [_layer_curves(histograms, layer, part) for (layer,), part in curves.partition_by("layer", as_dict=True).items()]
    return conform(EMBEDDING_CURVES, pl.concat(parts))


def _layer_curves(histograms: Histograms, layer: int, curves: pl.DataFrame) -> pl.DataFrame:
    """One layer's curves; of each pair all levels stand together, in ascending order."""
    predicted = ascending_levels(
        np.asarray(histograms["embedding_prediction_count"][:, layer]), np.asarray(histograms["embedding_prediction_outside"][:, layer])
    )  # [token, neuron, level]
    pairs = curves.select("neuron", "token_id").unique(maintain_order=True)
    rows = pairs["token_id"].replace_strict(histograms.token_ids, range(len(histograms.token_ids))).to_numpy()
    counted = pl.Series("embedding_prediction_count", predicted[rows, pairs["neuron"].to_numpy()].reshape(-1))
    return curves.select("layer", "neuron", "token_id", "token", "bin_left", "bin_right", "count", counted)
