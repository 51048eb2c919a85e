"""Exact numbers of broken rules in histogram counters, in one reading: the frames that Great Expectations judges.

Holds counting only. Counters are read in blocks of neurons of one layer, so memory does not grow with tokens, bins or neurons. Shapes: [neuron, bin] and
[token, neuron, bin], with the three outcomes outside the bins as [neuron, outcome] and [token, neuron, outcome].
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from assets.contracts import histogram_tensors
from assets.counting.histograms import COUNTED_PARTS, EMBEDDING_PREDICTION, OUTSIDE, PREDICTIONS, TOP_PREDICTION, Histograms
from assets.histograms.histogram_store import counter_blocks

PER_LAYER = ("count", "outside", "above_zero")


@dataclass(frozen=True)
class CounterViolations:
    """Five small frames.

    `tensors`: one row per counter tensor: its promised and found dtype, and how many of its counters are negative.
    `layers`: one row per layer: neurons, those whose counters miss the counted positions (`unbalanced`), and counted, overflow
    and NaN activations.
    `tokens`: one row per layer and tracked token: `differing` neurons, whose top-prediction counts sum to another number than
    those of layer 0, neuron 0; `unlike_predictions`, whose sum is not the token's own count of predictions; and `above_count`,
    bins (or outcomes outside them) in which the token is predicted at more positions than there are.
    `embedding_tokens`: the same of the top predictions by the embedding; no row where these were not counted.
    `vocabulary`: one row: counted positions, the sums over the vocabulary (predictions by the embedding only where counted), and
    entries predicted rightly more often than predicted.
    """

    tensors: pl.DataFrame
    layers: pl.DataFrame
    tokens: pl.DataFrame
    embedding_tokens: pl.DataFrame
    vocabulary: pl.DataFrame


def counter_violations(histograms: Histograms) -> CounterViolations:
    """Count every violation in the counters of a shard or of the whole corpus."""
    from assets.histograms.held_counts import held_counts

    vocabulary = {name: np.asarray(histograms[name][:]) for name in histograms.vocabulary_sums}
    negative = {name: _negative(counters) for name, counters in vocabulary.items()}
    negative |= dict.fromkeys((*PER_LAYER, *histograms.token_sums), 0)
    layers: list[dict[str, int]] = []
    tokens: dict[str, list[pl.DataFrame]] = {kind: [] for kind in PREDICTIONS}
    token_ids = np.asarray(histograms.token_ids, dtype=np.int64)
    first_sums = {kind: np.zeros(len(token_ids), np.int64) for kind in PREDICTIONS}  # [token], of layer 0, neuron 0
    for block in counter_blocks(histograms):
        layer, held = block.layer, block.tokens
        if block.is_first_of_tokens:
            counters = {name: np.asarray(histograms[name][layer, block.neurons]) for name in PER_LAYER}
            for name, values in counters.items():
                negative[name] += _negative(values)
            layers.append(_layer_row(layer, counters["count"], counters["outside"], histograms.positions))
        for kind, predictions in histograms.prediction_kinds.items():  # one kind at a time: each is a block of READ_AT_ONCE
            of_token = {part: np.asarray(histograms[f"{kind}_{part}"][held, layer, block.neurons]) for part in COUNTED_PARTS}
            holds = held_counts(of_token, counters)
            for part, found in holds.items():
                negative[f"{kind}_{part}"] += int(found.negative.sum())
            sums, above = (np.sum([getattr(found, name) for found in holds.values()], axis=0) for name in ("sums", "above"))
            if layer == 0 and block.neurons.start == 0:
                first_sums[kind][held] = sums[:, 0]
            expected = vocabulary[predictions][token_ids[held]]
            tokens[kind].append(_token_rows(layer, token_ids[held], sums, first_sums[kind][held], expected, above))
    by_layer = pl.DataFrame(layers).group_by("layer", maintain_order=True).sum()
    by_token = {
        kind: pl.concat(frames).group_by("layer", "token_id", maintain_order=True).sum() for kind, frames in tokens.items() if frames
    }
    top = by_token[TOP_PREDICTION]
    embedding = by_token.get(EMBEDDING_PREDICTION, top.clear())
    return CounterViolations(_tensor_rows(histograms, negative), by_layer, top, embedding, _vocabulary_row(histograms, vocabulary))


def _token_rows(
    layer: int, token_ids: np.ndarray, sums: np.ndarray, first_sums: np.ndarray, predictions: np.ndarray, above: np.ndarray
) -> pl.DataFrame:
    """One row a tracked token of a block. `sums` and counters `above` those of all positions are [token, neuron]; `first_sums` [token]
    are the sums of layer 0, neuron 0; `predictions` [token]."""
    return pl.DataFrame(
        {
            "layer": np.full(len(token_ids), layer),
            "token_id": token_ids,
            "neurons": np.full(len(token_ids), sums.shape[1]),
            "differing": (sums != first_sums[:, None]).sum(axis=-1),
            "unlike_predictions": (sums != predictions[:, None]).sum(axis=-1),
            "above_count": above.sum(axis=-1),
        }
    )


def _negative(counters: np.ndarray) -> int:
    return int((counters < 0).sum())


def _tensor_rows(histograms: Histograms, negative: dict[str, int]) -> pl.DataFrame:
    counters = [
        tensor for tensor in histogram_tensors(histograms.counts_embedding_predictions, histograms.outcomes) if tensor.name in negative
    ]
    return pl.DataFrame(
        {
            "tensor": [tensor.name for tensor in counters],
            "promised": [tensor.dtype for tensor in counters],
            "found": [str(histograms[tensor.name].dtype) for tensor in counters],
            "negative": [negative[tensor.name] for tensor in counters],
        }
    )


def _layer_row(layer: int, count: np.ndarray, outside: np.ndarray, positions: int) -> dict[str, int]:
    per_neuron = count.sum(axis=-1) + outside.sum(axis=-1)  # [neuron]
    return {
        "layer": layer,
        "neurons": len(per_neuron),
        "unbalanced": int((per_neuron != positions).sum()),
        "counted": int(per_neuron.sum()),
        "overflow": int(outside[:, OUTSIDE.index("overflow")].sum()),
        "nan": int(outside[:, OUTSIDE.index("nan")].sum()),
    }


def _vocabulary_row(histograms: Histograms, vocabulary: dict[str, np.ndarray]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "positions": [histograms.positions],
            **{name: [int(counters.sum())] for name, counters in vocabulary.items() if name != "correct_predictions"},
            "too_often_correct": [int((vocabulary["correct_predictions"] > vocabulary["predictions"]).sum())],
        }
    )
