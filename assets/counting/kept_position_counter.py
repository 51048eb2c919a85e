"""Keeping the activations of all neurons at a few positions, around another counter: the same steps a batch.

A batch's activations are held until its predictions are known, the tensors themselves, and then the few chosen rows are copied to the
host. A GPU has a quarter of the next batch to compute when a batch's predictions are waited for, so it never idles, and holds that much
more. What is chosen stands in kept_positions.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assets.counting.batch_counter import Answers, Counter, following_tokens
from assets.counting.batches import Batch
from assets.counting.histograms import Histograms
from assets.counting.kept_positions import HALF_LARGEST, KeptRows, Quotas, chosen, no_rows, row_tensors
from assets.counting.sending import HELD_ON, returned, sent

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class _Waiting:
    """A batch whose predictions are on their way to the host. `arrived` is None where they are there."""

    rows: KeptRows  # its counted positions; predictions are still unknown
    places: np.ndarray  # int64: where they stand in the batch, flattened
    predictions: "torch.Tensor"  # int32 on the host, [row, position]
    arrived: "torch.cuda.Event | None"
    layers: "list[torch.Tensor]"
    residual: "torch.Tensor | None"


class KeptPositionCounter:
    """Another counter, and `kept` positions with the activations of every neuron and what the final norm reads there."""

    def __init__(
        self, counter: Counter, kept: int, share: Quotas, vocabulary: int, layers: int, neurons: int, width: int, *, count_bos: bool
    ) -> None:
        """`layers` that this counter is told of; `width` of the residual stream."""
        self._counter, self._kept, self._share, self._count_bos = counter, kept, share, count_bos
        self._rows, self._is_background = no_rows(), np.empty(0, bool)
        self._slots = np.empty(0, np.int64)  # of each row, its place in the two arrays
        # Zeros that are never written to take no memory: a small corpus does not pay for all rows.
        self._activations = np.zeros((kept, layers, neurons), np.float16)
        self._residual = np.zeros((kept, width), np.float32)
        self._highest = _Thresholds(share, vocabulary)
        self._layers: list[torch.Tensor] = []
        self._waiting: _Waiting | None = None
        self._stream: torch.cuda.Stream | None = None

    def start(self, batch: Batch) -> None:
        """A new batch: its layers follow."""
        self._counter.start(batch)
        self._batch, self._layers = batch, []

    def add_layer(self, layer: int, activations: "torch.Tensor") -> None:
        """Count a layer's activations, [row, position, neuron], and hold them. Layers come in order."""
        self._counter.add_layer(layer, activations)
        self._layers.append(activations.detach())
        if len(self._layers) > HELD_ON * self._activations.shape[1]:
            self._look_through()

    def add_answers(self, answers: Answers) -> None:
        """Count what the model answered, and choose among the batch's positions once their predictions are on the host."""
        self._counter.add_answers(answers)
        self._waiting, self._layers = self._sent_off(answers), []
        if self._waiting.arrived is None:
            self._look_through()

    def histograms(self) -> Histograms:
        """All that was counted so far, by the other counter and here. Rows are in order from then on: lowest hash first."""
        self._look_through()
        inner = self._counter.histograms()
        self._put_in_order()
        rows = row_tensors(self._rows, self._is_background, self._kept)
        kept = {**rows, "kept_activations": self._activations, "kept_residual": self._residual}
        return Histograms({**inner.tensors, **kept}, inner.positions, inner.token_ids)

    def _sent_off(self, answers: Answers) -> _Waiting:
        batch, places = self._batch, self._batch.counted(self._count_bos)
        row, position = np.divmod(places, batch.token_ids.shape[1])
        following = following_tokens(batch).reshape(-1)[places]
        rows = KeptRows.of(batch.documents[row], batch.windows[row], position, np.zeros(places.size), following)
        return _Waiting(rows, places, *self._to_host(answers.predictions.int()), self._layers, answers.residual)

    def _to_host(self, predictions: "torch.Tensor") -> "tuple[torch.Tensor, torch.cuda.Event | None]":
        return returned(predictions)

    def _look_through(self) -> None:
        """Keep what is now among the positions of lowest hash, and let go of what no longer is."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        if waiting.arrived is not None:
            waiting.arrived.synchronize()
        predictions = waiting.predictions.numpy().reshape(-1)[waiting.places]
        is_low = self._highest.are_passed(waiting.rows, predictions)
        if not is_low.any():
            return
        near = waiting.rows.at(np.flatnonzero(is_low))
        near = KeptRows.of(near.document, near.window, near.position, predictions[is_low], near.next_token)
        both = self._rows.with_rows(near)
        held, self._is_background = chosen(both, self._share)
        is_new = held >= len(self._rows)
        slots = np.empty(held.size, np.int64)
        slots[~is_new] = self._slots[held[~is_new]]
        slots[is_new] = np.setdiff1d(np.arange(self._kept), slots[~is_new], assume_unique=True)[: is_new.sum()]
        self._copy(waiting, waiting.places[is_low][held[is_new] - len(self._rows)], slots[is_new])
        self._rows, self._slots = both.at(held), slots
        self._highest.lower(self._rows, self._is_background)

    def _copy(self, waiting: _Waiting, places: np.ndarray, slots: np.ndarray) -> None:
        """The rows at `places` of the flattened batch into `slots`."""
        if not places.size:
            return
        with self._beside(waiting):
            on_device = sent(places, waiting.layers[0].device)
            for layer, activations in enumerate(waiting.layers):  # one at a time: of a first batch nearly all rows are taken
                taken = activations.flatten(0, 1).index_select(0, on_device)
                self._activations[slots, layer] = taken.float().clamp(-HALF_LARGEST, HALF_LARGEST).half().cpu().numpy()
            if waiting.residual is not None:
                self._residual[slots] = waiting.residual.flatten(0, 1).index_select(0, on_device).float().cpu().numpy()

    def _beside(self, waiting: _Waiting) -> "AbstractContextManager[object]":
        """A stream beside the forward pass: what is copied there does not wait for the layers that a GPU already has to compute."""
        import torch

        if waiting.arrived is None:
            return nullcontext()
        self._stream = self._stream or torch.cuda.Stream(waiting.layers[0].device)
        return torch.cuda.stream(self._stream)

    def _put_in_order(self) -> None:
        used = len(self._rows)
        slabs: list[np.ndarray] = [self._residual, *self._activations.swapaxes(0, 1)]
        for values in slabs:
            values[:used] = values[self._slots]  # a layer at a time: a whole copy would double what is held
            values[used:] = 0
        self._slots = np.arange(used)


class _Thresholds:
    """The highest hash that is kept, of all positions and of each token: only what lies below can still be kept."""

    def __init__(self, share: Quotas, vocabulary: int) -> None:
        self._share = share
        self._all = np.uint64(2**64 - 1 if share.background else 0)
        self._of_token = {outcome: np.zeros(vocabulary + 1, np.uint64) for outcome in share.outcomes}  # the last: no token
        for highest in self._of_token.values():
            highest[list(share.token_ids)] = 2**64 - 1 if share.of_token else 0

    def are_passed(self, rows: KeptRows, predictions: np.ndarray) -> np.ndarray:
        """Bool [row]: the rows, with these predictions, that may have to be kept."""
        is_low = rows.hash <= self._all
        for outcome, highest in self._of_token.items():
            is_low |= rows.hash <= highest[predictions if outcome == "top_prediction" else rows.next_token]
        return is_low

    def lower(self, rows: KeptRows, is_background: np.ndarray) -> None:
        """After rows, lowest hash first, have been chosen."""
        if is_background.sum() == self._share.background > 0:
            self._all = rows.hash[np.flatnonzero(is_background)[-1]]
        for outcome, highest in self._of_token.items():
            label = rows.label(outcome)
            for token in self._share.token_ids if self._share.of_token else ():
                places = np.flatnonzero(label == token)
                if places.size >= self._share.of_token:
                    highest[token] = rows.hash[places[self._share.of_token - 1]]
