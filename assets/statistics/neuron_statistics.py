"""The table `neuron_statistics`: moments, range, activity and stray positions of every neuron, from the counters alone.

The moments were streamed in one pass; here they are only divided. Binned values are never used for them, so they are exact
whatever the bins.
"""

import numpy as np
import polars as pl

from assets.contracts import NEURON_STATISTICS, conform
from assets.counting.histograms import Histograms


def neuron_statistics(histograms: Histograms, is_gated: bool) -> pl.DataFrame:
    """One row per neuron, in (layer, neuron) order, read layer by layer.

    `is_gated` decides what a dead neuron is: a gated MLP's activation has no sign of its own, so there it is one that never
    leaves 0; elsewhere one that never rises above 0. Moments are missing without a valid position, skewness and kurtosis also
    at variance 0; they stay NaN where an activation was infinite, so that the checks can see it.
    """
    layers = [_layer_statistics(histograms, layer, is_gated) for layer in range(histograms.layers)]
    return conform(NEURON_STATISTICS, pl.concat(layers))


def _layer_statistics(histograms: Histograms, layer: int, is_gated: bool) -> pl.DataFrame:
    outside = np.asarray(histograms["outside"][layer])  # [neuron, outcome]
    count = np.asarray(histograms["count"][layer]).sum(axis=-1) + outside.sum(axis=-1)  # [neuron]
    valid = count - outside[:, 2]
    minimum, maximum = (np.asarray(histograms[name][layer]) for name in ("minimum", "maximum"))
    above_zero = np.asarray(histograms["above_zero"][layer])
    # Both read "dead" for a neuron that was never measured: its minimum is infinity, its maximum minus infinity.
    is_dead = ~((minimum < 0) | (maximum > 0)) if is_gated else above_zero == 0
    moments = _standardized_moments([np.asarray(histograms[f"moment_{power}"][layer]) for power in (2, 3, 4)], valid)
    seen = pl.Series(valid > 0)
    frame = pl.DataFrame(
        {
            "layer": np.full(len(count), layer, dtype=np.int32),
            "neuron": np.arange(len(count), dtype=np.int32),
            "count": count,
            "mean": np.asarray(histograms["mean"][layer]),
            **moments,
            "minimum": minimum,
            "maximum": maximum,
            "share_above_zero": above_zero / np.maximum(count, 1),
            "underflow": outside[:, 0],
            "overflow": outside[:, 1],
            "nan": outside[:, 2],
            "is_dead": is_dead,
        }
    )
    varies = seen & ((frame["variance"] > 0) | frame["variance"].is_nan())
    missing_unless = {"mean": seen, "variance": seen, "minimum": seen, "maximum": seen, "skewness": varies, "kurtosis": varies}
    return frame.with_columns(pl.when(known).then(pl.col(name)).alias(name) for name, known in missing_unless.items())


def _standardized_moments(sums: list[np.ndarray], valid: np.ndarray) -> dict[str, np.ndarray]:
    """Population variance, skewness and kurtosis [neuron] from `sums` of second to fourth powers over `valid` positions."""
    variance, third, fourth = (power_sum / np.maximum(valid, 1) for power_sum in sums)
    scale = np.where(variance == 0, 1.0, variance)  # where 0, the results are set missing by the caller
    return {
        "variance": variance,
        "skewness": third / scale**1.5,
        "kurtosis": fourth / scale**2,
    }
