"""The table `prompt_ablation`: how probable each tracked token is after a prompt, before and after a neuron is ablated.

Holds the rows and the activations that are put in. What they change is computed in prompt_effects.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.ablation.ablated_positions import SEED
from assets.ablation.donors import Donors, Neurons
from assets.ablation.input_negation import INPUT_NEGATIONS, negated_inputs
from assets.ablation.position_effects import run_window
from assets.ablation.prompt_effects import changed_probabilities, probabilities
from assets.ablation.readout import Readout
from assets.ablation.replacements import ABLATIONS, corpus_means
from assets.contracts import PROMPT_ABLATION, conform
from assets.model.language_model import LanguageModel
from assets.model.quick_products import quick_products
from assets.progress import Tally, Told
from assets.prompts.prompt_runs import PromptRun
from assets.prompts.prompts import EncodedPrompt

if TYPE_CHECKING:
    import torch

POSITIONS = ("all", "last")
PROMPT_ABLATIONS = (*ABLATIONS, *INPUT_NEGATIONS)


@quick_products()
def prompt_ablation(
    model: LanguageModel,
    prompts: Sequence[EncodedPrompt],
    token_ids: Sequence[int],
    neurons: Neurons,
    neuron_statistics: pl.DataFrame,
    drawn: Donors,
    progress: Told | None = None,
) -> pl.DataFrame:
    """One row per prompt, variant, `all` or `last` positions, neuron (layer -> neurons), ablation and token.

    `drawn` holds donors of exactly these neurons; each position of a prompt takes one of them, the same for every neuron. `progress` is
    told tokens of prompts done and in all.
    """
    neurons = {layer: neurons[layer] for layer in sorted(neurons) if neurons[layer]}
    variants = [(prompt.name, variant, ids) for prompt in prompts for variant, ids, _ in prompt.variants] if neurons else []
    readout, frames = Readout.of(model), []
    tally = Tally(progress, sum(len(ids) for _, _, ids in variants))
    for prompt, variant, ids in variants:
        frame = _of_variant(model, readout, ids, token_ids, neurons, neuron_statistics, drawn)
        frames.append(frame.with_columns(prompt=pl.lit(prompt), variant=pl.lit(variant)))
        tally.add(len(ids))
    named = pl.col("token_id").map_elements(lambda entry: model.token_texts[entry], return_dtype=pl.String)
    found = pl.concat(frames).with_columns(token=named) if frames else pl.DataFrame(schema=PROMPT_ABLATION.schema)
    return conform(PROMPT_ABLATION, found.select(PROMPT_ABLATION.schema.names()))


def _of_variant(
    model: LanguageModel,
    readout: Readout,
    ids: Sequence[int],
    token_ids: Sequence[int],
    neurons: Neurons,
    neuron_statistics: pl.DataFrame,
    drawn: Donors,
) -> pl.DataFrame:
    """The table's rows of one text, without its name."""
    run = run_window(model, ids, list(neurons))
    changes = _changes(model, run, ids, neurons, neuron_statistics, drawn)
    before = probabilities(run.logits[None], token_ids)[0]  # [token]
    frames = []
    for positions in POSITIONS:
        first = 0 if positions == "all" else len(ids) - 1
        changed = {layer: change[..., first:] for layer, change in changes.items()}
        after = changed_probabilities(model, readout, run, ids, neurons, changed, token_ids)  # [ablation, neuron, token]
        names = pl.DataFrame(
            [
                (positions, layer, neuron, ablation)
                for ablation in PROMPT_ABLATIONS
                for layer, chosen in neurons.items()
                for neuron in chosen
            ],
            schema=["positions", "layer", "neuron", "ablation"],
            orient="row",
        )
        named = names.with_columns(
            pl.Series("after", after.flatten(0, 1).double().tolist()),
            before=pl.lit(before.double().tolist()),
            token_id=pl.lit(list(token_ids)),
        )
        frames.append(named.explode("before", "token_id", "after"))
    return pl.concat(frames)


def _changes(
    model: LanguageModel, run: PromptRun, ids: Sequence[int], neurons: Neurons, neuron_statistics: pl.DataFrame, drawn: Donors
) -> "dict[int, torch.Tensor]":
    """Layer -> float32 [ablation, neuron, position] in the order of PROMPT_ABLATIONS: replacement minus activation."""
    import torch

    donor = drawn.drawn_for(np.full(len(ids), -1), np.random.default_rng([SEED, 4]))
    negated = negated_inputs(model, run, ids, neurons)
    changes = {}
    for layer, chosen in neurons.items():
        clean = run.values[model.neuron_hook(layer)][:, list(chosen)].float()  # [position, neuron]
        means = torch.from_numpy(corpus_means(neuron_statistics, layer, chosen)).to(clean.device).expand_as(clean)
        donated = drawn.activations[layer][donor].to(clean.device)
        ablated = torch.stack([torch.zeros_like(clean), means, donated, -clean, *negated[layer]])
        changes[layer] = (ablated - clean).transpose(1, 2)
    return changes
