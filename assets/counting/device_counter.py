"""The running counters of a pass on another device (a GPU): the same counts as batch_counter by whole-tensor operations.

kernel_counter counts the same with kernels, where the device has Triton.

Counters are kept by block of documents, in 32 bits; int64 only where they are sums of probabilities.

Everything stays on the device until `histograms`: no operation of a batch waits for it, for all shapes follow from the batch
alone (but for top predictions by the embedding, where a study asks for them). Each activation is counted once, when the
predictions are known, under the tracked token that is predicted there or under a block's last row for all other tokens; the plain
counts are the sum over these rows. Integers, extremes and examples equal the CPU's on the same activations; moments agree to rounding.
"""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.counting.batch_counter import Answers, EmbeddingCounts, refuse_other_predictions, slot_dtype
from assets.counting.batches import Batch
from assets.counting.between_examples import BANDS, NO_KEY, document_keys, outermost
from assets.counting.block_counts import by_block_and_whole, null_counts
from assets.counting.device_contexts import DeviceContexts
from assets.counting.document_blocks import UNKNOWN_SIZES, BlockSizes, is_telling
from assets.counting.histograms import (
    BETWEEN,
    CONTEXTS,
    COUNTED_PARTS,
    EXAMPLE_PARTS,
    NEURON_TENSORS,
    NEXT_TOKEN,
    PROBABILITY,
    PROBABILITY_UNITS,
    TOP_PREDICTION,
    ActivationBins,
    Histograms,
    empty_tensors,
    merged_moments,
)
from assets.counting.null_labels import CountedPositions, rotated
from assets.counting.outcome_counts import (
    NextTokenCounts,
    ProbabilityCounts,
    empty_scaled,
    following_tokens,
    refuse_unknown,
    required_probabilities,
    rows_of_next_tokens,
)
from assets.counting.random_examples import RandomExamples
from assets.counting.sending import sent

if TYPE_CHECKING:
    import torch

    Parts = list[torch.Tensor]  # an example's value, document, window and position, each [neuron, candidate]


class DeviceEmbeddingCounter:
    """Slots at which a tracked token is the top prediction by the embedding, in tensors of the device, of all documents together.

    Only the slots of these few places are counted, so the host must know how many there are: it waits for the device once a batch,
    which counting every slot of the batch a second time would cost more than.
    """

    def __init__(self, shape: Sequence[int], vocabulary: int, device: "torch.device") -> None:
        """Counters of the shape [token, layer, neuron, slot]."""
        import torch

        self.count = torch.zeros(*shape, dtype=torch.int64, device=device)
        self._predictions = torch.zeros(vocabulary, dtype=torch.int64, device=device)

    def add_predictions(self, predicted: "torch.Tensor") -> None:
        """Count the predictions, int64 [counted]."""
        import torch

        one = torch.ones((), dtype=torch.int64, device=predicted.device)
        self._predictions.scatter_add_(0, predicted, one.expand_as(predicted))

    def add_slots(self, predicted: "torch.Tensor", row_of_token: "torch.Tensor", codes: "Sequence[torch.Tensor]") -> None:
        """predicted: int64 [counted]. row_of_token: [vocabulary], no row of a tracked token where none. codes: of each layer, the
        slots [counted, neuron]."""
        import torch

        tokens, layers, neurons, slots = self.count.shape
        one = torch.ones((), dtype=torch.int64, device=predicted.device)
        rows = row_of_token.index_select(0, predicted)
        places = (rows < tokens).nonzero()[:, 0]
        first = rows.index_select(0, places)[:, None] * (layers * neurons * slots)
        first = first + torch.arange(neurons, device=predicted.device) * slots  # [place, neuron]
        for layer in range(layers):
            index = (first + (layer * neurons * slots) + codes[layer].index_select(0, places)).view(-1)
            self.count.view(-1).scatter_add_(0, index, one.expand_as(index))

    def counts(self) -> EmbeddingCounts:
        """All that was counted so far, copied to the host."""
        return EmbeddingCounts(self.count.cpu().numpy(), self._predictions.cpu().numpy())


