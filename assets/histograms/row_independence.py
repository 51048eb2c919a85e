"""Whether a window's activations depend on the batch that it gets, on its row or on how many there are, tried on the model that is to be run.

Matrix products and vectorized functions may round differently at the edge of a batch, or in a smaller one. If one bit of an activation
depended on that, the counts would depend on how the corpus is cut into shards. So every batch shape is tried once per process and
model, on fixed token ids, before it is used; a shape in which rows differ is given up for single rows, which are always the same row, and
a lower last batch in which a window has other bits than in a whole one is given up for dummy rows.
"""

import hashlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from assets.counting.batches import SHORTEST_STEP, lower_rows, padded_lengths, rows_of_batch
from assets.model.language_model import LanguageModel
from assets.model.plain_model import last_hidden, neurons_reported
from assets.predictions.embedding_predictor import predictions_by_embedding
from assets.predictions.top_predictions import SLICE, linear_unembedding, predictor

if TYPE_CHECKING:
    import torch

_tried: "weakref.WeakKeyDictionary[torch.nn.Module, dict[tuple[object, ...], bytes | None]]" = weakref.WeakKeyDictionary()


def rows_of_batches(
    model: LanguageModel, windows: pl.DataFrame, batch_positions: int, embedding_predictions: bool = False
) -> dict[int, int]:
    """Rows of a batch for every padded length that occurs in the windows, tried on top predictions by the embedding too if asked."""
    lengths = np.unique(padded_lengths(windows["length"].to_numpy().astype(np.int64), model.facts.context_length))
    return {length: safe_rows(model, length, batch_positions, embedding_predictions) for length in lengths.tolist()}


def rows_of_last_batches(
    model: LanguageModel, windows: pl.DataFrame, rows: Mapping[int, int], embedding_predictions: bool = False
) -> dict[int, int]:
    """Rows of the last batch of every padded length of these windows, `rows` being those of all others.

    The fewest of `lower_rows` that hold what is left and in which a window has the bits that it has in a whole batch.
    """
    import torch

    found = padded_lengths(windows["length"].to_numpy().astype(np.int64), model.facts.context_length)
    lengths, numbers = np.unique(found, return_counts=True)

    def is_safe(lower: int, length: int) -> bool:
        bits = bits_of_window(model, lower, length, embedding_predictions)
        return bits is not None and bits == bits_of_window(model, rows[length], length, embedding_predictions)

    def last(length: int, left: int) -> int:
        allowed = lower_rows(rows[length], length, torch.get_num_threads(), model.facts.neurons)
        held = [lower for lower in allowed if lower >= left > 0]
        return next((lower for lower in held if is_safe(lower, length)), rows[length])

    return {length: last(length, number % rows[length]) for length, number in zip(lengths.tolist(), numbers.tolist(), strict=True)}


def safe_rows(model: LanguageModel, padded_length: int, batch_positions: int, embedding_predictions: bool = False) -> int:
    """Rows of every batch of this padded length: as many as `batch_positions` allow, or 1 if rows are not independent."""
    import torch

    rows = rows_of_batch(padded_length, batch_positions, torch.get_num_threads(), model.facts.neurons)
    return rows if rows == 1 or are_rows_independent(model, rows, padded_length, embedding_predictions) else 1


def are_rows_independent(model: LanguageModel, rows: int, positions: int, embedding_predictions: bool = False) -> bool:
    """Run a batch of one window in every row: are all activations and predictions the same in each, bit for bit?"""
    return bits_of_window(model, rows, positions, embedding_predictions) is not None


def bits_of_window(model: LanguageModel, rows: int, positions: int, embedding_predictions: bool = False) -> bytes | None:
    """Run a batch of one window in every row: a digest of what each row gets, activations and predictions, None where rows differ.

    Blocks that are alike do the same operations on the same shapes, so the first is tried for all; not where predictions by the
    embedding are wanted, which read the stream behind the last block. What sees positions alone, not windows, has only their number
    for a shape: it is tried once for each number, in rows of SHORTEST_STEP, and attention for each shape. So the answer depends on the
    shape and the machine, never on what else was tried before.
    """
    if not are_blocks_alike(model) or linear_unembedding(model) is None or embedding_predictions:
        key = ("model", rows, positions, embedding_predictions)
        return _known(model, key, lambda: _bits_of_model(model, _one_window(model, rows, positions), embedding_predictions))
    shortest = SHORTEST_STEP if positions % SHORTEST_STEP == 0 else positions
    alone = rows * positions // shortest
    of_positions = _known(model, ("positions", alone, shortest), lambda: _bits_of_positions(model, alone, shortest))
    if of_positions is None or positions == shortest:
        return of_positions
    attended = _known(
        model,
        ("attention", rows, positions),
        lambda: _bits_of_first_block(model, _one_window(model, rows, positions), attention_alone=True),
    )
    return None if attended is None else of_positions + attended


