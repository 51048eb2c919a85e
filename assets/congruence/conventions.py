"""Weights as congruence multiplies them: what a neuron writes, what it reads and what a token is, in each convention.

Congruence of a neuron with a token is (what the neuron writes) . (the token's vector). Two conventions stand side by side;
docs/decisions/0002-congruence-conventions.md says why.

- `published`: as in "We Found An Neuron in GPT-2". The token's vector is its embedding W_E, for models with an unembedding of
  their own as well. The final norm's gain is in W_U after folding, so these are not the model's own logits.
- `logits`: the token's vector is its column of the unembedding W_U times the final norm's gain and the factor, if any, of the logits.
  Adding `delta` x (what the neuron writes) to the last residual stream changes the token's logit by delta x congruence / (the final
  norm's scale), the scale held fixed; of a capped logit, that before the cap. W_U is not centred over the vocabulary: that would make it
  a change of log-odds.

What a neuron writes is its output weights, times the MLP's factor and the gain of a norm behind the MLP, if there are any; where there is
such a norm, what is added to the stream is that over its scale.

LayerNorm subtracts the mean over the model's width, so a common part of all coordinates acts on nothing: for LayerNorm models
everything is centred over the width. RMSNorm subtracts nothing, so nothing is centred. All results are float32, whatever the
model's own dtype. Holds no products; those are in congruence.
"""

from typing import TYPE_CHECKING, Any, Literal

from assets.model import weights
from assets.model.final_logits import logit_factor
from assets.model.final_norm import final_norm, norm_gain
from assets.model.language_model import LanguageModel
from assets.model.writing import Writing

if TYPE_CHECKING:
    from torch import Tensor

Convention = Literal["published", "logits"]
CONVENTIONS: tuple[Convention, ...] = ("published", "logits")


def token_vectors(model: LanguageModel, convention: Convention) -> "Tensor":
    """What a neuron's output is compared with: float32 [model_width, vocabulary], on the model's device."""
    if convention == "published":
        return _centred(model, embedding(model).T).contiguous()
    factor, vectors = logit_factor(model), norm_gain(model, final_norm(model))[:, None] * _float32(weights.unembedding(model))
    return _centred(model, vectors if factor == 1 else vectors * factor).contiguous()


def embedding(model: LanguageModel) -> "Tensor":
    """W_E, float32 [vocabulary, model_width]: each token as it enters the residual stream, before any factor of the model's own."""
    return _float32(weights.embedding(model))


def reading_vectors(model: LanguageModel) -> "Tensor":
    """What a neuron's input weights are compared with, in both conventions: W_E, float32 [model_width, vocabulary]."""
    return token_vectors(model, "published")


def writing_weights(model: LanguageModel, layer: int) -> "Tensor":
    """What each neuron of the layer adds to the residual stream per unit of activation (and of a norm behind the MLP's scale, if there is
    one): float32 [neuron, model_width]."""
    writing, written = Writing.of_mlp(model, layer), _float32(weights.output_weights(model, layer))
    if writing.factor != 1:
        written = written * writing.factor
    if writing.norm is not None:
        written = written * norm_gain(model, writing.norm)
    return _centred(model, written.T).T.contiguous()


def reading_weights(model: LanguageModel, layer: int) -> "Tensor":
    """What each neuron of the layer responds to: float32 [neuron, model_width], with the gain of the norm before the MLP.

    A gated MLP has two such matrices; the gate's is taken, which decides whether the neuron is on.
    """
    norm, read = norm_read_through(model, layer), _float32(weights.input_weights(model, layer))  # [model_width, neuron]
    return _centred(model, read if norm is None else norm_gain(model, norm)[:, None] * read).T.contiguous()


def norm_read_through(model: LanguageModel, layer: int) -> Any | None:
    """The model's own norm that the neurons of a layer read through; None where they read the stream as it is."""
    if model.bridge_if_known is not None:
        return norm_before(model.bridge_if_known.blocks[layer])
    return model.loaded.get_submodule(weights.reading(model, layer).norm)


def norm_before(block: Any) -> Any | None:
    """The model's own norm that the neurons of a block read through; None where they read the stream as it is (OLMo 2)."""
    norms = [getattr(block, name) for name in ("ln2", "ln1") if hasattr(block, name)]  # parallel blocks may share one norm
    return norms[0].original_component if norms else None


def _float32(weights: "Tensor") -> "Tensor":
    return weights.detach().float()


def _centred(model: LanguageModel, vectors: "Tensor") -> "Tensor":
    """Columns of [model_width, any] less their mean, for LayerNorm; as they are for RMSNorm."""
    return vectors - vectors.mean(dim=0, keepdim=True) if model.facts.normalization == "LN" else vectors
