"""Keeping the activations of all neurons around the random places of random_places, in any counter.

Which places are kept follows from a batch's windows alone, so it is known before its layers come, and nothing waits for a device.
"""

from typing import TYPE_CHECKING

import numpy as np

from assets.counting.batches import Batch, first_counted
from assets.counting.histograms import BEFORE, CONTEXT
from assets.counting.kept_positions import HALF_LARGEST
from assets.counting.random_places import PLACE, RANDOM, lowest, no_places, place_hash

if TYPE_CHECKING:
    import torch


class RandomExamples:
    """The places and the activations around them, in tensors of one device. The thread that runs the model calls it: torch is used."""

    def __init__(self, layers: int, neurons: int, count_bos: bool, device: "torch.device | None" = None) -> None:
        import torch

        self._first = first_counted(count_bos)
        self._places = no_places()
        self._slots = np.arange(RANDOM)  # of each place, where its activations are
        self._values = torch.zeros(layers, RANDOM, neurons, device=device)
        self._contexts = torch.zeros(layers, RANDOM, CONTEXT, neurons, dtype=torch.float16, device=device)
        self._new: list[tuple[int, int, int, int]] = []  # of the batch's places that are kept: slot, row, position, the window's length

    def start(self, batch: Batch) -> None:
        """Choose among the places so far and the batch's: of each window its first by the hash."""
        rows, length = batch.token_ids.shape
        at = np.arange(length)
        hashes = place_hash(*np.broadcast_arrays(batch.documents[:, None], batch.windows[:, None], at))
        hashes[(at < self._first) | (at >= batch.lengths[:, None])] = np.iinfo(np.uint64).max
        first = hashes.argmin(1)
        has_any = batch.lengths > self._first
        found = (np.where(has_any, batch.documents, -1), batch.windows, first)
        document, window, position = (np.concatenate([self._places[name], own]) for name, own in zip(PLACE, found, strict=True))
        kept = lowest(document, window, position)
        held = self._slots[kept[kept < RANDOM]]
        free = iter(np.setdiff1d(np.arange(RANDOM), held))
        slots = [int(self._slots[place] if place < RANDOM else next(free)) for place in kept]
        self._new = [
            (slot, int(place) - RANDOM, int(position[place]), int(batch.lengths[place - RANDOM]))
            for slot, place in zip(slots, kept, strict=True)
            if place >= RANDOM
        ]
        self._places = no_places()
        for name, values in zip(PLACE, (document, window, position), strict=True):
            self._places[name][: kept.size] = values[kept]
        self._slots = np.array([*slots, *free], np.int64)

    def add_layer(self, layer: int, activations: "torch.Tensor") -> None:
        """Keep what a layer's activations, [row, position, neuron], are around the batch's places."""
        for slot, row, position, length in self._new:
            first, stop = max(0, position - BEFORE), min(length, position - BEFORE + CONTEXT)
            around = activations[row, first:stop].detach().float()  # [position, neuron]
            self._values[layer, slot] = around[position - first]
            begin = first - (position - BEFORE)
            self._contexts[layer, slot] = 0
            self._contexts[layer, slot, begin : begin + stop - first] = around.clamp(-HALF_LARGEST, HALF_LARGEST).half()

    def tensors(self) -> dict[str, np.ndarray]:
        """The tensors of the contract; [layer, neuron, random] and [layer, neuron, random, offset], copied to the host."""
        values, contexts = self._values.cpu().numpy()[:, self._slots], self._contexts.cpu().numpy()[:, self._slots]
        return {
            **self._places,
            "random_value": np.ascontiguousarray(values.transpose(0, 2, 1)),
            "random_context": np.ascontiguousarray(contexts.transpose(0, 3, 1, 2)),
        }
