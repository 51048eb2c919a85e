"""What neurons write and what they read as directions of the residual stream: what their weights are compared by.

The weights are those that congruence multiplies (assets/congruence/conventions.py): with the gains of the norms behind and before the MLP,
centred where the norms that read the stream centre it. Of a gated neuron the gate is what it reads: the gate decides whether it is on, and the sign of
its row is no convention, as those of its up and its down weights together are.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from assets.congruence.conventions import reading_weights, writing_weights
from assets.model.language_model import LanguageModel

if TYPE_CHECKING:
    from torch import Tensor


def written_directions(model: LanguageModel) -> np.ndarray:
    """Float32 [neuron of all layers, model width]."""
    return _of_all_layers(model, writing_weights)


def read_directions(model: LanguageModel) -> np.ndarray:
    """Float32 [neuron of all layers, model width]. Raises UnsupportedModelError for a model of which that is not known."""
    return _of_all_layers(model, reading_weights)


def _of_all_layers(model: LanguageModel, weights: "Callable[[LanguageModel, int], Tensor]") -> np.ndarray:
    import torch

    neurons = model.facts.neurons
    directions = np.empty((model.facts.layers * neurons, model.facts.model_width), np.float32)
    with torch.inference_mode():
        for layer in range(model.facts.layers):
            directions[layer * neurons : (layer + 1) * neurons] = weights(model, layer).cpu().numpy()
    return directions
