"""Whether a window's activations depend on the row of the batch that it gets, tried on the model that is to be run.

Matrix products and vectorized functions may round differently at the edge of a batch. If one bit of an activation depended
on the row, the counts would depend on how the corpus is cut into shards. So every batch shape is tried once per process and
model, on fixed token ids, before it is used; a shape that fails is given up for single rows, which are always the same row.
"""

import weakref
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.histograms.batches import padded_lengths, rows_of_batch
from assets.histograms.embedding_predictor import predictions_by_embedding
from assets.histograms.top_predictions import SLICE, linear_unembedding, predictor
from assets.model.language_model import LanguageModel
from assets.model.plain_model import neurons_reported

if TYPE_CHECKING:
    import torch

_rows_of_model: "weakref.WeakKeyDictionary[torch.nn.Module, dict[tuple[int, int, int, bool], int]]" = weakref.WeakKeyDictionary()
_predictions_of_model: "weakref.WeakKeyDictionary[torch.nn.Module, dict[tuple[int, int], bool]]" = weakref.WeakKeyDictionary()


def rows_of_batches(
    model: LanguageModel, windows: pl.DataFrame, batch_positions: int, embedding_predictions: bool = False
) -> dict[int, int]:
    """Rows of a batch for every padded length that occurs in the windows, tried on top predictions by the embedding too if asked."""
    lengths = np.unique(padded_lengths(windows["length"].to_numpy().astype(np.int64), model.facts.context_length))
    return {length: safe_rows(model, length, batch_positions, embedding_predictions) for length in lengths.tolist()}


def safe_rows(model: LanguageModel, padded_length: int, batch_positions: int, embedding_predictions: bool = False) -> int:
    """Rows of every batch of this padded length: as many as `batch_positions` allow, or 1 if rows are not independent."""
    import torch

    known = _rows_of_model.setdefault(model.plain, {})
    shape = (padded_length, batch_positions, torch.get_num_threads(), embedding_predictions)
    if shape not in known:
        rows = rows_of_batch(padded_length, batch_positions, threads=torch.get_num_threads())
        known[shape] = rows if rows == 1 or are_rows_independent(model, rows, padded_length, embedding_predictions) else 1
    return known[shape]


def are_rows_independent(model: LanguageModel, rows: int, positions: int, embedding_predictions: bool = False) -> bool:
    """Run one batch twice, the second time with every window one row further: are all activations and predictions the same?

    Blocks that are alike multiply matrices of the same shapes, so two of them are tried for all; not where predictions by the embedding
    are wanted, which read the stream behind the last block.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    token_ids = torch.randint(0, model.facts.vocabulary, (rows, positions), generator=generator).to(model.device)
    is_short = are_blocks_alike(model) and linear_unembedding(model) is not None and not embedding_predictions
    layers = 2 if is_short else model.facts.layers
    first, moved = (_fingerprints(model, ids, layers, embedding_predictions) for ids in (token_ids, token_ids.roll(1, dims=0)))
    return all(torch.equal(one.roll(1, dims=0), other) for one, other in zip(first, moved, strict=True)) and (
        layers >= model.facts.layers or are_predictions_independent(model, rows, positions)
    )


def are_blocks_alike(model: LanguageModel) -> bool:
    """Whether all blocks have weights of the same names and shapes, and one kind of attention."""
    blocks = [getattr(block, "original_component", block) for block in model.bridge.blocks]
    shapes = {tuple((name, tuple(weights.shape)) for name, weights in block.named_parameters()) for block in blocks}
    kinds = set(getattr(model.plain.config, "layer_types", None) or getattr(model.plain.config, "attention_layers", None) or ["one"])
    return len(shapes) == 1 and len(kinds) == 1


def are_predictions_independent(model: LanguageModel, rows: int, positions: int) -> bool:
    """The same for the logits of made-up hidden states, slice by slice as predictions take them: tried once for each number of positions.

    Slices are alike but for the last. A screen of them decides nothing by itself: what it leaves open has the bits of these logits.
    """
    import torch

    unembedding = linear_unembedding(model)
    assert unembedding is not None
    known = _predictions_of_model.setdefault(model.plain, {})
    number = rows * positions
    key = (number, torch.get_num_threads())
    if key not in known:
        weight = unembedding.weight
        hidden = torch.randn(number, weight.shape[1], generator=torch.Generator().manual_seed(0)).to(weight)
        moved = hidden.roll(positions, dims=0)
        slices = [weight[first : first + SLICE].t() for first in (0, (weight.shape[0] - 1) // SLICE * SLICE)]
        known[key] = all(torch.equal(torch.mm(hidden, rows).roll(positions, dims=0), torch.mm(moved, rows)) for rows in slices)
    return known[key]


class _EnoughSeenError(Exception):
    """Ends a forward pass after the layers that are tried."""


def _fingerprints(model: LanguageModel, token_ids: "torch.Tensor", layers: int, embedding_predictions: bool) -> "list[torch.Tensor]":
    """Int64 [row] for each of the first layers: the sum of the bit patterns of the row's activations; of all layers, predictions too."""
    import torch

    top_predictions = predictor(model)
    patterns = {2: torch.int16, 4: torch.int32}
    marks: list[torch.Tensor] = []

    def note(layer: int, activations: torch.Tensor) -> None:
        bits = activations.contiguous().view(patterns[activations.element_size()])
        marks.append(bits.sum((1, 2), dtype=torch.int64))
        if len(marks) == layers < model.facts.layers:
            raise _EnoughSeenError

    by_embedding = predictions_by_embedding(model) if embedding_predictions else nullcontext(lambda: None)
    with torch.inference_mode(), by_embedding as last_by_embedding, neurons_reported(model, note), suppress(_EnoughSeenError):
        marks.append(top_predictions(token_ids))
        found = last_by_embedding()
        marks += [] if found is None else [found]
    return marks
