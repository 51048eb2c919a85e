"""The sum of all shards, one layer at a time, each verified by its own numbers before it is added.

Integers, extremes and examples do not depend on the order of the shards; moments are merged in the order given, so the same
shards give the same bytes. Memory: a layer of two parts, for each of the layers that are merged at once, whatever the corpus.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from assets.contracts import Tensor
from assets.counting.batches import refuse_large_blocks
from assets.counting.histograms import (
    COUNTED_PARTS,
    NEURON_TENSORS,
    NEXT_TOKEN,
    NO_NEXT_TOKEN,
    PREDICTIONS,
    PROBABILITY,
    PROBABILITY_UNITS,
    SCREEN_COUNTS,
    SCREEN_SUMS,
    HistogramError,
    Histograms,
    merge_neurons,
)
from assets.counting.kept_positions import KEPT_ROWS, MergedRows, merged_rows, quotas, rows_of_tensors
from assets.counting.position_samples import SAMPLE_TENSORS, SAMPLES, merged_samples
from assets.counting.random_places import OF_NEURONS, MergedPlaces
from assets.histograms.histogram_store import (
    BLOCK_POSITIONS,
    create_group,
    finish_group,
    index_of,
    pieces,
    token_blocks,
    write_token_counts,
)
from assets.histograms.layers_at_once import of_every_layer
from assets.progress import Tally, Told

_OF_ALL_POSITIONS = ("occurrences", "predictions", "embedding_predictions")  # one token at every counted position


def merge_histograms(parts: Sequence[Histograms], folder: Path | str, names: Sequence[str] = (), progress: Told | None = None) -> None:
    """Write the sum of `parts` into a new group in `folder`. `names` name the shards in errors (else their place); `progress` is told layers.

    Raises HistogramError naming the shard whose counts contradict each other; the group is then left incomplete, which every
    reader refuses.
    """
    if not parts:
        raise HistogramError("merge: no shards were given; materialize activation_histograms first")
    names = names or [f"{place} (counted from 0)" for place in range(len(parts))]
    first = parts[0]
    for name, part in zip(names, parts, strict=True):
        _check_alike(name, part, names[0], first)
        _check_predictions(name, part)
    refuse_large_blocks("merge", int(np.sum([part[BLOCK_POSITIONS][:] for part in parts], axis=0).max()))
    group = create_group(folder, {name: tuple(first[name].shape) for name in first.tensors})
    arrays = {name: group[name] for name in first.tensors}  # each look-up reads the array's metadata again
    predictions = {kind: _of_tracked(kind, parts) for kind in first.prediction_kinds}
    kept = _merge_kept(arrays, names, parts) if first.keeps_positions else None
    random = MergedPlaces([part.tensors for part in parts])
    for name, values in random.tensors.items():
        arrays[name][:] = values

    def merge_layer(layer: int) -> None:
        _merge_neurons(arrays, layer, names, parts)
        _merge_random(arrays, layer, random, parts)
        for kind in first.prediction_kinds:
            _merge_tokens(arrays, layer, names, parts, kind, predictions[kind])
        _merge_outcomes(arrays, layer, names, parts)
        _merge_screen(arrays, layer, names, parts)
        _merge_blocks(arrays, layer, names, parts)
        if kept:
            arrays["kept_activations"][:, layer] = kept.values(partial(_kept_of_layer, parts, layer))

    of_every_layer(first.layers, merge_layer, Tally(progress, first.layers))
    for tensor in (*first.vocabulary_sums, *SCREEN_COUNTS, BLOCK_POSITIONS):
        total = np.zeros(first[tensor].shape, np.int64)
        for part in parts:  # one at a time: of a thousand shards of 50,257 tokens, all would be gigabytes
            total += part[tensor][:]
        arrays[tensor][:] = total
    arrays["screen_token"][:] = first.screened_ids
    _merge_samples(arrays, names, parts)
    finish_group(group, sum(part.positions for part in parts), first.token_ids)


def _of_tracked(kind: str, parts: Sequence[Histograms]) -> np.ndarray:
    """Int64 [part, token]: how often each tracked token is predicted, by one kind of prediction."""
    return np.stack([np.asarray(part[part.prediction_kinds[kind]][:])[list(part.token_ids)] for part in parts])


def _merge_neurons(arrays: Mapping[str, Any], layer: int, names: Sequence[str], parts: Sequence[Histograms]) -> None:
    """The tensors of a layer's neurons."""
    total: dict[str, np.ndarray] = {}
    positions = 0
    for name, part in zip(names, parts, strict=True):
        slab = {tensor: part[tensor][layer] for tensor in NEURON_TENSORS}
        verify_counts(name, layer, slab, part.positions)
        total = merge_neurons(total, positions, slab, part.positions) if total else slab
        positions += part.positions
    for tensor, values in total.items():
        arrays[tensor][layer] = values