def _known(model: LanguageModel, key: tuple[object, ...], bits: Callable[[], bytes | None]) -> bytes | None:
    """What `bits` gives, tried once per process, model and number of threads."""
    import torch

    known = _tried.setdefault(model.plain, {})
    key = (*key, torch.get_num_threads())
    if key not in known:
        known[key] = bits()
    return known[key]


def _one_window(model: LanguageModel, rows: int, positions: int) -> "torch.Tensor":
    """Token ids [row, position], the same made-up ones in every row."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, model.facts.vocabulary, (1, positions), generator=generator).to(model.device).expand(rows, positions)


def _bits_of_positions(model: LanguageModel, rows: int, positions: int) -> bytes | None:
    """What the first block and the predictions give every row."""
    block = _bits_of_first_block(model, _one_window(model, rows, positions))
    predicted = None if block is None else bits_of_predictions(model, rows, positions)
    return None if block is None or predicted is None else block + predicted


def are_blocks_alike(model: LanguageModel) -> bool:
    """Whether all blocks have weights of the same names and shapes, and one kind of attention."""
    blocks = [model.plain.get_submodule(name) for name in model.parts.blocks]
    shapes = {tuple((name, tuple(weights.shape)) for name, weights in block.named_parameters()) for block in blocks}
    kinds = set(getattr(model.plain.config, "layer_types", None) or getattr(model.plain.config, "attention_layers", None) or ["one"])
    return len(blocks) > 1 and len(shapes) == 1 and len(kinds) == 1


def bits_of_predictions(model: LanguageModel, rows: int, positions: int) -> bytes | None:
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
    seen = _SeenBits()
    for entries in slices:
        seen.add(torch.mm(repeated, entries).view(rows, -1))
    return seen.digest()


class _SeenBits:
    """What rows were given: whether it was the same for all, and a digest of it, NaN and signed zeros included."""

    def __init__(self) -> None:
        self._are_rows_the_same = True
        self._digest = hashlib.sha256()

    def add(self, values: "torch.Tensor") -> None:
        """Values [row, ...] of the next thing that is looked at."""
        import torch

        bits = values.detach().contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()])
        self._are_rows_the_same = self._are_rows_the_same and bool((bits == bits[:1]).all())
        self._digest.update(bits[0].cpu().numpy().tobytes())

    def digest(self) -> bytes | None:
        """None where rows differed."""
        return self._digest.digest() if self._are_rows_the_same else None


class _EnoughSeenError(Exception):
    """Ends a forward pass behind what is tried."""


def _bits_of_first_block(model: LanguageModel, token_ids: "torch.Tensor", attention_alone: bool = False) -> bytes | None:
    """The first block's neurons and the stream behind it, or what its attention writes, its maps of single positions left out."""
    import torch

    seen = _SeenBits()

    def enough(module: "torch.nn.Module", given: Any, made: Any) -> None:
        seen.add(made[0] if isinstance(made, tuple) else made)
        raise _EnoughSeenError

    attention = model.parts.first_attention if attention_alone else None
    module = model.plain.get_submodule(attention or model.parts.blocks[0])
    handle = module.register_forward_hook(enough)
    try:
        with (
            torch.inference_mode(),
            maps_of_one_row(module, *token_ids.shape) if attention else nullcontext(),
            neurons_reported(model, lambda layer, activations: seen.add(activations)),
            suppress(_EnoughSeenError),
        ):
            last_hidden(model, token_ids)
    finally:
        handle.remove()
    return seen.digest()


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


def _bits_of_model(model: LanguageModel, token_ids: "torch.Tensor", embedding_predictions: bool) -> bytes | None:
    """The neurons of every layer and the predictions, of both kinds if asked."""
    import torch

    top_predictions = predictor(model)
    by_embedding = predictions_by_embedding(model) if embedding_predictions else nullcontext(lambda: None)
    seen = _SeenBits()
    with (
        torch.inference_mode(),
        by_embedding as last_by_embedding,
        neurons_reported(model, lambda layer, activations: seen.add(activations)),
    ):
        seen.add(top_predictions(token_ids))
        found = last_by_embedding()
    if found is not None:
        seen.add(found)
    return seen.digest()
