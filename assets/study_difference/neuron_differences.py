"""The table `study_difference_neurons`: each neuron of one study against the same neuron of the other.

The sign of a gated neuron is a convention, so it is settled first: by what both write, or where that does not tell, by which sign brings the two
distributions closer. All that is said of study B is then read in the sign of study A.
"""

import numpy as np
import polars as pl

from assets.contracts import STUDY_DIFFERENCE_NEURONS, conform
from assets.counting.histograms import ActivationBins, Histograms
from assets.study_difference.histogram_distance import distances
from assets.study_difference.levels import Levels, layer_levels
from assets.study_difference.written_tokens import written_likeness

Counted = tuple[Histograms, ActivationBins]


def neuron_differences(one: Counted, other: Counted, written: tuple[pl.DataFrame, pl.DataFrame], is_gated: bool) -> pl.DataFrame:
    """One row a neuron, in (layer, neuron) order, read layer by layer. `written` are the tables congruence_neurons."""
    cosines = _cosines(written, one[0].layers, one[0].neurons)  # [layer, neuron]
    layers = [_layer(one, other, layer, cosines[layer], is_gated) for layer in range(one[0].layers)]
    return conform(STUDY_DIFFERENCE_NEURONS, pl.concat(layers))


def _layer(one: Counted, other: Counted, layer: int, cosine: np.ndarray, is_gated: bool) -> pl.DataFrame:
    own, facing = (layer_levels(histograms, bins, layer) for histograms, bins in (one, other))
    straight, edges = distances(own, facing)
    negated = facing.negated if is_gated else facing
    turned, turned_edges = distances(own, negated) if is_gated else (straight, edges)
    sign = _signs(cosine, straight, turned) if is_gated else np.ones(len(cosine))
    is_turned = (sign == -1) | ((sign == 0) & (turned < straight))
    return pl.DataFrame(
        {
            "layer": np.full(len(sign), layer, dtype=np.int32),
            "neuron": np.arange(len(sign), dtype=np.int32),
            "distance": np.where(is_turned, turned, straight),
            "shared_edges": np.where(is_turned, turned_edges, edges),
            "sign": sign,
            "likeness": np.where(is_gated, np.abs(cosine), cosine),
            "mean_a": _means(one[0], layer, own),
            "mean_b": _means(other[0], layer, facing) * np.where(sign == 0, np.nan, sign),
            "share_above_zero_a": _above_zero(one[0], layer, own),
            "share_above_zero_b": np.where(sign == -1, _above_zero_negated(negated), _above_zero(other[0], layer, facing)),
        }
    ).with_columns(
        pl.col("distance", "likeness", "share_above_zero_a", "share_above_zero_b").fill_nan(None),
        pl.when(pl.col("sign") != 0).then("sign"),
        pl.when(pl.lit(pl.Series(own.positions > 0))).then("mean_a").alias("mean_a"),
        pl.when(pl.lit(pl.Series((facing.positions > 0) & (sign != 0)))).then("mean_b").alias("mean_b"),
        pl.when(pl.col("sign") != 0).then(pl.col("share_above_zero_b").fill_nan(None)).alias("share_above_zero_b"),
    )


def _signs(cosine: np.ndarray, straight: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """Float64 [neuron]: 1, -1, or 0 where neither what is written nor the distance tells."""
    by_weights = np.sign(np.nan_to_num(cosine))
    by_distance = np.sign(np.nan_to_num(turned) - np.nan_to_num(straight))
    return np.where(by_weights != 0, by_weights, by_distance)


def _means(histograms: Histograms, layer: int, levels: Levels) -> np.ndarray:
    return np.where(levels.positions > 0, np.asarray(histograms["mean"][layer]), np.nan)


def _above_zero(histograms: Histograms, layer: int, levels: Levels) -> np.ndarray:
    return np.asarray(histograms["above_zero"][layer]) / np.where(levels.positions > 0, levels.positions.astype(np.float64), np.nan)


def _above_zero_negated(negated: Levels) -> np.ndarray:
    """The share of positions above 0 of negated neurons; NaN where the bins do not tell 0 from what is below it."""
    is_told = (negated.positions > 0) & (negated.up_to_zero >= 0)
    return np.where(is_told, 1 - negated.up_to_zero / np.maximum(negated.positions, 1), np.nan)


def _cosines(written: tuple[pl.DataFrame, pl.DataFrame], layers: int, neurons: int) -> np.ndarray:
    found = written_likeness(*written).drop_nulls("cosine")
    cosines = np.full((layers, neurons), np.nan)
    cosines[found["layer"].to_numpy(), found["neuron"].to_numpy()] = found["cosine"].to_numpy()
    return cosines
