"""The top prediction at every position as "We Found An Neuron in GPT-2" took it: by the embedding instead of the unembedding.

The prediction is the entry with the largest product of its embedding W_E with the last residual stream, normalized as the final
norm does it but without that norm's gain and bias: the code behind the post had folded both into W_U, and then multiplied by W_E.
It centred W_E over the model's width as well, which changes no prediction: the normalized stream of a LayerNorm is centred itself.
An RMSNorm centres nothing, and nothing is centred for it. Holds this one definition; what is counted with it is the counters'.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from assets.counting.histograms import HistogramError
from assets.model.final_norm import gain_offset, stream_noted, wrapped_final_norm
from assets.model.language_model import LanguageModel
from assets.model.plain_model import last_hidden
from assets.predictions.top_predictions import Unembedding, linear_unembedding, top_entries

if TYPE_CHECKING:
    import torch

_embedding_of_model: "weakref.WeakKeyDictionary[torch.nn.Module, _Embedding]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class _Embedding:
    """W_E as an unembedding, and the epsilon of the final norm that it is used behind."""

    unembedding: Unembedding
    epsilon: float


@contextmanager
def predictions_by_embedding(model: LanguageModel) -> "Iterator[Callable[[], torch.Tensor]]":
    """While open, the yielded function gives, once after each plain forward, the top predictions by the embedding at its positions.

    They are int64 [row, position], of the ids that the forward was given. The first use for a model tries a few ids on it.
    Raises HistogramError for a model in which the definition means nothing: no norm in front of the unembedding, or an embedding of
    another width than the residual stream.
    """
    if model.plain not in _embedding_of_model:
        _embedding_of_model[model.plain] = _tried_embedding(model)
    embedding = _embedding_of_model[model.plain]

    def last() -> "torch.Tensor":
        stream = streams.pop()
        entries = top_entries(normalized(model, stream.flatten(0, -2), embedding.epsilon), embedding.unembedding)
        return entries.view(stream.shape[:-1])

    with stream_noted(model) as streams:
        yield last


def normalized(model: LanguageModel, stream: "torch.Tensor", epsilon: float) -> "torch.Tensor":
    """The residual stream [position, width] as the final norm makes it, without gain and bias; in float32, returned as it came."""
    exact = stream.float()
    if model.facts.normalization == "LN":
        exact = exact - exact.mean(-1, keepdim=True)
    return (exact * (exact.square().mean(-1, keepdim=True) + epsilon).rsqrt()).to(stream.dtype)


def _tried_embedding(model: LanguageModel) -> _Embedding:
    """W_E and the final norm, once a few ids have shown that the unembedding reads that norm's output and nothing in between."""
    import torch

    wrapped = wrapped_final_norm(model)
    if wrapped is None:
        raise _refused(model, "it has no norm in front of its unembedding")
    epsilon = float(getattr(wrapped, "eps", None) or getattr(wrapped, "variance_epsilon", None) or torch.finfo(torch.float32).eps)
    weight: torch.Tensor = model.plain.get_input_embeddings().weight.detach()[: model.facts.vocabulary]
    positions = min(8, model.facts.context_length)
    token_ids = torch.arange(positions, device=model.device)[None] % model.facts.vocabulary
    with torch.inference_mode(), stream_noted(model) as streams:
        hidden = last_hidden(model, token_ids)[0]
        if not streams or streams[0].shape[-1] != weight.shape[1] or hidden.shape[-1] != weight.shape[1]:
            raise _refused(model, f"its embedding is {weight.shape[1]} wide and its last residual stream is not")
        again = _with_gain(model, wrapped, normalized(model, streams[0].flatten(0, -2), epsilon).float())
        # Norms round in an order of their own; a scale or a projection behind the norm moves numbers by far more.
        if not bool((again - hidden.float()).abs().max() <= 64 * torch.finfo(hidden.dtype).eps * hidden.float().abs().max()):
            raise _refused(model, "what its unembedding reads is not its final norm's output")
    return _Embedding(_as_unembedding(model, weight), epsilon)


def _with_gain(model: LanguageModel, norm: Any, normed: "torch.Tensor") -> "torch.Tensor":
    """What the norm makes of a normalized stream, float32. Gemma stores its gain minus 1."""
    gain, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    if gain is not None:
        normed = normed * (gain.float() + gain_offset(model))
    return normed if bias is None else normed + bias.float()


def _as_unembedding(model: LanguageModel, weight: "torch.Tensor") -> Unembedding:
    """W_E [vocabulary, width]. Tied weights share the shortlist of the unembedding, and its memory; others are not shortlisted."""
    own = linear_unembedding(model)
    is_tied = own is not None and own.weight.data_ptr() == weight.data_ptr() and own.weight.shape == weight.shape
    shortlist = replace(own.shortlist, is_worth_it=True) if own is not None and is_tied and own.shortlist is not None else None
    return Unembedding(weight, shortlist=shortlist)


def _refused(model: LanguageModel, reason: str) -> HistogramError:
    return HistogramError(f"embedding_predictions: top predictions by the embedding cannot be taken of {model.facts.architecture}, for {reason}; "
                          "leave the field out of the study")  # fmt: skip