def _merge_random(arrays: Mapping[str, Any], layer: int, random: MergedPlaces, parts: Sequence[Histograms]) -> None:
    """What a layer's neurons do at the random places."""
    for name in OF_NEURONS:
        zeros = np.zeros(arrays[name].shape[1:], arrays[name].dtype)
        arrays[name][layer] = random.fill(zeros, partial(_of_layer, parts, name, layer), axis=1)


def _of_layer(parts: Sequence[Histograms], name: str, layer: int, part: int) -> np.ndarray:
    """A tensor of one part in a layer."""
    return np.asarray(parts[part][name][layer])


def _merge_tokens(
    arrays: Mapping[str, Any], layer: int, names: Sequence[str], parts: Sequence[Histograms], kind: str, predictions: np.ndarray
) -> None:
    """The counts of a layer where tracked tokens are predicted, or come next, a block of tokens at a time. predictions: int64 [part, token]."""
    for rows in token_blocks(parts[0], parts[0].neurons):
        total: dict[str, np.ndarray] = {}
        for name, part, predicted in zip(names, parts, predictions, strict=True):
            added = {counted: np.asarray(part[f"{kind}_{counted}"][rows, layer]) for counted in COUNTED_PARTS}  # [token, neuron, slot]
            verify_tokens(name, layer, part, rows, added, kind, predicted[rows])
            for counted, values in added.items():
                total[counted] = total[counted] + values if counted in total else values
        write_token_counts(arrays, kind, rows, layer, total)


def _merge_outcomes(arrays: Mapping[str, Any], layer: int, names: Sequence[str], parts: Sequence[Histograms]) -> None:
    """The sums of a layer under further outcomes that are of no tracked token's bins. Those without a next token are verified."""
    for tensor in parts[0].outcome_sums:
        arrays[tensor][layer] = sum(np.asarray(part[tensor][layer]) for part in parts)
    if NEXT_TOKEN in parts[0].outcomes:
        for name, part in zip(names, parts, strict=True):
            without = part.positions - int(part[PREDICTIONS[NEXT_TOKEN]][:].sum())
            held = {counted: np.asarray(part[f"{NO_NEXT_TOKEN}_{counted}"][layer]) for counted in COUNTED_PARTS}
            fault = f"{NO_NEXT_TOKEN}_count that does not sum to the {without} positions without a next token"
            _refuse(name, layer, fault, sum(values.sum(-1) for values in held.values()) != without)
            for counted, values in held.items():
                _refuse(name, layer, f"{NO_NEXT_TOKEN}_{counted} below 0", _any_axis(values < 0))
                _refuse(name, layer, f"{NO_NEXT_TOKEN}_{counted} above {counted}", _any_axis(values > part[counted][layer]))


