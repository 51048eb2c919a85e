"""The model's top prediction at every position of a batch: the argmax of its own logits, first of equals.

Where the logits are one linear map of the last hidden state, as in nearly all models, the map is done in slices of the
vocabulary and only the running maximum is kept: the whole logits of a thousand positions of GPT-2 are 200 MB, a slice stays
in cache. A slice's logits have the same bits as the whole product's. Where the processor multiplies bfloat16 natively, a shortlist
finds the few entries that can be largest first (shortlist). Models that do more than one map (a soft cap, a scale),
or that do not pass a first trial, hand out their whole logits.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assets.model.language_model import LanguageModel
from assets.model.plain_model import last_hidden, whole_logits
from assets.predictions.shortlist import WHOLE, Shortlist, do_bits_agree, new_shortlist, shortlisted_entries

if TYPE_CHECKING:
    import torch

SLICE = 2048  # vocabulary entries; x 1024 positions x 4 bytes = 8 MiB, inside a shared cache

_unembedding_of_model: "weakref.WeakKeyDictionary[torch.nn.Module, Unembedding | None]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Unembedding:
    """logits = hidden @ weight.T + bias."""

    weight: "torch.Tensor"  # [vocabulary, width], a view of the model's own
    bias: "torch.Tensor | None" = None  # [vocabulary]
    shortlist: Shortlist | None = None


def predictor(model: LanguageModel) -> "Callable[[torch.Tensor], torch.Tensor]":
    """A function from token ids [row, position] to the entry with the largest logit after each, int64 [row, position].

    Make it before hooks are set: the first call for a model tries a few ids on it.
    """
    unembedding = linear_unembedding(model)
    if unembedding is None:
        return lambda token_ids: whole_logits(model, token_ids).argmax(-1)
    return lambda token_ids: top_entries(last_hidden(model, token_ids).flatten(0, 1), unembedding).view(token_ids.shape)


def top_entries(hidden: "torch.Tensor", unembedding: Unembedding) -> "torch.Tensor":
    """Int64 [position]: argmax of the logits of hidden [position, width], by the fastest way that gives the same integers."""
    shortlist, weight = unembedding.shortlist, unembedding.weight
    if shortlist is None or not shortlist.is_worth_it or not do_bits_agree(shortlist, weight, hidden.shape[0]):
        return largest_logits(hidden, unembedding)
    hidden = hidden.contiguous()
    entries, left = shortlisted_entries(hidden, weight, shortlist)
    for start in range(0, left.numel(), WHOLE):
        rows = left[start : start + WHOLE]
        padded = rows.new_zeros(WHOLE)  # one shape, whose bits were tried
        padded[: rows.numel()] = rows
        entries[rows] = largest_logits(hidden[padded], unembedding)[: rows.numel()]
    shortlist.is_worth_it = left.numel() * 2 <= hidden.shape[0]
    return entries


def largest_logits(hidden: "torch.Tensor", unembedding: Unembedding) -> "torch.Tensor":
    """Int64 [position]: argmax of hidden [position, width] @ weight.T + bias, first of equals, slice by slice.

    No operation waits for the device: which positions a slice improves is never asked on the host, but on the CPU, where that
    is free and saves most of the index search.
    """
    import torch

    weight, bias = unembedding.weight, unembedding.bias
    highest = torch.full(hidden.shape[:1], -torch.inf, dtype=hidden.dtype, device=hidden.device)
    entry = torch.zeros(hidden.shape[:1], dtype=torch.int64, device=hidden.device)
    buffer = torch.empty(hidden.shape[0] * min(SLICE, weight.shape[0]), dtype=hidden.dtype, device=hidden.device)
    for first in range(0, weight.shape[0], SLICE):
        rows = weight[first : first + SLICE]
        logits = buffer[: hidden.shape[0] * rows.shape[0]].view(hidden.shape[0], rows.shape[0])
        torch.mm(hidden, rows.t(), out=logits)
        if bias is not None:
            logits += bias[first : first + SLICE]
        raise_highest(logits, first, highest, entry)
    return entry


def raise_highest(logits: "torch.Tensor", first: int, highest: "torch.Tensor", entry: "torch.Tensor") -> None:
    """Update the running maximum and its entry [position], in place, by one slice of logits [position, slice] that begins at entry `first`."""
    (_raise_on_cpu if logits.device.type == "cpu" else _raise_on_device)(logits, first, highest, entry)


def _raise_on_cpu(logits: "torch.Tensor", first: int, highest: "torch.Tensor", entry: "torch.Tensor") -> None:
    """Update the running maximum and its entry, in place, by one slice of logits [position, slice]."""
    better = (logits.amax(-1) > highest).nonzero()[:, 0]  # few after the first slices, and only these need an index
    if better.numel():
        highest[better], places = logits[better].max(-1)
        entry[better] = places + first


def _raise_on_device(logits: "torch.Tensor", first: int, highest: "torch.Tensor", entry: "torch.Tensor") -> None:
    """The same with operations of fixed shape."""
    import torch

    values, places = logits.max(-1)
    is_better = values > highest
    torch.where(is_better, places + first, entry, out=entry)
    torch.where(is_better, values, highest, out=highest)


def linear_unembedding(model: LanguageModel) -> Unembedding | None:
    """The model's unembedding if it is all that makes logits of the last hidden state; tried once per model on a few ids."""
    if model.plain not in _unembedding_of_model:
        _unembedding_of_model[model.plain] = _tried_unembedding(model)
    return _unembedding_of_model[model.plain]


def _tried_unembedding(model: LanguageModel) -> Unembedding | None:
    import torch

    linear = model.plain.get_output_embeddings()
    if not isinstance(linear, torch.nn.Linear):
        return None
    positions = min(8, model.facts.context_length)
    token_ids = torch.arange(positions, device=model.device)[None] % model.facts.vocabulary
    with torch.inference_mode():
        logits, hidden = whole_logits(model, token_ids)[0], last_hidden(model, token_ids)[0]
        weight, bias = linear.weight.detach(), None if linear.bias is None else linear.bias.detach()
        if hidden.shape != (positions, weight.shape[1]) or hidden.dtype != weight.dtype:
            return None
        again = torch.nn.functional.linear(hidden, weight, bias)
        # Another order of the sum moves a logit by some roundings of the largest; a scale or a cap moves it by far more.
        allowed = 8 * torch.finfo(logits.dtype).eps * logits.abs().max()
        if not bool((again - logits).abs().max() <= allowed):
            return None
    return Unembedding(weight, bias, new_shortlist(weight) if bias is None else None)
