"""Weights as congruence multiplies them: what a neuron writes, what it reads and what a token is, in each convention.

Congruence of a neuron with a token is (what the neuron writes) . (the token's vector). Two conventions stand side by side;
docs/decisions/0002-congruence-conventions.md says why.

- `published`: as in "We Found An Neuron in GPT-2". The token's vector is its embedding W_E, for models with an unembedding of
  their own as well. The final norm's gain is in W_U after folding, so these are not the model's own logits.
- `logits`: the token's vector is its column of the unembedding W_U times the final norm's gain. Adding `delta` x (what the
  neuron writes) to the last residual stream changes the token's logit by delta x congruence / (the final norm's scale), the
  scale held fixed. W_U is not centred over the vocabulary: that would make it a change of log-odds.

LayerNorm subtracts the mean over the model's width, so a common part of all coordinates acts on nothing: for LayerNorm models
everything is centred over the width. RMSNorm subtracts nothing, so nothing is centred. All results are float32, whatever the
model's own dtype. Holds no products; those are in congruence.
"""

from typing import TYPE_CHECKING, Any, Literal

from assets.model.language_model import LanguageModel
from assets.model.refusals import ModelError

if TYPE_CHECKING:
    from torch import Tensor

Convention = Literal["published", "logits"]
CONVENTIONS: tuple[Convention, ...] = ("published", "logits")

# Fields of a model's configuration that put a factor or a curve between a neuron's output and the logits.
_DISTORTIONS = ("logit_scale", "logits_scaling", "residual_multiplier", "final_logit_softcapping")


def token_vectors(model: LanguageModel, convention: Convention) -> "Tensor":
    """What a neuron's output is compared with: float32 [model_width, vocabulary], on the model's device."""
    if convention == "published":
        return _centred(model, embedding(model).T).contiguous()
    return _centred(model, _gain(model, model.bridge.ln_final)[:, None] * _float32(model.bridge.W_U)).contiguous()


def embedding(model: LanguageModel) -> "Tensor":
    """W_E, float32 [vocabulary, model_width]: each token as it enters the residual stream, before any factor of the model's own."""
    return _float32(model.bridge.W_E)


def reading_vectors(model: LanguageModel) -> "Tensor":
    """What a neuron's input weights are compared with, in both conventions: W_E, float32 [model_width, vocabulary]."""
    return token_vectors(model, "published")


def writing_weights(model: LanguageModel, layer: int) -> "Tensor":
    """What each neuron of the layer adds to the residual stream per unit of activation: float32 [neuron, model_width]."""
    return _centred(model, _float32(model.bridge.blocks[layer].mlp.W_out).T).T.contiguous()


def reading_weights(model: LanguageModel, layer: int) -> "Tensor":
    """What each neuron of the layer responds to: float32 [neuron, model_width], with the gain of the norm before the MLP.

    A gated MLP has two such matrices; the gate's is taken, which decides whether the neuron is on.
    """
    block = model.bridge.blocks[layer]
    gate = getattr(block.mlp, "W_gate", None)
    weights = _float32(block.mlp.W_in if gate is None else gate)  # [model_width, neuron]
    norm = block.ln2 if hasattr(block, "ln2") else block.ln1  # parallel blocks may share one norm
    return _centred(model, _gain(model, norm)[:, None] * weights).T.contiguous()


def refuse_indirect(model: LanguageModel) -> None:
    """Raise ModelError where W_out is not a neuron's direct effect on the residual stream and, through it, the logits."""
    name, config = model.facts.architecture, model.bridge.original_model.config
    for field in _DISTORTIONS:
        value = getattr(config, field, None)
        if value not in (None, 1):
            raise ModelError(f"model {name}: {field}={value} changes what reaches the logits, so congruence would not be a "
                             "neuron's effect on them; choose a model without it")  # fmt: skip
    for layer, block in enumerate(model.bridge.blocks):
        if hasattr(block, "ln2_post") or not (hasattr(block, "ln2") or hasattr(block, "ln1")):
            raise ModelError(f"model {name}: layer {layer} has a norm behind its MLP, so output weights are not a neuron's direct effect; "
                             "choose a model whose norms stand before the MLP only")  # fmt: skip


def _float32(weights: "Tensor") -> "Tensor":
    return weights.detach().float()


def _gain(model: LanguageModel, norm: Any) -> "Tensor":
    """Factor of each coordinate [model_width]; all ones for a norm without weights. Gemma stores the factor minus 1."""
    import torch

    weight = getattr(norm, "weight", None)
    if weight is None:
        return torch.ones(model.facts.model_width, device=model.device)
    return _float32(weight) + (1.0 if getattr(model.bridge.cfg, "rmsnorm_uses_offset", False) else 0.0)


def _centred(model: LanguageModel, vectors: "Tensor") -> "Tensor":
    """Columns of [model_width, any] less their mean, for LayerNorm; as they are for RMSNorm."""
    return vectors - vectors.mean(dim=0, keepdim=True) if model.facts.normalization == "LN" else vectors
