"""Which counter and sums a device gets, and those that use the kernels of kernels instead of whole-tensor operations.

Knows when kernels are launched and on what; how they count is theirs. A device without Triton, or on which the kernels fail or
give other integers than the tensor operations, gets these; the second case is told once in the log.
"""

import importlib.util
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.counting.batch_counter import Answers, slot_dtype
from assets.counting.batches import Batch, first_counted
from assets.counting.between_examples import BANDS
from assets.counting.device_counter import DeviceCounter, DeviceEmbeddingCounter
from assets.counting.histograms import BETWEEN, EXAMPLE_PARTS, MOMENTS, NEURON_TENSORS, SIDES, ActivationBins, Histograms
from assets.counting.inverse_scales import of_layer
from assets.counting.outcome_sums import OutcomeSums
from assets.counting.sending import sent
from assets.counting.token_sum_units import LARGEST, SCALED_UNITS, UNITS
from assets.counting.token_sums import IGNORED, DeviceSums, GroupedPlaces, GroupSums, TokenSums, group_of_token, group_tokens

if TYPE_CHECKING:
    import torch


def device_counter_of(device: "torch.device") -> type[DeviceCounter]:
    """The counter of a device that is not the CPU. The first call for each device waits for a small trial of the kernels."""
    return KernelCounter if are_kernels_usable(device) else DeviceCounter


def new_device_sums(device: "torch.device") -> DeviceSums:
    """The sums by predicted token on a device that is not the CPU."""
    return KernelSums() if are_kernels_usable(device) else DeviceSums()


def outcome_sums_of(device: "torch.device") -> type[OutcomeSums]:
    """The sums over the final norm's scale by tracked token on a device, whichever it is."""
    return KernelOutcomeSums if are_kernels_usable(device) else OutcomeSums


