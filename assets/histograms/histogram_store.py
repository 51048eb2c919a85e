"""Histograms as a Zarr v3 group: one a shard, one for the whole corpus. The attribute `complete` is written last.

Chunks hold one layer and a block of neurons, of a few tokens where these are small, so that a reader or a merge holds one layer at a
time. Which version of an output counts, and whether its files are undamaged, is the store's matter.
"""

import functools
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from assets.contracts import EMBEDDING_TENSORS, KEPT_TENSORS, OUTCOME_TENSORS, Tensor, histogram_tensors
from assets.counting.between_examples import BANDS
from assets.counting.document_blocks import FOLDS
from assets.counting.histograms import (
    CONTEXT,
    COUNTED_PARTS,
    FURTHER_OUTCOMES,
    NEURON_TENSORS,
    NO_NEXT_TOKEN,
    OUTSIDE,
    PREDICTIONS,
    PROBABILITY,
    SCREEN_COUNTS,
    SCREEN_SUMS,
    HistogramError,
    Histograms,
    empty_value,
)
from assets.counting.kept_positions import KEPT_ROWS
from assets.counting.parts import Part, number_of_groups
from assets.counting.position_samples import SAMPLE_TENSORS, SAMPLED
from assets.counting.random_places import OF_NEURONS, RANDOM
from assets.counting.random_places import PLACE as RANDOM_PLACE
from assets.histograms.record_files import zarr_files
from assets.model.language_model import ModelFacts
from assets.store import Record

CHUNK_BYTES = 4 * 2**20  # few files, and a chunk of every tensor of a layer still fits in memory many times
READ_AT_ONCE = 16 * 2**20  # counters of one tensor that statistics hold at once
COMPLETE = "complete"
BLOCK_POSITIONS, BLOCK_SCALED = "block_positions", "block_scaled"


def write_histograms(folder: Path | str, histograms: Histograms) -> None:
    """Write a new group into `folder`, layer by layer."""
    group = create_group(folder, {name: tuple(histograms[name].shape) for name in histograms.tensors})
    tokens, groups = len(histograms.token_ids), len(histograms.screened_ids)
    write_part(group, Part(range(histograms.layers), range(tokens), range(groups)), histograms)
    finish_group(group, histograms.positions, histograms.token_ids)


def shapes_of(
    facts: ModelFacts,
    bins: int,
    tokens: int,
    screened: int,
    examples: int,
    embedding_predictions: bool = False,
    outcomes: Collection[str] = (),
    kept: int = 0,
    domains: int = 1,
) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of the contract; of kept positions there are none where `kept` is 0."""
    sizes = {"layer": facts.layers, "neuron": facts.neurons, "bin": bins, "token": tokens, "vocabulary": facts.vocabulary,
             "rank": examples, "offset": CONTEXT, "outside": len(OUTSIDE), "group": number_of_groups(screened), "sample": SAMPLED,
             "band": BANDS, "random": RANDOM, "block": domains * FOLDS, "kept": kept, "width": facts.model_width}  # fmt: skip
    tensors = histogram_tensors(embedding_predictions, outcomes, kept > 0)
    return {tensor.name: tuple(sizes[name] for name in tensor.dimensions) for tensor in tensors}


def write_part(group: Any, part: Part, histograms: Histograms) -> None:
    """Write what one pass counted to its place in a group, layer by layer, of the counters some READ_AT_ONCE at a time. Every part must be
    written before `finish_group`."""
    arrays = {name: group[name] for name in histograms.tensors}  # each look-up reads the array's metadata again
    for place, layer in enumerate(part.layers):
        if part.is_first_of_layers:
            for name in (*(name for name in NEURON_TENSORS if name not in COUNTED_PARTS), *OF_NEURONS):
                arrays[name][layer] = histograms[name][place]
        for block in counter_blocks(histograms, place):
            _write_counts(arrays, part, layer, block, histograms)
        _write_outcome_sums(arrays, part, place, layer, histograms)
        _write_block_sums(arrays, part, place, layer, histograms)
    _write_screen(arrays, part, histograms)
    _write_shared(arrays, part, histograms)
    _write_vocabulary_sums(arrays, histograms)
    _write_samples(arrays, part, histograms)
    if histograms.keeps_positions:
        _write_kept(arrays, part, histograms)


def _write_counts(arrays: Mapping[str, Any], part: Part, layer: int, block: "CounterBlock", histograms: Histograms) -> None:
    """Some neurons' counts in all, by the first part of its layers, and those under some tracked tokens."""
    if part.is_first_of_layers and block.is_first_of_tokens:
        for counted in COUNTED_PARTS:
            arrays[counted][layer, block.neurons] = histograms[counted][block.layer, block.neurons]
    own = slice(part.tokens.start + block.tokens.start, part.tokens.start + block.tokens.stop)
    for kind in histograms.prediction_kinds if own.stop > own.start else ():
        counts = {counted: histograms[f"{kind}_{counted}"][block.tokens, block.layer, block.neurons] for counted in COUNTED_PARTS}
        write_token_counts(arrays, kind, own, layer, counts, block.neurons)  # many tokens in one call: 2.5 times less time than one by one


