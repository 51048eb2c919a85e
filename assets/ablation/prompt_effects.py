"""How probable tokens are after a prompt whose activations are changed: many neurons and ways at once.

A change of one neuron's activation changes its MLP's output by the change x output weights, and the residual stream after its block by what
the model makes of that (assets.model.writing). From there the run goes
on (prompts.continuation), over the keys and values of the positions before the first that is changed. The largest effects are
held against a plain forward pass. A model that computes something else (a mask of another form) is run plainly, every
neuron and way a row of the batch: many times slower, and right.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from assets.ablation.donors import Neurons
from assets.ablation.plain_ablation import Ablated, require_plain_forward_agrees
from assets.ablation.readout import Readout, Target
from assets.model.language_model import LanguageModel
from assets.model.refusals import ModelError
from assets.model.writing import Writing
from assets.prompts.continuation import Entering, StreamContinuation
from assets.prompts.prompt_runs import PromptRun, last_logits_alone, residual_after

if TYPE_CHECKING:
    import torch

TOKENS_IN_BATCH = 4096  # of plain runs

Changes = Mapping[int, "torch.Tensor"]  # layer -> float32 [ablation, neuron, position]: of the last positions of a prompt


def changed_probabilities(
    model: LanguageModel,
    readout: Readout,
    run: PromptRun,
    ids: Sequence[int],
    neurons: Neurons,
    changes: Changes,
    token_ids: Sequence[int],
) -> "torch.Tensor":
    """Float32 [ablation, neuron, token] on the CPU, neurons layer after layer; layers in ascending order.

    `run` comes from run_window of `ids`. A change of 0 at every position changes nothing and is not run.
    """
    try:
        found = _continued(model, readout, run, ids, neurons, changes, token_ids)
        _require_agreement(model, run, ids, neurons, changes, token_ids, found)
    except ModelError:
        found = _plain(model, ids, neurons, changes, token_ids)
    return found[:, :, 0]


def probabilities(logits: "torch.Tensor", token_ids: Sequence[int]) -> "torch.Tensor":
    """Float32 [variant, token] of float32 logits [variant, vocabulary]."""
    return _tokens_read(logits, token_ids)[:, 0]


def _tokens_read(logits: "torch.Tensor", token_ids: Sequence[int]) -> "torch.Tensor":
    """Float32 [variant, probability or logit, token] on the CPU."""
    import torch

    own = logits[:, list(token_ids)]
    return torch.stack([(own - logits.logsumexp(-1, keepdim=True)).exp(), own], dim=1).cpu()


def _continued(
    model: LanguageModel,
    readout: Readout,
    run: PromptRun,
    ids: Sequence[int],
    neurons: Neurons,
    changes: Changes,
    token_ids: Sequence[int],
) -> "torch.Tensor":
    """Float32 [ablation, neuron, probability or logit, token], from each neuron's block on."""
    import torch

    first = len(ids) - next(iter(changes.values())).shape[-1]
    entering, moved = [], []
    for layer, chosen in neurons.items():
        weights = model.bridge.blocks[layer].mlp.W_out[list(chosen)].float()  # [neuron, model width]
        change = changes[layer]
        moved.append((change.ne(0).any(-1) & weights.ne(0).any(1)).nonzero())  # [variant, (ablation, neuron)]
        clean, writing = run.values[residual_after(layer)][first:], Writing.of_mlp(model, layer)  # [position, model width]
        output = None if writing.entry is None else run.values[writing.entry][first:]  # [position, model width]

        def residual(  # type: ignore[no-untyped-def]
            rows: slice, moved=moved[-1], change=change, weights=weights, clean=clean, writing=writing, output=output
        ) -> torch.Tensor:
            ablation, neuron = moved[rows].T
            written = change[ablation, neuron][..., None] * weights[neuron][:, None]  # float32 [variant, position, model width]
            return (clean.float() + writing.change(written, output)).to(clean.dtype)

        entering.append(Entering(layer + 1, len(moved[-1]), residual))

    def read(stream: "torch.Tensor") -> "torch.Tensor":
        return torch.cat([_tokens_read(logits, token_ids) for logits in readout.in_parts(stream)])

    unchanged = _tokens_read(run.logits[None], token_ids)[0]  # [probability or logit, token]
    found = StreamContinuation(model, run.keys_values, first, len(ids)).read(entering, read).view(-1, *unchanged.shape)
    parts = []
    for places, own, change in zip(moved, found.split([len(one) for one in moved]), changes.values(), strict=True):
        parts.append(unchanged.repeat(*change.shape[:2], 1, 1))
        parts[-1][tuple(places.cpu().T)] = own
    return torch.cat(parts, dim=1)


def _require_agreement(
    model: LanguageModel,
    run: PromptRun,
    ids: Sequence[int],
    neurons: Neurons,
    changes: Changes,
    token_ids: Sequence[int],
    found: "torch.Tensor",
) -> None:
    """The largest change of a token's logit by any neuron, and by one of the lowest layer, are done once more in a plain forward pass.

    Not the largest of each layer, which would cost as much as all the rest: from the lowest, every block above has its part in it.
    """
    moved = found[:, :, 1] - run.logits[list(token_ids)].cpu()  # [ablation, neuron, token]
    named = [(layer, place, neuron) for layer, chosen in neurons.items() for place, neuron in enumerate(chosen)]
    for own in (moved, moved[:, : len(next(iter(neurons.values())))]):
        ablation, column, token = (int(index) for index in np.unravel_index(int(own.abs().argmax()), own.shape))
        layer, place, neuron = named[column]
        change = changes[layer][ablation, place]  # [position]
        target = Target(len(ids) - 1, token_ids[token], token_ids[token])
        require_plain_forward_agrees(model, ids, target, [Ablated(layer, neuron, change, float(own[ablation, column, token]))])


def _plain(model: LanguageModel, ids: Sequence[int], neurons: Neurons, changes: Changes, token_ids: Sequence[int]) -> "torch.Tensor":
    """The same as _continued by plain forward passes of the whole prompt."""
    import torch

    parts = []
    for layer, chosen in neurons.items():
        change = changes[layer].flatten(0, 1)  # [variant, position]
        places = torch.tensor(list(chosen), device=change.device).repeat(len(changes[layer]))  # [variant]
        read = []
        for some in torch.arange(len(places)).split(max(1, TOKENS_IN_BATCH // len(ids))):

            def hook(activations: torch.Tensor, hook: object, some=some, change=change, places=places) -> torch.Tensor:  # type: ignore[no-untyped-def]
                changed = activations.clone()  # [variant, position, neuron]
                changed[torch.arange(len(some)), -change.shape[1] :, places[some]] += change[some].to(changed.dtype)
                return changed

            tokens = torch.tensor([list(ids)] * len(some), device=model.device)
            with torch.inference_mode(), model.bridge.hooks(fwd_hooks=[(model.neuron_hook(layer), hook), last_logits_alone()]):
                logits = model.bridge(tokens, use_cache=False, output_attentions=False)[:, -1].float()  # [variant, vocabulary]
            read.append(_tokens_read(logits, token_ids))
        parts.append(torch.cat(read).unflatten(0, (len(changes[layer]), len(chosen))))
    return torch.cat(parts, dim=1)
