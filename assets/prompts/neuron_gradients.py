"""The gradient of a prompt pair's logit difference with respect to every neuron's activation, and how far a patch can be told by it alone.

To first order, patching a neuron changes the logit difference by (clean - corrupt activation) x its gradient on the corrupt run. Attribution
patching shows that number; neuron patching takes it where a patch is so small that nothing else is left of it.
"""

from typing import TYPE_CHECKING

from assets.model.language_model import LanguageModel
from assets.prompts.prompt_runs import PairRuns, residual_after

if TYPE_CHECKING:
    import torch


def activation_change(model: LanguageModel, runs: PairRuns, layer: int) -> "torch.Tensor":
    """Float32 [position, neuron]: clean minus corrupt activation of the layer's neurons."""
    hook = model.neuron_hook(layer)
    return runs.clean.values[hook].float() - runs.corrupt.values[hook].float()


def neuron_gradients(model: LanguageModel, runs: PairRuns) -> "torch.Tensor":
    """Float32 [layer, position, neuron]: gradient of the logit difference with respect to each activation, on the corrupt run.

    The weights take no gradients. A tensor of zeros that does is added to the activations of each layer; the gradient with
    respect to these zeros is the one with respect to the activations, and nothing is left behind in the model.
    """
    import torch

    leaves: list[torch.Tensor] = []

    def add_zeros(tensor: torch.Tensor, hook: object) -> torch.Tensor:
        leaves.append(torch.zeros_like(tensor, requires_grad=True))  # [1, position, neuron]; layers come in order
        return tensor + leaves[-1]

    tokens = torch.tensor([list(runs.pair.corrupt)], device=model.device)
    hooks = [(model.neuron_hook(layer), add_zeros) for layer in range(model.facts.layers)]
    with torch.inference_mode(False), torch.enable_grad(), model.bridge.hooks(fwd_hooks=hooks):
        logits = model.bridge(tokens, use_cache=False, output_attentions=False)[0, -1].float()
        difference = logits[runs.pair.prompt.answer_id] - logits[runs.pair.prompt.wrong_answer_id]
        gradients = torch.autograd.grad(difference, leaves)
    return torch.cat(gradients).float()


def second_order(model: LanguageModel, runs: PairRuns, layer: int, change: "torch.Tensor", gradients: "torch.Tensor") -> "torch.Tensor":
    """Float32 [neuron], larger where a gradient is likely to miss more of a patch: an order, no bound.

    `change` and `gradients` are float32 [position, neuron], at the last positions of the prompt. At each position the size of the gradients
    there, times how much of the stream is changed, times how large that is beside the stream.
    """
    stream = runs.corrupt.values[residual_after(layer)][-len(change) :].float().norm(dim=1)  # [position]
    weights = model.bridge.blocks[layer].mlp.W_out.detach().float().norm(dim=1)  # [neuron]
    added = change.abs() * weights  # [position, neuron]
    return (gradients.abs().mean(1)[:, None] * added**2 / stream[:, None]).sum(0)
