"""Two small studies' counters and tables from activations that a test writes down, for the difference of two studies. Holds no test."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from assets.contracts import TABLES
from assets.counting.document_blocks import FOLDS
from assets.counting.histograms import ActivationBins, Histograms
from assets.statistics.token_neuron_scores import with_direction

AN, A = 11, 12
TEXTS = {AN: " an", A: "</script><b>"}
FILLERS: dict[Any, Any] = {pl.String(): "", pl.Boolean(): False}


def bins_of(*neurons: tuple[float, int], bins: int) -> ActivationBins:
    """One layer; of each neuron per_unit and first_bin."""
    per_unit, first = zip(*neurons, strict=True)
    return ActivationBins(np.asarray([per_unit], dtype=np.float32), np.asarray([first], dtype=np.int32), bins)


def counted(activations: np.ndarray, bins: ActivationBins) -> Histograms:
    """The counters of one layer of activations [neuron, position], one position after the other; position p is of fold p modulo 8."""
    neurons, positions = activations.shape
    count, outside = np.zeros((FOLDS, 1, neurons, bins.bins), dtype=np.int64), np.zeros((FOLDS, 1, neurons, 3), dtype=np.int64)
    above, mean = np.zeros((1, neurons), dtype=np.int64), np.zeros((1, neurons))
    for neuron, values in enumerate(activations):
        for position, value in enumerate(values):
            place = np.floor(value * bins.per_unit[0, neuron]) - bins.first_bin[0, neuron]
            if np.isnan(value):
                outside[position % FOLDS, 0, neuron, 2] += 1
            elif 0 <= place < bins.bins:
                count[position % FOLDS, 0, neuron, int(place)] += 1
            else:
                outside[position % FOLDS, 0, neuron, int(place >= bins.bins)] += 1
        above[0, neuron] = sum(value > 0 for value in values)
        known = [value for value in values if not np.isnan(value)]
        mean[0, neuron] = np.mean(known) if known else 0.0
    whole = {"count": count.sum(0), "outside": outside.sum(0), "above_zero": above, "mean": mean}
    blocks = {"block_count": count, "block_outside": outside, "block_positions": np.zeros(FOLDS, dtype=np.int64)}
    return Histograms({**whole, **blocks}, positions, (AN, A))


def rows(table: str, names: str, *lines: tuple) -> pl.DataFrame:
    """A table of which only the named columns matter; the others hold what their type starts with."""
    given, schema = names.split(), TABLES[table].schema
    content = [{name: FILLERS.get(kind, 0) for name, kind in schema.items()} | dict(zip(given, line, strict=True)) for line in lines]
    return pl.DataFrame(content, schema=schema)


def written(*neurons: dict[int, float]) -> pl.DataFrame:
    """congruence_neurons of one layer: of each neuron its listed tokens with their congruence; and another convention, which says nothing."""
    lines = [
        (convention, 0, neuron, "top" if value > 0 else "bottom", place, token, f"t{token}", value * scale)
        for convention, scale in (("logits", 1.0), ("published", -3.0))
        for neuron, listed in enumerate(neurons)
        for place, (token, value) in enumerate(sorted(listed.items(), key=lambda one: -one[1]))
    ]
    return rows("congruence_neurons", "convention layer neuron end rank token_id token congruence", *lines)


def scores(values: dict[int, Sequence[float | None]], per_layer: int) -> dict[str, pl.DataFrame]:
    """token_counts, contributions and token_neuron_scores: of each token one value a neuron, which is its contribution and half its AUROC."""
    lines = [
        (token, TEXTS[token], place // per_layer, place % per_layer, value)
        for token, of_token in values.items()
        for place, value in enumerate(of_token)
        if value is not None
    ]
    aurocs = [(*line[:4], None if line[4] is None else 0.5 + line[4] / 2) for line in lines]
    return {
        "token_counts": rows("token_counts", "token_id token predictions", *((token, TEXTS[token], 7) for token in values)),
        "contributions": rows("contributions", "token_id token layer neuron contribution", *lines),
        "token_neuron_scores": with_direction(rows("token_neuron_scores", "token_id token layer neuron auroc", *aurocs)),
    }


def curve(activations: np.ndarray, predicted: np.ndarray, bins: ActivationBins, neuron: int, token: int = AN) -> pl.DataFrame:
    """proportion_curves of one neuron of layer 0: activations [position], and where the token is predicted."""
    edges = np.concatenate([[-np.inf], bins.edges(0, neuron), [np.inf]])
    inside = [(activations >= left) & (activations < right) for left, right in zip(edges, edges[1:], strict=False)]
    lines = [
        (0, neuron, token, TEXTS[token], left, right, int(at.sum()), int((at & predicted).sum()))
        for left, right, at in zip(edges, edges[1:], inside, strict=False)
    ]
    return rows("proportion_curves", "layer neuron token_id token bin_left bin_right count top_prediction_count", *lines)
