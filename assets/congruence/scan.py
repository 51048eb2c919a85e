"""One pass over all neurons in chunks, keeping what the congruence tables show and nothing else.

The whole matrix is vocabulary x neurons (37 GB for GPT-2 Large), so it is never held. Of each chunk:

1. score it: (what its neurons write) . (every token's vector), float32 [neuron, token];
2. keep each neuron's best tokens from both ends, and add the chunk to each token's running best neurons;
3. keep the columns of the tracked tokens and the rows of the neurons of interest whole;
4. in the convention `logits`, correct it and do the same by the corrected scores: columns, and who is whose strongest.

One place more than shown is kept, so that the last place shown has its gap as well. Entries that the tokenizer lacks (padding
of the embedding, text "") take no place in any ranking. The input side is small: only tracked tokens and neurons of interest
need it. A neuron's number is layer x neurons per layer + neuron. Holds arrays only; names and tables are in frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assets.congruence.conventions import Convention, reading_vectors, reading_weights, token_vectors, writing_weights
from assets.congruence.correction import correction_of
from assets.congruence.ordering import HIGHEST, LOWEST, Comparison, NeuronRanking, TokenRanking
from assets.congruence.strongest import Choices, Strongest
from assets.model.language_model import LanguageModel
from assets.model.quick_products import quick_products
from assets.model.refusals import ModelError
from assets.progress import Tally

if TYPE_CHECKING:
    from torch import Tensor

CHUNK_BYTES = 64 * 2**20  # of scores at a time: 333 neurons of GPT-2; peak working memory is a few times this
COLUMNS_AT_ONCE = 4096
ENDS = {"top": HIGHEST, "bottom": LOWEST}


@dataclass(frozen=True)
class Wanted:
    """What to keep: whole columns, whole rows, and how many places of each ranking are shown."""

    token_ids: tuple[int, ...]  # tracked tokens
    neurons: tuple[int, ...]  # numbers of the neurons of interest
    ranked_ids: tuple[int, ...]  # entries that may take a place in a ranking, rising
    neurons_per_token: int
    tokens_per_end: int


@dataclass(frozen=True)
class Kept:
    """What one convention leaves behind; rankings are best first and one place longer than shown (shorter if there are fewer)."""

    token_values: np.ndarray  # float32 [ranked token, place]
    token_neurons: np.ndarray  # numbers, int64 [ranked token, place]
    neuron_values: dict[str, np.ndarray]  # per end: float32 [neuron, place]
    neuron_tokens: dict[str, np.ndarray]  # per end: token ids, int64 [neuron, place]
    columns: dict[str, np.ndarray]  # per side: float32 [tracked token, neuron]
    rows: dict[str, np.ndarray]  # per side: float32 [neuron of interest, token]
    corrected_columns: np.ndarray | None = None  # output side, float32 [tracked token, neuron]; NaN for padding; None: another convention
    choices: dict[str, Choices] | None = None  # by measure; None: another convention


def scan(model: LanguageModel, convention: Convention, wanted: Wanted, chunk_bytes: int = CHUNK_BYTES, tally: Tally | None = None) -> Kept:
    """Pass over all neurons of all layers. Memory: `chunk_bytes` a few times over, the token vectors, and what is kept.

    `tally` is given the neurons of each chunk. Raises ModelError for weights that are not finite.
    """
    import torch

    facts = model.facts
    every = facts.layers * facts.neurons
    tracked = torch.tensor(wanted.token_ids, dtype=torch.int64, device=model.device)
    ranked_ids = np.array(wanted.ranked_ids, np.int64)
    columns = np.empty((len(tracked), every), dtype=np.float32)
    rows = np.empty((len(wanted.neurons), facts.vocabulary), dtype=np.float32)
    best_neurons = TokenRanking(len(ranked_ids), min(wanted.neurons_per_token + 1, every), HIGHEST)
    best_tokens = {end: NeuronRanking(every, min(wanted.tokens_per_end + 1, len(ranked_ids)), way) for end, way in ENDS.items()}
    beyond = _Beyond(model, wanted) if convention == "logits" else None

    for first, part in _chunks(model, convention, chunk_bytes):
        scores = part.cpu().numpy()  # float32 [neuron, token]
        chunk = slice(first, first + len(scores))
        columns[:, chunk] = scores[:, wanted.token_ids].T
        inside = [place for place, number in enumerate(wanted.neurons) if chunk.start <= number < chunk.stop]
        rows[inside] = scores[[wanted.neurons[place] - first for place in inside]]
        ranked = scores if len(ranked_ids) == facts.vocabulary else np.take(scores, ranked_ids, axis=1)
        by = Comparison.as_they_are(ranked)
        best_neurons.add(first, ranked, by)
        for ranking in best_tokens.values():
            ranking.add(first, ranked, by)
        if beyond:
            beyond.add(first, ranked)
        if tally:
            tally.add(len(scores))

    input_columns, input_rows = _input_side(model, tracked, wanted.neurons)
    return Kept(
        token_values=best_neurons.values.T,
        token_neurons=best_neurons.neurons.T,
        neuron_values={end: ranking.values * ENDS[end] for end, ranking in best_tokens.items()},
        neuron_tokens={end: ranked_ids[ranking.tokens] for end, ranking in best_tokens.items()},
        columns={"output": columns, "input": input_columns},
        rows={"output": rows, "input": input_rows},
        corrected_columns=beyond.columns if beyond else None,
        choices=beyond.strongest.choices(model, wanted.ranked_ids) if beyond else None,
    )


class _Beyond:
    """What is kept of the corrected scores: the columns of the tracked tokens, float32 [tracked token, neuron], and the strongest."""

    def __init__(self, model: LanguageModel, wanted: Wanted) -> None:
        every, place_of = model.facts.layers * model.facts.neurons, {entry: place for place, entry in enumerate(wanted.ranked_ids)}
        self.correction = correction_of(model, wanted.ranked_ids)
        self.strongest = Strongest(self.correction, len(wanted.ranked_ids), every)
        self.columns = np.full((len(wanted.token_ids), every), np.nan, dtype=np.float32)
        self._tracked = [(row, place_of[entry]) for row, entry in enumerate(wanted.token_ids) if entry in place_of]

    def add(self, first: int, ranked: np.ndarray) -> None:
        numbers = np.arange(first, first + len(ranked))
        for row, place in self._tracked:
            self.columns[row, numbers] = self.correction.of_pairs(ranked[:, place], numbers, np.full(len(ranked), place))
        self.strongest.add(first, ranked)


def _chunks(model: LanguageModel, convention: Convention, chunk_bytes: int) -> Iterator[tuple[int, "Tensor"]]:
    """Number of the first neuron and the scores float32 [neuron, token] of each chunk, in rising order; the next chunk is written over it."""
    facts = model.facts
    vectors = token_vectors(model, convention)  # [model_width, token]
    refuse_not_finite(vectors, "embedding or unembedding")
    at_once = max(1, chunk_bytes // (4 * facts.vocabulary))
    product, first = ProductsInPlace(vectors), 0
    del vectors  # held there once more, in parts
    for layer in range(facts.layers):
        weights = writing_weights(model, layer)  # [neuron, model_width]
        refuse_not_finite(weights, f"layer {layer}: MLP output")
        for part in weights.split(at_once):
            yield first, product(part)
            first += len(part)


class ProductsInPlace:
    """Matrix products with the same columns, one after the other in the same memory: 64 MiB of new pages a chunk cost a fifth of the product
    that fills them.

    They are made COLUMNS_AT_ONCE, which stay in the cache until they are copied there: of 341 neurons and 49,152 tokens in 46 ms; in new pages 57,
    by MKL in place 117 (two cores of an AMD EPYC).
    """

    def __init__(self, columns: "Tensor") -> None:
        self._columns = [some.contiguous() for some in columns.split(COLUMNS_AT_ONCE, dim=1)]
        self._held: Tensor | None = None

    def __call__(self, rows: "Tensor") -> "Tensor":
        """rows @ columns, [row, column], until the next call."""
        if self._held is None or len(self._held) < len(rows):
            self._held = rows.new_empty(len(rows), sum(some.shape[1] for some in self._columns))
        held = self._held[: len(rows)]
        with quick_products():
            for some, there in zip(self._columns, held.split(COLUMNS_AT_ONCE, dim=1), strict=True):
                there.copy_(rows @ some)
        return held


def _input_side(model: LanguageModel, tracked: "Tensor", numbers: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Input side of the tracked tokens and of the neurons of interest: [tracked token, neuron], [neuron of interest, token]."""
    facts = model.facts
    vectors = reading_vectors(model)  # [model_width, token]
    columns = np.empty((len(tracked), facts.layers * facts.neurons), dtype=np.float32)
    rows = np.empty((len(numbers), facts.vocabulary), dtype=np.float32)
    for layer in range(facts.layers):
        weights = reading_weights(model, layer)  # [neuron, model_width]
        refuse_not_finite(weights, f"layer {layer}: MLP input")
        first = layer * facts.neurons
        columns[:, first : first + facts.neurons] = (weights @ vectors[:, tracked]).T.cpu().numpy()
        inside = [place for place, number in enumerate(numbers) if number // facts.neurons == layer]
        rows[inside] = (weights[[numbers[place] - first for place in inside]] @ vectors).cpu().numpy()
    return columns, rows


def refuse_not_finite(weights: "Tensor", where: str) -> None:
    """Raise ModelError for weights among which a ranking means nothing; `where` they are, for the message."""
    if not bool(weights.isfinite().all()):
        raise ModelError(f"{where} weights hold NaN or infinity, so nothing can be ranked; download or convert the model again")
