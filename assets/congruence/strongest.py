"""Which neuron is a token's strongest and which token a neuron's, by congruence as it is and by congruence corrected.

Taken in chunk by chunk while the neurons pass by; keeps the two best of either side, so that a lead can be told. Where a neuron's
sign is a convention the size decides. Holds arrays; tables are in frames.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from assets.congruence.conventions import token_vectors, writing_weights
from assets.congruence.correction import Correction
from assets.congruence.ordering import RunningBest, best
from assets.model.language_model import LanguageModel

if TYPE_CHECKING:
    from torch import Tensor

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


@dataclass
class _OneMeasure:
    running: RunningBest  # neurons of each token, by size
    values: list["Tensor"] = field(default_factory=list)  # of each neuron's best tokens, by size: [neuron, place]
    tokens: list["Tensor"] = field(default_factory=list)


class Strongest:
    """The best of either side so far. A neuron that writes all tokens alike has 0 everywhere by the corrected measure."""

    def __init__(self, correction: Correction, tokens: int, neurons: int) -> None:
        device = correction.means.device
        self.correction = correction
        self._of = {measure: _OneMeasure(RunningBest.empty(tokens, min(PLACES, neurons), device)) for measure in MEASURES}

    def add(self, first: int, plain: "Tensor", corrected: "Tensor") -> None:
        """Take in the chunk of neurons that begins with number `first`: float32 [neuron, ranked token] by either measure.

        `corrected` is no longer of use afterwards: what a chunk needs is written over it, for fresh memory costs more than the sums.
        """
        for measure, scores in ((CORRECTED, corrected), (PLAIN, plain)):
            size, own = self.correction.size(scores, into=corrected), self._of[measure]
            own.running.add(size, first)
            values, tokens = best(size, min(PLACES, size.shape[1]))
            own.values.append(values)
            own.tokens.append(tokens[:, 0])

    def choices(self, model: LanguageModel, ranked_ids: "Tensor") -> dict[str, Choices]:
        """What the strongest are, by measure, after all neurons have passed by."""
        return {measure: self._choices(own, model, ranked_ids) for measure, own in self._of.items()}

    def _choices(self, own: _OneMeasure, model: LanguageModel, ranked_ids: "Tensor") -> Choices:
        import torch

        neurons = own.running.columns[:, 0]
        congruence = pair_scores(model, neurons, ranked_ids)
        places = torch.arange(len(neurons), device=neurons.device)
        return Choices(
            neurons=neurons.cpu().numpy(),
            token_gaps=_leads(own.running.values),
            tokens=torch.cat(own.tokens).cpu().numpy(),
            neuron_gaps=_leads(torch.cat(own.values)),
            congruence=congruence.cpu().numpy(),
            corrected=self.correction.of_pairs(congruence, neurons, places).cpu().numpy(),
        )


def pair_scores(model: LanguageModel, neurons: "Tensor", token_ids: "Tensor") -> "Tensor":
    """Congruence of pairs, convention `logits`, float32 [pair]: one neuron number and one token id each."""
    import torch

    vectors = token_vectors(model, "logits")
    scores = torch.empty(len(neurons), device=vectors.device)
    for layer in range(model.facts.layers):
        written = writing_weights(model, layer)
        for part in (neurons // model.facts.neurons == layer).nonzero()[:, 0].split(PAIRS_AT_ONCE):
            scores[part] = (written[neurons[part] % model.facts.neurons] * vectors[:, token_ids[part]].T).sum(1)
    return scores


def _leads(values: "Tensor") -> np.ndarray:
    """How far the first of [row, place] is ahead of the second; NaN without a second."""
    best_two = values.cpu().numpy()
    return best_two[:, 0] - best_two[:, 1] if best_two.shape[1] == PLACES else np.full(len(best_two), np.nan, np.float32)
