"""Input weights multiplied by -1: as published, a way to turn a neuron off that is no ablation either.

A neuron's input to its activation function is w . x + b. With w negated it becomes -w . x + b = 2 b - (w . x + b), so only the part
that does not come from the weights has to be known. Which part that is depends on what counts as the weights:

- the model's own: b is the neuron's bias, and x is what the norm hands on, its gain and bias applied;
- folded, as the published work did: the norm's gain goes into w and its bias, through w, into b, before w is negated.

Of a gated MLP the gate's weights are negated, which decide whether the neuron is on. What the activation then is, the model computes itself.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from assets.ablation.donors import Neurons
from assets.model.language_model import LanguageModel
from assets.prompts.neuron_reader import Reader
from assets.prompts.prompt_runs import PromptRun, last_logits_alone

if TYPE_CHECKING:
    import torch

INPUT_NEGATIONS = ("input negation", "folded input negation")


def negated_inputs(model: LanguageModel, run: PromptRun, ids: Sequence[int], neurons: Neurons) -> "dict[int, torch.Tensor]":
    """Layer -> float32 [way, position, neuron] in the order of INPUT_NEGATIONS: activations with the neurons' inputs negated.

    `run` is that of the text `ids`, with the activations of these layers. One more run, a row for each way: each layer's activation
    function is given the negated inputs of all its studied neurons at once, as none is computed from another; what it makes of them is
    kept, and the clean activations go on in its place, so that every layer reads what it read before.
    """
    import torch

    kept: dict[int, torch.Tensor] = {}

    def negate(layer: int) -> "tuple[str, Callable[..., torch.Tensor]]":
        biases = _kept_biases(model, layer)[:, list(neurons[layer])]  # [way, neuron]

        def hook(inputs: torch.Tensor, hook: object) -> torch.Tensor:
            changed = inputs.clone()  # [way, position, neuron]
            own = changed[..., list(neurons[layer])]
            changed[..., list(neurons[layer])] = 2 * biases[:, None].to(own.dtype) - own
            return changed

        return f"blocks.{layer}.mlp.hook_pre", hook  # of a gated MLP the gate's

    def keep(layer: int) -> "tuple[str, Callable[..., torch.Tensor]]":
        def hook(activations: torch.Tensor, hook: object) -> torch.Tensor:
            kept[layer] = activations[..., list(neurons[layer])].float()
            return run.values[model.neuron_hook(layer)].repeat(len(activations), 1, 1)

        return model.neuron_hook(layer), hook

    tokens = torch.tensor([list(ids)] * len(INPUT_NEGATIONS), device=model.device)  # [way, position]
    hooks = [change(layer) for layer in neurons for change in (negate, keep)]
    with torch.inference_mode(), model.bridge.hooks(fwd_hooks=[*hooks, last_logits_alone()]):
        model.bridge(tokens, use_cache=False, output_attentions=False)
    return kept


def _kept_biases(model: LanguageModel, layer: int) -> "torch.Tensor":
    """Float32 [way, neuron] in the order of INPUT_NEGATIONS: the part of the activation function's input that is not negated."""
    import torch

    mlp = model.bridge.blocks[layer].mlp
    own = getattr(mlp, "b_in" if getattr(mlp, "W_gate", None) is None else "b_gate", None)
    folded = Reader.of(model, layer).bias
    return torch.stack([torch.zeros_like(folded) if own is None else own.detach().float(), folded])
