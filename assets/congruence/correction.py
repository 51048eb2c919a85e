"""Congruence beyond what neuron and token bring along by themselves: the quantity `corrected`, always in the convention `logits`.

Some neurons write nearly every token more than any other neuron does, so that they are the first choice of most tokens and say little
about any. With c the congruence of neuron i with token t, over the tokens of the vocabulary and the neurons of the model,

    x = (c - mean of c over tokens) / deviation of c over tokens        for each neuron
    corrected = x - mean of x over neurons                             for each token

A neuron's mean over the vocabulary moves all logits alike and changes no probability. The signs of a gated MLP's neurons are a
convention, so their mean would be one too: there nothing is taken from a token, and corrected has a size, not a sign. Why tokens are
not divided by a deviation as well: docs/decisions/0030-congruence-without-hubs.md.

All of it follows from means and second moments of the weights, so no score is looked at twice. Holds no rankings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assets.congruence.conventions import token_vectors, writing_weights
from assets.congruence.ordering import Comparison
from assets.model.language_model import LanguageModel

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST = 1e-6  # of the largest neuron's deviation: below, a neuron writes all tokens alike, and its scores are rounding
TOKENS_AT_ONCE = 8192  # in float64 while moments are summed: 84 MB for GPT-2 Large


@dataclass(frozen=True)
class Correction:
    """What is taken from a score, all float32."""

    means: np.ndarray  # [neuron], over the ranked tokens
    factors: np.ndarray  # [neuron]: 1 / deviation, 0 for a neuron that writes all tokens alike
    token_means: np.ndarray  # [ranked token], of x over the neurons that do not; zeros for gated MLPs
    is_gated: bool

    def comparison(self, first: int, neurons: int) -> Comparison:
        """By what the scores of so many neurons, number `first` and those behind it, are compared as `corrected`."""
        factors, means = self.factors[first : first + neurons], self.means[first : first + neurons]
        return Comparison(factors, -means * factors, -(factors > 0).astype(np.float32), self.token_means)

    def of_pairs(self, congruence: np.ndarray, neurons: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Congruence of pairs [pair] (numbers of neurons, places among ranked tokens) as `corrected`, float32."""
        factors = self.factors[neurons]
        return np.asarray(((congruence - self.means[neurons]) * factors - self.token_means[tokens]) * (factors > 0), np.float32)


def correction_of(model: LanguageModel, ranked_ids: Sequence[int]) -> Correction:
    """The correction of a model's scores in the convention `logits` with the ranked tokens. Two passes over the weights, none over scores."""
    import torch

    vectors, ranked = token_vectors(model, "logits"), torch.tensor(ranked_ids, dtype=torch.int64, device=model.device)
    mean, spread = _moments(vectors, ranked)
    means, deviations, weights = [], [], []
    for layer in range(model.facts.layers):
        written = writing_weights(model, layer).double()
        means.append(written @ mean)
        deviations.append(((written @ spread) * written).sum(1).clamp_min(0).sqrt())
    deviation = torch.cat(deviations)
    factors = torch.where(deviation > SMALLEST * deviation.max(), 1 / deviation, 0)
    for layer, chosen in enumerate(factors.split(model.facts.neurons)):
        weights.append(chosen @ writing_weights(model, layer).double())  # sum of what the layer's neurons write, each by its deviation
    common = torch.stack(weights).sum(0) / (factors > 0).sum().clamp_min(1)
    is_gated = model.facts.is_gated
    token_means = torch.zeros(len(ranked)) if is_gated else common.float() @ vectors[:, ranked] - (common @ mean).float()
    own_means, own_factors, own_token_means = (of.float().cpu().numpy() for of in (torch.cat(means), factors, token_means))
    return Correction(own_means, own_factors, own_token_means, is_gated)


def _moments(vectors: "Tensor", ranked_ids: "Tensor") -> tuple["Tensor", "Tensor"]:
    """Mean [model_width] and covariance [model_width, model_width] of the ranked tokens' vectors, float64."""
    import torch

    parts = ranked_ids.split(TOKENS_AT_ONCE)
    mean = torch.stack([vectors[:, part].double().sum(1) for part in parts]).sum(0) / len(ranked_ids)
    spread = torch.zeros(len(vectors), len(vectors), dtype=torch.float64, device=vectors.device)
    for part in parts:
        centred = vectors[:, part].double() - mean[:, None]
        spread += centred @ centred.T
    return mean, spread / len(ranked_ids)
