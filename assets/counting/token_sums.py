"""Counting by predicted token around another counter: the same steps a batch, and sums more for every group of tokens.

Predictions are known only after the last layer, so a batch's activations are kept until then: the tensors themselves, no copy.
Whoever hands over activations must not write into them before `add_answers`. The compiled loops serve the CPU, tensor
operations any other device; both give the same whole numbers on the same activations.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from assets.counting.batch_counter import Answers, Counter
from assets.counting.batches import Batch
from assets.counting.histograms import LEFT_OUT, Histograms
from assets.counting.outcome_sums import OutcomeSums
from assets.counting.sending import sent
from assets.counting.token_sum_units import LARGEST, SCALED_UNITS, UNITS

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


@dataclass(frozen=True)
class GroupSums:
    """What is counted of groups of tokens: positions int64 [group]; int64 [layer, group, neuron] sums of activations, of their squares, and
    of activations over the final norm's scale.

    `group_of_token` is as the function gives it, `group_on_device` the same where the sums are.
    """

    group_of_token: np.ndarray
    group_on_device: "torch.Tensor"
    counts: "torch.Tensor"
    sums: "torch.Tensor"
    squares: "torch.Tensor"
    scaled: "torch.Tensor"

    def of_layer(self, layer: int) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """The three sums [group, neuron]."""
        return self.sums[layer], self.squares[layer], self.scaled[layer]


def scale_of(answers: Answers) -> "torch.Tensor":
    """The inverse scale of a batch; raises ValueError where it was not handed over."""
    if answers.inverse_scale is None:
        raise ValueError("sums by predicted token: 1 over the final norm's scale must be given with each batch")
    return answers.inverse_scale


class AddGroups(Protocol):
    """A way to add batches to the sums: on the host, or on the device that holds the activations."""

    def add(self, activations: "Sequence[torch.Tensor]", counted: np.ndarray, answers: Answers, held: GroupSums) -> None:
        """activations: of each layer, [row, position, neuron]. counted: the batch's counted positions, flattened, int64.
        `held` is added to in place.
        """


class CompiledSums:
    """The sums by compiled loops, a layer on each of some threads."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="token sums")

    def add(self, activations: "Sequence[torch.Tensor]", counted: np.ndarray, answers: Answers, held: GroupSums) -> None:
        """As AddGroups, in the order of the groups."""
        import torch

        groups = held.group_of_token[answers.predictions.numpy().reshape(-1)[counted]]
        is_here = groups != IGNORED
        places, groups = counted[is_here], groups[is_here]
        held.counts.add_(torch.from_numpy(np.bincount(groups, minlength=len(held.counts))))
        order = np.argsort(groups, kind="stable")
        self._add_sorted(activations, places[order], groups[order], scale_of(answers).numpy().reshape(-1), held)

    def _add_sorted(
        self, activations: "Sequence[torch.Tensor]", places: np.ndarray, groups: np.ndarray, inverse_scale: np.ndarray, held: GroupSums
    ) -> None:
        """`groups` of the places, ascending; inverse_scale: float32 [row x position]."""
        import assets.counting.token_sum_loops as token_sum_loops

        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        ends, rows = np.append(starts, groups.size), groups[starts]

        def add_layer(layer: int) -> None:
            values = activations[layer].flatten(0, 1).float().contiguous().numpy()
            token_sum_loops.add_groups(values, inverse_scale, places, ends, rows, *(sums.numpy() for sums in held.of_layer(layer)))

        for done in [self._pool.submit(add_layer, layer) for layer in range(len(activations))]:
            done.result()


