"""The table `study_difference_neurons`: each neuron of one study against the same neuron of the other.

The sign of a gated neuron is a convention, so it is settled first: by what both write, or where that does not tell, by which sign brings the two
distributions closer. All that is said of study B is then read in the sign of study A.
"""

import numpy as np
import polars as pl

from assets.contracts import STUDY_DIFFERENCE_NEURONS, conform
from assets.counting.histograms import ActivationBins, Histograms
from assets.study_difference.half_distances import half_distances
from assets.study_difference.histogram_distance import distances
from assets.study_difference.levels import NO_EDGE, Levels, layer_levels
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
    sign, distance, above_zero = np.ones(len(cosine)), straight, _above_zero(other[0], layer, facing)
    if is_gated:
        negated = facing.negated
        turned, turned_edges = distances(own, negated)
        sign = _signs(cosine, straight, turned)
        distance, edges = np.where(sign == -1, turned, straight), np.where(sign == -1, turned_edges, edges)
        above_zero = np.where(sign == -1, _above_zero_negated(negated), above_zero)
    halves = [half_distances(histograms, bins, layer, is_gated) for histograms, bins in (one, other)]
    told_sign = np.where(sign == 0, np.nan, sign)
    return pl.DataFrame(
        {
            "layer": np.full(len(sign), layer, dtype=np.int32),
            "neuron": np.arange(len(sign), dtype=np.int32),
            "distance": _known(distance),
            "halves_distance": _known(np.fmax(*halves)),
            "shared_edges": edges,
            "sign": _known(told_sign),
            "likeness": _known(np.abs(cosine) if is_gated else cosine),
            "mean_a": pl.Series(_mean(one[0], layer)).set(pl.Series(own.positions == 0), None),
            "mean_b": pl.Series(_mean(other[0], layer) * sign).set(pl.Series((facing.positions == 0) | (sign == 0)), None),
            "share_above_zero_a": _known(_above_zero(one[0], layer, own)),
            "share_above_zero_b": _known(above_zero * np.abs(told_sign)),
        }
    )


def _signs(cosine: np.ndarray, straight: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """Float64 [neuron]: 1, -1, or 0 where neither what is written nor the distance tells."""
    by_weights = np.sign(np.nan_to_num(cosine))
    straight, turned = (np.where(np.isnan(found), np.inf, found) for found in (straight, turned))
    return np.where(by_weights != 0, by_weights, (straight < turned) * 1.0 - (turned < straight))


def _known(values: np.ndarray) -> pl.Series:
    """What is not NaN; the rest is missing."""
    return pl.Series(values, dtype=pl.Float64).fill_nan(None)


def _mean(histograms: Histograms, layer: int) -> np.ndarray:
    return np.asarray(histograms["mean"][layer])  # [neuron]


def _above_zero(histograms: Histograms, layer: int, levels: Levels) -> np.ndarray:
    """The share of positions above 0, [neuron]; NaN without a position."""
    return np.asarray(histograms["above_zero"][layer]) / np.where(levels.positions > 0, levels.positions, np.nan)


def _above_zero_negated(negated: Levels) -> np.ndarray:
    """The same of negated neurons; NaN also where the bins do not tell 0 from what is below it."""
    is_told = (negated.positions > 0) & (negated.up_to_zero != NO_EDGE)
    return (negated.positions - negated.up_to_zero) / np.where(is_told, negated.positions, np.nan)


def _cosines(written: tuple[pl.DataFrame, pl.DataFrame], layers: int, neurons: int) -> np.ndarray:
    found = written_likeness(*written).drop_nulls("cosine")
    cosines = np.full((layers, neurons), np.nan)
    cosines[found["layer"].to_numpy(), found["neuron"].to_numpy()] = found["cosine"].to_numpy()
    return cosines
