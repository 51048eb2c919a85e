"""Patches done once more in plain forward passes of the whole model: what the fast ways of patching are held against in every run.

A model may break what the fast ways rest on without a word: its attention may see less than the whole prompt (a sliding window), or
something may stand between what a part writes and the residual stream. Holds no fast way of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from assets.model.final_logits import tolerance
from assets.model.language_model import LanguageModel
from assets.model.refusals import UnsupportedModelError
from assets.prompts.prompt_runs import PairRuns

TOKENS_IN_BATCH = 4096  # with logits at every position, 4,096 x 50,257 x 4 bytes = 0.8 GB for GPT-2


@dataclass(frozen=True)
class Patched:
    """Values of a hook taken from the clean run: those of some positions, and of some of what the hook holds at each."""

    hook: str
    positions: slice
    entries: slice


@dataclass(frozen=True)
class Patch:
    """What is patched together in one run of the corrupt prompt."""

    name: str  # for people
    patched: tuple[Patched, ...]
    difference: float  # logit difference answer - wrong answer that the fast way found


def require_plain_forward_agrees(model: LanguageModel, runs: PairRuns, patches: Sequence[Patch]) -> None:
    """Raise UnsupportedModelError for the first patch that a plain forward pass of the corrupt prompt gives another logit difference for.

    `runs` must hold the patched hooks of the clean run.
    """
    step = max(1, TOKENS_IN_BATCH // runs.pair.positions)
    for start in range(0, len(patches), step):
        _require_batch_agrees(model, runs, patches[start : start + step])


def _require_batch_agrees(model: LanguageModel, runs: PairRuns, patches: Sequence[Patch]) -> None:
    """The same for as many patches as go through the model at once, one a row."""
    import torch

    def patch(row: int, one: Patched):  # type: ignore[no-untyped-def]
        clean = runs.clean.values[one.hook].flatten(1)  # [position, entry]; heads may lie along an axis of their own

        def hook(tensor: torch.Tensor, hook: object) -> torch.Tensor:
            patched = tensor.flatten(2).clone()  # [patch as row, position, entry]
            patched[row, one.positions, one.entries] = clean[one.positions, one.entries]
            return patched.view_as(tensor)

        return one.hook, hook

    tokens = torch.tensor([list(runs.pair.corrupt)], device=model.device).expand(len(patches), -1)
    hooks = [patch(row, one) for row, entry in enumerate(patches) for one in entry.patched]
    with torch.inference_mode(), model.bridge.hooks(fwd_hooks=hooks):
        logits = model.bridge(tokens, use_cache=False, output_attentions=False)[:, -1].float()  # [row, vocabulary]
    plain = (logits[:, runs.pair.prompt.answer_id] - logits[:, runs.pair.prompt.wrong_answer_id]).tolist()
    allowed = tolerance(model) * max(1.0, float(logits.abs().max()))
    for entry, value in zip(patches, plain, strict=True):
        if not abs(entry.difference - value) <= allowed:  # also true for NaN
            raise UnsupportedModelError(
                f"model {model.facts.architecture}: patching {entry.name} gives a logit difference of {entry.difference:.6g} by what it "
                f"writes into the residual stream and {value:.6g} in a plain forward pass (allowed {allowed:.2g} apart). It does not write "
                "into the stream as is known of it, or attention sees other positions than is known; patching does not support it: choose "
                "another model for this page"
            )
