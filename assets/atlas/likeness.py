"""Of every neuron the others whose vector is most like its own, and most opposite: by correlation, or by cosine.

Candidates are found by products of rounded vectors, some more than are told; these are scored exactly and ordered by that, so that what is
told is exact, whichever way they were found. What could be missed is one that rounding puts behind all candidates
(docs/decisions/0040-atlas.md has how often). Knows no model and no counters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assets.heavy_imports import heavy_imports
from assets.progress import Tally, Told

if TYPE_CHECKING:
    from torch import Tensor

ENDS = {"alike": 1, "opposite": -1}  # what an end is called, and the sign of its likenesses
SPARE = 8  # candidates of an end beside those told
TILE = 2048  # vectors whose products with as many others are taken at once: 8 MiB, which stay in cache
BLOCK = 4096  # vectors whose sums are taken at once


@dataclass(frozen=True)
class Neighbours:
    """The others of each neuron. entries: int32 [neuron, end, rank], which neuron, -1 where there is none; likeness: float32, the same shape."""

    entries: np.ndarray
    likeness: np.ndarray


def neighbours(
    values: np.ndarray, told: int, is_centred: bool, device: str = "cpu", progress: Told | None = None, asked: np.ndarray | None = None
) -> Neighbours:
    """The first `told` at either of ENDS, largest likeness first, ties to the lower neuron; none of the wrong sign.

    values: float32 [neuron, width]. The likeness is Pearson's correlation over the width if `is_centred`, else the cosine; float64, told as
    float32. A neuron whose vector has no length (does not vary), or is not finite, has no neighbours and is none. `asked`: int64, the neurons
    whose neighbours are looked for, among all; the others get none. `progress` is told pairs.
    """
    centre, length = _centre_and_length(values, is_centred)
    have = np.flatnonzero(np.isfinite(length) & (length > 0))
    found = Neighbours(np.full((len(values), len(ENDS), told), -1, np.int32), np.zeros((len(values), len(ENDS), told), np.float32))
    if not have.size:
        return found
    if have.size < len(values):
        values, centre, length = values[have], centre[have], length[have]
    rows = np.arange(len(have)) if asked is None else np.flatnonzero(np.isin(have, asked))
    candidates = _candidates(
        _rounded(values, centre, length, device), len(values), rows, told + SPARE, Tally(progress, len(rows) * len(have))
    )
    for first in range(0, len(rows), BLOCK):
        own = rows[first : first + BLOCK]
        likeness = _likeness(values, centre, length, own, candidates[first : first + BLOCK])
        entries, likeness = _first(candidates[first : first + BLOCK], likeness, told)
        found.entries[have[own]] = np.where(entries >= 0, have[entries], -1)
        found.likeness[have[own]] = likeness
    return found


def _centre_and_length(values: np.ndarray, is_centred: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of each vector its mean, or 0, and its length less that, float64 [neuron]."""
    centre, length = np.zeros(len(values)), np.zeros(len(values))
    for first in range(0, len(values), BLOCK):
        rows = slice(first, first + BLOCK)
        exact = values[rows].astype(np.float64)
        if is_centred and exact.size:
            centre[rows] = exact.mean(axis=1)
        with np.errstate(invalid="ignore"):  # infinity less infinity: no number, and told so by the length
            length[rows] = np.sqrt(((exact - centre[rows, None]) ** 2).sum(axis=1))
    return centre, length


def _rounded(values: np.ndarray, centre: np.ndarray, length: np.ndarray, device: str) -> "Tensor":
    """The vectors with length 1, [neuron, width] on the device; rows of zeros up to a multiple of SPAN.

    bfloat16 where products of it are fast: on this project's CPUs with its instructions nine times faster than float32, on the others slower.
    """
    with heavy_imports("torch"):
        import torch
    from assets.atlas.likeness_loops import SPAN

    has_instructions = device != "cpu" or torch.cpu.get_capabilities().get("avx512_bf16", False)
    dtype = torch.bfloat16 if has_instructions else torch.float32
    rounded = torch.zeros((-(-len(values) // SPAN) * SPAN, values.shape[1]), dtype=dtype, device=device)
    for first in range(0, len(values), BLOCK):
        rows = slice(first, first + BLOCK)
        scaled = (values[rows] - centre[rows, None]) / length[rows, None]
        rounded[first : first + len(scaled)] = torch.from_numpy(scaled).to(device, dtype)
    return rounded


def _candidates(rounded: "Tensor", vectors: int, rows: np.ndarray, number: int, tally: Tally) -> np.ndarray:
    """Int32 [row, end, candidate]: those with the highest and the lowest products with vector rows[row], -1 where there are no more."""
    from assets.atlas.likeness_loops import LEAST, SPAN, keep_extremes

    keys = np.full((len(rows), len(ENDS), number), LEAST, np.int16)
    entries = np.full((len(rows), len(ENDS), number), -1, np.int32)
    for first, column, scores in _products(rounded, vectors, rows):
        own = slice(first, min(first + TILE, len(rows)))
        spans = _bits(scores)[: own.stop - own.start].reshape(own.stop - own.start, -1, SPAN)
        keep_extremes(spans, rows[own], column, vectors, keys[own], entries[own])
        tally.add(len(spans) * min(TILE, vectors - column))
    return entries


def _products(rounded: "Tensor", vectors: int, rows: np.ndarray) -> "Iterator[tuple[int, int, Tensor]]":
    """(first row, first column, products of the rows with the columns behind it), a tile at a time.

    Where all vectors are rows, a tile serves the vectors of its rows and, turned, those of its columns.
    """
    if len(rows) < vectors:
        for first in range(0, len(rows), TILE):
            some = rounded[rows[first : first + TILE]]
            for column in range(0, vectors, TILE):
                yield first, column, some @ rounded[column : column + TILE].T
        return
    for first, column in _tiles(vectors):
        scores = rounded[first : first + TILE] @ rounded[column : column + TILE].T
        yield first, column, scores
        if first != column:
            yield column, first, scores.T


def _tiles(vectors: int) -> Iterator[tuple[int, int]]:
    """First row and first column of every tile on and above the diagonal."""
    firsts = range(0, vectors, TILE)
    return ((row, column) for row in firsts for column in firsts if column >= row)


def _bits(scores: "Tensor") -> np.ndarray:
    """The scores as bfloat16, in memory by rows, as the int16 [row, column] of their bits."""
    import torch

    return scores.to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy()


def _likeness(values: np.ndarray, centre: np.ndarray, length: np.ndarray, rows: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """Float32 [row, end, candidate]: how alike vector rows[row] and each of its candidates are. Equal for either of a pair."""
    from assets.atlas.likeness_loops import products

    found = np.empty(entries.shape)
    products(values, rows, entries, found)
    found -= values.shape[1] * (centre[rows, None, None] * centre[entries])
    return np.clip(found / (length[rows, None, None] * length[entries]), -1, 1).astype(np.float32)


def _first(entries: np.ndarray, likeness: np.ndarray, told: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `told` at each end of [row, end, candidate], in their order; entry -1 and likeness 0 behind the last that has the end's sign."""
    outwards = likeness * np.array(list(ENDS.values()), np.float32)[:, None]
    is_told = (entries >= 0) & (outwards > 0)
    order = np.lexsort((entries, np.where(is_told, -outwards, np.inf)), axis=-1)[..., :told]
    entries, likeness, is_told = (np.take_along_axis(of, order, axis=-1) for of in (entries, likeness, is_told))
    return np.where(is_told, entries, -1), np.where(is_told, likeness, np.float32(0))
