"""How the parts of a block write into the residual stream: straight, times a constant (Granite), or through a norm of their own (Gemma 2).

What an MLP adds is factor x norm(output); for most models the factor is 1 and there is no norm. A norm behind is linear in the neurons once
its scale at the position is known: its gain belongs to the output weights, and what a neuron adds is its activation times these, over the
scale. A change that is not small moves the scale too, so patching and ablation put the changed output through the norm itself. Attention is
the same with factor and norm of its own. Which models this does not describe is found by a trial (direct_effect).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assets.model.language_model import LanguageModel
from assets.model.refusals import UnsupportedModelError

if TYPE_CHECKING:
    import torch

NORMS_BEHIND = {"mlp": "ln2_post", "attn": "ln1_post"}  # part of a block -> the norm behind it, by the bridge's names


@dataclass(frozen=True)
class Writing:
    """How one part of one layer writes. `entry` is the hook of what the norm reads, None without a norm."""

    factor: float
    norm: Any | None
    entry: str | None

    @classmethod
    def of_mlp(cls, model: LanguageModel, layer: int) -> "Writing":
        """How the neurons of a layer write."""
        return cls._of(model, layer, "mlp")

    @classmethod
    def of_attention(cls, model: LanguageModel, layer: int) -> "Writing":
        """How the heads of a layer write."""
        return cls._of(model, layer, "attn")

    @classmethod
    def _of(cls, model: LanguageModel, layer: int, part: str) -> "Writing":
        if model.bridge_if_known is None:  # straight: whether it does is tried (direct_effect)
            return cls(1.0, None, None)
        block, behind = model.bridge.blocks[layer], NORMS_BEHIND[part]
        norm = getattr(block, behind).original_component if hasattr(block, behind) else None
        factor = float(getattr(block, "residual_contribution_scale", 1.0))
        return cls(factor, norm, None if norm is None else f"blocks.{layer}.{behind}.hook_in")

    @property
    def hooks(self) -> tuple[str, ...]:
        """Hooks whose values `change` needs: none without a norm."""
        return () if self.entry is None else (self.entry,)

    def change(self, written: "torch.Tensor", output: "torch.Tensor | None") -> "torch.Tensor":
        """What the stream changes by, float32 [..., width], where the part's output changes by `written`, float32 of that shape.

        `output`: the unchanged output, what `entry` holds; it must broadcast to `written`. None without a norm.
        """
        if self.norm is not None:
            assert output is not None
            before = output.float()
            written = self.norm(before + written).float() - self.norm(before).float()
        return written if self.factor == 1 else written * self.factor


def head_weights(model: LanguageModel, layer: int) -> "torch.Tensor":
    """What each head of a layer writes per unit of what it gives, float32 [head, head width, model width].

    Raises UnsupportedModelError for a layer whose heads are not cut as the model's others (Gemma 4).
    """
    try:
        return model.bridge.blocks[layer].attn.W_O.float()
    except (AttributeError, ValueError, RuntimeError) as error:
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UnsupportedModelError(f"model {model.facts.architecture}: the output weights of the attention of layer {layer} cannot be cut into "
                                    f"heads ({told}), so what single heads write cannot be told; all that is counted stands without it") from error  # fmt: skip
