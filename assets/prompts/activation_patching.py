"""Activation patching: one component's output at one layer and position, taken from the clean run into the corrupt run.

Components are the `residual` stream before the block, the outputs of its `attention` and its `mlp`, and what a single `head` of its
attention adds to the stream: its slice of the output projection's input, times its rows of that projection (through a norm behind the attention,
where the model has one). Each patch changes the residual stream of one block at one position; all positions of a layer go through the
rest of the model as one batch.

Before the table is handed out, the strongest patch of each component and layer is done once more in a plain forward pass.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.contracts import ACTIVATION_PATCHING, conform
from assets.model.final_logits import tolerance
from assets.model.language_model import LanguageModel
from assets.model.quick_products import quick_products
from assets.model.refusals import UnsupportedModelError
from assets.model.writing import Writing, head_weights
from assets.progress import Tally, Told
from assets.prompts.continuation import Continuation
from assets.prompts.plain_patching import Patch, Patched, require_plain_forward_agrees
from assets.prompts.prompt_runs import (
    PairRuns,
    attention_output,
    head_outputs,
    mlp_output,
    require_defined_improvement,
    residual_after,
    residual_before,
    run_pair,
)
from assets.prompts.prompts import EncodedPrompt, PromptPair, prompt_pairs

if TYPE_CHECKING:
    import torch

WHOLE = ("residual", "attention", "mlp")
HEAD = "head"


@quick_products()
def activation_patching(model: LanguageModel, prompts: Sequence[EncodedPrompt], progress: Told | None = None) -> pl.DataFrame:
    """The table `activation_patching`: one row per prompt with a corrupt partner, component (and head), layer and position.

    Before the first token that differs both runs hold the same values: improvement 0 by construction, not computed. Raises
    PromptError, before anything is patched, for a prompt whose improvement is undefined, and ModelError for a model whose heads
    do not add up to what its attention writes, or for which a plain forward pass gives something else. `progress` is told positions times
    the blocks that they go through.
    """
    pairs = prompt_pairs(prompts)
    require_defined_improvement(model, pairs)
    layers = range(model.facts.layers)
    tally = Tally(progress, sum(_work(model, pair, layer) for pair in pairs for layer in layers))
    frames = [_patch_pair(model, pair, tally) for pair in pairs]
    return conform(ACTIVATION_PATCHING, pl.concat(frames) if frames else ACTIVATION_PATCHING.schema.to_frame())


def _work(model: LanguageModel, pair: PromptPair, layer: int) -> int:
    """Positions of the patches of a component of the layer, times the blocks that follow it and what comes after the last."""
    changed = pair.positions - pair.first_difference
    return changed * changed * (model.facts.layers - layer)  # a variant for each position, of as many positions


def _patch_pair(model: LanguageModel, pair: PromptPair, tally: Tally) -> pl.DataFrame:
    hooks = (residual_before, residual_after, attention_output, mlp_output, head_outputs)
    wanted = [(*(hook(layer) for hook in hooks), *Writing.of_attention(model, layer).hooks) for layer in range(model.facts.layers)]
    runs = run_pair(model, pair, [hook for own in wanted for hook in own])
    rest = Continuation(model, runs, pair.first_difference)
    frames = []
    for layer in range(model.facts.layers):
        frames.append(_patch_layer(model, rest, runs, layer))
        tally.add(_work(model, pair, layer))
    frame = pl.concat(frames)
    require_plain_forward_agrees(model, runs, _strongest(model, runs, frame))
    return frame


def _strongest(model: LanguageModel, runs: PairRuns, frame: pl.DataFrame) -> list[Patch]:
    """Of each component and layer, the head and position whose patch changes the logit difference most."""
    sizes = frame.with_columns(size=(pl.col("difference") - runs.corrupt_difference).abs()).sort(
        "size", descending=True, maintain_order=True
    )
    rows = sizes.group_by("component", "layer", maintain_order=True).first()
    hooks = {"residual": residual_before, "attention": attention_output, "mlp": mlp_output, HEAD: head_outputs}
    patches = []
    for row in rows.iter_rows(named=True):
        layer, entries, name = row["layer"], slice(None), row["component"]
        if name == HEAD:
            width = head_weights(model, layer).shape[1]
            entries, name = slice(row["head"] * width, (row["head"] + 1) * width), f"head {row['head']}"
        place = slice(row["position"], row["position"] + 1)
        name = f"{name} of layer {layer} at position {row['position']}"
        patches.append(Patch(name, (Patched(hooks[row["component"]](layer), place, entries),), row["difference"]))
    return patches


def _patch_layer(model: LanguageModel, rest: Continuation, runs: PairRuns, layer: int) -> pl.DataFrame:
    """Rows of one prompt and layer: the whole components, then its heads."""
    import torch

    first = rest.first_position
    clean, corrupt = (
        {hook: run.values[hook(layer)][first:] for hook in (residual_before, residual_after, attention_output, mlp_output)}
        for run in (runs.clean, runs.corrupt)
    )
    written = corrupt[attention_output] + head_changes(model, runs, layer)[:, first:]  # [head, position, model width]
    attentions = torch.cat([clean[attention_output][None], written.to(clean[attention_output].dtype)])
    mlp = corrupt[residual_after] + clean[mlp_output] - corrupt[mlp_output]
    left = torch.cat([rest.leave_block(layer, corrupt[residual_before], attentions), mlp[None]])
    entering = _patch_positions(rest, runs, layer, clean[residual_before][None])
    leaving = _patch_positions(rest, runs, layer + 1, left)
    heads = len(attentions) - 1
    differences = torch.cat([entering, leaving[:1], leaving[-1:], leaving[1:-1]])  # [component, position]
    return _frame(runs, layer, heads, differences)


def head_changes(model: LanguageModel, runs: PairRuns, layer: int) -> "torch.Tensor":
    """Float32 [head, position, model width]: what each head adds to the stream in the clean run, less what it adds in the corrupt one.

    Raises UnsupportedModelError where the heads do not sum to the attention's output: something stands between them and the stream.
    """
    import torch

    writing = Writing.of_attention(model, layer)
    summed = writing.entry or attention_output(layer)  # what the heads, with a bias, add up to: before a norm, if there is one
    weights = head_weights(model, layer)  # [head, head width, model width]
    with torch.inference_mode():
        given = runs.clean.values[head_outputs(layer)].float() - runs.corrupt.values[head_outputs(layer)].float()
        changes = torch.einsum("phw,hwm->hpm", given.view(len(given), *weights.shape[:2]), weights)
        factor = writing.factor if writing.entry is None else 1.0
        whole = runs.clean.values[summed].float() - runs.corrupt.values[summed].float()
        largest = max(float(run.values[summed].abs().max()) for run in (runs.clean, runs.corrupt))
        apart = float((changes.sum(0) * factor - whole).abs().max())
    allowed = tolerance(model) * max(1.0, largest)
    if not apart <= allowed:  # also true for NaN
        raise UnsupportedModelError(f"model {model.facts.architecture}: what the heads of layer {layer} write is up to {apart:.6g} away from what its "
                         f"attention adds to the residual stream (allowed {allowed:.2g}): something else stands between them (a norm, a "
                         "factor or a gate), so single heads cannot be patched; choose another model for this page")  # fmt: skip
    with torch.inference_mode():
        return writing.change(changes, None if writing.entry is None else runs.corrupt.values[writing.entry])


def _patch_positions(rest: Continuation, runs: PairRuns, entered: int, patched: "torch.Tensor") -> "torch.Tensor":
    """Float32 [variant, position]: logit difference with the stream entering block `entered` taken from `patched` at one position.

    `patched` is [variant, position, model width], from `rest.first_position` on; what is returned has all positions.
    """
    import torch

    first, layers = rest.first_position, len(runs.corrupt.keys_values)
    corrupt = runs.corrupt.values[residual_before(entered) if entered < layers else residual_after(layers - 1)][first:]
    differences = torch.full((len(patched), runs.pair.positions), runs.corrupt_difference)
    # After the last block a position reaches only its own logits: all but the last one change nothing.
    places = torch.arange(rest.positions - 1 if entered == layers else 0, rest.positions, device=patched.device)
    variant = torch.arange(len(patched), device=patched.device).repeat_interleave(len(places))
    place = places.repeat(len(patched))

    def residual(rows: slice) -> "torch.Tensor":
        which, here = variant[rows], place[rows]
        streams = corrupt.repeat(len(here), 1, 1)  # [variant and place, position, model width]
        streams[torch.arange(len(here), device=corrupt.device), here] = patched[which, here]
        return streams

    differences[variant.cpu(), first + place.cpu()] = rest.differences(entered, residual, len(place))
    return differences


def _frame(runs: PairRuns, layer: int, heads: int, differences: "torch.Tensor") -> pl.DataFrame:
    components, positions = differences.shape
    return pl.DataFrame(
        {
            "component": np.repeat([*WHOLE, *[HEAD] * heads], positions),
            "head": pl.Series([*[None] * len(WHOLE), *range(heads)], dtype=pl.Int32).gather(np.repeat(np.arange(components), positions)),
            "position": np.tile(np.arange(positions), components),
            "token": list(runs.pair.prompt.clean_texts) * components,
            "difference": differences.reshape(-1).numpy(),
            "improvement": runs.improvement(differences).reshape(-1).numpy(),
        }
    ).with_columns(prompt=pl.lit(runs.pair.prompt.name), layer=pl.lit(layer, pl.Int32))
