"""Exact numbers of broken rules in histogram counters, in one reading: the frames that Great Expectations judges.

Holds counting only. Counters are read in blocks of neurons of one layer, so memory does not grow with tokens, bins or neurons. Shapes: [neuron, bin] and
[token, neuron, bin], with the three outcomes outside the bins as [neuron, outcome] and [token, neuron, outcome].
"""

from dataclasses import dataclass, field

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
from assets.histograms.layers_at_once import of_every_layer

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


@dataclass(frozen=True)
class _Layer:
    """What was found in a layer: negative counters by tensor, and rows of the other frames, of each block of neurons and tokens."""

    negative: dict[str, int]
    layers: list[dict[str, int]] = field(default_factory=list)
    ends: list[dict[str, int]] = field(default_factory=list)
    tokens: dict[str, list[pl.DataFrame]] = field(default_factory=lambda: {kind: [] for kind in PREDICTIONS})


def counter_violations(histograms: Histograms) -> CounterViolations:
    """Count every violation in the counters of a shard or of the whole corpus."""
    vocabulary = {name: np.asarray(histograms[name][:]) for name in histograms.vocabulary_sums}
    first_sums = {kind: _first_sums(histograms, kind) for kind in histograms.prediction_kinds}
    found = of_every_layer(histograms.layers, lambda layer: _of_layer(histograms, vocabulary, first_sums, layer))
    negative = {name: _negative(counters) for name, counters in vocabulary.items()}
    negative |= {name: sum(one.negative[name] for one in found) for name in (*PER_LAYER, *histograms.token_sums)}
    tokens = {kind: [frame for one in found for frame in one.tokens[kind]] for kind in PREDICTIONS}
    ends = [row for one in found for row in one.ends]
    return CounterViolations(
        _tensor_rows(histograms, negative),
        pl.DataFrame([row for one in found for row in one.layers]).group_by("layer", maintain_order=True).sum(),
        {kind: pl.concat(rows).group_by("layer", "token_id", maintain_order=True).sum() for kind, rows in tokens.items() if rows},
        _vocabulary_row(histograms, vocabulary),
        pl.DataFrame(ends).group_by("layer", maintain_order=True).sum() if ends else pl.DataFrame(),
    )


def _first_sums(histograms: Histograms, kind: str) -> np.ndarray:
    """Int64 [token]: what the counters of layer 0, neuron 0 add up to, and those of any other neuron should."""
    first = (np.asarray(histograms[f"{kind}_{part}"][:, 0, 0]) for part in COUNTED_PARTS)
    return np.sum([counters.sum(-1) for counters in first], axis=0)


def _of_layer(histograms: Histograms, vocabulary: dict[str, np.ndarray], first_sums: dict[str, np.ndarray], layer: int) -> _Layer:
    from assets.histograms.held_counts import held_counts

    found = _Layer(dict.fromkeys((*PER_LAYER, *histograms.token_sums), 0))
    token_ids = np.asarray(histograms.token_ids, dtype=np.int64)
    for block in counter_blocks(histograms, layer):
        held = block.tokens
        if block.is_first_of_tokens:
            counters = {name: np.asarray(histograms[name][layer, block.neurons]) for name in PER_LAYER}
            for name, values in counters.items():
                found.negative[name] += _negative(values)
            found.layers.append(_layer_row(layer, counters["count"], counters["outside"], histograms.positions))
            if NEXT_TOKEN in histograms.outcomes:
                without = histograms.positions - int(vocabulary[PREDICTIONS[NEXT_TOKEN]].sum())
                held_by = {part: np.asarray(histograms[f"{NO_NEXT_TOKEN}_{part}"][layer, block.neurons]) for part in COUNTED_PARTS}
                found.ends.append(_end_row(layer, held_by, counters, without))
        for kind, predictions in histograms.prediction_kinds.items():  # one kind at a time: each is a block of READ_AT_ONCE
            of_token = {part: np.asarray(histograms[f"{kind}_{part}"][held, layer, block.neurons]) for part in COUNTED_PARTS}
            units = PROBABILITY_UNITS if kind == PROBABILITY else 1
            holds = held_counts(of_token, {part: counters[part] * units for part in COUNTED_PARTS})
            for part, of_part in holds.items():
                found.negative[f"{kind}_{part}"] += int(of_part.negative.sum())
            sums, above = (np.sum([getattr(of_part, name) for of_part in holds.values()], axis=0) for name in ("sums", "above"))
            expected = vocabulary[predictions][token_ids[held]]
            found.tokens[kind].append(_token_rows(layer, token_ids[held], sums, first_sums[kind][held], expected, above))
    return found


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
