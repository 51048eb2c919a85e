"""Exact numbers of broken rules in the contexts of examples: a frame that is then judged. Holds counting only, a layer at a time."""

import numpy as np
import polars as pl

from assets.counting.between_examples import BANDS, outermost
from assets.counting.histograms import BEFORE, BETWEEN, CONTEXT, SIDES, ActivationBins, Histograms
from assets.counting.number_formats import halves
from assets.histograms.layers_at_once import of_every_layer


def context_violations(histograms: Histograms, bins: ActivationBins) -> pl.DataFrame:
    """One row per layer: `examples`; `unlike`: those whose context has another activation in its middle than their own, or any before their
    window begins; `empty`: places without an example that have a context; `astray`: examples of the levels between that are not in their
    band of the bins."""
    ends = dict(zip(BETWEEN, outermost(bins.per_unit, bins.first_bin, bins.bins), strict=True))
    documents, positions = (np.asarray(histograms[f"random_{part}"][:]) for part in ("document", "position"))

    def row(layer: int) -> tuple[int, ...]:
        found = np.zeros(3, np.int64)
        for side in (*SIDES, *BETWEEN):
            found += _of_side(*(np.asarray(histograms[f"{side}_{part}"][layer]) for part in ("value", "document", "position", "context")))
        value, context = (np.asarray(histograms[f"random_{part}"][layer]) for part in ("value", "context"))
        found += _of_side(value, np.broadcast_to(documents, value.shape), np.broadcast_to(positions, value.shape), context)
        astray = sum(_astray(histograms, side, layer, ends[side][layer]) for side in BETWEEN)
        return layer, *found.tolist(), astray

    return pl.DataFrame(of_every_layer(histograms.layers, row), schema=["layer", "examples", "unlike", "empty", "astray"], orient="row")


def _of_side(value: np.ndarray, document: np.ndarray, position: np.ndarray, context: np.ndarray) -> np.ndarray:
    """Int64 [3]: examples, those unlike, and contexts of nothing. The first three [neuron, rank], `context` [neuron, rank, CONTEXT]."""
    is_example = document >= 0
    middle, own = context[..., BEFORE], halves(np.ascontiguousarray(value))
    differs = (middle != own) & ~(np.isnan(middle) & np.isnan(own))  # at a random place the activation may be NaN
    is_before = np.arange(CONTEXT) < BEFORE - position[..., None]
    is_unlike = is_example & (differs | (is_before & (context != 0)).any(-1))
    return np.array([is_example.sum(), is_unlike.sum(), (~is_example & (context != 0).any(-1)).sum()])


def _astray(histograms: Histograms, side: str, layer: int, end: np.ndarray) -> int:
    """Examples outside their band; `end` float32 [neuron], NaN where there is no band."""
    value, document = (np.asarray(histograms[f"{side}_{part}"][layer]) for part in ("value", "document"))  # [neuron, band]
    share = (value if side == BETWEEN[0] else -value) / end[:, None]
    band = np.arange(BANDS)
    is_inside = (share >= 0.5 ** (band + 1)) & ((share < 0.5**band) | (band == 0))
    return int(((document >= 0) & ~is_inside).sum())