def _write_shared(arrays: Mapping[str, Any], part: Part, histograms: Histograms) -> None:
    """What every part of the layers finds the same."""
    if part.is_first_of_layers:
        for name in (BLOCK_POSITIONS, *RANDOM_PLACE):
            arrays[name][:] = histograms[name][:]


def _write_screen(arrays: Mapping[str, Any], part: Part, histograms: Histograms) -> None:
    """The groups of screened tokens: which they are, their positions, and the sums of the part's layers."""
    groups = slice(part.groups.start, part.groups.stop)
    if part.groups:
        for name in ("screen_token", *SCREEN_COUNTS):
            arrays[name][groups] = histograms[name][:]
        for (place, layer), name in itertools.product(enumerate(part.layers), SCREEN_SUMS):
            arrays[name][layer, groups] = histograms[name][place]


def _write_outcome_sums(arrays: Mapping[str, Any], part: Part, place: int, layer: int, histograms: Histograms) -> None:
    """Of a layer, which is the `place`th of the part: those of tokens, and by the first part of its layers those of no token."""
    for name in histograms.outcome_sums:
        if not name.startswith(NO_NEXT_TOKEN):
            arrays[name][layer, part.tokens.start : part.tokens.stop] = histograms[name][place]
        elif part.is_first_of_layers:
            arrays[name][layer] = histograms[name][place]


def _write_block_sums(arrays: Mapping[str, Any], part: Part, place: int, layer: int, histograms: Histograms) -> None:
    """The counters of a layer by block of documents and of null labels, a piece of each at a time."""
    begins = {"token": part.tokens.start, "group": part.groups.start}
    for tensor in histograms.block_sums:
        array, source = arrays[tensor.name], histograms[tensor.name]
        # Every part knows the positions of its own groups, and their sums by block; what is of no token is the same in each.
        is_shared = tensor.name == BLOCK_SCALED or "group" in tensor.dimensions
        is_written = part.groups if is_shared else "token" in tensor.dimensions or part.is_first_of_layers
        for piece in pieces(tensor, source.shape) if is_written else ():
            values = source[index_of(tensor, layer=place, **piece)]
            own = {name: slice(of.start + begins.get(name, 0), of.stop + begins.get(name, 0)) for name, of in piece.items()}
            index = index_of(tensor, layer=layer, **own)
            if tensor.name == BLOCK_SCALED:
                array[index] = array[index] + values
            elif tensor.name.endswith("_count") or values.any():  # Zarr takes half a millisecond for each chunk of zeros
                array[index] = values


def index_of(tensor: Tensor, **places: int | slice) -> tuple[int | slice, ...]:
    """An index into a tensor by the names of its dimensions; those that are not named are whole."""
    return tuple(places.get(name, slice(None)) for name in tensor.dimensions)


