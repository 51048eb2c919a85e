"""Attribution patching, a gradient's estimate of neuron patching: every neuron of every layer from one forward and one backward pass.

To first order, patching a neuron changes the logit difference by (clean - corrupt activation) x the gradient of the difference
with respect to the activation, taken on the corrupt run (attribution patching, Nanda 2023). It misses whatever is not linear:
saturation, and attention that moves. attribution_agreement says how far it can be trusted on a prompt whose exact values are known.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.contracts import ATTRIBUTION_PATCHING, conform
from assets.model.language_model import LanguageModel
from assets.prompts.neuron_patching import activation_change
from assets.prompts.prompt_runs import PairRuns, require_defined_improvement, run_pair
from assets.prompts.prompts import EncodedPrompt, PromptPair, prompt_pairs

if TYPE_CHECKING:
    import torch

TOP = 50  # strongest neurons of the exact values that an estimate should find


def attribution_patching(model: LanguageModel, prompts: Sequence[EncodedPrompt]) -> pl.DataFrame:
    """The table `attribution_patching`: every neuron of every layer, for each prompt with a corrupt partner, `all` and `last` positions.

    Raises PromptError for a prompt whose improvement is undefined.
    """
    pairs = prompt_pairs(prompts)
    require_defined_improvement(model, pairs)
    frames = [_estimate_pair(model, pair) for pair in pairs]
    return conform(ATTRIBUTION_PATCHING, pl.concat(frames) if frames else ATTRIBUTION_PATCHING.schema.to_frame())


def _estimate_pair(model: LanguageModel, pair: PromptPair) -> pl.DataFrame:
    import torch

    layers, neurons = model.facts.layers, model.facts.neurons
    runs = run_pair(model, pair, [model.neuron_hook(layer) for layer in range(layers)])
    gradients = neuron_gradients(model, runs)  # [layer, position, neuron]
    changes = torch.stack([activation_change(model, runs, layer) for layer in range(layers)])  # [layer, position, neuron]
    first_order = (gradients * changes) / (runs.clean_difference - runs.corrupt_difference)
    return pl.concat(
        pl.DataFrame(
            {
                "prompt": pair.prompt.name,
                "positions": positions,
                "layer": np.repeat(np.arange(layers), neurons),
                "neuron": np.tile(np.arange(neurons), layers),
                "attribution": attribution.reshape(-1).cpu().numpy(),
            }
        )
        for positions, attribution in (("all", first_order.sum(1)), ("last", first_order[:, -1]))
    )


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


def attribution_agreement(exact: pl.DataFrame, estimates: pl.DataFrame, top: int = TOP) -> pl.DataFrame:
    """How well the estimates (table `attribution_patching`) orders the neurons of the exact values (table `neuron_patching`).

    One row per prompt and positions: `neurons` compared, `rank_correlation` (Spearman, of signed values), `top` (strongest by
    absolute improvement, at most as many as there are neurons) and `top_found`: how many of them are among as many strongest by
    absolute attribution. Neurons of equal strength rank in the order of layer and neuron.
    """
    group = ("prompt", "positions")
    order = (*group, "layer", "neuron")
    both = exact.select(*order, "improvement").join(estimates.select(*order, "attribution"), on=order).sort(order)
    place = {name: pl.col(name).abs().rank("ordinal", descending=True).over(group) for name in ("improvement", "attribution")}
    is_top, is_chosen = place["improvement"] <= top, place["attribution"] <= top
    return (
        both.with_columns(is_top=is_top, is_found=is_top & is_chosen)
        .group_by(group, maintain_order=True)
        .agg(
            neurons=pl.len(),
            rank_correlation=pl.corr("improvement", "attribution", method="spearman"),
            top=pl.col("is_top").sum(),
            top_found=pl.col("is_found").sum(),
        )
    )
