"""The same as example_contexts on another device (a GPU), by whole-tensor operations that do not wait for it.

How many examples are new is not known on the host until the device has done the batch: the numbers are copied while the host goes on,
and what is new is taken when a part of the next batch has been asked for, as in kept_position_counter. Until then the batch's
activations are held.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assets.counting.batches import Batch
from assets.counting.histograms import BEFORE, CONTEXT, SIDES
from assets.counting.kept_positions import HALF_LARGEST
from assets.counting.sending import HELD_ON, returned, sent

if TYPE_CHECKING:
    import torch

WINDOWS = 2**31  # of a document, at most: a place is document x WINDOWS + window


@dataclass(frozen=True)
class _Waiting:
    """A batch whose numbers of new examples are on their way to the host. `arrived` is None where they are there."""

    numbers: "torch.Tensor"  # int64 on the host, [layer]
    arrived: "torch.cuda.Event | None"
    is_new: "torch.Tensor"  # bool [layer, neuron, side, rank]
    rows: "torch.Tensor"  # int64, the same shape: the batch's row, where new
    positions: "torch.Tensor"  # int32, the same shape
    lengths: "torch.Tensor"  # int64 [row]
    layers: "list[torch.Tensor]"  # activations [row, position, neuron]


class DeviceContexts:
    """Contexts of the examples in tensors of one device."""

    def __init__(self, layers: int, neurons: int, examples: int, device: "torch.device", sides: Sequence[str] = SIDES) -> None:
        import torch

        self._sides = tuple(sides)
        shape = (layers, neurons, len(sides), examples)
        self._contexts = torch.zeros(*shape, CONTEXT, dtype=torch.float16, device=device)
        self._held = torch.full(shape, -WINDOWS, device=device)  # the place of the example that each context is of
        self._device, self._layers = device, list[torch.Tensor]()
        self._waiting: _Waiting | None = None

    def start(self, batch: Batch) -> None:
        """A new batch: its layers follow."""
        used = np.flatnonzero(batch.lengths)
        places = batch.documents[used] * WINDOWS + batch.windows[used]
        order = np.argsort(places)
        self._places, self._rows = sent(places[order], self._device), sent(used[order], self._device)
        self._lengths, self._layers = sent(batch.lengths, self._device), []

    def add_layer(self, activations: "torch.Tensor") -> None:
        """Hold a layer's activations [row, position, neuron]; layers come in order."""
        self._layers.append(activations)
        if len(self._layers) > HELD_ON * self._contexts.shape[0]:
            self._take()

    def add_batch(self, examples: "Mapping[str, torch.Tensor]") -> None:
        """Follow the examples, [layer, neuron, rank] under their names, which have taken in all layers of the batch."""
        import torch

        self._take()
        if not self._places.numel():
            return
        documents, windows, positions = (
            torch.stack([examples[f"{side}_{part}"] for side in self._sides], dim=2) for part in ("document", "window", "position")
        )
        places = documents * WINDOWS + windows  # [layer, neuron, side, rank]
        self._reorder(places)
        found = torch.searchsorted(self._places, places).clamp(max=self._places.numel() - 1)
        is_new = self._places[found] == places
        numbers, arrived = self._to_host(is_new.flatten(1).sum(1))
        self._waiting = _Waiting(numbers, arrived, is_new, self._rows[found], positions, self._lengths, self._layers)
        self._layers = []
        if arrived is None:
            self._take()

    def tensors(self) -> dict[str, np.ndarray]:
        """The tensors <side>_context, copied to the host."""
        self._take()
        return {f"{side}_context": self._contexts[:, :, place].cpu().numpy() for place, side in enumerate(self._sides)}

    def _reorder(self, places: "torch.Tensor") -> None:
        """Put every context to the rank that its example has now; those of new examples are overwritten later."""
        for layer, contexts in enumerate(self._contexts):  # one at a time: [neuron, side, rank, rank before]
            is_same = places[layer, ..., None] == self._held[layer, ..., None, :]
            before = is_same.byte().argmax(-1)  # [neuron, side, rank]
            self._contexts[layer] = contexts.gather(2, before[..., None].expand_as(contexts))
        self._held = places

    def _to_host(self, numbers: "torch.Tensor") -> "tuple[torch.Tensor, torch.cuda.Event | None]":
        return returned(numbers)

    def _take(self) -> None:
        """Copy the contexts of the examples that are new."""
        import torch

        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        if waiting.arrived is not None:
            waiting.arrived.synchronize()
        numbers = waiting.numbers.tolist()
        new = _places_of(waiting.is_new.flatten(), sum(numbers))
        rows, positions = (of.flatten().index_select(0, new) for of in (waiting.rows, waiting.positions))
        contexts = self._contexts.view(-1, CONTEXT)
        neurons = new // (len(self._sides) * self._contexts.shape[3]) % self._contexts.shape[1]
        offsets = torch.arange(-BEFORE, CONTEXT - BEFORE, device=self._device)
        first = 0
        for activations, number in zip(waiting.layers, numbers, strict=True):
            of = slice(first, first + number)
            first += number
            if number:
                own = positions[of, None] + offsets  # int64 [new, offset]
                is_inside = (own >= 0) & (own < waiting.lengths[rows[of], None])
                own = torch.where(is_inside, own, 0)
                taken = activations[rows[of, None], own, neurons[of, None]].float().clamp(-HALF_LARGEST, HALF_LARGEST).half()
                contexts[new[of]] = torch.where(is_inside, taken, 0)


def _places_of(is_there: "torch.Tensor", number: int) -> "torch.Tensor":
    """Int64 [number]: the indexes at which a bool tensor holds, ascending; `number` is how many these are, so that nothing is waited for."""
    import torch

    rank = is_there.long().cumsum(0) - 1
    places = torch.empty(number + 1, dtype=torch.int64, device=is_there.device)  # the last takes what is not there
    return places.scatter_(0, torch.where(is_there, rank, number), torch.arange(is_there.numel(), device=is_there.device))[:number]
