"""Weights that direct effects are made of: what neurons write, the unembedding, the embedding. Views, in the model's dtype.

Of a model that the bridge knows they are the bridge's; of another they are read off plain code.
"""

from typing import TYPE_CHECKING

from assets.model.block_maps import linear_weight
from assets.model.language_model import LanguageModel
from assets.model.plain_parts import Reading
from assets.model.refusals import UnsupportedModelError

if TYPE_CHECKING:
    import torch


def output_weights(model: LanguageModel, layer: int) -> "torch.Tensor":
    """What the map behind the neurons of a layer makes of one unit of each, [neuron, model width]."""
    if model.bridge_if_known is not None:
        return model.bridge_if_known.blocks[layer].mlp.W_out
    return linear_weight(model.loaded.get_submodule(model.parts.neuron_maps[layer])).t()


def input_weights(model: LanguageModel, layer: int) -> "torch.Tensor":
    """What each neuron of a layer, or the gate of a gated one, is made of, [model width, neuron].

    Raises UnsupportedModelError for a model of which that is not known.
    """
    if model.bridge_if_known is not None:
        mlp = model.bridge_if_known.blocks[layer].mlp
        gate = getattr(mlp, "W_gate", None)
        return mlp.W_in if gate is None else gate
    own = reading(model, layer)
    return linear_weight(model.loaded.get_submodule(own.linear))[own.first : own.first + model.facts.neurons].t()


def reading(model: LanguageModel, layer: int) -> Reading:
    """Where plain code has what the neurons of a layer read. Raises UnsupportedModelError where that was not found."""
    if model.parts.reading is None:
        raise UnsupportedModelError(f"model {model.facts.architecture}: what its neurons read is not found in its code (one map behind one norm, "
                                    "one of the two factors of a gated neuron linear), so congruence with what comes in cannot be told; all that "
                                    "is counted stands without it, and another model can be chosen for the rest")  # fmt: skip
    return model.parts.reading[layer]


def unembedding(model: LanguageModel) -> "torch.Tensor":
    """Each token's vector that the final norm's output is multiplied by, [model width, vocabulary]."""
    if model.bridge_if_known is not None:
        return model.bridge_if_known.W_U
    return model.loaded.get_output_embeddings().weight.t()


def unembedding_bias(model: LanguageModel) -> "torch.Tensor":
    """What is added to each logit, [vocabulary]."""
    import torch

    if model.bridge_if_known is not None:
        return model.bridge_if_known.b_U
    bias = getattr(model.loaded.get_output_embeddings(), "bias", None)
    return torch.zeros(model.facts.vocabulary, device=model.device) if bias is None else bias


def embedding(model: LanguageModel) -> "torch.Tensor":
    """Each token as it enters the model, [vocabulary, model width]."""
    if model.bridge_if_known is not None:
        return model.bridge_if_known.W_E
    return model.loaded.get_input_embeddings().weight[: model.facts.vocabulary]
