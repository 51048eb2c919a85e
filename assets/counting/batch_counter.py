"""The running counters of a pass on the CPU: what a layer's activations and a batch's predictions are added to.

Both counters (this one, and device_counter for other devices) have the same three steps a batch: `start`, `add_layer` for
each layer, `add_answers`. They give the same integers and examples on the same activations.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from assets.counting.batches import Batch, first_counted
from assets.counting.between_examples import BANDS, NO_KEY, document_keys, outermost
from assets.counting.block_counts import by_block_and_whole, null_counts
from assets.counting.document_blocks import UNKNOWN_SIZES, BlockSizes, is_telling
from assets.counting.example_contexts import ExampleContexts
from assets.counting.histograms import (
    BETWEEN,
    EXAMPLE_PARTS,
    MOMENTS,
    NEURON_TENSORS,
    NEXT_TOKEN,
    PROBABILITY,
    PROBABILITY_UNITS,
    SIDES,
    TOP_PREDICTION,
    ActivationBins,
    Histograms,
    empty_tensors,
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
from assets.counting.waiting_slots import WaitingSlots

if TYPE_CHECKING:
    import torch


EMBEDDING = "embedding_prediction"  # beside the outcomes, what a tracked token is counted by


@dataclass(frozen=True)
class Answers:
    """What the model answers at every position of a batch; tensors [row, position], where the activations are.

    `predictions`: top predictions, int64. `by_embedding`: those by the embedding, int64, where they are counted. `inverse_scale`: 1 over
    what the final norm divides the residual stream by, float32, where contributions are counted; for a model with norms behind its MLPs,
    times 1 over theirs, [layer, row, position]. `probabilities`: of each tracked token that
    is counted here, float64 [row, position, token], where that outcome is counted. `residual`: what the final norm reads [row, position, width],
    where positions are kept; it must not be written into before the next batch's answers.
    """

    predictions: "torch.Tensor"
    by_embedding: "torch.Tensor | None" = None
    inverse_scale: "torch.Tensor | None" = None
    probabilities: "torch.Tensor | None" = None
    residual: "torch.Tensor | None" = None


class Counter(Protocol):
    """Counters of one pass. Nothing that is handed over is kept after the call."""

    def start(self, batch: Batch) -> None:
        """A new batch: its layers follow."""

    def add_layer(self, layer: int, activations: "torch.Tensor") -> None:
        """Count a layer's activations, [row, position, neuron]; cast to float32 first."""

    def add_answers(self, answers: Answers) -> None:
        """Count the top predictions, and the bins at which tracked tokens are predicted; the batch is then done."""

    def histograms(self) -> Histograms:
        """All that was counted so far."""


def slot_dtype(bins: int) -> type[np.unsignedinteger]:
    """Smallest dtype for a slot number: the bins, then underflow, overflow and NaN."""
    return np.uint8 if bins + 3 <= 256 else np.uint16


@dataclass(frozen=True)
class EmbeddingCounts:
    """What is counted of the top predictions by the embedding."""

    count: np.ndarray  # int64 [token, layer, neuron, slot]
    predictions: np.ndarray  # int64 [vocabulary]

    def tensors(self, bins: int) -> dict[str, np.ndarray]:
        """Under their names in the contract; the first `bins` slots are bins."""
        return {
            "embedding_prediction_count": self.count[..., :bins],
            "embedding_prediction_outside": self.count[..., bins:],
            "embedding_predictions": self.predictions,
        }


def refuse_other_predictions(is_counted: bool, is_given: bool) -> None:
    """Raise ValueError where top predictions by the embedding are counted and not given, or given and not counted."""
    if is_counted != is_given:
        raise ValueError(f"top predictions by the embedding: counted here: {is_counted}, given with the batch: {is_given}; both or neither")


