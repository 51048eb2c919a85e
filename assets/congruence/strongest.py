"""Which neuron is a token's strongest and which token a neuron's, by congruence as it is and by congruence corrected.

Taken in chunk by chunk while the neurons pass by; keeps the two best of either side, so that a lead can be told. Where a neuron's
sign is a convention the size decides. Holds arrays; tables are in frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assets.congruence.conventions import token_vectors, writing_weights
from assets.congruence.correction import Correction
from assets.congruence.ordering import HIGHEST, LARGEST, Comparison, NeuronRanking, TokenRanking
from assets.model.language_model import LanguageModel

PLAIN, CORRECTED = "plain", "corrected"
MEASURES = (PLAIN, CORRECTED)
PLACES = 2  # the strongest, and the one that it leads
PAIRS_AT_ONCE = 4096  # whose vectors are gathered: 21 MB for GPT-2 Large


@dataclass(frozen=True)
class Choices:
    """By one measure, the strongest of each token and neuron with their leads in size, NaN where there is no second; all NumPy."""

    neurons: np.ndarray  # numbers, int64 [ranked token]
    token_gaps: np.ndarray  # float32 [ranked token]
    tokens: np.ndarray  # places among ranked tokens, int64 [neuron]
    neuron_gaps: np.ndarray  # float32 [neuron]
    congruence: np.ndarray  # of each token with its strongest neuron, float32 [ranked token]
    corrected: np.ndarray  # the same, corrected

    @property
    def is_mutual(self) -> np.ndarray:
        """Whether a token and its strongest neuron choose each other, and each leads a second: bool [ranked token]."""
        chosen = self.tokens[self.neurons] == np.arange(len(self.neurons))
        return chosen & ~np.isnan(self.token_gaps) & ~np.isnan(self.neuron_gaps[self.neurons])


class _OneMeasure:
    """The two best of either side, by size where a sign is a convention."""

    def __init__(self, tokens: int, neurons: int, way: int) -> None:
        self.of_tokens = TokenRanking(tokens, min(PLACES, neurons), way)
        self.of_neurons = NeuronRanking(neurons, min(PLACES, tokens), way)

    def add(self, first: int, scores: np.ndarray, by: Comparison) -> None:
        self.of_tokens.add(first, scores, by)
        self.of_neurons.add(first, scores, by)


class Strongest:
    """The best of either side so far. A neuron that writes all tokens alike has 0 everywhere by the corrected measure."""

    def __init__(self, correction: Correction, tokens: int, neurons: int) -> None:
        self.correction = correction
        self._of = {measure: _OneMeasure(tokens, neurons, LARGEST if correction.is_gated else HIGHEST) for measure in MEASURES}

    def add(self, first: int, scores: np.ndarray) -> None:
        """Take in the chunk of neurons that begins with number `first`: float32 [neuron, ranked token]."""
        self._of[PLAIN].add(first, scores, Comparison.as_they_are(scores))
        self._of[CORRECTED].add(first, scores, self.correction.comparison(first, len(scores)))

    def choices(self, model: LanguageModel, ranked_ids: Sequence[int]) -> dict[str, Choices]:
        """What the strongest are, by measure, after all neurons have passed by."""
        return {measure: self._choices(own, model, np.array(ranked_ids, np.int64)) for measure, own in self._of.items()}

    def _choices(self, own: _OneMeasure, model: LanguageModel, ranked_ids: np.ndarray) -> Choices:
        neurons = own.of_tokens.neurons[0]
        congruence = pair_scores(model, neurons, ranked_ids)
        return Choices(
            neurons=neurons,
            token_gaps=_leads(own.of_tokens.values.T),
            tokens=own.of_neurons.tokens[:, 0],
            neuron_gaps=_leads(own.of_neurons.values),
            congruence=congruence,
            corrected=self.correction.of_pairs(congruence, neurons, np.arange(len(neurons))),
        )


def pair_scores(model: LanguageModel, neurons: np.ndarray, token_ids: np.ndarray) -> np.ndarray:
    """Congruence of pairs, convention `logits`, float32 [pair]: one neuron number and one token id each."""
    vectors, scores = token_vectors(model, "logits"), np.empty(len(neurons), np.float32)
    for layer in range(model.facts.layers):
        written, own = writing_weights(model, layer), np.flatnonzero(neurons // model.facts.neurons == layer)
        for start in range(0, len(own), PAIRS_AT_ONCE):
            part = own[start : start + PAIRS_AT_ONCE]
            scores[part] = (written[neurons[part] % model.facts.neurons] * vectors[:, token_ids[part]].T).sum(1).cpu().numpy()
    return scores


def _leads(best_two: np.ndarray) -> np.ndarray:
    """How far the first of [row, place] is ahead of the second; NaN without a second."""
    return best_two[:, 0] - best_two[:, 1] if best_two.shape[1] == PLACES else np.full(len(best_two), np.nan, np.float32)