class KernelCounter(DeviceCounter):
    """Counters in tensors of one device, each activation read once from its memory. A block's last row of counters is that of all positions."""

    def __init__(self, bins: ActivationBins, *counted: Any, **how: Any) -> None:
        """As DeviceCounter."""
        import torch

        super().__init__(bins, *counted, **how)
        layers, neurons = bins.per_unit.shape
        self._values = torch.zeros(layers, neurons, dtype=torch.int64, device=self._device)  # that are not NaN
        self._slot_dtype = torch.uint8 if slot_dtype(bins.bins) is np.uint8 else torch.uint16
        self._slots_of_batch = torch.empty(0, dtype=self._slot_dtype, device=self._device)

    def start(self, batch: Batch) -> None:
        """Send the batch's indexes to the device and make room for its slots and tiles; the slots' is kept from batch to batch."""
        import torch

        import assets.counting.kernels as kernels

        super().start(batch)
        layers, neurons = self._bins.per_unit.shape
        self._rows, self._row_positions = batch.token_ids.shape
        self._lengths, self._row_blocks = sent(batch.lengths, self._device), sent(batch.blocks, self._device)
        self._steps = min(-(-self._row_positions // kernels.LANES), kernels.TILE_STEPS)
        self._tiles_of_row = -(-self._row_positions // (self._steps * kernels.LANES))
        tiles = self._rows * self._tiles_of_row
        self._sums = torch.empty(4, tiles, neurons, dtype=torch.float64, device=self._device)
        self._extremes = torch.empty(2, tiles, neurons, dtype=torch.float32, device=self._device)
        self._wholes = torch.empty(4, tiles, neurons, dtype=torch.int32, device=self._device)
        size = layers * batch.token_ids.size * neurons
        if self._slots_of_batch.numel() < size:
            self._slots_of_batch = torch.empty(size, dtype=self._slot_dtype, device=self._device)
        self._batch_slots = self._slots_of_batch[:size].view(layers, batch.token_ids.size, neurons)

    def add_layer(self, layer: int, activations: "torch.Tensor") -> None:
        """Count a layer, [row, position, neuron], of any float dtype; its slots are kept until the predictions are known."""
        import assets.counting.kernels as kernels

        self._hold(layer, activations.detach())
        neurons = activations.shape[-1]
        of = {name: self._tensors[name][layer] for name in NEURON_TENSORS if name in self._tensors}
        with _launching_on(self._device):
            kernels.count_tiles[(-(-neurons // kernels.TILE_NEURONS), self._rows * self._tiles_of_row)](
                activations.detach().contiguous(),
                self._lengths,
                self._per_unit[layer],
                self._lowest[layer],
                self._counts[0, -1, layer],
                self._row_blocks,
                self._counts.stride(0),
                self._batch_slots[layer],
                self._sums,
                self._extremes,
                self._wholes,
                first_counted(self._count_bos),
                self._row_positions,
                neurons,
                self._tiles_of_row,
                self._steps,
                BINS=self._bins.bins,
                LANES=kernels.LANES,
                NEURONS=kernels.TILE_NEURONS,
                num_warps=kernels.TILE_WARPS,
                **kernels.OPTIONS,
            )
            kernels.merge_tiles[(-(-neurons // kernels.MERGED_NEURONS),)](
                self._sums,
                self._extremes,
                self._wholes,
                self._documents,
                self._windows,
                self._values[layer],
                of["above_zero"],
                *(of[name] for name in MOMENTS),
                of["minimum"],
                of["maximum"],
                *(of[f"{side}_{part}"] for side in SIDES for part in EXAMPLE_PARTS),
                self._keys_of_rows,
                *(
                    tensor
                    for side in BETWEEN
                    for tensor in (
                        self._outermost[side][layer],
                        self._keys[side][layer],
                        *(of[f"{side}_{part}"] for part in EXAMPLE_PARTS),
                    )
                ),
                self._rows,
                self._tiles_of_row,
                neurons,
                RANKS=of["top_value"].shape[1],
                BANDS=BANDS,
                NEURONS=kernels.MERGED_NEURONS,
                num_warps=kernels.MERGE_WARPS,
                **kernels.OPTIONS,
            )

    def _count_slots(self, labels: "torch.Tensor") -> None:
        """Only the positions at which a tracked token is predicted: those of all are counted already."""
        import torch

        tokens, counts = len(self._token_ids), self._counts.flatten(0, 1)
        rows = torch.where(labels < tokens, self._blocks * self._counts.shape[1] + labels, len(counts))
        self._count_tracked(counts, rows, self._counted, len(counts))
        null_places = self._counted.index_select(0, self._telling)
        self._count_tracked(self._null, labels.index_select(0, self._null_source), null_places, tokens)

    def _count_slots_by_embedding(self, counter: DeviceEmbeddingCounter, predictions: "torch.Tensor") -> None:
        labels = self._row_of_token.index_select(0, predictions.reshape(-1).index_select(0, self._counted))
        self._count_tracked(counter.count, labels, self._counted, len(self._token_ids))

    def _count_tracked(self, counts: "torch.Tensor", rows: "torch.Tensor", places: "torch.Tensor", none: int) -> None:
        """Add the slots of `places`, flattened positions, to their rows of `counts` [row, layer, neuron, slot]; from `none` on they have none.

        The positions are brought together on the device: their number is not asked for.
        """
        import assets.counting.kernels as kernels

        if not self._token_ids or not rows.numel():
            return
        ascending, order = rows.sort(stable=True)
        layers, neurons = self._bins.per_unit.shape
        with _launching_on(self._device):
            kernels.count_tracked[(-(-neurons // kernels.TRACKED_NEURONS), layers, kernels.TRACKED_SHARES)](
                self._batch_slots,
                places[order],
                ascending,
                (ascending < none).sum(),
                counts,
                self._rows * self._row_positions,
                neurons,
                BINS=self._bins.bins,
                NEURONS=kernels.TRACKED_NEURONS,
                SHARES=kernels.TRACKED_SHARES,
                **kernels.OPTIONS,
            )

    def _count_of_all(self) -> "torch.Tensor":
        return self._counts[:, -1]

    def _counted_slots(self, layer: int) -> "torch.Tensor":
        import torch

        slots = self._batch_slots[layer]
        signed = (
            slots.view(torch.int16) if slots.dtype == torch.uint16 else slots
        )  # which is no dtype to select from; slots stay below 2^15
        return signed.index_select(0, self._counted).long()


class KernelSums(DeviceSums):
    """The sums by predicted token, each activation read once, a group's sums added once for each run of its positions."""

    def __call__(
        self, activations: "Sequence[torch.Tensor]", grouped: GroupedPlaces, inverse_scale: "torch.Tensor", held: GroupSums
    ) -> None:
        """As DeviceSums; positions of the group IGNORED are left out."""
        import torch

        import assets.counting.kernels as kernels

        if not grouped.places.numel():
            return
        ascending, order = grouped.groups.sort(stable=True)
        places = grouped.places[order]
        null_groups, null_order = grouped.null_groups.sort(stable=True)
        null_places = grouped.places[null_order]
        current_groups, current_order = grouped.current_groups.sort(stable=True)
        current_places = grouped.places[current_order]
        blocks = torch.where(grouped.groups != IGNORED, grouped.blocks, IGNORED)
        neurons = held.sums.shape[-1]
        for layer, kept in enumerate(activations):
            values, scale = kept.contiguous(), of_layer(inverse_scale, layer)
            with _launching_on(held.sums.device):
                kernels.add_groups[(-(-neurons // kernels.GROUPED_NEURONS), -(-places.numel() // kernels.GROUPED_POSITIONS))](
                    values,
                    places,
                    ascending,
                    *held.of_layer(layer),
                    scale,
                    places.numel(),
                    neurons,
                    UNITS=UNITS,
                    SCALED_UNITS=SCALED_UNITS,
                    LARGEST=LARGEST,
                    NEURONS=kernels.GROUPED_NEURONS,
                    SHARE=kernels.GROUPED_POSITIONS,
                    **kernels.OPTIONS,
                )
            _add_rows(values, null_places, null_groups, held.null_sums[layer], scale, is_scaled=False)
            _add_rows(values, current_places, current_groups, held.current_sums[layer], scale, is_scaled=False)
            _add_rows(values, grouped.places, blocks, held.block_scaled[layer], scale, is_scaled=True)


class KernelOutcomeSums(OutcomeSums):
    """The sums over the final norm's scale by tracked token, each activation of theirs read once."""

    def _add_rows(
        self, sums: "torch.Tensor", activations: "Sequence[torch.Tensor]", places: "torch.Tensor", rows: "torch.Tensor", scale: "torch.Tensor"
    ) -> None:  # fmt: skip
        ascending, order = rows.sort(stable=True)
        here = places[order]
        for layer, kept in enumerate(activations if sums.shape[1] else ()):
            _add_rows(kept.contiguous(), here, ascending, sums[layer], of_layer(scale, layer), is_scaled=True)


def _add_rows(
    values: "torch.Tensor", places: "torch.Tensor", rows: "torch.Tensor", sums: "torch.Tensor", scale: "torch.Tensor", *, is_scaled: bool
) -> None:
    """One layer's activations at `places` added to their rows of sums [row, neuron]; negative rows are left out."""
    import assets.counting.kernels as kernels

    if not places.numel():
        return
    neurons = sums.shape[-1]
    with _launching_on(sums.device):
        kernels.add_rows[(-(-neurons // kernels.GROUPED_NEURONS), -(-places.numel() // kernels.GROUPED_POSITIONS))](
            values,
            places,
            rows,
            sums,
            scale,
            places.numel(),
            neurons,
            UNITS=SCALED_UNITS if is_scaled else UNITS,
            LARGEST=LARGEST,
            IS_SCALED=is_scaled,
            NEURONS=kernels.GROUPED_NEURONS,
            SHARE=kernels.GROUPED_POSITIONS,
            **kernels.OPTIONS,
        )


def _launching_on(device: "torch.device") -> AbstractContextManager[None]:
    """Triton launches on the current device, which need not be that of the tensors."""
    import torch

    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@cache
def are_kernels_usable(device: "torch.device") -> bool:
    """Whether the kernels are there and count a small random batch as the tensor operations do. Tried once per process and device."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    try:
        wrong = ", ".join(differing_tensors(device))
    except Exception as error:  # Triton's compiler, its C compiler, the driver: whatever fails, counting goes on without it
        wrong = f"{type(error).__name__}: {error}"
    if wrong:
        logging.getLogger(__name__).warning(
            "counting kernels on %s do not give what the tensor operations give (%s); counting goes on with these, which move far more "
            "memory. Report this with the versions of torch and triton.", device, wrong,
        )  # fmt: skip
    return not wrong


def differing_tensors(device: "torch.device", neurons: int = 700) -> list[str]:
    """Names of the tensors in which kernels and tensor operations differ on two random batches: moments by more than rounding."""
    kernel = _trial(KernelCounter, KernelSums(), KernelOutcomeSums, device, neurons)
    plain = _trial(DeviceCounter, DeviceSums(), OutcomeSums, device, neurons)

    def differ(name: str) -> bool:
        found, expected = np.asarray(kernel[name][...]), np.asarray(plain[name][...])
        return not (
            np.allclose(found, expected, rtol=1e-9, atol=1e-9) if name in MOMENTS else np.array_equal(found, expected, equal_nan=True)
        )

    return [name for name in plain.tensors if differ(name)]


def _trial(
    kind: type[DeviceCounter], sums: DeviceSums, outcome_sums: type[OutcomeSums], device: "torch.device", neurons: int
) -> Histograms:
    """Two layers over two batches: windows shorter and longer than a tile, padding, a dummy row, NaN, ties, what is almost 0.

    Documents 0 and 2 are of the telling half, 1 of the discovery half.
    """
    import torch

    random = np.random.default_rng(0)
    layers, vocabulary = 2, 5
    bins = ActivationBins(np.full((layers, neurons), 5, np.float32), np.full((layers, neurons), -5, np.int32), 80)
    counter = TokenSums(
        kind(bins, (1, 3), vocabulary, count_bos=False, examples=2, device=device),
        layers,
        neurons,
        group_of_token(vocabulary, (1, 2, 3), range(1, 4)),
        group_tokens((1, 2, 3), range(1, 4)),
        sums,
        count_bos=False,
        device=device,
        outcome_sums=outcome_sums((), (1, 3), vocabulary, layers, neurons, device=device, threads=0),
    )
    for number, positions in enumerate((24, 136)):
        lengths, documents = np.array([positions, 5, 0]), np.array([number, 2, -1])
        token_ids = random.integers(0, vocabulary, (3, positions))
        counter.start(Batch(token_ids, lengths, documents, np.array([0, number, 0], np.int32)))
        for layer in range(layers):
            values = random.normal(0, 4, (3, positions, neurons)).round(1).astype(np.float32)
            values[:, :, 0] = np.nan
            values[0, 3, 1:20], values[0, 17, 10:30] = np.nan, -1e-45
            counter.add_layer(layer, torch.from_numpy(values).to(device))
        predictions = torch.from_numpy(random.integers(0, vocabulary, (3, positions))).to(device)
        inverse_scale = torch.from_numpy(random.uniform(0.01, 2, (3, positions)).astype(np.float32)).to(device)
        counter.add_answers(Answers(predictions, inverse_scale=inverse_scale))
    return counter.histograms()
