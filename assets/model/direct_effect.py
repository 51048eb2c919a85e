"""Whether a neuron's direct effect on the logits is what the weights say, tried on the loaded model: once for each.

Congruence and contribution rest on four things: raising a neuron moves the residual stream by its output weights (through factor and norm
of the MLP, writing), every norm on the way is gain x stream / scale, the final norm's output times the unembedding gives the logits
(final_logits), and nothing else stands between. A list of architectures would be out of date with the next release, so they are tried.
"""

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from assets.model.final_logits import model_logits, tolerance
from assets.model.final_norm import normed_by_parts, wrapped_final_norm
from assets.model.language_model import LanguageModel
from assets.model.refusals import TRIAL_TOKENS, UnsupportedModelError
from assets.model.writing import Writing

if TYPE_CHECKING:
    import torch

NUDGE = 4.0  # added to a neuron's activation: far above rounding, far below overflow
ALLOWED = 0.02  # of the effect: bfloat16 rounds a residual of a few units at the second digit of the effect

_reason_of_model: "WeakKeyDictionary[Any, str]" = WeakKeyDictionary()  # by bridge; "" where nothing is wrong


def refuse_indirect(model: LanguageModel) -> None:
    """Raise UnsupportedModelError where a neuron's direct effect on the logits is not what its output weights say."""
    if reason := indirect_reason(model):
        raise UnsupportedModelError(f"model {model.facts.architecture}: {reason}, so what a neuron adds to the logits cannot be told from its "
                                    "weights; all that is counted stands without it, and another model can be chosen for the rest")  # fmt: skip


def indirect_reason(model: LanguageModel) -> str:
    """What is not as a neuron's output weights say; "" where its direct effect is."""
    if model.bridge not in _reason_of_model:
        _reason_of_model[model.bridge] = _tried(model)
    return _reason_of_model[model.bridge]


def _tried(model: LanguageModel) -> str:
    """What is not as the weights say; "" if all is."""
    import torch

    norm = wrapped_final_norm(model)
    if norm is None:
        return "it has no norm in front of its unembedding"
    token_ids = torch.full((1, TRIAL_TOKENS), model.facts.beginning_token_id, device=model.device)
    with torch.inference_mode():
        for layer in {0, model.facts.layers - 1}:
            if reason := _wrong_in_layer(model, token_ids, layer):
                return reason
        stream, logits = _run(model, token_ids, model.facts.layers - 1, 0.0, whole=True)[1:]
        if reason := _wrong_norm(model, norm, stream, "the norm in front of its unembedding"):
            return reason
        product = model.bridge.ln_final(stream).float() @ model.bridge.W_U.float() + model.bridge.b_U.float()
        if not _is_close(model_logits(model, product), logits, tolerance(model)):
            return "its logits are not its final norm's output times its unembedding (something else scales or bends them)"
    return ""


def _wrong_in_layer(model: LanguageModel, token_ids: "torch.Tensor", layer: int) -> str:
    import torch

    writing = Writing.of_mlp(model, layer)
    output, before, _ = _run(model, token_ids, layer, 0.0)
    after = _run(model, token_ids, layer, NUDGE)[1]
    added = writing.change(NUDGE * model.bridge.blocks[layer].mlp.W_out[0].detach().float(), output)
    size = added.norm().clamp_min(1e-30)
    missed = float((after.float() - before.float() - added).norm() / size)
    rounding = 4 * float(torch.finfo(model.bridge.W_U.dtype).eps) * float(before.float().norm() / size)
    if not missed <= ALLOWED + rounding:  # also true for NaN
        return (
            f"raising neuron 0 of layer {layer} does not move the residual stream by its output weights (off by {missed:.0%}): something "
            "else scales or norms the MLP's output"
        )
    return "" if output is None else _wrong_norm(model, writing.norm, output, f"the norm behind the MLP of layer {layer}")


def _wrong_norm(model: LanguageModel, norm: Any, stream: "torch.Tensor", name: str) -> str:
    is_sound = _is_close(normed_by_parts(model, norm, stream), norm(stream).float(), tolerance(model))
    return "" if is_sound else f"{name} is not a gain times the stream over its scale"


def _is_close(found: "torch.Tensor", expected: "torch.Tensor", allowed: float) -> bool:
    expected = expected.float()
    return bool((found.float() - expected).abs().max() <= allowed * max(1.0, float(expected.abs().max())))


def _run(model: LanguageModel, token_ids: "torch.Tensor", layer: int, nudge: float, whole: bool = False) -> tuple[Any, "torch.Tensor", Any]:
    """At the last position: what the norm behind the layer's MLP reads (None without one), the stream behind the layer, both [width], and the
    logits [vocabulary], if `whole`. `nudge` is added to the layer's neuron 0 everywhere."""
    import torch

    seen: dict[str, torch.Tensor] = {}

    def nudged(activations: torch.Tensor, hook: object) -> torch.Tensor:
        changed = activations.clone()
        changed[..., 0] += nudge
        return changed

    def note(name: str):  # type: ignore[no-untyped-def]
        return lambda value, hook: seen.__setitem__(name, value[0, -1].clone())

    writing = Writing.of_mlp(model, layer)
    hooks = [(model.neuron_hook(layer), nudged), (f"blocks.{layer}.hook_resid_post", note("stream"))]
    hooks += [(hook, note("output")) for hook in writing.hooks]
    behind = layer + 1 if layer + 1 < model.facts.layers and not whole else None
    with model.bridge.hooks(fwd_hooks=hooks):
        logits = model.bridge(token_ids, use_cache=False, output_attentions=False, stop_at_layer=behind)
    return seen.get("output"), seen["stream"], logits[0, -1] if whole else None