class DeviceCounter:
    """Counters in tensors of one device."""

    def __init__(
        self,
        bins: ActivationBins,
        token_ids: Sequence[int],
        vocabulary: int,
        *,
        count_bos: bool,
        examples: int,
        device: "torch.device",
        embedding_predictions: bool = False,
        outcomes: Collection[str] = (),
        sizes: BlockSizes = UNKNOWN_SIZES,
    ) -> None:
        import torch

        refuse_unknown(outcomes)
        layers, neurons = bins.per_unit.shape
        blocks, tokens = sizes.blocks, len(token_ids)
        self._bins, self._token_ids, self._count_bos, self._device = bins, tuple(token_ids), count_bos, device
        self._slots = bins.bins + 3
        self._per_unit = torch.from_numpy(bins.per_unit.astype(np.float32)).to(device)
        self._lowest = torch.from_numpy(bins.first_bin.astype(np.float32)).to(device)
        empty = empty_tensors(layers, neurons, 0, 0, 0, examples, blocks=blocks)
        names = [name for name in NEURON_TENSORS if name not in (*COUNTED_PARTS, *CONTEXTS)]
        self._tensors = {name: torch.from_numpy(empty[name]).to(device) for name in names}
        self._on_host = {name: of for name, of in empty.items() if name not in NEURON_TENSORS}
        self._on_host |= empty_scaled(outcomes, layers, tokens, neurons, blocks)
        self._contexts = DeviceContexts(layers, neurons, examples, device)
        self._between_contexts = DeviceContexts(layers, neurons, BANDS, device, BETWEEN)
        self._random = RandomExamples(layers, neurons, count_bos, device)
        ends = outermost(bins.per_unit, bins.first_bin, bins.bins)
        self._outermost = {side: torch.from_numpy(end).to(device) for side, end in zip(BETWEEN, ends, strict=True)}
        self._keys = {side: torch.full((layers, neurons, BANDS), NO_KEY, device=device) for side in BETWEEN}
        self._nan = torch.zeros(layers, neurons, dtype=torch.int64, device=device)
        of_token = (layers, neurons, self._slots)
        self._counts = torch.zeros(blocks, tokens + 1, *of_token, dtype=torch.int32, device=device)
        self._null = torch.zeros(tokens + 1, *of_token, dtype=torch.int32, device=device)  # the last row is of no tracked token
        self._occurrences = np.zeros(vocabulary, np.int64)  # known without the model
        self._predictions, self._correct_predictions = (torch.zeros(vocabulary, dtype=torch.int64, device=device) for _ in range(2))
        row_of_token = np.full(vocabulary, len(token_ids), np.int64)
        row_of_token[list(token_ids)] = np.arange(len(token_ids))
        self._row_of_token = torch.from_numpy(row_of_token).to(device)
        self._by_embedding = DeviceEmbeddingCounter((tokens, *of_token), vocabulary, device) if embedding_predictions else None
        # [block, token + 1, layer, neuron, slot]: the next token, or none; its null labels; and what is known of it without the model.
        self._next = torch.zeros_like(self._counts) if NEXT_TOKEN in outcomes else None
        self._null_next = torch.zeros_like(self._null[:-1]) if NEXT_TOKEN in outcomes else None
        self._next_tokens = np.zeros(vocabulary, np.int64)
        self._probability: torch.Tensor | None = None
        if PROBABILITY in outcomes:
            self._probability = torch.zeros(blocks, tokens, *of_token, dtype=torch.int64, device=device)
        self._probability_sums = torch.zeros(len(token_ids), dtype=torch.int64, device=device)
        self._codes: list[torch.Tensor] = []
        self._positions = 0

    def start(self, batch: Batch) -> None:
        """Send the batch's indexes to the device."""
        import torch

        self._random.start(batch)
        here = CountedPositions.of(batch, self._count_bos)
        counted, telling = here.places, np.flatnonzero(is_telling(here.blocks))
        self._on_host["block_positions"] += np.bincount(here.blocks, minlength=self._counts.shape[0])
        self._blocks, self._telling = sent(here.blocks, self._device), sent(telling, self._device)
        self._null_source = sent(here.source[telling], self._device)
        is_counted = np.zeros(batch.token_ids.size, dtype=bool)
        is_counted[counted] = True
        self._occurrences += np.bincount(batch.token_ids.reshape(-1)[counted], minlength=self._occurrences.size)
        self._counted = sent(counted, self._device)
        following = following_tokens(batch).reshape(-1)[counted]
        self._following = sent(following, self._device)
        if self._next is not None:
            self._next_tokens += np.bincount(following[following >= 0], minlength=self._next_tokens.size)
            self._send_next_rows(batch, here, rows_of_next_tokens(following, self._token_ids, self._next_tokens.size))
        self._is_counted = sent(is_counted.reshape(batch.token_ids.shape), self._device)
        self._documents = sent(batch.documents, self._device)
        self._windows = sent(batch.windows, self._device)
        keys = document_keys(batch.documents)
        self._keys_of_rows = sent(keys, self._device)
        self._rows_in_order = sent(np.lexsort((batch.windows, batch.documents, keys)), self._device)  # the first to be kept comes first
        self._codes = [torch.empty(0)] * self._per_unit.shape[0]
        self._contexts.start(batch)
        self._between_contexts.start(batch)

    def _send_next_rows(self, batch: Batch, here: CountedPositions, rows: np.ndarray) -> None:
        """`rows` of the next tokens at the counted positions, int64 [counted]: where they and their null labels are to be counted."""
        tokens, telling = len(self._token_ids), is_telling(here.blocks)
        null = rows[rotated(batch, here.places, with_next_token=True)]
        places, null_places = np.flatnonzero(rows >= 0), np.flatnonzero(telling & (null >= 0) & (null < tokens))
        by_block = here.blocks * (tokens + 1) + rows
        self._next_places, self._next_rows = sent(places, self._device), sent(by_block[places], self._device)
        self._null_next_places, self._null_next_rows = sent(null_places, self._device), sent(null[null_places], self._device)

    def add_layer(self, layer: int, activations: "torch.Tensor") -> None:
        """Take a layer's moments and examples, [row, position, neuron]; its slots are kept until the predictions are known."""
        import torch

        self._hold(layer, activations.detach())
        activations = activations.detach().float()
        values = activations.reshape(-1, activations.shape[-1]).index_select(0, self._counted)  # [counted, neuron]
        slots = self._slot_numbers(layer, values)
        self._codes[layer] = slots.to(torch.uint8 if slot_dtype(self._bins.bins) is np.uint8 else torch.int16)
        self._add_moments(layer, values)
        self._add_examples(layer, activations)

    def _hold(self, layer: int, activations: "torch.Tensor") -> None:
        """What examples need of a layer's activations beyond its counters."""
        self._random.add_layer(layer, activations)
        self._contexts.add_layer(activations)
        self._between_contexts.add_layer(activations)

    def add_answers(self, answers: Answers) -> None:
        """Count the top predictions, and all slots of the batch under them."""
        import torch

        self._contexts.add_batch(self._tensors)
        self._between_contexts.add_batch(self._tensors)
        predictions, by_embedding = answers.predictions, answers.by_embedding
        refuse_other_predictions(self._by_embedding is not None, by_embedding is not None)
        if self._by_embedding is not None and by_embedding is not None:
            self._by_embedding.add_predictions(by_embedding.reshape(-1).index_select(0, self._counted))
            self._count_slots_by_embedding(self._by_embedding, by_embedding)
        predicted = predictions.reshape(-1).index_select(0, self._counted)
        one = torch.ones((), dtype=torch.int64, device=self._device)
        self._predictions.scatter_add_(0, predicted, one.expand_as(predicted))
        self._correct_predictions.scatter_add_(0, predicted, (predicted == self._following).long())
        self._positions += predicted.numel()
        self._count_slots(self._row_of_token.index_select(0, predicted))
        if self._next is not None and self._null_next is not None:
            self._add_slots(self._next.flatten(0, 1), self._next_rows, self._next_places)
            self._add_slots(self._null_next, self._null_next_rows, self._null_next_places)
        if self._probability is not None and self._token_ids:  # a part may have groups of the screen alone
            given = required_probabilities(answers.probabilities).reshape(-1, len(self._token_ids)).index_select(0, self._counted)
            units = (given.double() * PROBABILITY_UNITS).round().long()  # [counted, token]
            self._probability_sums += units.sum(0)
            self._count_probabilities(self._probability, units)

    def _count_slots(self, labels: "torch.Tensor") -> None:
        """All slots of the batch under the rows of the tokens that are predicted, int64 [counted], the last row for all other tokens; and
        those of the telling half under null labels."""
        rows = self._blocks * self._counts.shape[1] + labels
        self._add_slots(self._counts.flatten(0, 1), rows)
        self._add_slots(self._null, labels.index_select(0, self._null_source), self._telling)

    def _add_slots(self, counts: "torch.Tensor", rows: "torch.Tensor", places: "torch.Tensor | None" = None) -> None:
        """The slots at `places`, int64, which of the counted (all if absent), each under its row of counts [row, layer, neuron, slot]."""
        import torch

        _, layers, neurons, slots = counts.shape
        first = rows[:, None] * (layers * neurons * slots) + torch.arange(neurons, device=self._device) * slots  # [place, neuron]
        one = torch.ones((), dtype=counts.dtype, device=self._device)
        for layer in range(layers):
            here = self._counted_slots(layer)
            here = here if places is None else here.index_select(0, places)
            index = (first + (layer * neurons * slots) + here).view(-1)
            counts.view(-1).scatter_add_(0, index, one.expand_as(index))

    def _count_probabilities(self, counts: "torch.Tensor", units: "torch.Tensor") -> None:
        """Every place's probabilities, int64 [counted, token], under its slots in counts [block, token, layer, neuron, slot]."""
        import torch

        _, tokens, layers, neurons, slots = counts.shape
        of_layer = neurons * slots
        first = self._blocks[:, None] * (tokens * layers * of_layer) + torch.arange(neurons, device=self._device) * slots
        for layer in range(layers):
            index = first + self._counted_slots(layer)
            for token in range(tokens):
                added = units[:, token, None].expand(-1, neurons).reshape(-1)
                counts.view(-1).scatter_add_(0, (index + (token * layers + layer) * of_layer).view(-1), added)

    def _counted_slots(self, layer: int) -> "torch.Tensor":
        """Int64 [counted, neuron]: the batch's slots of a layer."""
        return self._codes[layer].long()

    def histograms(self) -> Histograms:
        """All that was counted so far, copied to the host."""
        bins = self._bins.bins
        counts = by_block_and_whole("", self._count_of_all().cpu().numpy(), bins)
        counts |= by_block_and_whole(TOP_PREDICTION, self._counts.cpu().numpy()[:, :-1], bins)
        counts |= null_counts(TOP_PREDICTION, self._null[:-1].cpu().numpy(), bins)
        kept = {name: tensor.cpu().numpy() for name, tensor in self._tensors.items()}
        tokens = {
            "occurrences": self._occurrences,
            "predictions": self._predictions.cpu().numpy(),
            "correct_predictions": self._correct_predictions.cpu().numpy(),
        }
        embedding = self._by_embedding.counts().tensors(bins) if self._by_embedding else {}
        tensors = self._on_host | kept | counts | tokens | embedding | self._outcome_tensors(bins)
        tensors |= self._contexts.tensors() | self._between_contexts.tensors() | self._random.tensors()
        return Histograms(tensors, self._positions, self._token_ids)

    def _outcome_tensors(self, bins: int) -> dict[str, Any]:
        """Of the further outcomes, copied to the host."""
        found: dict[str, Any] = {}
        if self._next is not None and self._null_next is not None:
            found |= NextTokenCounts(self._next.cpu().numpy(), self._null_next.cpu().numpy(), self._next_tokens).tensors(bins)
        if self._probability is not None:
            sums = np.zeros_like(self._next_tokens)
            sums[list(self._token_ids)] = self._probability_sums.cpu().numpy()
            found |= ProbabilityCounts(self._probability.cpu().numpy(), sums).tensors(bins)
        return found

    def _count_slots_by_embedding(self, counter: DeviceEmbeddingCounter, predictions: "torch.Tensor") -> None:
        """The slots of the tracked places under the predictions by the embedding, int64 [row, position]."""
        counter.add_slots(predictions.reshape(-1).index_select(0, self._counted), self._row_of_token, self._codes)

    def _count_of_all(self) -> "torch.Tensor":
        """Int32 [block, layer, neuron, slot] over all counted positions."""
        return self._counts.sum(1, dtype=self._counts.dtype)

    def _slot_numbers(self, layer: int, values: "torch.Tensor") -> "torch.Tensor":
        """Int64 [counted, neuron]: the bin, or after the bins underflow, overflow, NaN."""
        import torch

        bins = self._bins.bins
        step = torch.floor(values * self._per_unit[layer]) - self._lowest[layer]
        slots = step.clamp(0, bins - 1).nan_to_num(0).long()
        slots = torch.where(step < 0, bins, slots)
        slots = torch.where(step >= bins, bins + 1, slots)
        return torch.where(step.isnan(), bins + 2, slots)

    def _add_moments(self, layer: int, values: "torch.Tensor") -> None:
        import torch

        of = self._tensors
        is_number = ~values.isnan()
        count = is_number.sum(0)
        exact = values.double()
        mean = torch.where(is_number, exact, 0.0).sum(0) / count.clamp(min=1)
        deviation = torch.where(is_number, exact - mean, 0.0)
        square = deviation * deviation
        new = {"mean": mean, "moment_2": square.sum(0), "moment_3": (square * deviation).sum(0), "moment_4": (square * square).sum(0)}
        merged = merged_moments({name: of[name][layer] for name in new}, (self._positions - self._nan[layer]).double(), new, count.double())
        self._nan[layer] += values.shape[0] - count
        for name, tensor in merged.items():
            of[name][layer] = tensor
        of["above_zero"][layer] += (values > 0).sum(0)

    def _add_examples(self, layer: int, activations: "torch.Tensor") -> None:
        """One candidate a row and neuron: its extreme and the first position that holds it."""
        import torch

        positions = torch.arange(activations.shape[1], device=self._device)
        usable = self._is_counted[:, :, None] & ~activations.isnan()  # [row, position, neuron]
        for side, sign, bound in (("top", 1, "maximum"), ("bottom", -1, "minimum")):
            extreme = torch.where(usable, sign * activations, -torch.inf).amax(1)  # [row, neuron]
            holds = usable & (sign * activations == extreme[:, None])
            position = torch.where(holds, positions[:, None], activations.shape[1]).amin(1)
            is_candidate = (extreme > -torch.inf).t()
            value = torch.where(is_candidate, (sign * extreme).t(), -sign * torch.inf)  # [neuron, row]
            new = (
                value,
                torch.where(is_candidate, self._documents, -1),
                torch.where(is_candidate, self._windows, 0),
                torch.where(is_candidate, position.t(), 0).int(),
            )
            self._add_between(layer, f"between_{side}", sign, new)
            limit = self._tensors[bound][layer]
            self._tensors[bound][layer] = torch.maximum(limit, value.amax(1)) if sign > 0 else torch.minimum(limit, value.amin(1))
            old = [self._tensors[f"{side}_{part}"][layer] for part in EXAMPLE_PARTS]
            both = [torch.cat([before, candidate.to(before.dtype)], dim=1) for before, candidate in zip(old, new, strict=True)]
            for part, tensor in zip(EXAMPLE_PARTS, _ranked(both, sign, old[0].shape[1]), strict=True):
                self._tensors[f"{side}_{part}"][layer] = tensor

    def _add_between(self, layer: int, side: str, sign: int, candidates: "tuple[torch.Tensor, ...]") -> None:
        """Keep of each band the candidate, [neuron, row], that comes first, if it comes before the one held."""
        import torch

        size, bound = sign * candidates[0][:, None], self._outermost[side][layer][:, None]  # [neuron, 1, row], [neuron, 1]
        lower = bound * 0.5 ** torch.arange(1, BANDS + 1, device=self._device)  # [neuron, band]
        upper = torch.where(torch.arange(BANDS, device=self._device) > 0, 2 * lower, torch.inf)
        is_inside = (size >= lower[..., None]) & ((size < upper[..., None]) | (size == torch.inf) & (upper[..., None] == torch.inf))
        in_order = is_inside.index_select(2, self._rows_in_order)
        row = self._rows_in_order[in_order.byte().argmax(2)]  # [neuron, band]
        value, document, window, position = (of.gather(1, row) for of in candidates)
        key, held_key = self._keys_of_rows[row], self._keys[side][layer]
        held_document, held_window = (self._tensors[f"{side}_{part}"][layer] for part in ("document", "window"))
        is_same = (document == held_document) & (window < held_window)
        is_before = (key < held_key) | (key == held_key) & ((held_document < 0) | (document < held_document) | is_same)
        is_kept = in_order.any(2) & is_before
        self._keys[side][layer] = torch.where(is_kept, key, held_key)
        for part, tensor in zip(EXAMPLE_PARTS, (value, document, window, position), strict=True):
            held = self._tensors[f"{side}_{part}"][layer]
            self._tensors[f"{side}_{part}"][layer] = torch.where(is_kept, tensor.to(held.dtype), held)


def _ranked(parts: "Parts", sign: int, keep: int) -> "Parts":
    """As histograms.ranked_examples, on [neuron, candidate] tensors of a device."""
    import torch

    value, document, window, position = _sorted(
        parts, lambda value, document, window, position: [position, window, -sign * value, document]
    )
    is_repeated = torch.zeros_like(document, dtype=torch.bool)
    is_repeated[:, 1:] = document[:, 1:] == document[:, :-1]
    parts = [
        torch.where(is_repeated, -sign * torch.inf, value),
        torch.where(is_repeated, -1, document),
        torch.where(is_repeated, 0, window),
        torch.where(is_repeated, 0, position),
    ]
    ranked = _sorted(parts, lambda value, document, window, position: [position, window, document, -sign * value, document < 0])
    return [part[:, :keep] for part in ranked]


def _sorted(parts: "Parts", keys: "Callable[..., Parts]") -> "Parts":
    """Order by several keys, the last one first: stable sorts from the least important key to the most."""
    for step in range(len(keys(*parts))):
        order = keys(*parts)[step].argsort(dim=1, stable=True)
        parts = [part.gather(1, order) for part in parts]
    return parts