def _merge_screen(arrays: Mapping[str, Any], layer: int, names: Sequence[str], parts: Sequence[Histograms]) -> None:
    """The sums of a layer by predicted and by current token, a block of groups at a time."""
    groups, block = arrays["screen_sum"].shape[1], arrays["screen_sum"].chunks[1]
    for start in range(0, groups, block):
        rows = slice(start, min(start + block, groups))
        for tensor in SCREEN_SUMS:
            total = np.zeros((rows.stop - rows.start, arrays[tensor].shape[2]), np.int64)
            for name, part in zip(names, parts, strict=True):
                added = part[tensor][layer, rows]
                if tensor == "screen_squares":
                    _refuse(name, layer, "a sum of squared activations below 0: it is too large for an int64", (added < 0).any(0))
                total += added
            arrays[tensor][layer, rows] = total


def _merge_blocks(arrays: Mapping[str, Any], layer: int, names: Sequence[str], parts: Sequence[Histograms]) -> None:
    """The counters of a layer by block of documents and of null labels, a piece of each at a time."""
    for tensor in parts[0].block_sums:
        for piece in pieces(tensor, parts[0][tensor.name].shape):
            index = index_of(tensor, layer=layer, **piece)
            total = np.zeros((), np.int64)
            for name, part in zip(names, parts, strict=True):
                added = np.asarray(part[tensor.name][index])
                _verify_blocks(name, part, tensor, layer, piece, added)
                if total.ndim:
                    total += added
                else:
                    total = added.astype(np.int64)
            if tensor.name.endswith("_count") or total.any():
                _refuse_large(tensor, total)
                arrays[tensor.name][index] = total


def _verify_blocks(name: str, part: Histograms, tensor: Tensor, layer: int, piece: Mapping[str, slice], added: np.ndarray) -> None:
    """Counts by block sum to those of all documents in every slot, and none is negative."""
    from assets.histograms.held_counts import unlike_blocks

    if not tensor.name.endswith(("_count", "_outside")):
        return
    if tensor.name.startswith("null_"):
        _refuse(name, layer, f"{tensor.name} below 0", np.asarray((added < 0).any((0, -1))), piece["neuron"].start)
        return
    whole = tensor.name.removeprefix("block_")
    if "token" in piece:
        values = np.asarray(part[whole][piece["token"], layer, piece["neuron"]])
    else:
        values, added = np.asarray(part[whole][layer, piece["neuron"]])[None], added[:, None]
    fault = f"{tensor.name} below 0, or of all blocks not {whole}"
    _refuse(name, layer, fault, np.asarray(unlike_blocks(added, values).any(0)), piece["neuron"].start)


def _refuse_large(tensor: Tensor, total: np.ndarray) -> None:
    """Sums beyond what the contract's dtype holds; by block they cannot be, since its positions are few enough."""
    if total.size and total.max() > np.iinfo(tensor.dtype).max:
        raise HistogramError(f"merge: {tensor.name} has a counter of {total.max()}, at most {np.iinfo(tensor.dtype).max} can be stored; "
                             "use a smaller corpus")  # fmt: skip


def _merge_samples(arrays: Mapping[str, Any], names: Sequence[str], parts: Sequence[Histograms]) -> None:
    """The sampled positions of every tracked token."""
    total: dict[str, np.ndarray] = {}
    for name, part in zip(names, parts, strict=True):
        added = {tensor: np.asarray(part[tensor][:]) for tensor in SAMPLE_TENSORS}
        verify_samples(name, part, added)
        total = merged_samples(total, added) if total else added
    for tensor, values in total.items():
        arrays[tensor][:] = values


def _merge_kept(arrays: Mapping[str, Any], names: Sequence[str], parts: Sequence[Histograms]) -> MergedRows:
    """The rows of the kept positions and the residual stream there; activations follow layer by layer."""
    for name, part in zip(names, parts, strict=True):
        verify_kept(name, part)
    first = parts[0]
    shared = quotas(first.kept_positions, first.token_ids, first.outcomes)
    kept = merged_rows([{tensor: part[tensor][:] for tensor in KEPT_ROWS} for part in parts], shared)
    for tensor, values in kept.tensors.items():
        arrays[tensor][:] = values
    arrays["kept_residual"][:] = kept.values(lambda part, stop: np.asarray(parts[part]["kept_residual"][:stop]))
    return kept


