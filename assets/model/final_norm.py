"""The norm in front of the unembedding: what it is given at every position of a pass, and what it divides that by.

A neuron's direct effect on a logit is what it writes, times the norm's gain, times the unembedding, over this scale.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from assets.model.language_model import LanguageModel
from assets.model.plain_model import plain_names

if TYPE_CHECKING:
    import torch


def norm_scale(model: LanguageModel, norm: Any, residual: "torch.Tensor") -> "torch.Tensor":
    """[..., 1]: what `norm` divides `residual` [..., model width] by: a standard deviation (LayerNorm) or a root mean square."""
    epsilon = getattr(norm, "eps", getattr(norm, "variance_epsilon", 1e-5))  # OLMo's has no name for it: 1e-5 stands in its code
    centred = residual - residual.mean(-1, keepdim=True) if model.facts.normalization == "LN" else residual
    return (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()


def wrapped_final_norm(model: LanguageModel) -> Any:
    """The model's own final norm inside the bridge; None where it has none."""
    return getattr(getattr(model.bridge, "ln_final", None), "original_component", None)


@contextmanager
def stream_noted(model: LanguageModel) -> "Iterator[list[torch.Tensor]]":
    """While open, the list holds what the final norm was given in the last plain forward, and in no earlier one."""
    streams: list[torch.Tensor] = []

    def note(module: "torch.nn.Module", given: "tuple[torch.Tensor, ...]") -> None:
        streams[:] = given[:1]

    (norm,) = plain_names(model.bridge, [wrapped_final_norm(model)])
    handle = model.plain.get_submodule(norm).register_forward_pre_hook(note)
    try:
        yield streams
    finally:
        handle.remove()


@contextmanager
def inverse_scales(model: LanguageModel) -> "Iterator[Callable[[tuple[int, ...]], torch.Tensor]]":
    """While open, the yielded function gives 1 over the final norm's scale in the last plain forward, float32 of the given shape.

    The sums are taken in float64 and rounded once, so that a position's scale does not depend on the batch that it is in. A model without
    a final norm divides by 1.
    """
    import torch

    norm = wrapped_final_norm(model)
    if norm is None:
        yield lambda shape: torch.ones(shape, device=model.device)
        return
    with stream_noted(model) as streams:
        yield lambda shape: norm_scale(model, norm, streams[0].double()).reciprocal().float().view(shape)


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
