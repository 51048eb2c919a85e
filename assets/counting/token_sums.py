"""Counting by predicted token around another counter: the same steps a batch, and one sum more for every group of tokens.

Predictions are known only after the last layer, so a batch's activations are kept until then: the tensors themselves, no copy.
Whoever hands over activations must not write into them before `add_predictions`. The compiled loops serve the CPU, tensor
operations any other device; both give the same whole numbers on the same activations.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np

from assets.counting.batch_counter import Counter
from assets.counting.batches import Batch
from assets.counting.histograms import LEFT_OUT, Histograms
from assets.counting.sending import sent
from assets.counting.token_sum_units import LARGEST, UNITS

if TYPE_CHECKING:
    import torch

IGNORED = -1


def group_of_token(vocabulary: int, screened_ids: Sequence[int], groups: range) -> np.ndarray:
    """Int64 [vocabulary]: the row among `groups` that counts the token, IGNORED where another pass counts it.

    Group i is screened_ids[i]; the last, len(screened_ids), is every other token.
    """
    group = np.full(vocabulary, len(screened_ids), np.int64)
    group[list(screened_ids)] = np.arange(len(screened_ids))
    return np.where((group >= groups.start) & (group < groups.stop), group - groups.start, IGNORED)


def group_tokens(screened_ids: Sequence[int], groups: range) -> np.ndarray:
    """Int32 [group]: the tensor screen_token of these groups."""
    return np.array([*screened_ids, LEFT_OUT], np.int32)[groups.start : groups.stop]


class AddGroups(Protocol):
    """Adds one batch to the sums, in place."""

    def __call__(
        self, activations: "Sequence[torch.Tensor]", places: np.ndarray, groups: np.ndarray, sums: "torch.Tensor", squares: "torch.Tensor"
    ) -> None:
        """activations: of each layer, [row, position, neuron]. places: positions of the batch, flattened, int64, and the group of
        each, ascending. sums, squares: int64 [layer, group, neuron].
        """


class CompiledSums:
    """The sums by compiled loops, a layer on each of some threads."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="screening")

    def __call__(
        self, activations: "Sequence[torch.Tensor]", places: np.ndarray, groups: np.ndarray, sums: "torch.Tensor", squares: "torch.Tensor"
    ) -> None:
        """As AddGroups."""
        import assets.counting.token_sum_loops as screen_counting

        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        ends, rows = np.append(starts, groups.size), groups[starts]

        def add_layer(layer: int) -> None:
            values = activations[layer].flatten(0, 1).float().contiguous().numpy()
            screen_counting.add_groups(values, places, ends, rows, sums[layer].numpy(), squares[layer].numpy())

        for done in [self._pool.submit(add_layer, layer) for layer in range(len(activations))]:
            done.result()


class DeviceSums:
    """The sums by tensor operations on the device that holds the activations. Nothing waits for the device: places and groups stay there."""

    def __call__(
        self, activations: "Sequence[torch.Tensor]", places: "torch.Tensor", groups: "torch.Tensor", sums: "torch.Tensor", squares: "torch.Tensor"
    ) -> None:  # fmt: skip
        """As AddGroups, on tensors in any order; positions of the group IGNORED add zeros to the first."""
        rows, is_here = groups.clamp(min=0), (groups != IGNORED)[:, None]
        for layer, kept in enumerate(activations):
            values = kept.flatten(0, 1).index_select(0, places).double().nan_to_num(0.0, LARGEST, -LARGEST).clamp(-LARGEST, LARGEST)
            values = values * is_here
            sums[layer].index_add_(0, rows, (values * UNITS).round().long())
            squares[layer].index_add_(0, rows, (values * values * UNITS).round().long())


class ScreenCounter:
    """Another counter, and the sums of every neuron's activation over the positions of each group of predicted tokens."""

    def __init__(
        self,
        counter: Counter,
        layers: int,
        neurons: int,
        group_of_token: np.ndarray,
        tokens: np.ndarray,
        add_groups: "AddGroups | DeviceSums",
        *,
        count_bos: bool,
        device: "torch.device",
    ) -> None:
        """`group_of_token` as the function gives it, `tokens` the tensor screen_token of the groups that are counted here."""
        import torch

        self._counter, self._count_bos, self._add_groups = counter, count_bos, add_groups
        self._group_of_token, self._tokens = group_of_token, tokens
        self._counts = torch.zeros(len(tokens), dtype=torch.int64, device=device)
        self._group_on_device = torch.from_numpy(group_of_token).to(device)
        shape = (layers, len(tokens), neurons)
        self._sums, self._squares = (torch.zeros(shape, dtype=torch.int64, device=device) for _ in range(2))
        self._kept: list[torch.Tensor] = []

    def start(self, batch: Batch) -> None:
        """A new batch: its layers follow."""
        self._counter.start(batch)
        self._counted = batch.counted(self._count_bos)
        self._kept = []

    def add_layer(self, layer: int, activations: "torch.Tensor") -> None:
        """Count a layer's activations, [row, position, neuron], and keep them until the predictions are known. Layers come in order."""
        self._counter.add_layer(layer, activations)
        self._kept.append(activations.detach())

    def add_predictions(self, predictions: "torch.Tensor", by_embedding: "torch.Tensor | None" = None) -> None:
        """Count the top predictions, int64 [row, position], and add the kept activations to the groups of their positions."""
        self._counter.add_predictions(predictions, by_embedding)
        if isinstance(self._add_groups, DeviceSums):
            self._add_on_device(predictions, self._add_groups)
        else:
            self._add_on_host(predictions, self._add_groups)
        self._kept = []

    def _add_on_host(self, predictions: "torch.Tensor", add_groups: AddGroups) -> None:
        import torch

        groups = self._group_of_token[predictions.numpy().reshape(-1)[self._counted]]
        is_here = groups != IGNORED
        places, groups = self._counted[is_here], groups[is_here]
        self._counts += torch.from_numpy(np.bincount(groups, minlength=len(self._tokens)))
        order = np.argsort(groups, kind="stable")
        add_groups(self._kept, places[order], groups[order], self._sums, self._squares)

    def _add_on_device(self, predictions: "torch.Tensor", add_groups: DeviceSums) -> None:
        places = sent(self._counted, predictions.device)
        groups = self._group_on_device.index_select(0, predictions.reshape(-1).index_select(0, places))
        self._counts.scatter_add_(0, groups.clamp(min=0), (groups != IGNORED).long())
        add_groups(self._kept, places, groups, self._sums, self._squares)

    def histograms(self) -> Histograms:
        """All that was counted so far, by the other counter and here."""
        inner = self._counter.histograms()
        screen = {
            "screen_token": self._tokens,
            "screen_count": self._counts.cpu().numpy(),
            "screen_sum": self._sums.cpu().numpy(),
            "screen_squares": self._squares.cpu().numpy(),
        }
        return Histograms({**inner.tensors, **screen}, inner.positions, inner.token_ids)