def _kept_of_layer(parts: Sequence[Histograms], layer: int, part: int, stop: int) -> np.ndarray:
    """The first kept activations [row, neuron] of a layer in one part."""
    return np.asarray(parts[part]["kept_activations"][:stop, layer])


def verify_kept(name: str, part: Histograms) -> None:
    """The kept positions are as many as there can be, each one once."""
    rows = rows_of_tensors(part.tensors)
    background = int(np.asarray(part["kept_is_background"][:]).sum())
    most = min(part.positions, quotas(part.kept_positions, part.token_ids, part.outcomes).background)
    places = np.stack([rows.document, rows.window, rows.position])
    if background != most or np.unique(places, axis=1).shape[1] != len(rows):
        raise HistogramError(f"shard {name}: {background} positions kept as background where there must be {most}, or a position kept twice; "
                             "materialize the shard again")  # fmt: skip


def verify_samples(name: str, part: Histograms, added: Mapping[str, np.ndarray]) -> None:
    """No tracked token has more sampled positions than there are: as the top prediction, and, as the next token, occurrences."""
    tracked = list(part.token_ids)
    for sample, counted in zip(SAMPLES.values(), ("predictions", "occurrences"), strict=True):
        held, most = (added[f"{sample}_document"] >= 0).sum(1), np.asarray(part[counted][:])[tracked]  # [token]
        if (held > most).any():
            row = int(np.argmax(held > most))
            raise HistogramError(f"shard {name}: {held[row]} positions of token {tracked[row]} in {sample}, but {counted} are {most[row]}; "
                                 "materialize the shard again")  # fmt: skip


def verify_counts(name: str, layer: int, slab: dict[str, np.ndarray], positions: int) -> None:
    """Counts of a layer: none negative, no NaN, and bins + outside = positions for every neuron."""
    for tensor in ("count", "outside", "above_zero"):
        _refuse(name, layer, f"{tensor} below 0", _any_axis(slab[tensor] < 0))
    _refuse(name, layer, "activations that are NaN", slab["outside"][:, 2] != 0)
    held = slab["count"].sum(-1) + slab["outside"].sum(-1)
    _refuse(name, layer, f"bins and outside that do not sum to the {positions} counted positions", held != positions)


def verify_tokens(
    name: str, layer: int, part: Histograms, rows: slice, added: Mapping[str, np.ndarray], kind: str, predictions: np.ndarray
) -> None:
    """Tracked tokens' counts in a layer: none negative or above the bin's, and for every neuron as many as the token's predictions.

    `kind` says by what a token is counted, as in histograms.PREDICTIONS; predictions: int64 [token of `rows`], or what stands for them.
    """
    from assets.histograms.held_counts import held_counts

    units = PROBABILITY_UNITS if kind == PROBABILITY else 1
    held = held_counts(added, {counted: np.asarray(part[counted][layer]) * units for counted in COUNTED_PARTS})
    counted_as = part.prediction_kinds[kind].replace("_", " ")
    for row, token in enumerate(part.token_ids[rows]):
        for counted, of_tokens in held.items():
            _refuse(name, layer, f"{kind}_{counted} of token {token} below 0", of_tokens.negative[row] > 0)
            _refuse(name, layer, f"{kind}_{counted} of token {token} above {counted}", of_tokens.above[row] > 0)
        fault = f"{kind}_count of token {token} that does not sum to its {predictions[row]} {counted_as}"
        _refuse(name, layer, fault, sum(of_tokens.sums[row] for of_tokens in held.values()) != predictions[row])


