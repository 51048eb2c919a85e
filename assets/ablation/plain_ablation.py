"""Neurons ablated once more in plain forward passes of the whole model: what the fast way is held against in every run. Holds no fast way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assets.ablation.readout import Target
from assets.model.final_logits import tolerance
from assets.model.language_model import LanguageModel
from assets.model.refusals import UnsupportedModelError
from assets.prompts.prompt_runs import last_logits_alone

if TYPE_CHECKING:
    import torch

AT_ONCE = 16  # ablations, each a row of the batch beside one of the unchanged model


@dataclass(frozen=True)
class Ablated:
    """One neuron with another activation, and by how much that changes the watched token's logit, as the fast way found it.

    `change`: replacement minus activation at the target's position, or [position] at the last so many up to it.
    """

    layer: int
    neuron: int
    change: "float | torch.Tensor"
    logit_change: float


def require_plain_forward_agrees(model: LanguageModel, ids: Sequence[int], target: Target, ablated: Sequence[Ablated]) -> None:
    """Raise UnsupportedModelError for the first that a plain forward pass gives another change of the logit for."""
    for start in range(0, len(ablated), AT_ONCE):
        _require_batch_agrees(model, ids, target, ablated[start : start + AT_ONCE])


def _require_batch_agrees(model: LanguageModel, ids: Sequence[int], target: Target, ablated: Sequence[Ablated]) -> None:
    """The same for as many as go through the model at once."""
    import torch

    def ablate(row: int, one: Ablated):  # type: ignore[no-untyped-def]
        last = torch.as_tensor(one.change, device=model.device).reshape(-1)

        def hook(activations: torch.Tensor, hook: object) -> torch.Tensor:
            changed = activations.clone()  # [run, position, neuron]
            changed[row, -len(last) :, one.neuron] += last.to(changed.dtype)
            return changed

        return model.neuron_hook(one.layer), hook

    tokens = torch.tensor([list(ids[: target.position + 1])] * (1 + len(ablated)), device=model.device)
    hooks = [ablate(row, one) for row, one in enumerate(ablated, 1)]
    with torch.inference_mode(), model.bridge.hooks(fwd_hooks=[*hooks, last_logits_alone()]):
        logits = model.bridge(tokens, use_cache=False, output_attentions=False)[:, -1].float()  # [run, vocabulary]
    plain = (logits[1:, target.token_id] - logits[0, target.token_id]).tolist()
    allowed = tolerance(model) * max(1.0, float(logits.abs().max()))
    for one, found in zip(ablated, plain, strict=True):
        if not abs(found - one.logit_change) <= allowed:  # also true for NaN
            raise UnsupportedModelError(
                f"model {model.facts.architecture}: ablating layer {one.layer} neuron {one.neuron} changes a logit by {one.logit_change:.6g} by "
                f"its output weights and by {found:.6g} in a plain forward pass (allowed {allowed:.2g} apart). Its MLPs do not write into the "
                "residual stream as is known of them, or its attention sees other positions than is known; ablation does not support it: "
                "choose another model for this page"
            )
