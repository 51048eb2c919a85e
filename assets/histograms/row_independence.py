"""Whether a window's activations depend on the row of the batch that it gets, tried on the model that is to be run.

Matrix products and vectorized functions may round differently at the edge of a batch. If one bit of an activation depended
on the row, the counts would depend on how the corpus is cut into shards. So every batch shape is tried once per process and
model, on fixed token ids, before it is used; a shape that fails is given up for single rows, which are always the same row.
"""

import weakref
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.histograms.batches import padded_lengths, rows_of_batch
from assets.histograms.embedding_predictor import predictions_by_embedding
from assets.histograms.top_predictions import predictor
from assets.model.language_model import LanguageModel
from assets.model.plain_model import neurons_reported

if TYPE_CHECKING:
    import torch

_rows_of_model: "weakref.WeakKeyDictionary[torch.nn.Module, dict[tuple[int, int, int, bool], int]]" = weakref.WeakKeyDictionary()


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
    """Run one batch twice, the second time with every window one row further: are all activations and predictions the same?"""
    import torch

    generator = torch.Generator().manual_seed(0)
    token_ids = torch.randint(0, model.facts.vocabulary, (rows, positions), generator=generator).to(model.device)
    first, moved = (_fingerprints(model, ids, embedding_predictions) for ids in (token_ids, token_ids.roll(1, dims=0)))
    return all(torch.equal(moved[name], mark.roll(1, dims=0)) for name, mark in first.items())


def _fingerprints(model: LanguageModel, token_ids: "torch.Tensor", embedding_predictions: bool) -> "dict[str, torch.Tensor]":
    """Int64 [row] per layer: the sum of the bit patterns of the row's activations; and the row's predictions."""
    import torch

    top_predictions = predictor(model)
    patterns = {2: torch.int16, 4: torch.int32}
    marks: dict[str, torch.Tensor] = {}

    def note(layer: int, activations: torch.Tensor) -> None:
        bits = activations.contiguous().view(patterns[activations.element_size()])
        marks[str(layer)] = bits.sum((1, 2), dtype=torch.int64)

    by_embedding = predictions_by_embedding(model) if embedding_predictions else nullcontext(lambda: None)
    with torch.inference_mode(), by_embedding as last_by_embedding, neurons_reported(model, note):
        marks["predictions"] = top_predictions(token_ids)
        found = last_by_embedding()
    if found is not None:
        marks["predictions by the embedding"] = found
    return marks
