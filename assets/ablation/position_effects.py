"""What replacing one neuron's activation at one position does to the prediction there, for many neurons and ways at once.

An ablation at position p changes the output of the neuron's MLP by (replacement - activation) x output weights, and the residual stream
after its block by what the model makes of that (assets.model.writing), at p alone; what was read before p stays as it is. So one position
goes on over the keys and values of its prefix (prompts.continuation), hundreds of neurons in a batch. Later positions are not looked at:
the prediction at p does not depend on them.

**Direct and mediated.** The direct part of the change of a logit is what it would be if later blocks wrote what they wrote before:
the final norm, recomputed, of the clean final residual stream plus the neuron's change. The mediated part is the rest.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from assets.ablation.near_readout import LEAST_VARIANTS, NearReadout
from assets.ablation.readout import READ, Readout, Target, read_logits, read_stream
from assets.model.language_model import LanguageModel
from assets.model.writing import Writing
from assets.prompts.continuation import Entering, StreamContinuation
from assets.prompts.prompt_runs import PromptRun, residual_after, run_prompts

if TYPE_CHECKING:
    import torch

MEASURES = ("log_probability", "flipped", "loss", "logit", "direct", "mediated")


def run_window(model: LanguageModel, ids: Sequence[int], layers: Sequence[int]) -> PromptRun:
    """Run a window and keep what ablating neurons of these layers needs."""
    return run_windows(model, [ids], layers)[0]


def run_windows(model: LanguageModel, windows: Sequence[Sequence[int]], layers: Sequence[int]) -> list[PromptRun]:
    """The same of several in one batch."""
    kept = [(model.neuron_hook(layer), residual_after(layer), *Writing.of_mlp(model, layer).hooks) for layer in layers]
    hooks = [hook for own in kept for hook in own]
    return run_prompts(model, windows, list(dict.fromkeys((*hooks, residual_after(model.facts.layers - 1)))), keep_keys_values=True)


def position_effects(
    model: LanguageModel,
    run: PromptRun,
    target: Target,
    neurons: "Mapping[int, torch.Tensor]",
    changes: "Mapping[int, torch.Tensor]",
    readout: Readout | None = None,
    known: "torch.Tensor | None" = None,
) -> np.ndarray:
    """Float64 [ablation, column, measure] in the order of MEASURES; columns are the neurons, layer after layer.

    `neurons` gives int64 [neuron] for each layer, layers in ascending order; `changes` float32 [ablation, neuron]: replacement minus
    activation. `run` comes from run_window, `readout` is the model's, `known` are the unchanged logits float32 [vocabulary] at the target as
    known_logits gives them; each is made where it is absent. A change of 0, or output weights of 0, change nothing and are not run.
    """
    import torch

    last, readout = model.facts.layers - 1, readout or Readout.of(model)
    final = run.values[residual_after(last)][target.position]  # [model width]
    logits = next(known_logits(model, readout, [(run, target)])) if known is None else known  # [vocabulary]
    entering, moved, written = [], [], []
    for layer, chosen in neurons.items():
        weights = model.bridge.blocks[layer].mlp.W_out[chosen].float()  # [neuron, model width]
        change = changes[layer]
        moved.append((change.ne(0) & weights.ne(0).any(1)).nonzero())  # [variant, (ablation, neuron)]
        before, writing = run.values[residual_after(layer)][target.position], Writing.of_mlp(model, layer)
        output = None if writing.entry is None else run.values[writing.entry][target.position]  # [model width]

        def added(rows: slice, moved=moved[-1], change=change, weights=weights, writing=writing, output=output) -> torch.Tensor:  # type: ignore[no-untyped-def]
            ablation, neuron = moved[rows].T
            return writing.change(change[ablation, neuron][:, None] * weights[neuron], output)  # float32 [variant, model width]

        def residual(rows: slice, added=added, before=before) -> torch.Tensor:  # type: ignore[no-untyped-def]
            return (before.float() + added(rows)).to(before.dtype)[:, None]

        written.append(added)
        entering.append(Entering(layer + 1, len(moved[-1]), residual))
    with torch.inference_mode():
        clean = read_logits(logits[None], target).cpu()[0]  # [READ]
        near = NearReadout.of(readout, final, logits, target) if sum(map(len, moved)) >= LEAST_VARIANTS else None
        rest = StreamContinuation(model, run.keys_values, target.position, target.position + 1)
        read = rest.read(entering, near.read if near else lambda stream: read_stream(readout, stream, target)).view(-1, READ)
        parts = []
        for layer, added, places, own in zip(neurons, written, moved, read.split([len(one) for one in moved]), strict=True):
            directly = own[:, 3]  # after the last block nothing is left to mediate
            if layer < last:
                stream = (final.float() + added(slice(None))).to(final.dtype)
                directly = readout.token_logits(stream, target.token_id).cpu().double()
            effects = torch.zeros(*changes[layer].shape, len(MEASURES), dtype=torch.float64)
            effects[tuple(places.cpu().T)] = _measures(clean, own, directly)
            parts.append(effects.numpy())
    return np.concatenate(parts, axis=1)


def known_logits(model: LanguageModel, readout: Readout, places: "Sequence[tuple[PromptRun, Target]]") -> "Iterator[torch.Tensor]":
    """Float32 [vocabulary] of each run at its target, many in one product: six of SmolLM2-135M take 21 ms, one alone 8."""
    import torch

    final = residual_after(model.facts.layers - 1)
    streams = torch.stack([run.values[final][target.position] for run, target in places])  # [place, model width]
    for some in readout.pieces(streams):
        with torch.inference_mode():
            logits = readout.logits(some)
        yield from logits


def _measures(clean: "torch.Tensor", read: "torch.Tensor", directly: "torch.Tensor") -> "torch.Tensor":
    """Float64 [variant, measure] from what is read of the clean stream [READ], of the changed ones, and their direct logits."""
    import torch

    change = read - clean
    total, direct = change[:, 3], directly - clean[3]
    return torch.stack([change[:, 0], (change[:, 1] != 0).double(), change[:, 2], total, direct, total - direct], dim=1)
