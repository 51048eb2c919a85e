"""The table `patched_neuron_sets`: neurons patched together, for what no neuron restores by itself.

From the clean run into the corrupt run, at the last position. The sets are grown one neuron at a time:

1. The first neuron is the one that restores most by itself (neuron_patching).
2. Each next one is the neuron that, together with those before it, restores most. Every candidate is run: the CANDIDATES neurons that
   restore most by themselves, of the layers that were patched. It ends at LARGEST_SET neurons, or when the next would add less than
   SMALLEST_ADDED of the logit difference.

A set is one run, not a sum: every neuron of it has its clean activation, whatever the earlier ones do to the stream that it reads. Growing
one by one need not find the best set of a size, and two neurons of which neither does anything alone can be overlooked.

A candidate is one row of a batch that goes on from the last position over the corrupt prompt's keys and values (continuation). Before the
table is handed out, the largest set of each prompt is patched once more in a plain forward pass of the whole model.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.contracts import PATCHED_NEURON_SETS, conform
from assets.model.language_model import LanguageModel
from assets.model.quick_products import quick_products
from assets.prompts.continuation import Continuation
from assets.prompts.plain_patching import Patch, Patched, require_plain_forward_agrees
from assets.prompts.prompt_runs import PairRuns, residual_before, run_pair
from assets.prompts.prompts import EncodedPrompt, PromptPair, prompt_pairs

if TYPE_CHECKING:
    import torch

CANDIDATES = 50  # one batch of one position each
LARGEST_SET = 10
SMALLEST_ADDED = 0.01  # of the logit difference
MOST_OF_IT = 0.9  # of what the largest set restores: a smaller set that restores so much is told instead
LARGEST_TOLD = 4  # neurons in a sentence, and sent to be studied

Neuron = tuple[int, int]  # layer, neuron


@quick_products()
def patched_neuron_sets(
    model: LanguageModel, prompts: Sequence[EncodedPrompt], patched: pl.DataFrame, tell: Callable[[str], None] = lambda line: None
) -> pl.DataFrame:
    """One row for each prompt and neuron of its largest set, in the order in which they were chosen; shares of the logit difference.

    `patched` is neuron_patching of these prompts. A prompt that no neuron restores SMALLEST_ADDED of has no rows. Raises ModelError for
    a model whose plain forward pass restores another share than the set's run.
    """
    frames = [_grow(model, pair, best_alone(patched, pair.prompt.name), tell) for pair in prompt_pairs(prompts)]
    return conform(PATCHED_NEURON_SETS, pl.concat(frames) if frames else PATCHED_NEURON_SETS.schema.to_frame())


def best_alone(patched: pl.DataFrame, prompt: str) -> pl.DataFrame:
    """The rows of neuron_patching of the prompt's candidates, the most restoring first; ties go to the lower layer, then neuron."""
    last = patched.filter((pl.col("prompt") == prompt) & (pl.col("positions") == "last"))
    return last.sort("improvement", "layer", "neuron", descending=[True, False, False]).head(CANDIDATES)


def joint_differences(model: LanguageModel, runs: PairRuns, rest: Continuation, sets: Sequence[Sequence[Neuron]]) -> "torch.Tensor":
    """Float32 [set] on the CPU: logit difference with the neurons of each set patched together, at the last position.

    `rest` continues from the last position; `runs` hold the activations of all layers named and the stream before the lowest one. At
    most TOKENS_IN_BATCH sets: they are one batch.
    """
    layers = sorted({layer for one in sets for layer, _ in one})
    entering = runs.corrupt.values[residual_before(layers[0])][-1]  # [model width]
    hooks = [(model.neuron_hook(layer), _set_to_clean(model, runs, sets, layer)) for layer in layers]
    with model.bridge.hooks(fwd_hooks=hooks):
        return rest.differences(layers[0], lambda rows: entering.expand(rows.stop - rows.start, 1, -1), len(sets))


