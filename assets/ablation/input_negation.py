"""Input weights multiplied by -1: as published, a way to turn a neuron off that is no ablation either.

A neuron's input to its activation function is w . x + b. With w negated it becomes -w . x + b = 2 b - (w . x + b), so only the part
that does not come from the weights has to be known. Which part that is depends on what counts as the weights:

- the model's own: b is the neuron's bias, and x is what the norm hands on, its gain and bias applied;
- folded, as the published work did: the norm's gain goes into w and its bias, through w, into b, before w is negated.

Of a gated MLP the gate's weights are negated, which decide whether the neuron is on.
"""

from typing import TYPE_CHECKING

from assets.model.language_model import LanguageModel
from assets.prompts.neuron_reader import Reader

if TYPE_CHECKING:
    import torch

INPUT_NEGATIONS = ("input negation", "folded input negation")


def kept_biases(model: LanguageModel, layer: int) -> "torch.Tensor":
    """Float32 [way, neuron] in the order of INPUT_NEGATIONS: the part of the activation function's input that is not negated."""
    import torch

    mlp = model.bridge.blocks[layer].mlp
    own = getattr(mlp, "b_in" if getattr(mlp, "W_gate", None) is None else "b_gate", None)
    folded = Reader.of(model, layer).bias
    return torch.stack([torch.zeros_like(folded) if own is None else own.detach().float(), folded])


def input_hook(layer: int) -> str:
    """Name of the hook that holds the activation function's input, [window, position, neuron]; of a gated MLP, the gate's."""
    return f"blocks.{layer}.mlp.hook_pre"