class TokenCounter:
    """Per vocabulary entry: occurrences, predictions, correct predictions over the counted positions."""

    def __init__(self, vocabulary: int, token_ids: Sequence[int]) -> None:
        self.occurrences = np.zeros(vocabulary, np.int64)
        self.predictions = np.zeros(vocabulary, np.int64)
        self.correct_predictions = np.zeros(vocabulary, np.int64)
        self._row_of_token = np.full(vocabulary, -1, np.int64)
        self._row_of_token[list(token_ids)] = np.arange(len(token_ids))

    def add(self, batch: Batch, counted: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """Count one batch. Returns the row of the tracked token that is predicted at each counted position, -1 where none is."""
        following = following_tokens(batch)
        predicted = predictions.reshape(-1)[counted]
        entries = self.occurrences.size
        self.occurrences += np.bincount(batch.token_ids.reshape(-1)[counted], minlength=entries)
        self.predictions += np.bincount(predicted, minlength=entries)
        self.correct_predictions += np.bincount(predicted[predicted == following.reshape(-1)[counted]], minlength=entries)
        return self.rows_of(predicted)

    def rows_of(self, predicted: np.ndarray) -> np.ndarray:
        """Int64, the shape of `predicted`: the row of each tracked token, -1 for any other."""
        return np.asarray(self._row_of_token[predicted])

    def tensors(self) -> dict[str, np.ndarray]:
        """The three vocabulary tensors of the contract."""
        return {
            "occurrences": self.occurrences,
            "predictions": self.predictions,
            "correct_predictions": self.correct_predictions,
        }


def _null(outcome: str) -> str:
    return f"null_{outcome}"


class BatchCounter:
    """Counters in NumPy arrays, filled by compiled loops on `threads` threads, each with its own range of neurons.

    All are kept by block of documents; a block's counters of tracked tokens lie side by side, [block x token].
    """

    def __init__(
        self,
        bins: ActivationBins,
        token_ids: Sequence[int],
        vocabulary: int,
        *,
        count_bos: bool,
        examples: int,
        threads: int,
        embedding_predictions: bool = False,
        outcomes: Collection[str] = (),
        sizes: BlockSizes = UNKNOWN_SIZES,
    ) -> None:
        """`sizes` of the blocks that will be counted: what is not known to be small is counted in larger numbers."""
        refuse_unknown(outcomes)
        layers, neurons = bins.per_unit.shape
        blocks, tokens, of_token = sizes.blocks, len(token_ids), (layers, neurons, bins.bins + 3)
        self._bins, self._token_ids, self._count_bos = bins, tuple(token_ids), count_bos
        self._tensors = empty_tensors(layers, neurons, 0, 0, 0, examples, blocks=blocks)
        self._tensors |= empty_scaled(outcomes, layers, tokens, neurons, blocks)
        self._contexts = ExampleContexts(layers, neurons, examples)
        self._between_contexts = ExampleContexts(layers, neurons, BANDS, BETWEEN)
        self._random = RandomExamples(layers, neurons, count_bos)
        self._tensors |= self._contexts.tensors() | self._between_contexts.tensors()
        self._outermost = dict(zip(BETWEEN, outermost(bins.per_unit, bins.first_bin, bins.bins), strict=True))
        self._keys = {side: np.full((layers, neurons, BANDS), NO_KEY) for side in BETWEEN}
        self._tokens = TokenCounter(vocabulary, token_ids)
        self._count = np.zeros((blocks, *of_token), sizes.dtype)
        self._nan = np.zeros((layers, neurons), np.int64)
        self._top_count = np.zeros((blocks, tokens, *of_token), sizes.dtype)
        self._null_count = np.zeros((tokens, *of_token), sizes.null_dtype)
        self._by_embedding: EmbeddingCounts | None = None
        if embedding_predictions:
            self._by_embedding = EmbeddingCounts(np.zeros((tokens, *of_token), np.int64), np.zeros(vocabulary, np.int64))
        self._next: NextTokenCounts | None = None
        if NEXT_TOKEN in outcomes:
            held, null = np.zeros((blocks, tokens + 1, *of_token), sizes.dtype), np.zeros_like(self._null_count)
            self._next = NextTokenCounts(held, null, np.zeros(vocabulary, np.int64))
        self._probabilities: ProbabilityCounts | None = None
        if PROBABILITY in outcomes:
            self._probabilities = ProbabilityCounts(np.zeros((blocks, tokens, *of_token), np.int64), np.zeros(vocabulary, np.int64))
        self._codes = np.empty((layers, 0, neurons), slot_dtype(bins.bins))
        counts = {TOP_PREDICTION: self._top_count, _null(TOP_PREDICTION): self._null_count}
        if self._by_embedding is not None:
            counts[EMBEDDING] = self._by_embedding.count
        if self._next is not None:
            counts |= {NEXT_TOKEN: self._next.count, _null(NEXT_TOKEN): self._next.null}
        self._waiting = {name: WaitingSlots(own, self._codes.dtype.type) for name, own in counts.items()}
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="counting")
        self._positions = 0

    def start(self, batch: Batch) -> None:
        """Make room for the batch's slot numbers; the buffer is kept from batch to batch."""
        self._batch = batch
        self._random.start(batch)
        self._keys_of_rows = document_keys(batch.documents)
        self._blocks_of_rows, here = batch.blocks, CountedPositions.of(batch, self._count_bos)
        self._counted, self._blocks, self._source = here.places, here.blocks, here.source
        self._tensors["block_positions"] += np.bincount(self._blocks, minlength=len(self._count))
        if self._codes.shape[1] < self._counted.size:
            layers, neurons = self._bins.per_unit.shape
            self._codes = np.empty((layers, batch.token_ids.size, neurons), self._codes.dtype)

    def add_layer(self, layer: int, activations: "torch.Tensor") -> None:
        """Count a layer's activations, [row, position, neuron]; cast to float32 first."""
        import assets.counting.batch_loops as counting

        self._random.add_layer(layer, activations)
        values = activations.detach().float().contiguous().numpy()
        of = {name: self._tensors[name][layer] for name in NEURON_TENSORS}
        batch = self._batch
        arguments = (
            values,
            counting.Windows(
                first_counted(self._count_bos), batch.lengths, batch.documents, batch.windows, self._blocks_of_rows, self._keys_of_rows
            ),
            counting.Bins(self._bins.per_unit[layer], self._bins.first_bin[layer].astype(np.float32), self._bins.bins),
            self._positions,
            layer,
            self._count,
            self._nan[layer],
            self._codes[layer],
            counting.Moments(*(of[name] for name in MOMENTS)),
            counting.Extremes(of["minimum"], of["maximum"], of["above_zero"]),
            *(counting.Examples(*(of[f"{side}_{part}"] for part in EXAMPLE_PARTS)) for side in SIDES),
            *(
                counting.Between(self._outermost[side][layer], self._keys[side][layer], *(of[f"{side}_{part}"] for part in EXAMPLE_PARTS))
                for side in BETWEEN
            ),
        )
        self._run([(counting.count_layer, (*arguments, start, stop)) for start, stop in self._shares()])
        for contexts in (self._contexts, self._between_contexts):
            self._run([(contexts.add_layer, (layer, values, batch, of, start, stop)) for start, stop in self._shares()])

    def add_answers(self, answers: Answers) -> None:
        """Count the top predictions, and the bins at which tracked tokens are predicted."""
        by_embedding = answers.by_embedding
        refuse_other_predictions(self._by_embedding is not None, by_embedding is not None)
        rows = self._tokens.add(self._batch, self._counted, answers.predictions.numpy())
        self._positions += self._counted.size
        self._count_by_block(rows, TOP_PREDICTION)
        self._waiting[_null(TOP_PREDICTION)].add(self._codes, self._null_rows(rows, self._source), self._run_shares)
        if self._by_embedding is not None and by_embedding is not None:
            predicted = by_embedding.numpy().reshape(-1)[self._counted]
            held = self._by_embedding.predictions
            held += np.bincount(predicted, minlength=held.size)
            self._waiting[EMBEDDING].add(self._codes, self._tokens.rows_of(predicted), self._run_shares)
        if self._next is not None:
            self._add_next_tokens(self._next)
        if self._probabilities is not None and self._token_ids:  # a part may have groups of the screen alone
            self._add_probabilities(self._probabilities, required_probabilities(answers.probabilities))

    def _add_next_tokens(self, counts: NextTokenCounts) -> None:
        following = following_tokens(self._batch).reshape(-1)[self._counted]
        counts.next_tokens[:] += np.bincount(following[following >= 0], minlength=counts.next_tokens.size)
        rows = rows_of_next_tokens(following, self._token_ids, counts.next_tokens.size)
        self._count_by_block(rows, NEXT_TOKEN)
        labels = np.where(rows < len(self._token_ids), rows, -1)
        null_rows = self._null_rows(labels, rotated(self._batch, self._counted, with_next_token=True))
        self._waiting[_null(NEXT_TOKEN)].add(self._codes, null_rows, self._run_shares)

    def _null_rows(self, rows: np.ndarray, source: np.ndarray) -> np.ndarray:
        """The rows of the counted positions, each from its `source`, of the telling half; -1 elsewhere."""
        return np.where(is_telling(self._blocks), rows[source], -1)

    def _add_probabilities(self, counts: ProbabilityCounts, probabilities: "torch.Tensor") -> None:
        import assets.counting.outcome_loops as outcome_loops

        given = probabilities.reshape(-1, len(self._token_ids)).numpy()[self._counted]  # float64 [counted, token]
        units = np.rint(given * PROBABILITY_UNITS).astype(np.int64)
        counts.sums[list(self._token_ids)] += units.sum(0)
        for block in np.unique(self._blocks):
            arguments = (self._codes, np.flatnonzero(self._blocks == block), units, counts.count[block])
            self._run([(outcome_loops.count_probabilities, (*arguments, start, stop)) for start, stop in self._shares()])

    def _count_by_block(self, rows: np.ndarray, outcome: str) -> None:
        """Count the slots of the counted positions again, under their rows, int64 [counted], in counts [block, row, layer, neuron, slot].

        -1 is no row. They are complete once all that waits is counted.
        """
        waiting = self._waiting[outcome]
        of_block = waiting.rows // len(self._count)
        waiting.add(self._codes, np.where(rows >= 0, self._blocks * of_block + rows, -1), self._run_shares)

    def histograms(self) -> Histograms:
        """All that was counted so far; the arrays are the counter's own, not copies."""
        for waiting in self._waiting.values():
            waiting.count(self._run_shares)
        bins = self._bins.bins
        counts = by_block_and_whole("", self._count, bins) | by_block_and_whole(TOP_PREDICTION, self._top_count, bins)
        counts |= null_counts(TOP_PREDICTION, self._null_count, bins)
        beside = [beside.tensors(bins) for beside in (self._by_embedding, self._next, self._probabilities) if beside is not None]
        tensors = self._tensors | counts | self._tokens.tensors() | self._random.tensors()
        return Histograms({name: of for part in (tensors, *beside) for name, of in part.items()}, self._positions, self._token_ids)

    def _shares(self) -> list[tuple[int, int]]:
        """A range of neurons for each thread. One call each: handing some thirty arrays to a compiled loop takes 0.1 ms."""
        neurons = self._bins.per_unit.shape[1]
        width = -(-neurons // self._threads)
        return [(start, min(start + width, neurons)) for start in range(0, neurons, width)]

    def _run_shares(self, loop: Callable[..., None], *arguments: Any) -> None:
        """A compiled loop whose last two arguments are a range of neurons, over all of them."""
        self._run([(loop, (*arguments, start, stop)) for start, stop in self._shares()])

    def _run(self, calls: list[tuple[Callable[..., None], tuple[Any, ...]]]) -> None:
        for done in [self._pool.submit(function, *arguments) for function, arguments in calls]:
            done.result()
