"""Many texts run together and read at their last positions: as few runs as the texts share, none further than what is read of it.

A text that another begins with is read in the run of the longer one, since no position sees a later one. Texts of about equal length and
depth go through the bridge as one batch, filled up at their ends, and a batch stops where the last of its values is known: no block after
that runs, and no logits are made. What is done with the values is not here.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assets.model.language_model import LanguageModel

if TYPE_CHECKING:
    import torch

POSITIONS_IN_BATCH = 2048

Ids = tuple[int, ...]


@dataclass(frozen=True)
class ContextBatch:
    """Texts that are run together, and which of the asked-for texts are read where."""

    texts: tuple[Ids, ...]
    read: tuple[int, ...]  # of each value, which asked-for text it is
    rows: tuple[int, ...]  # and the text of the batch that it is read in
    last_layer: int  # the deepest block that is read

    @property
    def length(self) -> int:
        """Positions of the longest text."""
        return max(map(len, self.texts))

    @property
    def work(self) -> int:
        """What it costs: positions times the blocks that they go through."""
        return len(self.texts) * self.length * (self.last_layer + 1)


def context_batches(texts: Sequence[Ids], layers: Sequence[int], positions: int = POSITIONS_IN_BATCH) -> list[ContextBatch]:
    """Batches in which each of `texts` is read once, at its last position, up to its own of `layers`.

    A batch holds at most `positions` positions with those that fill it up, and at least one text. Of two orders the one that costs less is taken:
    by depth first, so that texts that are read low stop there, or by length alone, so that hardly any text is filled up.
    """
    runs = _shared(texts, layers)
    by_depth = sorted(runs, key=lambda run: (run[1], len(run[0])))
    by_length = sorted(runs, key=lambda run: (len(run[0]), run[1]))
    return min((_in_batches(order, positions) for order in (by_depth, by_length)), key=lambda batches: sum(batch.work for batch in batches))


def _in_batches(runs: Sequence[tuple[Ids, int, list[int]]], positions: int) -> list[ContextBatch]:
    """The runs in their order, as many to a batch as it holds."""
    found: list[ContextBatch] = []
    here: list[tuple[Ids, int, list[int]]] = []
    for run in runs:
        if here and (len(here) + 1) * max(len(run[0]), *(len(ids) for ids, _, _ in here)) > positions:
            found.append(_batch(here))
            here = []
        here.append(run)
    return [*found, _batch(here)] if here else found


def _shared(texts: Sequence[Ids], layers: Sequence[int]) -> list[tuple[Ids, int, list[int]]]:
    """(ids, deepest layer, texts read in it): in the order of their ids a text stands right before those that begin with it."""
    runs: list[tuple[Ids, int, list[int]]] = []
    for place in sorted(range(len(texts)), key=lambda place: texts[place], reverse=True):
        ids = texts[place]
        if runs and runs[-1][0][: len(ids)] == ids:
            longer, layer, read = runs.pop()
            runs.append((longer, max(layer, layers[place]), [*read, place]))
        else:
            runs.append((ids, layers[place], [place]))
    return runs


def _batch(runs: Sequence[tuple[Ids, int, list[int]]]) -> ContextBatch:
    pairs = [(place, row) for row, (_, _, read) in enumerate(runs) for place in read]
    return ContextBatch(
        tuple(ids for ids, _, _ in runs),
        tuple(place for place, _ in pairs),
        tuple(row for _, row in pairs),
        max(layer for _, layer, _ in runs),
    )


def values_read(
    model: LanguageModel, batch: ContextBatch, lengths: Sequence[int], hooks: Sequence[str], last: str
) -> "dict[str, torch.Tensor]":
    """Hook name -> [value, ...] in the order of `batch.read`: what each hook holds at the last position of each text.

    `lengths` are those of all texts, as they were asked for; `last` is the one of `hooks` that the model reaches last.
    """
    import torch

    tokens = torch.zeros(len(batch.texts), batch.length, dtype=torch.int64)  # any token will do behind a text's end
    for row, ids in enumerate(batch.texts):
        tokens[row, : len(ids)] = torch.tensor(ids)
    rows = torch.tensor(batch.rows, device=model.device)
    places = torch.tensor([lengths[text] - 1 for text in batch.read], device=model.device)
    values: dict[str, torch.Tensor] = {}

    def keep(name: str) -> "Callable[[torch.Tensor, object], None]":
        def hook(tensor: "torch.Tensor", hook: object) -> None:
            values[name] = tensor[rows, places]
            if name == last:
                raise _AllRead

        return hook

    with torch.inference_mode(), model.bridge.hooks(fwd_hooks=[(name, keep(name)) for name in hooks]), suppress(_AllRead):
        model.bridge(tokens.to(model.device), use_cache=False, output_attentions=False)
    return values


class _AllRead(Exception):
    """Stops the model when the last of what is read is known."""
