"""Exact numbers of broken rules in histogram counters, in one reading: the frames that Great Expectations judges.

Holds counting only. Counters are read in blocks of neurons of one layer, so memory does not grow with tokens, bins or neurons. Shapes: [neuron, bin] and
[token, neuron, bin], with the three outcomes outside the bins as [neuron, outcome] and [token, neuron, outcome].
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from assets.contracts import HISTOGRAM_TENSORS
from assets.histograms.histogram_store import counter_blocks
from assets.histograms.histograms import OUTCOMES, Histograms

PER_LAYER = ("count", "outside", "above_zero")
PER_TOKEN_AND_LAYER = ("top_prediction_count", "top_prediction_outside")
PER_VOCABULARY_ENTRY = ("occurrences", "predictions", "correct_predictions")
COUNTERS = tuple(tensor for tensor in HISTOGRAM_TENSORS if tensor.name in PER_LAYER + PER_TOKEN_AND_LAYER + PER_VOCABULARY_ENTRY)


@dataclass(frozen=True)
class CounterViolations:
    """Four small frames.

    `tensors`: one row per counter tensor: its promised and found dtype, and how many of its counters are negative.
    `layers`: one row per layer: neurons, those whose counters miss the counted positions (`unbalanced`), and counted, overflow
    and NaN activations.
    `tokens`: one row per layer and tracked token: `differing` neurons, whose top-prediction counts sum to another number than
    those of layer 0, neuron 0; `unlike_predictions`, whose sum is not the token's own count of predictions; and `above_count`,
    bins (or outcomes outside them) in which the token is predicted at more positions than there are.
    `vocabulary`: one row: counted positions, the sums over the vocabulary, and entries predicted rightly more often than predicted.
    """

    tensors: pl.DataFrame
    layers: pl.DataFrame
    tokens: pl.DataFrame
    vocabulary: pl.DataFrame


def counter_violations(histograms: Histograms) -> CounterViolations:
    """Count every violation in the counters of a shard or of the whole corpus."""
    vocabulary = {name: np.asarray(histograms[name][:]) for name in PER_VOCABULARY_ENTRY}
    negative = {name: _negative(counters) for name, counters in vocabulary.items()} | dict.fromkeys(PER_LAYER + PER_TOKEN_AND_LAYER, 0)
    token_ids = np.asarray(histograms.token_ids, dtype=np.int64)
    first_sums = np.zeros(len(token_ids), dtype=np.int64)  # [token], of layer 0, neuron 0
    layers: list[dict[str, int]] = []
    tokens: list[pl.DataFrame] = []
    for block in counter_blocks(histograms):
        layer, held = block.layer, block.tokens
        if block.is_first_of_tokens:
            plain = {name: np.asarray(histograms[name][layer, block.neurons]) for name in PER_LAYER}
            layers.append(_layer_row(layer, plain["count"], plain["outside"], histograms.positions))
        predicted = {name: np.asarray(histograms[name][held, layer, block.neurons]) for name in PER_TOKEN_AND_LAYER}
        for name, values in (*(plain.items() if block.is_first_of_tokens else ()), *predicted.items()):
            negative[name] += _negative(values)
        sums = predicted["top_prediction_count"].sum(axis=-1) + predicted["top_prediction_outside"].sum(axis=-1)  # [token, neuron]
        if layer == 0 and block.neurons.start == 0:
            first_sums[held] = sums[:, 0]
        tokens.append(
            pl.DataFrame(
                {
                    "layer": np.full(len(sums), layer),
                    "token_id": token_ids[held],
                    "neurons": np.full(len(sums), sums.shape[1]),
                    "differing": (sums != first_sums[held, None]).sum(axis=-1),
                    "unlike_predictions": (sums != vocabulary["predictions"][token_ids[held]][:, None]).sum(axis=-1),
                    "above_count": (predicted["top_prediction_count"] > plain["count"]).sum(axis=(-2, -1))
                    + (predicted["top_prediction_outside"] > plain["outside"]).sum(axis=(-2, -1)),
                }
            )
        )
    by_layer = pl.DataFrame(layers).group_by("layer", maintain_order=True).sum()
    by_token = pl.concat(tokens).group_by("layer", "token_id", maintain_order=True).sum()
    return CounterViolations(_tensor_rows(histograms, negative), by_layer, by_token, _vocabulary_row(histograms, vocabulary))


def _negative(counters: np.ndarray) -> int:
    return int((counters < 0).sum())


def _tensor_rows(histograms: Histograms, negative: dict[str, int]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "tensor": [tensor.name for tensor in COUNTERS],
            "promised": [tensor.dtype for tensor in COUNTERS],
            "found": [str(histograms[tensor.name].dtype) for tensor in COUNTERS],
            "negative": [negative[tensor.name] for tensor in COUNTERS],
        }
    )


def _layer_row(layer: int, count: np.ndarray, outside: np.ndarray, positions: int) -> dict[str, int]:
    per_neuron = count.sum(axis=-1) + outside.sum(axis=-1)  # [neuron]
    return {
        "layer": layer,
        "neurons": len(per_neuron),
        "unbalanced": int((per_neuron != positions).sum()),
        "counted": int(per_neuron.sum()),
        "overflow": int(outside[:, OUTCOMES.index("overflow")].sum()),
        "nan": int(outside[:, OUTCOMES.index("nan")].sum()),
    }


def _vocabulary_row(histograms: Histograms, vocabulary: dict[str, np.ndarray]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "positions": [histograms.positions],
            "occurrences": [int(vocabulary["occurrences"].sum())],
            "predictions": [int(vocabulary["predictions"].sum())],
            "too_often_correct": [int((vocabulary["correct_predictions"] > vocabulary["predictions"]).sum())],
        }
    )