class DeviceSums:
    """The sums by tensor operations on the device that holds the activations. Nothing waits for the device: places and groups stay there."""

    def add(self, activations: "Sequence[torch.Tensor]", counted: np.ndarray, answers: Answers, held: GroupSums) -> None:
        """As AddGroups."""
        predictions = answers.predictions
        places = sent(counted, predictions.device)
        groups = held.group_on_device.index_select(0, predictions.reshape(-1).index_select(0, places))
        held.counts.scatter_add_(0, groups.clamp(min=0), (groups != IGNORED).long())
        self(activations, places, groups, scale_of(answers).reshape(-1), held)

    def __call__(
        self, activations: "Sequence[torch.Tensor]", places: "torch.Tensor", groups: "torch.Tensor", inverse_scale: "torch.Tensor", held: GroupSums
    ) -> None:  # fmt: skip
        """Add positions and their groups, tensors in any order; those of the group IGNORED add zeros to the first.

        inverse_scale: float32 [row x position].
        """
        rows, is_here = groups.clamp(min=0), (groups != IGNORED)[:, None]
        scale = inverse_scale.index_select(0, places).double()[:, None]
        for layer, kept in enumerate(activations):
            values = kept.flatten(0, 1).index_select(0, places).double().nan_to_num(0.0, LARGEST, -LARGEST).clamp(-LARGEST, LARGEST)
            values = values * is_here
            sums, squares, scaled = held.of_layer(layer)
            sums.index_add_(0, rows, (values * UNITS).round().long())
            squares.index_add_(0, rows, (values * values * UNITS).round().long())
            scaled.index_add_(0, rows, ((values * scale).clamp(-LARGEST, LARGEST) * SCALED_UNITS).round().long())


class TokenSums:
    """Another counter, and the sums of every neuron's activation over the positions of each group of predicted tokens."""

    def __init__(
        self,
        counter: Counter,
        layers: int,
        neurons: int,
        group_of_token: np.ndarray,
        tokens: np.ndarray,
        add_groups: AddGroups,
        *,
        count_bos: bool,
        device: "torch.device",
        outcome_sums: OutcomeSums | None = None,
    ) -> None:
        """`group_of_token` as the function gives it, `tokens` the tensor screen_token of the groups that are counted here."""
        import torch

        self._counter, self._count_bos, self._add_groups, self._tokens = counter, count_bos, add_groups, tokens
        counts = torch.zeros(len(tokens), dtype=torch.int64, device=device)
        sums = [torch.zeros((layers, len(tokens), neurons), dtype=torch.int64, device=device) for _ in range(3)]
        self._outcome_sums = outcome_sums
        self._held = GroupSums(group_of_token, torch.from_numpy(group_of_token).to(device), counts, *sums)
        self._kept: list[torch.Tensor] = []

    def start(self, batch: Batch) -> None:
        """A new batch: its layers follow."""
        self._counter.start(batch)
        self._batch = batch
        self._counted = batch.counted(self._count_bos)
        self._kept = []

    def add_layer(self, layer: int, activations: "torch.Tensor") -> None:
        """Count a layer's activations, [row, position, neuron], and keep them until the predictions are known. Layers come in order."""
        self._counter.add_layer(layer, activations)
        self._kept.append(activations.detach())

    def add_answers(self, answers: Answers) -> None:
        """Count what the model answered, and add the kept activations to the groups of their positions."""
        self._counter.add_answers(answers)
        self._add_groups.add(self._kept, self._counted, answers, self._held)
        if self._outcome_sums is not None:
            self._outcome_sums.add(self._batch, self._counted, self._kept, answers)
        self._kept = []

    def histograms(self) -> Histograms:
        """All that was counted so far, by the other counter and here."""
        inner = self._counter.histograms()
        screen = {
            "screen_token": self._tokens,
            "screen_count": self._held.counts.cpu().numpy(),
            "screen_sum": self._held.sums.cpu().numpy(),
            "screen_squares": self._held.squares.cpu().numpy(),
            "screen_scaled": self._held.scaled.cpu().numpy(),
        }
        outcomes = self._outcome_sums.tensors() if self._outcome_sums is not None else {}
        return Histograms({**inner.tensors, **screen, **outcomes}, inner.positions, inner.token_ids)
