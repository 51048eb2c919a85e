"""How much memory a pass needs, from sizes alone, and into how many passes it is cut where that is more than there is.

Pure arithmetic: no model is loaded and nothing is measured. What is planned is the most that the process holds at once, in the
pass or while its counters are merged and scored. docs/memory.md sets the plan beside measured peaks; parts.py counts in parts.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from assets.counting.batch_counter import slot_dtype
from assets.counting.between_examples import BANDS
from assets.counting.document_blocks import FOLDS
from assets.counting.histograms import CONTEXT, NEXT_TOKEN, PROBABILITY, HistogramError
from assets.counting.parts import number_of_groups
from assets.counting.position_sampler import AT_ONCE, BYTES_OF_POSITION
from assets.counting.random_places import RANDOM
from assets.counting.sending import HELD_ON
from assets.counting.waiting_slots import WAITING
from assets.histograms.histogram_store import CHUNK_BYTES, READ_AT_ONCE
from assets.histograms.layers_at_once import LAYERS_AT_ONCE
from assets.histograms.screened_tokens import BYTES_OF_COUNTERS
from assets.predictions.shortlist import LEAST

MIB = 2**20
PROGRAM = 1088 * MIB  # Python, PyTorch, TransformerLens, polars, Dagster, Great Expectations, loops compiled once (docs/memory.md)
KEPT_FREE = 64 * MIB  # of freed buffers, what the allocator keeps for the next batch (assets/model/freed_memory.py)
SLICE = 2048  # entries of the vocabulary whose logits exist at once (top_predictions.py)
EXAMPLE = 20 + 12 + 2 * CONTEXT  # bytes of an example: value, document, window, position; of its context the window and the activations
PLACES = 28  # more on a GPU, of places that are looked up in the batch all at once (device_contexts.py)
KEY = 8  # more of an example of the levels between: the hash of its document (between_examples.py)
RANDOM_PLACES = (
    RANDOM * 2 * (4 + 2 * CONTEXT)
)  # of all neurons' activations at random places; copied once to be stored (random_examples.py)
MOMENTS = 48  # bytes of a neuron's moments and extremes
OUTSIDE = 3
BOTH_HALVES = (
    400  # bytes of a token and neuron in half_scores, all outcomes at once: 331 were measured with 9 x 46,080 pairs and two outcomes
)
COUNTER = 8
HALF, SINGLE = 2, 4  # bytes of a float16 and of a float32


@dataclass(frozen=True)
class PlannedModel:
    """Sizes of a model, known before it is loaded. `weights` and `prepacked` (its linear maps again) are bytes as loaded, `itemsize`
    bytes of one activation."""

    layers: int
    neurons: int
    width: int
    heads: int
    vocabulary: int
    weights: int
    itemsize: int = 4
    prepacked: int = 0


@dataclass(frozen=True)
class PlannedPass:
    """What is counted, and of which windows: `rows` x `length` is the largest batch, `shard_tokens` the ids of the shard.

    `embedding_predictions`: tracked tokens are counted a second time, where they are the top prediction by the embedding; `outcomes`: once
    more for each further outcome. `kept_positions`: at so many all activations are kept. `blocks` of documents are counted apart, in counters
    of `counter` bytes, and null labels in such of `null_counter`: what the shard's largest block, and its telling half, need.
    `is_on_device`: on a GPU, which holds a batch on into the next one.
    """

    bins: int
    tokens: int
    screened: int
    examples: int
    rows: int
    length: int
    shard_tokens: int
    embedding_predictions: bool = False
    outcomes: tuple[str, ...] = ()
    kept_positions: int = 0
    blocks: int = FOLDS
    counter: int = 4
    null_counter: int = 4
    is_on_device: bool = False

    @property
    def kinds(self) -> int:
        """How often tracked tokens are counted: where they are the top prediction, by the embedding too, and by each further outcome."""
        return 1 + self.embedding_predictions + len(self.outcomes)


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes by what they are for, and the numbers of shares in which layers and tokens are counted."""

    rows: dict[str, int]
    afterwards: int  # while counters are merged and scored: program and model stay, the other rows are gone
    budget: int
    layer_parts: int
    token_parts: int

    @property
    def passes(self) -> int:
        """How often the shard's windows go through the model."""
        return self.layer_parts * self.token_parts

    @property
    def peak(self) -> int:
        """Bytes that are held at once at most."""
        return max(sum(self.rows.values()), self.rows["program and libraries"] + self.rows["model"] + self.afterwards)

    def lines(self) -> list[str]:
        """The plan as a table of text."""
        shown = [*self.rows.items(), ("at once in the pass", sum(self.rows.values())), ("merge and scores, afterwards", self.afterwards)]
        shown += [("peak", self.peak), ("allowed", self.budget)]
        return [f"  {what:<34}{size(amount):>12}" for what, amount in shown]

    def summary(self) -> dict[str, int | dict[str, int]]:
        """The plan as numbers."""
        return {"planned_peak_bytes": self.peak, "allowed_bytes": self.budget, "passes": self.passes, "memory_plan": dict(self.rows)}


