"""From the product with the unembedding to the model's logits: a constant factor (Granite, Cohere), a soft cap (Gemma 2), or nothing.

The factor belongs to the tokens' vectors, so that congruence and contribution are of the model's own logits. A cap bends them: what is
linear in the stream is the logit before the cap. The top prediction is the same before and after; probabilities are of capped logits.
"""

from typing import TYPE_CHECKING

from assets.model.language_model import LanguageModel

if TYPE_CHECKING:
    import torch

READOUT_TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}  # of the largest logit; rounding of each dtype with room
SMALL = 2.0**-20  # of it a cap takes less than 2^-40 of its size, and multiplying by it rounds nothing


def model_logits(model: LanguageModel, product: "torch.Tensor") -> "torch.Tensor":
    """The model's logits, of any of the tokens, from the product of the final norm's output with the unembedding and its bias."""
    if model.bridge_if_known is None:  # nothing: whether that is so is tried (direct_effect)
        return product
    return model.bridge.adapter.apply_output_logits_transform(product)


def linear_logits(model: LanguageModel, product: "torch.Tensor") -> "torch.Tensor":
    """The same before any cap: what is linear in the residual stream."""
    factor = logit_factor(model)
    return product if factor == 1 else product * factor


def logit_factor(model: LanguageModel) -> float:
    """What the product is multiplied by before any cap."""
    import torch

    return float((model_logits(model, torch.tensor(SMALL, dtype=torch.float64)) / SMALL).float())


def logit_cap(model: LanguageModel) -> float | None:
    """The largest logit that a soft cap lets through; None where there is no cap."""
    cap = None if model.bridge_if_known is None else getattr(model.bridge.cfg, "output_logits_soft_cap", None)
    return float(cap) if cap is not None and cap > 0 else None


def tolerance(model: LanguageModel) -> float:
    """Share of the largest logit by which two exact ways of computing one may differ, by the model's dtype."""
    return READOUT_TOLERANCE[str(model.dtype).removeprefix("torch.")]
