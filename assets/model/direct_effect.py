"""Whether a neuron's direct effect on the logits is what the weights say, tried on the loaded model: once for each.

Congruence and contribution rest on four things: raising a neuron moves the residual stream by its output weights (through factor and norm
of the MLP, writing), every norm on the way is gain x stream / scale, the final norm's output times the unembedding gives the logits
(final_logits), and nothing else stands between. A list of architectures would be out of date with the next release, so they are tried.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from assets.model.final_logits import model_logits, tolerance
from assets.model.final_norm import final_norm, normed_by_parts, wrapped_final_norm
from assets.model.language_model import LanguageModel
from assets.model.plain_model import last_hidden, whole_logits
from assets.model.refusals import TRIAL_TOKENS, UnsupportedModelError
from assets.model.weights import output_weights, unembedding, unembedding_bias
from assets.model.writing import Writing

if TYPE_CHECKING:
    import torch

TRIAL_ENTRIES = 1024  # of the vocabulary, whose logits are compared: all would be a copy of the unembedding in float32
NUDGE = 4.0  # added to a neuron's activation: far above rounding, far below overflow
ALLOWED = 0.02  # of the effect: bfloat16 rounds a residual of a few units at the second digit of the effect

_reason_of_model: "WeakKeyDictionary[Any, str]" = WeakKeyDictionary()  # by plain code; "" where nothing is wrong


def refuse_indirect(model: LanguageModel) -> None:
    """Raise UnsupportedModelError where a neuron's direct effect on the logits is not what its output weights say."""
    if reason := indirect_reason(model):
        raise UnsupportedModelError(f"model {model.facts.architecture}: {reason}, so what a neuron adds to the logits cannot be told from its "
                                    "weights; all that is counted stands without it, and another model can be chosen for the rest")  # fmt: skip


def indirect_reason(model: LanguageModel) -> str:
    """What is not as a neuron's output weights say; "" where its direct effect is."""
    if model.plain not in _reason_of_model:
        _reason_of_model[model.plain] = _tried(model)
    return _reason_of_model[model.plain]


def _tried(model: LanguageModel) -> str:
    """What is not as the weights say; "" if all is."""
    import torch

    norm = wrapped_final_norm(model)
    if norm is None:
        return "it has no norm in front of its unembedding"
    with torch.inference_mode():
        raised = _raised(model) if model.bridge_if_known is not None else _raised_in_plain_code(model)
        for layer in range(model.facts.layers):
            if reason := _wrong_in_layer(model, raised, layer):
                return reason
        stream = raised.before[-1]
        if reason := _wrong_norm(model, norm, stream, "the norm in front of its unembedding"):
            return reason
        some = torch.arange(0, model.facts.vocabulary, -(-model.facts.vocabulary // TRIAL_ENTRIES), device=model.device)
        product = final_norm(model)(stream).float() @ unembedding(model)[:, some].float() + unembedding_bias(model)[some].float()
        if not _is_close(model_logits(model, product), raised.logits[some], tolerance(model)):
            return "its logits are not its final norm's output times its unembedding (something else scales or bends them)"
    return ""


def _wrong_in_layer(model: LanguageModel, raised: "_Raised", layer: int) -> str:
    import torch

    writing, output, before = Writing.of_mlp(model, layer), raised.outputs.get(layer), raised.before[layer].float()
    added = writing.change(NUDGE * output_weights(model, layer)[0].detach().float(), output)
    size = added.norm().clamp_min(1e-30)
    missed = float((raised.after[layer].float() - before - added).norm() / size)
    rounding = 4 * float(torch.finfo(model.dtype).eps) * float(before.norm() / size)
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


@dataclass
class _Raised:
    """One run in which neuron 0 of each layer is raised in a row of its own, at the last position: of the row in which none is, what the norm
    behind each layer's MLP reads (layers with one), the stream behind each layer, all [width], and the logits [vocabulary]; and the
    stream behind each layer where its own neuron is raised."""

    outputs: "dict[int, torch.Tensor]"
    before: "list[torch.Tensor]"
    after: "list[torch.Tensor]"
    logits: "torch.Tensor"


def _raised(model: LanguageModel) -> _Raised:
    import torch

    outputs: dict[int, torch.Tensor] = {}
    before: list[torch.Tensor] = []
    after: list[torch.Tensor] = []

    def hooks_of(layer: int) -> "list[tuple[str, Callable[..., Any]]]":
        def raise_one(activations: torch.Tensor, hook: object) -> torch.Tensor:
            changed = activations.clone()  # [row, position, neuron]
            changed[layer + 1, :, 0] += NUDGE
            return changed

        def note(stream: torch.Tensor, hook: object) -> None:
            before.append(stream[0, -1].clone())
            after.append(stream[layer + 1, -1].clone())

        def note_output(output: torch.Tensor, hook: object) -> None:
            outputs[layer] = output[0, -1].clone()

        behind = [(hook, note_output) for hook in Writing.of_mlp(model, layer).hooks]
        return [(model.neuron_hook(layer), raise_one), *behind, (f"blocks.{layer}.hook_resid_post", note)]

    layers = model.facts.layers
    token_ids = torch.full((layers + 1, TRIAL_TOKENS), model.facts.beginning_token_id, device=model.device)
    hooks = [hook for layer in range(layers) for hook in hooks_of(layer)]
    # Logits of the first row's last position alone: of every row they would be the vocabulary once a layer.
    with model.bridge.hooks(fwd_hooks=[*hooks, ("unembed.hook_in", lambda hidden, hook: hidden[:1, -1:])]):
        logits = model.bridge(token_ids, use_cache=False, output_attentions=False)
    return _Raised(outputs, before, after, logits[0, -1])


def _raised_in_plain_code(model: LanguageModel) -> _Raised:
    """The same without the bridge, whose parts that stand behind MLPs are not known."""
    import torch

    layers = model.facts.layers
    before: list[torch.Tensor] = []
    after: list[torch.Tensor] = []
    token_ids = torch.full((layers + 1, TRIAL_TOKENS), model.facts.beginning_token_id, device=model.device)

    def raise_one(layer: int) -> "Callable[[Any, tuple[torch.Tensor, ...]], Any]":
        def hook(module: Any, given: "tuple[torch.Tensor, ...]") -> Any:
            changed = given[0].clone()
            changed.view(*token_ids.shape, -1)[layer + 1, :, 0] += NUDGE  # [row, position, neuron]
            return (changed, *given[1:])

        return hook

    def note(layer: int) -> "Callable[[Any, Any, Any], None]":
        def hook(module: Any, given: Any, made: Any) -> None:
            stream = (made[0] if isinstance(made, tuple) else made).view(*token_ids.shape, -1)
            before.append(stream[0, -1].clone())
            after.append(stream[layer + 1, -1].clone())

        return hook

    with ExitStack() as opened:
        for layer in range(layers):
            neurons, block = (model.plain.get_submodule(names[layer]) for names in (model.parts.neuron_maps, model.parts.blocks))
            opened.callback(neurons.register_forward_pre_hook(raise_one(layer)).remove)
            opened.callback(block.register_forward_hook(note(layer)).remove)
        last_hidden(model, token_ids)
    # Logits of the first row alone: of every row they would be the vocabulary once a layer.
    return _Raised({}, before, after, whole_logits(model, token_ids[:1])[0, -1])