def _set_to_clean(model: LanguageModel, runs: PairRuns, sets: Sequence[Sequence[Neuron]], layer: int) -> "Callable[..., torch.Tensor]":
    """A hook that gives the layer's neurons of each set their clean activation in the set's own row."""
    import torch

    clean = runs.clean.values[model.neuron_hook(layer)][-1]  # [neuron]
    places = [(row, neuron) for row, one in enumerate(sets) for at, neuron in one if at == layer]
    rows, neurons = torch.tensor(places, device=clean.device).T

    def hook(tensor: torch.Tensor, hook: object) -> torch.Tensor:
        activations = tensor.flatten(0, -2).clone()  # [set, and what fills up the last row; neuron]
        activations[rows, neurons] = clean[neurons]
        return activations.view_as(tensor)

    return hook


def _grow(model: LanguageModel, pair: PromptPair, alone: pl.DataFrame, tell: Callable[[str], None]) -> pl.DataFrame:
    """All rows of one prompt. `alone`: its candidates, as best_alone gives them."""
    single: dict[Neuron, float] = {(row["layer"], row["neuron"]): row["improvement"] for row in alone.iter_rows(named=True)}
    chosen: list[Neuron] = []
    restored = [0.0]
    if alone.height and alone["improvement"][0] >= SMALLEST_ADDED:
        layers = sorted({layer for layer, _ in single})
        runs = run_pair(model, pair, [*(model.neuron_hook(layer) for layer in layers), residual_before(layers[0])])
        rest = Continuation(model, runs, pair.positions - 1)
        chosen, difference = [next(iter(single))], alone["difference"][0]
        restored.append(single[chosen[0]])
        while len(chosen) < min(LARGEST_SET, len(single)):
            others = [neuron for neuron in single if neuron not in chosen]
            differences = joint_differences(model, runs, rest, [(*chosen, other) for other in others])
            shares = runs.improvement(differences.double()).numpy()
            best = int(np.argmax(shares))  # the first of equals: the better one alone
            if not shares[best] - restored[-1] >= SMALLEST_ADDED:  # also true for NaN
                break
            chosen, difference = [*chosen, others[best]], float(differences[best])
            restored.append(float(shares[best]))
        require_plain_forward_agrees(model, runs, [_patch_of(model, chosen, difference)])
        tell(f"prompt {pair.prompt.name}: {len(chosen)} neurons together restore {restored[-1]:.1%} of the logit difference")
    return _frame(pair.prompt.name, chosen, [single[neuron] for neuron in chosen], restored)


def _patch_of(model: LanguageModel, neurons: Sequence[Neuron], difference: float) -> Patch:
    name = " and ".join(f"layer {layer} neuron {neuron}" for layer, neuron in neurons)
    patched = [Patched(model.neuron_hook(layer), slice(-1, None), slice(neuron, neuron + 1)) for layer, neuron in neurons]
    return Patch(name, tuple(patched), difference)


def _frame(prompt: str, chosen: Sequence[Neuron], alone: Sequence[float], restored: Sequence[float]) -> pl.DataFrame:
    """`restored` begins with the 0 of no neuron."""
    enough = MOST_OF_IT * restored[-1]
    return pl.DataFrame(
        {
            "size": pl.Series(range(1, len(chosen) + 1), dtype=pl.Int32),
            "layer": pl.Series([layer for layer, _ in chosen], dtype=pl.Int32),
            "neuron": pl.Series([neuron for _, neuron in chosen], dtype=pl.Int32),
            "alone": pl.Series(alone, dtype=pl.Float64),
            "restored": pl.Series(restored[1:], dtype=pl.Float64),
            "added": pl.Series(np.diff(restored), dtype=pl.Float64),
            "is_told": pl.Series([size < LARGEST_TOLD and before < enough for size, before in enumerate(restored[:-1])], dtype=pl.Boolean),
        }
    ).with_columns(prompt=pl.lit(prompt))
