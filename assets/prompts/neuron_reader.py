"""How the neurons of one layer read the residual stream: their weights with the norm folded in, and what each component gave them.

Before its activation function a neuron is w . norm(x) + b, with x the residual stream that its MLP reads. With the norm's scale
held at its actual value this is linear in x, and x is a sum: the embedding, each attention head, what attention adds beside its
heads (its output bias), and each MLP. Folded into w, the norm's gain and centring leave one dot product per component:
contribution = w . output / scale. The norm's bias and the neuron's own are one more part, and all parts sum to the pre-activation.

A norm behind attention is linear too once its scale is known, so what a head wrote is its output times that norm's gain, over its scale; a
constant factor of the model's is applied. Where a model's MLP reads the stream through no norm (OLMo 2), its scale is 1.

A gated MLP's neuron has two; the gate's is taken, which decides whether it is on. Blocks that run attention and MLP in parallel
read the stream that enters the block, so their own attention is no part. Which positions are read is not decided here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assets.congruence.conventions import norm_before, reading_weights
from assets.model.final_logits import tolerance
from assets.model.final_norm import norm_gain, norm_scale
from assets.model.language_model import LanguageModel
from assets.model.refusals import UnsupportedModelError
from assets.model.writing import Writing, head_weights
from assets.prompts.prompt_runs import head_outputs, mlp_output, residual_before

if TYPE_CHECKING:
    import torch

Part = tuple[str, int | None, int | None]  # component, its layer, head
Point = tuple[int, str]  # layer, point
Values = Mapping[str, "torch.Tensor"]  # hook name -> [text, ...], at the position of each text that is read


def read_hooks(model: LanguageModel, last_layer: int) -> list[str]:
    """Hooks of all that the neurons of the layers up to `last_layer` read."""
    below = [hook for layer in range(last_layer + 1) for hook in (residual_before(layer), head_outputs(layer), mlp_output(layer))]
    below += [hook for layer in range(last_layer + 1) for hook in Writing.of_attention(model, layer).hooks]
    return below + [_between(layer) for layer in range(last_layer + 1) if _between(layer) in model.bridge.hook_dict]


@dataclass(frozen=True)
class Reader:
    """How the neurons of one layer read the residual stream."""

    layer: int
    is_parallel: bool
    weights: "torch.Tensor"  # float32 [neuron, model width], the norm's gain and centring folded in
    bias: "torch.Tensor"  # float32 [neuron]: of the norm, through the weights, and the neuron's own
    norm: Any | None
    matrix: "torch.Tensor"  # the model's own weights [model width, neuron]
    own_bias: "torch.Tensor"  # float32 [neuron]: the neuron's own

    @classmethod
    def of(cls, model: LanguageModel, layer: int) -> "Reader":
        """The layer's weights, folded."""
        block = model.bridge.blocks[layer]
        gate = getattr(block.mlp, "W_gate", None)
        matrix = (block.mlp.W_in if gate is None else gate).detach()
        own = getattr(block.mlp, "b_in" if gate is None else "b_gate", None)
        norm = norm_before(block)
        shift = getattr(norm, "bias", None)
        own_bias = matrix.new_zeros(matrix.shape[1]).float() if own is None else own.detach().float()
        bias = own_bias if shift is None else own_bias + shift.float() @ matrix.float()
        return cls(layer, _between(layer) not in model.bridge.hook_dict, reading_weights(model, layer), bias, norm, matrix, own_bias)

    @property
    def entry(self) -> str:
        """Hook of the stream that the neurons read, the last of what is read."""
        return residual_before(self.layer) if self.is_parallel else _between(self.layer)

    def read(self, model: LanguageModel, values: Values, texts: "torch.Tensor", neurons: "torch.Tensor") -> "Readings":
        """What neuron `neurons[i]` read at the position of text `texts[i]`, both int64 [pair].

        Raises UnsupportedModelError where the parts do not sum to the pre-activation: something else stands between the stream and the neuron.
        """
        import torch

        entering = values[self.entry][texts]  # [pair, model width]
        folded = self.weights[neurons]  # [pair, model width]
        if self.norm is not None:
            folded = folded / norm_scale(model, self.norm, entering.float())
        parts, outputs = self._outputs(model, values)  # [part, text, model width]
        read = torch.einsum("ptw,tw->tp", outputs[:, texts], folded)  # [pair, part]
        contributions = torch.cat([read, self.bias[neurons][:, None]], dim=1)
        normed = entering if self.norm is None else self.norm(entering)
        own = (normed * self.matrix[:, neurons].T).sum(-1).float() + self.own_bias[neurons]  # [pair]
        self._require_sum(model, contributions, own, neurons)
        points, streams = self._points(values)  # [point, text, model width]
        reads = torch.einsum("ptw,tw->tp", streams[:, texts].float(), folded)
        return Readings([*parts, ("bias", None, None)], contributions, points, reads)

    def _outputs(self, model: LanguageModel, values: Values) -> tuple[list[Part], "torch.Tensor"]:
        """Every part, and float32 [part, text, model width]: what each wrote at the positions that are read."""
        import torch

        parts: list[Part] = [("embedding", None, None)]
        embedding = values[residual_before(0)].float()
        outputs = [embedding[None]]
        for layer in range(self.layer + 1):
            if layer < self.layer or not self.is_parallel:
                attention = model.bridge.blocks[layer].attn
                weights = head_weights(model, layer)
                heads = values[head_outputs(layer)].float().reshape(-1, *weights.shape[:2])  # [text, head, head width]
                outputs.append(_added(model, layer, torch.einsum("thw,hwm->htm", heads, weights), values))
                parts += [("head", layer, head) for head in range(len(weights))]
                if getattr(attention, "b_O", None) is not None:
                    outputs.append(_added(model, layer, attention.b_O.float().expand_as(embedding)[None], values))
                    parts.append(("attention bias", layer, None))
            if layer < self.layer:
                outputs.append(values[mlp_output(layer)].float()[None])
                parts.append(("mlp", layer, None))
        return parts, torch.cat(outputs)

    def _points(self, values: Values) -> tuple[list[Point], "torch.Tensor"]:
        """(layer, point) along the stream up to what the neurons read, and the stream at each, [point, text, model width]."""
        import torch

        points: list[Point] = [(0, "before")]
        hooks = [residual_before(0)]
        for layer in range(self.layer + 1):
            if _between(layer) in values:
                points.append((layer, "attention"))
                hooks.append(_between(layer))
            if layer < self.layer:
                points.append((layer, "mlp"))
                hooks.append(residual_before(layer + 1))
        return points, torch.stack([values[hook] for hook in hooks])

    def _require_sum(self, model: LanguageModel, parts: "torch.Tensor", own: "torch.Tensor", neurons: "torch.Tensor") -> None:
        allowed = tolerance(model) * parts.abs().sum(1).clamp(min=1.0)  # rounding grows with what is added up
        wrong = ~((parts.sum(1) - own).abs() <= allowed)  # also true for NaN
        if bool(wrong.any()):
            pair = int(wrong.nonzero()[0, 0])
            raise UnsupportedModelError(
                f"model {model.facts.architecture}: the parts of layer {self.layer} neuron {int(neurons[pair])} sum to "
                f"{float(parts[pair].sum()):.6g}, its pre-activation is {float(own[pair]):.6g}: something else stands between its "
                "components and the residual stream (a factor, or a norm behind them), so what feeds a neuron cannot be read off"
            )


@dataclass(frozen=True)
class Readings:
    """What neurons read: `contributions` float32 [pair, part] and `reads` float32 [pair, point]."""

    parts: list[Part]
    contributions: "torch.Tensor"
    points: list[Point]
    reads: "torch.Tensor"


def _added(model: LanguageModel, layer: int, outputs: "torch.Tensor", values: Values) -> "torch.Tensor":
    """What parts of the attention's output [part, text, model width] added to the stream, with the scale of a norm behind it as it was."""
    writing = Writing.of_attention(model, layer)
    if writing.norm is not None and writing.entry is not None:
        outputs = outputs * norm_gain(model, writing.norm) / norm_scale(model, writing.norm, values[writing.entry].float())
    return outputs if writing.factor == 1 else outputs * writing.factor


def _between(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_mid"
