"""Whether a window's activations depend on the row of the batch that it gets, tried on the model that is to be run.

Matrix products and vectorized functions may round differently at the edge of a batch. If one bit of an activation depended
on the row, the counts would depend on how the corpus is cut into shards. So every batch shape is tried once per process and
model, on fixed token ids, before it is used; a shape that fails is given up for single rows, which are always the same row.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from assets.counting.batches import SHORTEST_STEP, padded_lengths, rows_of_batch
from assets.model.language_model import LanguageModel
from assets.model.plain_model import last_hidden, neurons_reported
from assets.predictions.embedding_predictor import predictions_by_embedding
from assets.predictions.top_predictions import SLICE, linear_unembedding, predictor

if TYPE_CHECKING:
    import torch

_rows_of_model: "weakref.WeakKeyDictionary[torch.nn.Module, dict[tuple[int, int, int, bool], int]]" = weakref.WeakKeyDictionary()
_positions_of_model: "weakref.WeakKeyDictionary[torch.nn.Module, dict[tuple[int, int, int], bool]]" = weakref.WeakKeyDictionary()


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
    """Run a batch of one window in every row: are all activations and predictions the same in each, bit for bit?

    Blocks that are alike do the same operations on the same shapes, so the first is tried for all; not where predictions by the
    embedding are wanted, which read the stream behind the last block. What sees positions alone, not windows, has only their number
    for a shape: it is tried once for each number, in rows of SHORTEST_STEP, and attention for each shape. So the answer depends on the
    shape and the machine, never on what else was tried before.
    """
    if not are_blocks_alike(model) or linear_unembedding(model) is None or embedding_predictions:
        return _is_model_independent(model, _one_window(model, rows, positions), embedding_predictions)
    shortest = SHORTEST_STEP if positions % SHORTEST_STEP == 0 else positions
    return _are_positions_independent(model, rows * positions // shortest, shortest) and (
        positions == shortest or _is_first_block_independent(model, _one_window(model, rows, positions), attention_alone=True)
    )


def _one_window(model: LanguageModel, rows: int, positions: int) -> "torch.Tensor":
    """Token ids [row, position], the same made-up ones in every row."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, model.facts.vocabulary, (1, positions), generator=generator).to(model.device).expand(rows, positions)


def _are_positions_independent(model: LanguageModel, rows: int, positions: int) -> bool:
    """Whether the first block and the predictions give every row the same: tried once for each shape."""
    import torch

    known = _positions_of_model.setdefault(model.plain, {})
    key = (rows, positions, torch.get_num_threads())
    if key not in known:
        whole_block = _is_first_block_independent(model, _one_window(model, rows, positions))
        known[key] = whole_block and are_predictions_independent(model, rows, positions)
    return known[key]


def are_blocks_alike(model: LanguageModel) -> bool:
    """Whether all blocks have weights of the same names and shapes, and one kind of attention."""
    blocks = [model.plain.get_submodule(name) for name in model.parts.blocks]
    shapes = {tuple((name, tuple(weights.shape)) for name, weights in block.named_parameters()) for block in blocks}
    kinds = set(getattr(model.plain.config, "layer_types", None) or getattr(model.plain.config, "attention_layers", None) or ["one"])
    return len(blocks) > 1 and len(shapes) == 1 and len(kinds) == 1


def are_predictions_independent(model: LanguageModel, rows: int, positions: int) -> bool:
    """The same for the logits of made-up hidden states, slice by slice as predictions take them.

    Slices are alike but for the last. A shortlist of them decides nothing by itself: what it leaves open has the bits of these logits.
    """
    import torch

    unembedding = linear_unembedding(model)
    assert unembedding is not None
    weight = unembedding.weight
    hidden = torch.randn(1, positions, weight.shape[1], generator=torch.Generator().manual_seed(0)).to(weight)
    repeated = hidden.expand(rows, -1, -1).reshape(rows * positions, -1)
    slices = [weight[first : first + SLICE].t() for first in (0, (weight.shape[0] - 1) // SLICE * SLICE)]
    return all(are_rows_the_same(torch.mm(repeated, entries).view(rows, -1)) for entries in slices)


def are_rows_the_same(values: "torch.Tensor") -> bool:
    """Whether values [row, ...] have the same bits in every row, NaN and signed zeros included."""
    import torch

    bits = values.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()])
    return bool((bits == bits[:1]).all())


class _EnoughSeenError(Exception):
    """Ends a forward pass behind what is tried."""


def _is_first_block_independent(model: LanguageModel, token_ids: "torch.Tensor", attention_alone: bool = False) -> bool:
    """The first block's neurons and the stream behind it, or what its attention writes, its maps of single positions left out."""
    import torch

    same: list[bool] = []

    def enough(module: "torch.nn.Module", given: Any, made: Any) -> None:
        same.append(are_rows_the_same(made[0] if isinstance(made, tuple) else made))
        raise _EnoughSeenError

    attention = model.parts.first_attention if attention_alone else None
    module = model.plain.get_submodule(attention or model.parts.blocks[0])
    handle = module.register_forward_hook(enough)
    try:
        with (
            torch.inference_mode(),
            maps_of_one_row(module, *token_ids.shape) if attention else nullcontext(),
            neurons_reported(model, lambda layer, activations: same.append(are_rows_the_same(activations))),
            suppress(_EnoughSeenError),
        ):
            last_hidden(model, token_ids)
    finally:
        handle.remove()
    return all(same)


@contextmanager
def maps_of_one_row(module: "torch.nn.Module", rows: int, positions: int) -> Iterator[None]:
    """While open, the innermost modules with weights map the first of `rows` equal rows, and the result is repeated for the others.

    They see single positions, so that they are tried by number of positions: half to four fifths of what attention alone would cost.
    """

    def first_row(part: "torch.nn.Module", given: tuple[Any, ...]) -> tuple[Any, ...]:
        is_of_rows = bool(given) and given[0].ndim > 2 and given[0].shape[:2] == (rows, positions)
        return (given[0][:1], *given[1:]) if is_of_rows else given

    def repeated(part: "torch.nn.Module", given: tuple[Any, ...], made: Any) -> Any:
        is_of_one = bool(given) and given[0].ndim > 2 and given[0].shape[:2] == (1, positions)
        return made.expand(rows, *made.shape[1:]).contiguous() if is_of_one else made

    handles = []
    for part in module.modules():
        if next(part.children(), None) is None and next(part.parameters(), None) is not None:
            handles += [part.register_forward_pre_hook(first_row), part.register_forward_hook(repeated)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_model_independent(model: LanguageModel, token_ids: "torch.Tensor", embedding_predictions: bool) -> bool:
    """The neurons of every layer and the predictions, of both kinds if asked."""
    import torch

    top_predictions = predictor(model)
    by_embedding = predictions_by_embedding(model) if embedding_predictions else nullcontext(lambda: None)
    same: list[bool] = []
    with (
        torch.inference_mode(),
        by_embedding as last_by_embedding,
        neurons_reported(model, lambda layer, activations: same.append(are_rows_the_same(activations))),
    ):
        same.append(are_rows_the_same(top_predictions(token_ids)))
        found = last_by_embedding()
    return all(same) and (found is None or are_rows_the_same(found))
