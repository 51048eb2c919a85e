"""The table `congruence_reads`: the tokens whose embedding the input weights of each neuron like most, and least.

What is multiplied is in conventions: W_E as it enters the stream, and the input weights (of a gated neuron the gate's, whose sign is no
convention) with the gain of the norm before the MLP. The norm's scale, which is one number a position, is left out. Of the whole matrix,
vocabulary x neurons, one chunk is held at a time.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from assets.congruence.conventions import reading_vectors, reading_weights
from assets.congruence.ordering import Comparison, NeuronRanking
from assets.congruence.scan import ENDS, ProductsInPlace, refuse_not_finite
from assets.contracts import CONGRUENCE_READS, conform
from assets.model.language_model import LanguageModel
from assets.progress import Tally

READS_PER_END = 3  # two ends of 46,080 neurons are 276,480 rows


def congruence_reads(model: LanguageModel, ranked_ids: Sequence[int], chunk_bytes: int, tally: Tally | None = None) -> pl.DataFrame:
    """The table, in the order of neurons, ties to the lower token id.

    `ranked_ids` are the entries that may take a place, rising. `tally` is given the neurons of each chunk. Memory: `chunk_bytes` a few times
    over, and the embedding. Raises ModelError for weights that are not finite, and for a model of which it is not known what its neurons read.
    """
    facts, ids = model.facts, np.array(ranked_ids, np.int64)
    vectors = reading_vectors(model)
    refuse_not_finite(vectors, "embedding")
    vectors = vectors if len(ids) == facts.vocabulary else vectors[:, ids]  # [model_width, ranked token]
    at_once = max(1, chunk_bytes // (4 * max(len(ids), 1)))
    kept = {end: NeuronRanking(facts.layers * facts.neurons, min(READS_PER_END, len(ids)), way) for end, way in ENDS.items()}
    product, first = ProductsInPlace(vectors), 0
    del vectors  # held there once more, in parts
    for layer in range(facts.layers):
        weights = reading_weights(model, layer)  # [neuron, model_width]
        refuse_not_finite(weights, f"layer {layer}: MLP input")
        for part in weights.split(at_once):
            scores = product(part).cpu().numpy()  # [neuron, ranked token]
            for ranking in kept.values():
                ranking.add(first, scores, Comparison.as_they_are(scores))
            first += len(part)
            if tally:
                tally.add(len(part))
    texts = pl.Series(model.token_texts, dtype=pl.String)
    frame = pl.concat(_end(end, ranking.values * ENDS[end], ids[ranking.tokens], texts, facts.neurons) for end, ranking in kept.items())
    return conform(CONGRUENCE_READS, frame.sort("layer", "neuron", maintain_order=True))


def _end(end: str, values: np.ndarray, token_ids: np.ndarray, texts: pl.Series, neurons: int) -> pl.DataFrame:
    """The rows of one end, of congruence and token ids [neuron, rank]."""
    number, rank = np.indices(values.shape).reshape(2, -1)
    return pl.DataFrame(
        {
            "layer": number // neurons,
            "neuron": number % neurons,
            "rank": rank + 1,
            "token_id": token_ids.reshape(-1),
            "congruence": values.reshape(-1),
        }
    ).with_columns(end=pl.lit(end), token=texts.gather(token_ids.reshape(-1)))
