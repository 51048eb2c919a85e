"""Counting by predicted and by current token around another counter: the same steps a batch, and sums more for every group of tokens.

Beside the groups' own sums: those under null labels (null_labels), and those of all positions by block of documents. The groups of predicted
and of current tokens are the same tokens.

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
from assets.counting.document_blocks import FOLDS
from assets.counting.histograms import LEFT_OUT, SCREEN_COUNTS, Histograms
from assets.counting.inverse_scales import inverse_scales, of_layer
from assets.counting.null_labels import CountedPositions
from assets.counting.number_formats import singles
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
    """What is counted of groups of tokens: positions int64 [group] by predicted and by current token; int64 [layer, group, neuron] by predicted
    token sums of activations, of their squares, and of activations over the final norm's scale, and sums of activations under null
    labels; int64 [layer, block, neuron] sums over the scale of the positions of all groups here; int64 [layer, group, neuron] sums of
    activations by current token.

    `group_of_token` is as the function gives it, `group_on_device` the same where the sums are.
    """

    group_of_token: np.ndarray
    group_on_device: "torch.Tensor"
    counts: "torch.Tensor"
    current_counts: "torch.Tensor"
    sums: "torch.Tensor"
    squares: "torch.Tensor"
    scaled: "torch.Tensor"
    null_sums: "torch.Tensor"
    block_scaled: "torch.Tensor"
    current_sums: "torch.Tensor"

    def of_layer(self, layer: int) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """The groups' three sums [group, neuron]."""
        return self.sums[layer], self.squares[layer], self.scaled[layer]


def scale_of(answers: Answers) -> "torch.Tensor":
    """The inverse scales of a batch, as inverse_scales gives them; raises ValueError where they were not handed over."""
    if answers.inverse_scale is None:
        raise ValueError("sums by predicted token: 1 over the final norm's scale must be given with each batch")
    return inverse_scales(answers.inverse_scale)


class AddGroups(Protocol):
    """A way to add batches to the sums: on the host, or on the device that holds the activations."""

    def add(self, activations: "Sequence[torch.Tensor]", counted: CountedPositions, answers: Answers, held: GroupSums) -> None:
        """activations: of each layer, [row, position, neuron]. `held` is added to in place."""


