"""The table `prompt_ablation`: how probable each tracked token is after a prompt, before and after a neuron is ablated.

Few neurons and short prompts: plain forward passes, one neuron and ablation to a row of the batch.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.ablation.ablated_positions import SEED
from assets.ablation.input_negation import INPUT_NEGATIONS, input_hook, kept_biases
from assets.ablation.replacements import ABLATIONS, Donors, corpus_means
from assets.contracts import PROMPT_ABLATION, conform
from assets.model.language_model import LanguageModel
from assets.prompts.prompt_runs import run_prompt
from assets.prompts.prompts import EncodedPrompt

if TYPE_CHECKING:
    import torch

POSITIONS = ("all", "last")
PROMPT_ABLATIONS = (*ABLATIONS, *INPUT_NEGATIONS)
TOKENS_IN_BATCH = 4096  # with logits at every position, 4,096 x 50,257 x 4 bytes = 0.8 GB for GPT-2


def prompt_ablation(
    model: LanguageModel,
    prompts: Sequence[EncodedPrompt],
    token_ids: Sequence[int],
    neurons: Mapping[int, Sequence[int]],
    neuron_statistics: pl.DataFrame,
    drawn: Donors,
) -> pl.DataFrame:
    """One row per prompt, variant, `all` or `last` positions, neuron (layer -> neurons), ablation and token.

    `drawn` holds donors of exactly these neurons; each position of a prompt takes one of them, the same for every neuron.
    """
    cases = [(layer, place) for layer, chosen in neurons.items() for place in range(len(chosen))]
    frames = [
        _variant(model, prompt.name, variant, ids, token_ids, neurons, cases, neuron_statistics, drawn)
        for prompt in prompts
        for variant, ids, _ in prompt.variants
        if cases
    ]
    return conform(PROMPT_ABLATION, pl.concat(frames) if frames else pl.DataFrame(schema=PROMPT_ABLATION.schema))


def _variant(
    model: LanguageModel,
    prompt: str,
    variant: str,
    ids: Sequence[int],
    token_ids: Sequence[int],
    neurons: Mapping[int, Sequence[int]],
    cases: Sequence[tuple[int, int]],
    neuron_statistics: pl.DataFrame,
    drawn: Donors,
) -> pl.DataFrame:
    import torch

    before = run_prompt(model, ids, ()).logits.softmax(-1)[list(token_ids)].tolist()
    donor = drawn.drawn_for(np.full(len(ids), -1), np.random.default_rng([SEED, 4]))
    # A case is (positions, ablation, layer, place of the neuron), and one row of the batch.
    rows = [(positions, ablation, *case) for positions in POSITIONS for ablation in PROMPT_ABLATIONS for case in cases]
    fixed = np.zeros((len(rows), len(ids)), dtype=np.float32)  # [row, position]; negations are done in the run
    for layer, chosen in neurons.items():
        means, donated = corpus_means(neuron_statistics, layer, chosen), drawn.activations[layer][donor].cpu().numpy()  # [position, neuron]
        for row, (_, ablation, of_layer, place) in enumerate(rows):
            if of_layer == layer and ablation in ("mean", "resample"):
                fixed[row] = means[place] if ablation == "mean" else donated[:, place]
    after = []
    step = max(1, TOKENS_IN_BATCH // len(ids))
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        after.append(_ablated(model, ids, rows[some], torch.from_numpy(fixed[some]).to(model.device), neurons)[:, list(token_ids)])
    frame = pl.DataFrame(
        [(positions, layer, neurons[layer][place], ablation) for positions, ablation, layer, place in rows],
        schema=["positions", "layer", "neuron", "ablation"],
        orient="row",
    ).with_columns(prompt=pl.lit(prompt), variant=pl.lit(variant), after=pl.Series(torch.cat(after).double().tolist()))
    return (
        frame.with_columns(before=pl.lit(before), token_id=pl.lit(list(token_ids)), token=pl.lit([model.token_texts[t] for t in token_ids]))
        .explode("before", "token_id", "token", "after")
        .select(PROMPT_ABLATION.schema.names())
    )


def _ablated(
    model: LanguageModel,
    ids: Sequence[int],
    rows: Sequence[tuple[str, str, int, int]],
    fixed: "torch.Tensor",
    neurons: Mapping[int, Sequence[int]],
) -> "torch.Tensor":
    """Float32 [row, vocabulary] on the CPU: probabilities after the prompt, each row with its own neuron replaced."""
    import torch

    layers = torch.tensor([layer for _, _, layer, _ in rows], device=model.device)
    places = torch.tensor([neurons[layer][place] for _, _, layer, place in rows], device=model.device)
    negated = torch.tensor([ablation == "negation" for _, ablation, _, _ in rows], device=model.device)
    here = torch.tensor([positions == "all" for positions, _, _, _ in rows], device=model.device)[:, None].repeat(1, len(ids))
    here[:, -1] = True  # [row, position]

    turned = [INPUT_NEGATIONS.index(ablation) if ablation in INPUT_NEGATIONS else -1 for _, ablation, _, _ in rows]
    way = torch.tensor(turned, device=model.device)  # [row]: which bias is kept; -1 where it is the activation that is replaced

    def negate_input(layer: int):  # type: ignore[no-untyped-def]
        mine = ((layers == layer) & (way >= 0)).nonzero()[:, 0]
        kept = kept_biases(model, layer)[way[mine], places[mine], None] if len(mine) else torch.empty(0, 1)  # [row, 1]

        def hook(inputs: torch.Tensor, hook: object) -> torch.Tensor:
            changed = inputs.clone()  # [row, position, neuron]
            own = changed[mine, :, places[mine]]  # [row, position]
            changed[mine, :, places[mine]] = torch.where(here[mine], 2 * kept.to(own.dtype) - own, own)
            return changed

        return input_hook(layer), hook

    def replace(layer: int):  # type: ignore[no-untyped-def]
        mine = ((layers == layer) & (way < 0)).nonzero()[:, 0]

        def hook(activations: torch.Tensor, hook: object) -> torch.Tensor:
            changed = activations.clone()  # [row, position, neuron]
            own = changed[mine, :, places[mine]]  # [row, position]
            new = torch.where(negated[mine, None], -own, fixed[mine].to(own.dtype))
            changed[mine, :, places[mine]] = torch.where(here[mine], new, own)
            return changed

        return model.neuron_hook(layer), hook

    tokens = torch.tensor([list(ids)], device=model.device).expand(len(rows), -1)
    hooks = [change(layer) for layer in sorted(set(layers.tolist())) for change in (negate_input, replace)]
    with torch.inference_mode(), model.bridge.hooks(fwd_hooks=hooks):
        return model.bridge(tokens, use_cache=False, output_attentions=False)[:, -1].float().softmax(-1).cpu()