def plan_memory(model: PlannedModel, counted: PlannedPass, budget: int) -> MemoryPlan:
    """The plan with the fewest passes that fits into `budget` bytes: first the layers are shared out, then the tokens as well.

    Raises HistogramError with the numbers, and what would help, where one layer and one token at a time do not fit either.
    """
    by_layers = range(1, model.layers + 1)
    place = _first_that_fits(by_layers, lambda parts: _plan(model, counted, budget, parts, 1))
    if place < len(by_layers):
        return _plan(model, counted, budget, by_layers[place], 1)
    by_tokens = range(1, max(counted.tokens, number_of_groups(counted.screened)) + 1)
    place = _first_that_fits(by_tokens, lambda parts: _plan(model, counted, budget, model.layers, parts))
    if place < len(by_tokens):
        return _plan(model, counted, budget, model.layers, by_tokens[place])
    raise HistogramError(_refusal(_plan(model, counted, budget, model.layers, by_tokens[-1]), _plan(model, counted, budget, 1, 1)))


def size(amount: int) -> str:
    """Bytes for a reader, in binary units as the study's field is written."""
    return f"{amount / 2**30:,.2f} GiB" if amount >= 2**30 else f"{amount / MIB:,.1f} MiB"


def _first_that_fits(numbers: range, plan_of: Callable[[int], MemoryPlan]) -> int:
    """Index of the first number of shares whose plan fits, or their length: more shares never need more memory."""

    def fits(parts: int) -> bool:
        plan = plan_of(parts)
        return plan.peak <= plan.budget

    return bisect_left(numbers, True, key=fits)