class CompiledSums:
    """The sums by compiled loops, a layer on each of some threads."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="token sums")

    def add(self, activations: "Sequence[torch.Tensor]", counted: CountedPositions, answers: Answers, held: GroupSums) -> None:
        """As AddGroups, in the order of the groups, and of the blocks within one."""
        import torch

        import assets.counting.token_sum_loops as token_sum_loops

        groups = held.group_of_token[answers.predictions.numpy().reshape(-1)[counted.places]]
        current_groups = held.group_of_token[counted.token_ids]
        for counts, own in ((held.counts, groups), (held.current_counts, current_groups)):
            counts.add_(torch.from_numpy(np.bincount(own[own != IGNORED], minlength=len(counts))))
        null_groups = groups[counted.source]
        is_here = np.flatnonzero((groups != IGNORED) | (null_groups != IGNORED) | (current_groups != IGNORED))
        run = groups * held.block_scaled.shape[1] + counted.blocks
        order = is_here[np.argsort(run[is_here], kind="stable")]
        starts = np.flatnonzero(np.diff(run[order], prepend=run[order[:1]] - 1))
        first = order[starts]  # of each run
        inverse_scale = scale_of(answers)
        of_runs = (counted.places[order], np.append(starts, order.size), groups[first], counted.blocks[first])
        of_places = (null_groups[order], current_groups[order])

        def add_layer(layer: int) -> None:
            values = singles(activations[layer])
            sums = (*held.of_layer(layer), held.null_sums[layer], held.block_scaled[layer], held.current_sums[layer])
            scale = of_layer(inverse_scale, layer).numpy()
            token_sum_loops.add_groups(values, scale, *of_runs, *of_places, *(held_here.numpy() for held_here in sums))

        for done in [self._pool.submit(add_layer, layer) for layer in range(len(activations))]:
            done.result()


@dataclass(frozen=True)
class GroupedPlaces:
    """Counted positions of a batch on a device, int64 [counted]: flattened places, the group of what is predicted at each, its group under
    null labels, the group of its current token (all IGNORED where another pass counts it), and its block."""

    places: "torch.Tensor"
    groups: "torch.Tensor"
    null_groups: "torch.Tensor"
    current_groups: "torch.Tensor"
    blocks: "torch.Tensor"


class DeviceSums:
    """The sums by tensor operations on the device that holds the activations. Nothing waits for the device: places and groups stay there."""

    def add(self, activations: "Sequence[torch.Tensor]", counted: CountedPositions, answers: Answers, held: GroupSums) -> None:
        """As AddGroups."""
        predictions = answers.predictions
        of_counted = (counted.places, counted.token_ids, counted.blocks, counted.source)
        places, token_ids, blocks, source = (sent(of, predictions.device) for of in of_counted)
        groups = held.group_on_device.index_select(0, predictions.reshape(-1).index_select(0, places))
        current_groups = held.group_on_device.index_select(0, token_ids)
        for counts, own in ((held.counts, groups), (held.current_counts, current_groups)):
            counts.scatter_add_(0, own.clamp(min=0), (own != IGNORED).long())
        grouped = GroupedPlaces(places, groups, groups.index_select(0, source), current_groups, blocks)
        self(activations, grouped, scale_of(answers), held)

    def __call__(
        self, activations: "Sequence[torch.Tensor]", grouped: GroupedPlaces, inverse_scale: "torch.Tensor", held: GroupSums
    ) -> None:  # fmt: skip
        """Add positions in any order; those of the group IGNORED add zeros to the first.

        inverse_scale: float32 [1 or layer, row x position].
        """
        places = grouped.places
        (rows, is_here), (null_rows, is_null_here), (current_rows, is_current_here) = (
            (groups.clamp(min=0), (groups != IGNORED)[:, None]) for groups in (grouped.groups, grouped.null_groups, grouped.current_groups)
        )
        scales = inverse_scale.index_select(1, places).double()[..., None]
        for layer, kept in enumerate(activations):
            values = kept.flatten(0, 1).index_select(0, places).double().nan_to_num(0.0, LARGEST, -LARGEST).clamp(-LARGEST, LARGEST)
            held.null_sums[layer].index_add_(0, null_rows, (values * is_null_here * UNITS).round().long())
            held.current_sums[layer].index_add_(0, current_rows, (values * is_current_here * UNITS).round().long())
            values = values * is_here
            sums, squares, scaled = held.of_layer(layer)
            sums.index_add_(0, rows, (values * UNITS).round().long())
            squares.index_add_(0, rows, (values * values * UNITS).round().long())
            units = ((values * of_layer(scales, layer)).clamp(-LARGEST, LARGEST) * SCALED_UNITS).round().long()
            scaled.index_add_(0, rows, units)
            held.block_scaled[layer].index_add_(0, grouped.blocks, units)


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
        blocks: int = FOLDS,
    ) -> None:
        """`group_of_token` as the function gives it, `tokens` the tensor screen_token of the groups that are counted here."""
        import torch

        self._counter, self._count_bos, self._add_groups, self._tokens = counter, count_bos, add_groups, tokens
        counts = [torch.zeros(len(tokens), dtype=torch.int64, device=device) for _ in SCREEN_COUNTS]
        rows = (len(tokens), len(tokens), len(tokens), len(tokens), blocks, len(tokens))
        sums = [torch.zeros((layers, of, neurons), dtype=torch.int64, device=device) for of in rows]
        self._outcome_sums = outcome_sums
        self._held = GroupSums(group_of_token, torch.from_numpy(group_of_token).to(device), *counts, *sums)
        self._kept: list[torch.Tensor] = []

    def start(self, batch: Batch) -> None:
        """A new batch: its layers follow."""
        self._counter.start(batch)
        self._batch = batch
        self._counted = CountedPositions.of(batch, self._count_bos)
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
            "screen_current_count": self._held.current_counts.cpu().numpy(),
            "screen_sum": self._held.sums.cpu().numpy(),
            "screen_squares": self._held.squares.cpu().numpy(),
            "screen_scaled": self._held.scaled.cpu().numpy(),
            "screen_current_sum": self._held.current_sums.cpu().numpy(),
            "screen_null_sum": self._held.null_sums.cpu().numpy(),
            "block_scaled": self._held.block_scaled.cpu().numpy().swapaxes(0, 1),
        }
        outcomes = self._outcome_sums.tensors() if self._outcome_sums is not None else {}
        return Histograms({**inner.tensors, **screen, **outcomes}, inner.positions, inner.token_ids)
