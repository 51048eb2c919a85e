"""Neuron patching: the activation of one neuron taken from the clean run into the corrupt run, for every neuron, to within rounding.

The published notebook runs the whole model once a neuron. Here, for a neuron of layer l:

1. The MLP's output is linear in its neurons, so the patch adds (clean - corrupt activation) x output weights to it, and that, times the
   model's factor or through the norm behind the MLP if it has one (assets.model.writing), to the residual stream after block l. Nothing
   below, and nothing before the first token that differs, is computed again.
2. Many neurons go through blocks l + 1 and on as one batch (continuation). After the last layer only the final norm is left.
3. A neuron whose activation is the same in both runs changes nothing and is not run: improvement exactly 0.
4. Most patches are so small that the logit difference is linear in them. Neurons are run in the order of what a gradient is likely to miss, and
   beside them some of all others, until of a whole batch the gradient misses no more than rounding does; for the rest it is taken.

Before the table is handed out, the strongest neuron of each layer is also patched in a plain forward pass of the whole model.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.contracts import NEURON_PATCHING, conform
from assets.model.language_model import LanguageModel
from assets.model.quick_products import quick_products
from assets.model.refusals import ModelError
from assets.model.writing import Writing
from assets.progress import Tally, Told
from assets.prompts.continuation import TOKENS_IN_BATCH, Continuation
from assets.prompts.neuron_gradients import activation_change, neuron_gradients, second_order
from assets.prompts.plain_patching import Patch, Patched, require_plain_forward_agrees
from assets.prompts.prompt_runs import PairRuns, require_defined_improvement, residual_after, run_pair
from assets.prompts.prompts import EncodedPrompt, PromptPair, prompt_pairs

if TYPE_CHECKING:
    import torch

POSITIONS = ("all", "last")
LINEAR = (
    2e-6  # of the largest logit involved: twice what runs in float32 differ by from the gradient for the smallest patches (SmolLM2-135M)
)
LEAST_TRIED, LEAST_TOKENS = 128, 256  # neurons and their positions that are run before the gradient is taken for any
BESIDE = 4  # of so many in a batch one is of those that would be left


@quick_products()
def neuron_patching(
    model: LanguageModel,
    prompts: Sequence[EncodedPrompt],
    layers: Sequence[int] | None = None,
    tokens_in_batch: int = TOKENS_IN_BATCH,
    progress: Told | None = None,
    positions: Sequence[str] = POSITIONS,
) -> pl.DataFrame:
    """The table `neuron_patching`: every neuron of `layers` (all if None), for each prompt with a corrupt partner and each of `positions`.

    `tokens_in_batch` bounds the memory: so many changed positions go through the model at once. Raises PromptError, before
    anything is patched, for a prompt whose improvement is undefined, and ModelError for a layer that does not exist or for a
    model whose MLPs do not write their neurons straight into the residual stream. `progress` is told positions times the blocks that they
    go through, which is what a layer costs.
    """
    pairs = prompt_pairs(prompts)
    chosen = _chosen_layers(model, layers)
    require_defined_improvement(model, pairs)
    tally = Tally(progress, sum(_work(model, pair, place, layer) for pair in pairs for place in positions for layer in chosen))
    frames = [_patch_pair(model, pair, chosen, positions, tokens_in_batch, tally) for pair in pairs if chosen]
    return conform(NEURON_PATCHING, pl.concat(frames) if frames else NEURON_PATCHING.schema.to_frame())


def _chosen_layers(model: LanguageModel, layers: Sequence[int] | None) -> list[int]:
    chosen = list(range(model.facts.layers)) if layers is None else sorted(set(layers))
    unknown = [layer for layer in chosen if not 0 <= layer < model.facts.layers]
    if unknown:
        raise ModelError(f"neuron patching: layers {unknown} do not exist; the model has layers 0 to {model.facts.layers - 1}")
    return chosen


def _work(model: LanguageModel, pair: PromptPair, positions: str, layer: int) -> int:
    """Positions of all variants of a layer, times the blocks that follow it and what comes after the last."""
    changed = pair.positions - pair.first_difference if positions == "all" else 1
    return model.facts.neurons * changed * (model.facts.layers - layer)


def _patch_pair(
    model: LanguageModel, pair: PromptPair, layers: Sequence[int], every_positions: Sequence[str], tokens_in_batch: int, tally: Tally
) -> pl.DataFrame:
    """All rows of one prompt."""
    hooks = [(model.neuron_hook(layer), residual_after(layer), *Writing.of_mlp(model, layer).hooks) for layer in layers]
    runs = run_pair(model, pair, [hook for own in hooks for hook in own])
    gradients = neuron_gradients(model, runs)
    frames = []
    for positions in every_positions:
        first = pair.first_difference if positions == "all" else pair.positions - 1
        rest = Continuation(model, runs, first, tokens_in_batch)
        strongest = []
        for layer in layers:
            differences = patch_neurons(model, runs, rest, layer, gradients[layer])
            effect = (differences - runs.corrupt_difference).abs()
            neuron = int(effect.argmax())
            name, one = f"layer {layer} neuron {neuron}", slice(neuron, neuron + 1)
            strongest.append(Patch(name, (Patched(model.neuron_hook(layer), slice(first, None), one),), float(differences[neuron])))
            frames.append(_frame(model, runs, positions, layer, differences))
            tally.add(_work(model, pair, positions, layer))
        require_plain_forward_agrees(model, runs, strongest)
    return pl.concat(frames)


def patch_neurons(model: LanguageModel, runs: PairRuns, rest: Continuation, layer: int, gradients: "torch.Tensor") -> "torch.Tensor":
    """Float32 [neuron] on the CPU: logit difference with each neuron of the layer patched from `rest.first_position` on, one at a time.

    `gradients` are those of the layer, of neuron_gradients.
    """
    import torch

    change = activation_change(model, runs, layer)[rest.first_position :]  # float32 [position, neuron]
    # After the last block a position reaches only its own logits.
    reaches = change[-1:] if layer == model.facts.layers - 1 else change
    moved = reaches.ne(0).any(0).nonzero()[:, 0]  # neurons that change anything at all
    differences = torch.full((change.shape[1],), runs.corrupt_difference)
    run = _Patches(model, runs, rest, layer, change)
    slopes = gradients[rest.first_position :]  # float32 [position, neuron]
    linear = runs.corrupt_difference + (slopes * change).sum(0).cpu()  # [neuron]
    order = second_order(model, runs, layer, change, slopes)[moved].argsort(descending=True, stable=True)
    left, at_once = moved[order], max(LEAST_TRIED, LEAST_TOKENS // rest.positions)
    allowed = LINEAR * max(1.0, runs.largest_logit)
    while len(left):
        tried, left = _next_and_some_beside(left, at_once)
        found, tried = run(tried), tried.cpu()
        differences[tried] = found
        if (found - linear[tried]).abs().max() <= allowed:  # false for NaN
            differences[left.cpu()] = linear[left.cpu()]
            break
    return differences


def _next_and_some_beside(left: "torch.Tensor", at_once: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Of the neurons that are left the next ones and, evenly, some of all behind them: `at_once` together; and the others in their order."""
    import torch

    first = at_once - at_once // BESIDE
    behind = len(left) - first
    if behind <= at_once // BESIDE:
        return left, left[:0]
    is_tried = torch.zeros(len(left), dtype=torch.bool, device=left.device)
    is_tried[:first] = True
    is_tried[first + torch.linspace(0, behind - 1, at_once // BESIDE).long()] = True
    return left[is_tried], left[~is_tried]


class _Patches:
    """Runs neurons of one layer, int64 [some], and gives the logit difference with each patched, float32 [some] on the CPU."""

    def __init__(self, model: LanguageModel, runs: PairRuns, rest: Continuation, layer: int, change: "torch.Tensor") -> None:
        self._rest, self._layer = rest, layer
        self._change = change.T.contiguous()  # [neuron, position]
        self._corrupt = runs.corrupt.values[residual_after(layer)][rest.first_position :]  # [position, model width]
        self._weights = model.bridge.blocks[layer].mlp.W_out  # [neuron, model width]
        self._writing = Writing.of_mlp(model, layer)
        entry = self._writing.entry
        self._output = None if entry is None else runs.corrupt.values[entry][rest.first_position :]  # [position, model width]

    def __call__(self, neurons: "torch.Tensor") -> "torch.Tensor":
        return self._rest.differences(self._layer + 1, lambda rows: self._residual(neurons[rows]), len(neurons))

    def _residual(self, neurons: "torch.Tensor") -> "torch.Tensor":
        written = self._change[neurons][:, :, None] * self._weights[neurons].float()[:, None]  # [variant, position, model width]
        return (self._corrupt.float() + self._writing.change(written, self._output)).to(self._corrupt.dtype)


def _frame(model: LanguageModel, runs: PairRuns, positions: str, layer: int, differences: "torch.Tensor") -> pl.DataFrame:
    hook = model.neuron_hook(layer)
    return pl.DataFrame(
        {
            "layer": np.full(len(differences), layer, dtype=np.int32),
            "neuron": np.arange(len(differences), dtype=np.int32),
            "clean_activation": runs.clean.values[hook][-1].float().cpu().numpy(),
            "corrupt_activation": runs.corrupt.values[hook][-1].float().cpu().numpy(),
            "difference": differences.double().numpy(),
            "improvement": runs.improvement(differences).numpy(),
        }
    ).with_columns(prompt=pl.lit(runs.pair.prompt.name), positions=pl.lit(positions))