def _plan(model: PlannedModel, counted: PlannedPass, budget: int, layer_parts: int, token_parts: int) -> MemoryPlan:
    layers, tokens = -(-model.layers // layer_parts), -(-counted.tokens // token_parts)
    groups = -(-number_of_groups(counted.screened) // token_parts)
    neurons, positions = layers * model.neurons, counted.rows * counted.length
    kinds, by_block = counted.kinds, (counted.bins + OUTSIDE) * counted.blocks  # slots of one neuron
    # Activations wait for the predictions only where a screen or kept positions need them, on a GPU always, there into the next batch.
    is_held_on = counted.kept_positions or counted.is_on_device
    waiting = model.itemsize * (1 + HELD_ON if is_held_on else 1 if counted.screened else 0)
    held = min(counted.kept_positions, counted.shard_tokens)
    by_predicted = groups * BYTES_OF_COUNTERS + (counted.blocks * COUNTER if counted.screened else 0)
    rows = {
        "program and libraries": PROGRAM,
        "model": model.weights + model.prepacked,
        "unembedding in bfloat16": _unembedding(model),
        "forward of a batch": _forward(model, counted) + KEPT_FREE,
        "a batch's slots and activations": round(positions * neurons * (np.dtype(slot_dtype(counted.bins)).itemsize + waiting)),
        "histograms": neurons * by_block * counted.counter,
        "histograms of tracked tokens": neurons * _bytes_of_tokens(counted, tokens),
        "slots waiting to be counted": neurons * _bytes_of_waiting(counted),
        "moments and examples": neurons * _bytes_of_examples(counted) + (2 + kinds) * COUNTER * model.vocabulary,
        "sums by predicted and current token": neurons * by_predicted,
        "activations of kept positions": held * (HALF * neurons + SINGLE * model.width),
        "positions waiting to be sampled": BYTES_OF_POSITION * min(AT_ONCE, counted.shard_tokens),
        "predictions of the shard": 2 * 4 * counted.shard_tokens,  # as they are taken, and the table's
        "token ids of the shard": 3 * 4 * counted.shard_tokens,  # the table's, flat, and what is made of them on the way
    }
    return MemoryPlan(rows, _afterwards(model, counted), budget, layer_parts, token_parts)


def _bytes_of_examples(counted: PlannedPass) -> int:
    """Of one neuron's moments, its highest and lowest examples, those of the levels between, and its activations at random places."""
    example = EXAMPLE + PLACES * counted.is_on_device
    return MOMENTS + 2 * counted.examples * example + 2 * BANDS * (example + KEY) + RANDOM_PLACES


def _bytes_of_waiting(counted: PlannedPass) -> int:
    """Of one neuron's slots at positions under tracked tokens that wait on the CPU, for each kind of counter that they are counted in."""
    kinds = (
        2 * (1 + (NEXT_TOKEN in counted.outcomes)) + counted.embedding_predictions
    )  # null labels beside the top prediction and next token
    return 0 if counted.is_on_device else kinds * min(WAITING, counted.shard_tokens) * np.dtype(slot_dtype(counted.bins)).itemsize


def _bytes_of_tokens(counted: PlannedPass, tokens: int) -> int:
    """Of one neuron's counters of tracked tokens: by block and under null labels, and sums over the final norm's scale of both."""
    slots = counted.bins + OUTSIDE
    null = tokens * (slots * counted.null_counter + COUNTER * bool(counted.screened))
    held = _by_block(counted, tokens, counted.counter) + null
    held += tokens * slots * COUNTER * counted.embedding_predictions  # of all documents together
    if NEXT_TOKEN in counted.outcomes:
        held += _by_block(counted, tokens + 1, counted.counter) + null  # windows' last positions among them
    if PROBABILITY in counted.outcomes:
        held += _by_block(counted, tokens, COUNTER)
    return held


def _by_block(counted: PlannedPass, rows: int, counter: int) -> int:
    """Of one neuron's counters of so many rows of every block, and their sums over the final norm's scale where these are taken."""
    return counted.blocks * rows * ((counted.bins + OUTSIDE) * counter + COUNTER * bool(counted.screened))


def _unembedding(model: PlannedModel) -> int:
    """What screened_predictions keeps beside a large float32 unembedding."""
    numbers = model.width * model.vocabulary
    return 2 * numbers if model.itemsize == 4 and numbers >= LEAST else 0


def _forward(model: PlannedModel, counted: PlannedPass) -> int:
    """Buffers of one batch while it goes through a block, and of the logits: what the largest block holds at once."""
    positions = counted.rows * counted.length
    attention = 4 * counted.rows * model.heads * counted.length**2  # scores, mask added, softmax, and its result in the model's dtype
    block = positions * (5 * model.neurons + 10 * model.width)
    logits = positions * 2 * SLICE
    return model.itemsize * (attention + block + logits)


def _afterwards(model: PlannedModel, counted: PlannedPass) -> int:
    """The larger of merging (three slabs of histograms and examples of each of its layers) and scoring (blocks of counters, and the table)."""
    histogram = (counted.bins + OUTSIDE) * COUNTER
    merge = LAYERS_AT_ONCE * 4 * model.neurons * (histogram + MOMENTS + 4 * (counted.examples + BANDS) * EXAMPLE + RANDOM_PLACES)
    # By block, a few tokens at a time: a shard's as stored, those of all blocks, and the sum in 8 bytes.
    by_block = (
        LAYERS_AT_ONCE * 4 * min(READ_AT_ONCE, max(counted.tokens, 1) * counted.blocks * model.neurons * (counted.bins + OUTSIDE) * 4)
    )
    groups = number_of_groups(counted.screened)
    screen = 3 * groups * model.neurons * BYTES_OF_COUNTERS  # a layer's sums as whole numbers and as activations, and blocks of values
    # Seven scores, keys and text; once more where cast to the contract. Further outcomes are one table.
    pairs = counted.tokens * model.layers * model.neurons
    table = pairs * max(3 * 96 * max(1, len(counted.outcomes)), BOTH_HALVES * (1 + len(counted.outcomes)))
    blocks = LAYERS_AT_ONCE * 6 * min(READ_AT_ONCE, counted.tokens * model.neurons * histogram)
    return max(merge, by_block, screen, table + blocks) + 4 * CHUNK_BYTES


def _refusal(least: MemoryPlan, whole: MemoryPlan) -> str:
    fixed = least.peak - sum(
        least.rows[name] for name in ("histograms", "histograms of tracked tokens", "sums by predicted and current token")
    )
    return "\n".join(
        [
            f"memory: at most {size(least.budget)} may be used, but at least {size(least.peak)} are needed, even with one layer and one "
            f"token a pass; {size(whole.peak)} would do for everything in one pass. Give more memory, or ask for less: fewer bins, a "
            f"smaller batch_positions or context_length, more shards, a smaller model or dtype ({size(fixed)} are not counters). "
            "One layer and one token a pass need:",
            *least.lines(),
        ]
    )