def _check_alike(name: str, part: Histograms, first_name: str, first: Histograms) -> None:
    if part.token_ids != first.token_ids:
        raise HistogramError(f"shard {name}: tracks tokens {list(part.token_ids)}, shard {first_name} tracks {list(first.token_ids)}; "
                             "materialize both again from the same study")  # fmt: skip
    if not np.array_equal(part.screened_ids, first.screened_ids):
        raise HistogramError(f"shard {name}: screens other tokens than shard {first_name}; materialize both again from the same study")
    if part.outcomes != first.outcomes:
        raise HistogramError(f"shard {name}: counts the outcomes {', '.join(part.outcomes)}, shard {first_name} {', '.join(first.outcomes)}; "
                             "materialize both again from the same study")  # fmt: skip
    if part.keeps_positions != first.keeps_positions:
        raise HistogramError(f"shards {name} and {first_name}: only one keeps positions; materialize both again from the same study")
    if part.counts_embedding_predictions != first.counts_embedding_predictions:
        which = name if part.counts_embedding_predictions else first_name
        raise HistogramError(f"shards {name} and {first_name}: only {which} counts top predictions by the embedding; materialize both "
                             "again from the same study")  # fmt: skip
    for tensor in first.tensors:
        if part[tensor].shape != first[tensor].shape:
            raise HistogramError(f"shard {name}: tensor {tensor} has shape {tuple(part[tensor].shape)}, shard {first_name} has "
                                 f"{tuple(first[tensor].shape)}; materialize both again from the same study")  # fmt: skip


def _check_predictions(name: str, part: Histograms) -> None:
    for tensor in part.vocabulary_sums:
        values = part[tensor][:]
        if (values < 0).any():
            raise HistogramError(f"shard {name}: {tensor} of token {int(np.argmax(values < 0))} is below 0; materialize the shard again")
        if tensor == PREDICTIONS[NEXT_TOKEN] and values.sum() > part.positions:
            raise HistogramError(f"shard {name}: {tensor} sum to {values.sum()}, above the {part.positions} counted positions; "
                                 "materialize the shard again")  # fmt: skip
        if tensor in _OF_ALL_POSITIONS and values.sum() != part.positions:
            raise HistogramError(f"shard {name}: {tensor} sum to {values.sum()}, but {part.positions} positions were counted; "
                                 "materialize the shard again")  # fmt: skip
    screened = part.screened_ids
    for tensor, counted_as in zip(SCREEN_COUNTS, ("predictions", "occurrences"), strict=True):
        count = part[tensor][:]
        if screened.size and (count.sum() != part.positions or (count[:-1] != part[counted_as][:][screened[:-1]]).any()):
            raise HistogramError(f"shard {name}: {tensor} sums to {count.sum()} of {part.positions} positions, or differs from the {counted_as} "
                                 "of the screened tokens; materialize the shard again")  # fmt: skip
    held = part[BLOCK_POSITIONS][:]
    if (held < 0).any() or held.sum() != part.positions:
        raise HistogramError(f"shard {name}: the positions of its blocks sum to {held.sum()}, but {part.positions} were counted; "
                             "materialize the shard again")  # fmt: skip
    if (part["correct_predictions"][:] > part["predictions"][:]).any():
        raise HistogramError(f"shard {name}: a token has more correct predictions than predictions; materialize the shard again")


def _any_axis(is_wrong: np.ndarray) -> np.ndarray:
    """Bool [neuron]."""
    return np.asarray(is_wrong.reshape(is_wrong.shape[0], -1).any(-1))


def _refuse(name: str, layer: int, fault: str, is_wrong: np.ndarray, first_neuron: int = 0) -> None:
    if is_wrong.any():
        raise HistogramError(f"shard {name}: layer {layer}, neuron {first_neuron + int(np.argmax(is_wrong))} ({int(is_wrong.sum())} in all): {fault}; "
                             "materialize the shard again")  # fmt: skip
