"""Attribution patching, a gradient's estimate of neuron patching: every neuron of every layer from one forward and one backward pass.

To first order, patching a neuron changes the logit difference by (clean - corrupt activation) x the gradient of the difference
with respect to the activation, taken on the corrupt run (attribution patching, Nanda 2023). It misses whatever is not linear:
saturation, and attention that moves. attribution_agreement says how far it can be trusted on a prompt whose exact values are known.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from assets.contracts import ATTRIBUTION_PATCHING, conform
from assets.model.language_model import LanguageModel
from assets.prompts.neuron_gradients import activation_change, neuron_gradients
from assets.prompts.prompt_runs import require_defined_improvement, run_pair
from assets.prompts.prompts import EncodedPrompt, PromptPair, prompt_pairs

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
