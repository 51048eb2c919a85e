"""What one unit of every neuron's activation adds directly to tokens' logits, layer by layer: congruence in the convention `logits`.

Holds this alone; what neurons add over the corpus is in contributions.
"""

from collections.abc import Iterator

import numpy as np

from assets.congruence.conventions import token_vectors, writing_weights
from assets.counting.histograms import Histograms
from assets.model.direct_effect import indirect_reason
from assets.model.language_model import LanguageModel


def has_contributions(model: LanguageModel, histograms: Histograms) -> bool:
    """Whether what neurons add to logits can be told: sums over the scale were counted, and the model's weights say it."""
    return histograms.screened_ids.size > 0 and not indirect_reason(model)


def congruence_by_layer(model: LanguageModel, token_ids: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each layer with the congruence of its output weights with the tokens, convention `logits`, float64 [token, neuron]."""
    import torch

    with torch.inference_mode():
        vectors = token_vectors(model, "logits")[:, torch.as_tensor(token_ids.astype(np.int64), device=model.device)]
        for layer in range(model.facts.layers):
            yield layer, (writing_weights(model, layer) @ vectors).T.cpu().numpy().astype(np.float64)
