"""The norm in front of the unembedding: what it is given at every position of a pass, and what it divides that by.

A neuron's direct effect on a logit is what it writes, times the norm's gain, times the unembedding, over this scale; where a norm stands
behind the MLP, over that one's scale as well.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from assets.model.language_model import LanguageModel
from assets.model.plain_parts import plain_names
from assets.model.refusals import UnsupportedModelError
from assets.model.writing import Writing

if TYPE_CHECKING:
    import torch


def norm_scale(model: LanguageModel, norm: Any, residual: "torch.Tensor") -> "torch.Tensor":
    """[..., 1]: what `norm` divides `residual` [..., model width] by: a standard deviation (LayerNorm) or a root mean square."""
    epsilon = getattr(norm, "eps", getattr(norm, "variance_epsilon", 1e-5))  # OLMo's has no name for it: 1e-5 stands in its code
    centred = residual - residual.mean(-1, keepdim=True) if model.facts.normalization == "LN" else residual
    return (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()


def norm_gain(model: LanguageModel, norm: Any) -> "torch.Tensor":
    """Factor of each coordinate, float32 [model width]; all ones for a norm without weights. Gemma stores the factor minus 1."""
    import torch

    weight = getattr(norm, "weight", None)
    if weight is None:
        return torch.ones(model.facts.model_width, device=model.device)
    return weight.detach().float() + gain_offset(model)


def gain_offset(model: LanguageModel) -> float:
    """What is added to a norm's stored factors: 1 where they are stored minus 1."""
    bridge = model.bridge_if_known
    return 1.0 if bridge is not None and getattr(bridge.cfg, "rmsnorm_uses_offset", False) else 0.0


def normed_by_parts(model: LanguageModel, norm: Any, stream: "torch.Tensor") -> "torch.Tensor":
    """What the norm makes of a stream [..., model width], float32, from its gain, scale and bias: what every direct effect rests on."""
    exact = stream.float()
    centred = exact - exact.mean(-1, keepdim=True) if model.facts.normalization == "LN" else exact
    bias = getattr(norm, "bias", None)
    normed = centred / norm_scale(model, norm, exact) * norm_gain(model, norm)
    return normed if bias is None else normed + bias.detach().float()


def wrapped_final_norm(model: LanguageModel) -> Any:
    """The model's own final norm, inside the bridge where there is one; None where the model has none."""
    if model.bridge_if_known is not None:
        return getattr(getattr(model.bridge, "ln_final", None), "original_component", None)
    return None if model.parts.final_norm is None else model.loaded.get_submodule(model.parts.final_norm)


def final_norm(model: LanguageModel) -> Any:
    """The final norm as it is run. Raises UnsupportedModelError for a model without one (OPT-350m)."""
    if wrapped_final_norm(model) is None:
        raise UnsupportedModelError(f"model {model.facts.architecture}: it has no norm in front of its unembedding, so a residual stream cannot be "
                                    "read as logits; all that is counted stands without it, and another model can be chosen for the rest")  # fmt: skip
    return wrapped_final_norm(model) if model.bridge_if_known is None else model.bridge_if_known.ln_final


@contextmanager
def stream_noted(model: LanguageModel) -> "Iterator[list[torch.Tensor]]":
    """While open, the list holds what the final norm was given in the last plain forward, and in no earlier one."""
    streams: list[torch.Tensor] = []

    def note(module: "torch.nn.Module", given: "tuple[torch.Tensor, ...]") -> None:
        streams[:] = given[:1]

    assert model.parts.final_norm is not None
    handle = model.plain.get_submodule(model.parts.final_norm).register_forward_pre_hook(note)
    try:
        yield streams
    finally:
        handle.remove()


@contextmanager
def inverse_scales(model: LanguageModel) -> "Iterator[Callable[[tuple[int, ...]], torch.Tensor]]":
    """While open, the yielded function gives 1 over the scale that direct effects are divided by in the last plain forward: the final norm's,
    float32 of the given shape [row, position]; where norms stand behind the MLPs, times theirs, [layer, row, position].

    The sums are taken in float64 and rounded once, so that a position's scale does not depend on the batch that it is in. A model without
    a final norm divides by 1.
    """
    import torch

    norm = wrapped_final_norm(model)
    if norm is None:
        yield lambda shape: torch.ones(shape, device=model.device)
        return

    def final(shape: tuple[int, ...]) -> torch.Tensor:
        return norm_scale(model, norm, streams[0].double()).reciprocal().view(shape)

    with stream_noted(model) as streams, _scales_behind(model) as behind:
        if behind is None:
            yield lambda shape: final(shape).float()
        else:
            yield lambda shape: torch.stack([(final(shape) / scale.squeeze(-1)).float() for scale in behind])


@contextmanager
def _scales_behind(model: LanguageModel) -> "Iterator[list[torch.Tensor] | None]":
    """While open, the list holds the scale of the norm behind each layer's MLP in the last plain forward, float64 [row, position, 1] (1 where
    there is none); None for a model without such norms."""
    import torch

    norms = [Writing.of_mlp(model, layer).norm for layer in range(model.facts.layers)]
    if not any(norm is not None for norm in norms):
        yield None
        return
    scales = [torch.ones(1, device=model.device, dtype=torch.float64)] * len(norms)

    def note(layer: int, norm: Any) -> "Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]":
        return lambda module, given: scales.__setitem__(layer, norm_scale(model, norm, given[0].double()))

    wrapped = [(layer, norm) for layer, norm in enumerate(norms) if norm is not None]
    names = plain_names(model.bridge, [norm for _, norm in wrapped])
    handles = [
        model.plain.get_submodule(name).register_forward_pre_hook(note(layer, norm))
        for name, (layer, norm) in zip(names, wrapped, strict=True)
    ]
    try:
        yield scales
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def final_streams(model: LanguageModel) -> "Iterator[Callable[[tuple[int, ...]], torch.Tensor | None]]":
    """While open, the yielded function gives what the final norm read in the last plain forward, [row, position, width] for the shape
    [row, position]; None for a model without a final norm.
    """
    if wrapped_final_norm(model) is None:
        yield lambda shape: None
        return
    with stream_noted(model) as streams:
        yield lambda shape: streams[0].view(*shape, -1)
