"""Exact numbers of broken rules in histogram counters, in one reading: the frames that Great Expectations judges.

Holds counting only. Counters are read in blocks of neurons of one layer, so memory does not grow with tokens, bins or neurons. Shapes: [neuron, bin] and
[token, neuron, bin], with the three outcomes outside the bins as [neuron, outcome] and [token, neuron, outcome].
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from assets.contracts import histogram_tensors
from assets.counting.histograms import (
    COUNTED_PARTS,
    NEXT_TOKEN,
    NO_NEXT_TOKEN,
    OUTSIDE,
    PREDICTIONS,
    PROBABILITY,
    PROBABILITY_UNITS,
    Histograms,
)
from assets.histograms.histogram_store import counter_blocks

PER_LAYER = ("count", "outside", "above_zero")


@dataclass(frozen=True)
class CounterViolations:
    """Small frames.

    `tensors`: one row per counter tensor: its promised and found dtype, and how many of its counters are negative.
    `layers`: one row per layer: neurons, those whose counters miss the counted positions (`unbalanced`), and counted, overflow
    and NaN activations.
    `tokens`: by what tracked tokens were counted (histograms.PREDICTIONS), one row per layer and token: `differing` neurons, whose counts
    sum to another number than those of layer 0, neuron 0; `unlike_predictions`, whose sum is not the token's own count of predictions, or
    what stands for it; and `above_count`, bins (or what lies outside them) in which the token is counted at more positions than there are.
    `vocabulary`: one row: counted positions, the sums over the vocabulary (those of further kinds only where counted), and
    entries predicted rightly more often than predicted.
    `ends`: one row per layer, where next tokens were counted: neurons whose positions without one are another number than the counted
    positions less those with one (`unlike_positions`), and bins with more of them than positions or less than none.
    """

    tensors: pl.DataFrame
    layers: pl.DataFrame
    tokens: dict[str, pl.DataFrame]
    vocabulary: pl.DataFrame
    ends: pl.DataFrame


def counter_violations(histograms: Histograms) -> CounterViolations:
    """Count every violation in the counters of a shard or of the whole corpus."""
    from assets.histograms.held_counts import held_counts

    vocabulary = {name: np.asarray(histograms[name][:]) for name in histograms.vocabulary_sums}
    negative = {name: _negative(counters) for name, counters in vocabulary.items()}
    negative |= dict.fromkeys((*PER_LAYER, *histograms.token_sums), 0)
    layers: list[dict[str, int]] = []
    ends: list[dict[str, int]] = []
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
            if NEXT_TOKEN in histograms.outcomes:
                without = histograms.positions - int(vocabulary[PREDICTIONS[NEXT_TOKEN]].sum())
                held_by = {part: np.asarray(histograms[f"{NO_NEXT_TOKEN}_{part}"][layer, block.neurons]) for part in COUNTED_PARTS}
                ends.append(_end_row(layer, held_by, counters, without))
        for kind, predictions in histograms.prediction_kinds.items():  # one kind at a time: each is a block of READ_AT_ONCE
            of_token = {part: np.asarray(histograms[f"{kind}_{part}"][held, layer, block.neurons]) for part in COUNTED_PARTS}
            units = PROBABILITY_UNITS if kind == PROBABILITY else 1
            holds = held_counts(of_token, {part: counters[part] * units for part in COUNTED_PARTS})
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
    of_ends = pl.DataFrame(ends).group_by("layer", maintain_order=True).sum() if ends else pl.DataFrame()
    return CounterViolations(_tensor_rows(histograms, negative), by_layer, by_token, _vocabulary_row(histograms, vocabulary), of_ends)


def _end_row(layer: int, held: dict[str, np.ndarray], counters: dict[str, np.ndarray], without: int) -> dict[str, int]:
    """Of positions without a next token: `held` and all `counters` [neuron, slot], and how many there must be."""
    strange = sum(int(((values < 0) | (values > counters[part])).sum()) for part, values in held.items())
    sums = np.sum([values.sum(-1) for values in held.values()], axis=0)
    return {"layer": layer, "neurons": len(sums), "unlike_positions": int((sums != without).sum()), "strange": strange}


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
