"""Exact numbers of broken rules in the sums by predicted and by current token, and in the table made of them: frames that are then judged.

Holds counting only, a layer of sums at a time.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from assets.counting.histograms import OUTSIDE, SCREEN_COUNTS, Histograms
from assets.counting.token_sum_units import UNITS
from assets.quality.table_violations import out_of_order


@dataclass(frozen=True)
class ScreenViolations:
    """Three small frames; where the screen is off, they hold nothing to be wrong.

    `positions`: one row: counted positions that the groups must hold together, those that they hold by predicted (`held`) and by
    current token (`held_current`), and negative counters.
    `tokens`: one row per screened token: whether its positions differ from its predictions (`unlike_predictions`), those that hold it
    from its occurrences (`unlike_occurrences`), and, if it is tracked, from the sum of its histogram in the first layer's first neuron
    (`unlike_histogram`).
    `layers`: one row per layer: neurons, those whose sums over all groups are not their mean times the positions (`adrift`), and those
    whose sums by predicted and by current token are not the same over all groups (`unlike_current`).
    """

    positions: pl.DataFrame
    tokens: pl.DataFrame
    layers: pl.DataFrame


def screen_violations(histograms: Histograms) -> ScreenViolations:
    """Count every violation in the screen of a shard or of the whole corpus."""
    screened = histograms.screened_ids
    counts, current = (np.asarray(histograms[name][:]) for name in SCREEN_COUNTS)
    negative = int((counts < 0).sum() + (current < 0).sum())
    layers = []
    for layer in range(histograms.layers):
        sums, squares = (np.asarray(histograms[name][layer]) for name in ("screen_sum", "screen_squares"))  # [group, neuron]
        negative += int((squares < 0).sum())
        unlike = int((np.asarray(histograms["screen_current_sum"][layer]).sum(0) != sums.sum(0)).sum())
        adrift = _adrift(histograms, layer, sums, squares)
        layers.append({"layer": layer, "neurons": histograms.neurons, "adrift": adrift, "unlike_current": unlike})
    positions = {"positions": histograms.positions if screened.size else 0, "held": int(counts.sum()), "held_current": int(current.sum())}
    tokens = _tokens(histograms, screened[:-1], counts[:-1], current[:-1])
    return ScreenViolations(pl.DataFrame([{**positions, "negative": negative}]), tokens, pl.DataFrame(layers))


def _adrift(histograms: Histograms, layer: int, sums: np.ndarray, squares: np.ndarray) -> int:
    """Neurons whose sum over the groups is not their streamed mean times the positions that are not NaN."""
    if not len(sums):
        return 0
    valid = histograms.positions - np.asarray(histograms["outside"][layer])[:, OUTSIDE.index("nan")]
    expected, found = np.asarray(histograms["mean"][layer]) * valid, sums.sum(0) / UNITS
    size = np.sqrt(np.maximum(squares.sum(0), 0) / UNITS * valid)  # at least the sum of absolute values
    # Each activation is off by half a unit at most; the streamed mean by some roundings of float64 a batch.
    allowed = valid / (2 * UNITS) + 1e-9 * size
    return int((~(np.abs(found - expected) <= allowed)).sum())


def _tokens(histograms: Histograms, screened: np.ndarray, counts: np.ndarray, current: np.ndarray) -> pl.DataFrame:
    predictions, occurrences = (np.asarray(histograms[name][:])[screened] for name in ("predictions", "occurrences"))
    token_ids = np.asarray(histograms.token_ids, dtype=np.int64)
    of_tracked = sum(
        np.asarray(histograms[name][:, 0, 0]).sum(-1, dtype=np.int64) for name in ("top_prediction_count", "top_prediction_outside")
    )
    by_histogram = counts.copy()
    row, group = np.nonzero(token_ids[:, None] == screened[None, :])
    by_histogram[group] = np.asarray(of_tracked)[row]
    return pl.DataFrame(
        {
            "token_id": screened.astype(np.int64),
            "unlike_predictions": (counts != predictions).astype(np.int64),
            "unlike_occurrences": (current != occurrences).astype(np.int64),
            "unlike_histogram": (counts != by_histogram).astype(np.int64),
            "tokens": np.ones(len(screened), np.int64),
        }
    )


def screen(frame: pl.DataFrame, min_count: int) -> pl.DataFrame:
    """One row per token of token_neuron_screen: rows, and those whose values contradict what they mean."""
    share, difference = pl.col("variance_explained"), pl.col("standardized_difference")
    rate = pl.col("false_discovery_rate")
    gap = pl.col("mean_where_predicted") - pl.col("mean_elsewhere")
    strange = (
        (difference.sign() != gap.sign()).fill_null(False)
        | (pl.col("deviation_where_predicted") < 0)
        | (pl.col("deviation_elsewhere") < 0)
        | (pl.col("predictions") < min_count)
    )
    return frame.group_by("token_id", "token", maintain_order=True).agg(
        rows=pl.len().cast(pl.Int64),
        strange=strange.sum().cast(pl.Int64),
        disordered=out_of_order(share).sum().cast(pl.Int64),
        falling=(rate < rate.shift(1)).sum().cast(pl.Int64),
    )