def pieces(tensor: Tensor, shape: Sequence[int]) -> Iterator[dict[str, slice]]:
    """A layer of a tensor by block, in pieces of at most READ_AT_ONCE or of one neuron and row: for each its neurons, and its rows of
    tokens or groups where it has such. Ranges of neurons are whole chunks. None for a tensor of no layers."""
    sizes = dict(zip(tensor.dimensions, shape, strict=True))
    if "layer" not in sizes:
        return
    along = next((name for name in ("token", "group") if name in sizes), None)
    of_neuron = prod(size for name, size in sizes.items() if name not in ("layer", "neuron", along)) * np.dtype(tensor.dtype).itemsize
    chunk = _chunks(tensor, tuple(shape), 1)[tensor.dimensions.index("neuron")]
    width = max(chunk, READ_AT_ONCE // max(of_neuron, 1) // chunk * chunk)
    rows = max(1, READ_AT_ONCE // max(of_neuron * min(width, sizes["neuron"]), 1))
    for first in range(0, sizes["neuron"], width):
        neurons = {"neuron": slice(first, min(first + width, sizes["neuron"]))}
        if along is None:
            yield neurons
        else:
            for row in range(0, sizes[along], rows):
                yield {**neurons, along: slice(row, min(row + rows, sizes[along]))}


def _write_vocabulary_sums(arrays: Mapping[str, Any], histograms: Histograms) -> None:
    for name in histograms.vocabulary_sums:
        values = np.asarray(histograms[name][:])
        if name == PREDICTIONS[PROBABILITY]:  # each part knows that of its own tokens
            own, values = values, arrays[name][:]
            values[list(histograms.token_ids)] = own[list(histograms.token_ids)]
        arrays[name][:] = values


def _write_samples(arrays: Mapping[str, Any], part: Part, histograms: Histograms) -> None:
    """The sampled positions, once for each share of the tokens."""
    if part.is_first_of_tokens:
        for name in SAMPLE_TENSORS:
            arrays[name][part.tokens.start : part.tokens.stop] = histograms[name][:]


def _write_kept(arrays: Mapping[str, Any], part: Part, histograms: Histograms) -> None:
    """The kept positions: every part of the layers keeps the same rows, and the activations of its own layers."""
    for name in (*KEPT_ROWS, "kept_residual"):
        arrays[name][:] = histograms[name][:]
    for place, layer in enumerate(part.layers):
        arrays["kept_activations"][:, layer] = histograms["kept_activations"][:, place]


def write_token_counts(
    arrays: Mapping[str, Any], kind: str, rows: slice, layer: int, counts: Mapping[str, np.ndarray], neurons: slice = slice(None)
) -> None:
    """Write the counts of tracked tokens in a layer, for each of COUNTED_PARTS [token, neuron, slot], into new arrays.

    Zarr leaves out chunks of zeros but takes half a millisecond for each, and outside the bins there is hardly ever anything.
    """
    for counted, values in counts.items():
        if counted == "count" or values.any():
            arrays[f"{kind}_{counted}"][rows, layer, neurons] = values


def create_group(folder: Path | str, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    """A new, empty, incomplete Zarr group with every tensor that has a shape; arrays hold what an empty count holds.

    Raises FileExistsError where there is a group already.
    """
    import zarr

    from assets.histograms.small_chunks import use_small_chunks

    use_small_chunks()
    neurons, bins = shapes["count"][1:]
    layouts = tuple(
        Layout(tensor, shapes[tensor.name], _chunks(tensor, shapes[tensor.name], tokens_of_chunk(neurons, bins)))
        for tensor in histogram_tensors(True, FURTHER_OUTCOMES, True)
        if tensor.name in shapes
    )
    for name, content in _empty_group(layouts).items():
        file = Path(folder, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as written:
            written.write(content)
    return zarr.open_group(str(folder), mode="r+", zarr_format=3)


class Layout(NamedTuple):
    """A tensor of the contract, how large it is, and in what chunks it lies."""

    tensor: Tensor
    shape: tuple[int, ...]
    chunks: tuple[int, ...]


@functools.lru_cache(maxsize=8)
def _empty_group(layouts: tuple[Layout, ...]) -> dict[str, bytes]:
    """The files of an empty group, made in memory: on a disk Zarr takes three times as long, and the shards of a study have the same."""
    import zarr
    from zarr.codecs import BloscCodec
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    group = zarr.open_group(MemoryStore(files), mode="w", zarr_format=3)
    for tensor, shape, chunks in layouts:
        group.create_array(
            tensor.name,
            shape=shape,
            chunks=chunks,
            dtype=tensor.dtype,
            fill_value=empty_value(tensor.name),
            compressors=BloscCodec(cname="lz4", clevel=1, shuffle="shuffle"),
            dimension_names=tensor.dimensions,
            attributes={"unit": tensor.unit, "description": tensor.description},
        )
    return {name: content.to_bytes() for name, content in files.items()}


def finish_group(group: Any, positions: int, token_ids: Sequence[int]) -> None:
    """Say that all is written: a group without this is refused by every reader."""
    group.attrs.update({"positions": int(positions), "token_ids": [int(token) for token in token_ids]})
    group.attrs[COMPLETE] = True


def read_histograms(source: Path | str | Record) -> Histograms:
    """The group in a folder or of a record; its tensors are Zarr arrays, read only where they are indexed.

    A record's files that are not on this machine are read chunk by chunk, each verified as it arrives, and not kept.
    Raises HistogramError for a folder without a group, an incomplete group, and tensors that are not the contract's.
    """
    if not isinstance(source, Record):
        return _read_group(source, str(source))
    here = source.here
    return _read_group(source.address, zarr_files(source)) if here is None else _read_once(str(here), source.files_content)


@functools.lru_cache(maxsize=64)
def _read_once(folder: str, content: str) -> Histograms:
    """A published version never changes, and some forty readers of a study each opened its seventy arrays: a sixth of a small study's time."""
    return _read_group(folder, folder)


def _read_group(folder: Path | str, opened: Any) -> Histograms:
    import zarr

    from assets.histograms.small_chunks import use_small_chunks

    use_small_chunks()
    remedy = "materialize it again"
    try:
        group = zarr.open_group(opened, mode="r", zarr_format=3)
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise HistogramError(f"histograms {folder}: no readable Zarr group there ({type(error).__name__}); {remedy}") from None
    if group.attrs.get(COMPLETE) is not True:
        raise HistogramError(f"histograms {folder}: the group was not written to its end; {remedy}")
    # An output from before there were predictions by the embedding, or of a study without, has none of their tensors.
    outcomes = [outcome for outcome, own in OUTCOME_TENSORS.items() if any(group.get(tensor.name) is not None for tensor in own)]
    with_embedding, keeps = (any(group.get(tensor.name) is not None for tensor in own) for own in (EMBEDDING_TENSORS, KEPT_TENSORS))
    promised = histogram_tensors(with_embedding, outcomes, keeps)
    tensors = {tensor.name: _read_array(group, tensor, folder) for tensor in promised}
    attributes: dict[str, Any] = group.attrs.asdict()
    token_ids = tuple(int(token) for token in attributes["token_ids"])
    _check_shapes(folder, {name: tensor.shape for name, tensor in tensors.items()}, len(token_ids))
    return Histograms(tensors, int(attributes["positions"]), token_ids)


@dataclass(frozen=True)
class CounterBlock:
    """Neurons of one layer and rows of tracked tokens whose bins are at most READ_AT_ONCE."""

    layer: int
    neurons: slice
    tokens: slice

    @property
    def is_first_of_tokens(self) -> bool:
        """Whether the neurons' plain counts have not come by yet."""
        return self.tokens.start == 0


def counter_blocks(histograms: Histograms, layer: int | None = None) -> Iterator[CounterBlock]:
    """All counters by tracked token: for each layer and range of neurons the tokens one after the other, at least one (empty) range.

    `layer` is the one that is wanted; every layer if absent.

    Ranges of neurons are whole chunks, so that none is decompressed more than once.
    """
    width = min(histograms.neurons, max(1, CHUNK_BYTES // _bytes_of_neuron(histograms.bins)))
    layers = range(histograms.layers) if layer is None else (layer,)
    for held, start in itertools.product(layers, range(0, histograms.neurons, width)):
        neurons = slice(start, min(start + width, histograms.neurons))
        for tokens in list(token_blocks(histograms, width)) or [slice(0, 0)]:
            yield CounterBlock(held, neurons, tokens)


def token_blocks(histograms: Histograms, neurons: int) -> Iterator[slice]:
    """Rows of tracked tokens whose counters of so many neurons are at most READ_AT_ONCE, or one row; whole chunks."""
    rows, tokens = max(1, READ_AT_ONCE // (neurons * _bytes_of_neuron(histograms.bins))), len(histograms.token_ids)
    rows -= rows % tokens_of_chunk(neurons, histograms.bins)
    for first in range(0, tokens, rows):
        yield slice(first, min(first + rows, tokens))


def tokens_of_chunk(neurons: int, bins: int) -> int:
    """Tracked tokens whose counters of a layer's neurons make one chunk: half as many files of GPT-2 Small as with one, and a third less
    time to write and hash them."""
    return max(1, CHUNK_BYTES // (max(neurons, 1) * _bytes_of_neuron(bins)))


def _bytes_of_neuron(bins: int) -> int:
    return max(bins, 1) * 8


def _chunks(tensor: Tensor, shape: tuple[int, ...], tokens: int) -> tuple[int, ...]:
    """One layer, so many tokens, as many neurons as CHUNK_BYTES hold; the last axes whole. Groups: as many as hold all their neurons."""
    whole = dict(zip(tensor.dimensions, shape, strict=True))
    if "kept" in whole:
        beside = (
            int(np.prod([whole[name] for name in ("neuron", "width") if name in whole], dtype=np.int64)) * np.dtype(tensor.dtype).itemsize
        )
        whole |= {"layer": 1, "kept": min(whole["kept"], max(1, CHUNK_BYTES // max(beside, 1)))}
        return tuple(max(1, whole[name]) for name in tensor.dimensions)
    if "group" in whole and "neuron" in whole:
        block = max(1, CHUNK_BYTES // (max(whole["neuron"], 1) * np.dtype(tensor.dtype).itemsize))
        return (1, max(1, min(whole["group"], block)), max(1, whole["neuron"]))
    if "block" in whole:
        return _chunks_by_block(tensor, whole)
    if tensor.dimensions == ("layer", "token", "neuron"):
        block = max(1, CHUNK_BYTES // (max(whole["neuron"], 1) * np.dtype(tensor.dtype).itemsize))
        return (1, max(1, min(whole["token"], block)), max(1, whole["neuron"]))
    if "neuron" in whole:
        beside = int(
            np.prod([whole[name] for name in ("bin", "outside", "rank", "band", "random", "offset") if name in whole], dtype=np.int64)
        )
        block = max(1, CHUNK_BYTES // (max(beside, 1) * np.dtype(tensor.dtype).itemsize))
        whole["neuron"] = min(whole["neuron"], block)
    whole |= {"layer": 1, "token": min(tokens, whole.get("token", 1))}
    return tuple(max(1, whole[name]) for name in tensor.dimensions)


def _chunks_by_block(tensor: Tensor, whole: dict[str, int]) -> tuple[int, ...]:
    """One layer, the folds of a domain together, as many neurons as CHUNK_BYTES hold, and as many tokens if these are all neurons."""
    whole |= {"block": min(whole["block"], FOLDS), "layer": min(whole.get("layer", 1), 1)}
    left = CHUNK_BYTES // np.dtype(tensor.dtype).itemsize
    for name in ("block", "bin", "outside", "neuron", "token"):
        if name in whole:
            whole[name] = max(1, min(whole[name], left))
            left //= whole[name]
    return tuple(max(1, whole[name]) for name in tensor.dimensions)


def _read_array(group: Any, tensor: Tensor, folder: Path | str) -> Any:
    import zarr

    array = group.get(tensor.name)
    if not isinstance(array, zarr.Array):
        raise HistogramError(f"histograms {folder}: tensor {tensor.name} is missing; materialize it again")
    if array.dtype != np.dtype(tensor.dtype) or array.ndim != len(tensor.dimensions):
        raise HistogramError(f"histograms {folder}: tensor {tensor.name} is {array.dtype} with {array.ndim} axes, the contract says "
                             f"{tensor.dtype} {list(tensor.dimensions)}; materialize it again")  # fmt: skip
    return array


def _check_shapes(folder: Path | str, shapes: dict[str, tuple[int, ...]], tokens: int) -> None:
    """Axes of the same name must have the same length in every tensor."""
    lengths = {"token": tokens, "outside": len(OUTSIDE)}
    for tensor in (tensor for tensor in histogram_tensors(True, FURTHER_OUTCOMES, True) if tensor.name in shapes):
        for name, length in zip(tensor.dimensions, shapes[tensor.name], strict=True):
            if lengths.setdefault(name, length) != length:
                raise HistogramError(f"histograms {folder}: tensor {tensor.name} has {length} along {name}, other tensors have "
                                     f"{lengths[name]}; materialize it again")  # fmt: skip
