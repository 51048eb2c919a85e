"""Direct effects, patching and ablation in plain Hugging Face code, for any of the families of tests.model_families. Holds no test.

Shares nothing with the product or its wrapper but the model's folder. A norm with its scale held is measured on the norm itself: what it
makes of its own input says by what each coordinate is multiplied, whatever its gain is stored as.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

DOWN = (
    "down_proj",
    "c_proj",
    "dense_4h_to_h",
    "fc2",
    "fc_out",
    "2",
)  # the map that reads the neurons, inside a block's MLP; CTRL's has a number
FROM_HEADS = ("o_proj", "c_proj", "dense", "out_proj")  # the map that reads the heads, inside a block's attention
ATTENTION = ("self_attn", "attn", "attention", "self_attention")
MLP = ("mlp", "ffn")
BEHIND_MLP = ("post_feedforward_layernorm", "post_mlp_layernorm")
BEHIND_ATTENTION = ("post_self_attn_layernorm", "post_attention_layernorm")
FINAL = ("norm", "ln_f", "norm_f", "final_layer_norm", "final_layernorm", "layer_norm", "layernorm")
LARGE = 1e-6  # of a stream: what a coordinate must be away from the mean for its factor to be read off it

Change = Callable[[torch.Tensor], Any]  # alters [position, width] in place


class Plain:
    """A model of a folder in plain code, float32, and where its parts are."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM

        self.model: Any = AutoModelForCausalLM.from_pretrained(str(folder), attn_implementation="eager", dtype=torch.float32).eval()
        base = getattr(self.model.base_model, "decoder", self.model.base_model)  # OPT's stands one deeper
        self.blocks = next(getattr(base, name) for name in ("layers", "h", "blocks") if hasattr(base, name))
        self.final_norm = next(getattr(base, name) for name in FINAL if hasattr(base, name))
        self.layers = len(self.blocks)

    def down(self, layer: int) -> Any:
        """The module whose input are the layer's neurons."""
        block = self.blocks[layer]
        return _named(next((getattr(block, name) for name in MLP if hasattr(block, name)), block), DOWN)

    def from_heads(self, layer: int) -> Any:
        """The module whose input the layer's heads give."""
        block = self.blocks[layer]
        return _named(next(getattr(block, name) for name in ATTENTION if hasattr(block, name)), FROM_HEADS)

    def behind_mlp(self, layer: int) -> Any | None:
        """The norm behind the MLP."""
        return next((getattr(self.blocks[layer], name) for name in BEHIND_MLP if hasattr(self.blocks[layer], name)), None)

    def behind_attention(self, layer: int) -> Any | None:
        """The norm behind the attention, which Granite and others have before the MLP under the same name."""
        block = self.blocks[layer]
        if self.behind_mlp(layer) is None:
            return None
        return next((getattr(block, name) for name in BEHIND_ATTENTION if hasattr(block, name)), None)

    @property
    def residual_factor(self) -> float:
        """What blocks multiply by before they add."""
        return float(getattr(self.model.config, "residual_multiplier", 1.0))

    @property
    def logit_factor(self) -> float:
        """What logits are multiplied by, before a cap."""
        config = self.model.config
        return float(getattr(config, "logit_scale", None) or 1 / getattr(config, "logits_scaling", 1.0))

    @torch.no_grad()
    def logits(self, ids: Sequence[int], module: Any = None, change: Change | None = None) -> torch.Tensor:
        """[position, vocabulary] of a run in which `change` alters what `module` is given."""
        handle = module.register_forward_pre_hook(_altering(change)) if module is not None else None
        try:
            return self.model(torch.tensor([list(ids)]), use_cache=False).logits[0]
        finally:
            if handle is not None:
                handle.remove()

    def inputs(self, ids: Sequence[int], modules: Sequence[Any]) -> list[torch.Tensor]:
        """What each module is given, [position, width]."""
        seen: dict[int, torch.Tensor] = {}
        handles = [
            module.register_forward_pre_hook(lambda _, given, place=place: seen.__setitem__(place, given[0].reshape(len(ids), -1).clone()))
            for place, module in enumerate(modules)
        ]
        self.logits(ids)
        for handle in handles:
            handle.remove()
        return [seen[place] for place in range(len(modules))]

    @torch.no_grad()
    def difference(self, ids: Sequence[int], answers: tuple[int, int], module: Any = None, change: Change | None = None) -> float:
        """Logit of the answer minus that of the wrong answer, at the last position."""
        last = self.logits(ids, module, change)[-1]
        return float(last[answers[0]] - last[answers[1]])

    @torch.no_grad()
    def added_by_neurons(self, ids: Sequence[int], layer: int) -> torch.Tensor:
        """Float64 [position, neuron, width]: what each neuron adds to the stream, the scale of a norm behind the MLP held as it is."""
        down, behind = self.down(layer), self.behind_mlp(layer)
        (activations,) = self.inputs(ids, [down])
        weights = down.weight if type(down).__name__ == "Conv1D" else down.weight.T  # [neuron, width]
        written = activations.double()[:, :, None] * weights.double()[None]
        if behind is not None:
            (given,) = self.inputs(ids, [behind])
            written = held(behind, given, written)
        return written * self.residual_factor

    @torch.no_grad()
    def direct_effects(self, ids: Sequence[int]) -> torch.Tensor:
        """Float64 [position, layer, neuron, token]: what each neuron adds directly to each logit, before any cap."""
        (stream,) = self.inputs(ids, [self.final_norm])
        unembedding = self.model.get_output_embeddings().weight.double()
        found = [
            held(self.final_norm, stream, self.added_by_neurons(ids, layer)) @ unembedding.T * self.logit_factor
            for layer in range(self.layers)
        ]
        return torch.stack(found, 1)

    @torch.no_grad()
    def ablation(
        self, ids: Sequence[int], position: int, layer: int, neuron: int, value: float, token: int, next_token: int
    ) -> list[float]:
        """log-probability, flipped, loss, logit, direct, mediated: how they change with one activation replaced at one position."""
        down, behind = self.down(layer), self.behind_mlp(layer)
        ids = ids[: position + 1]
        clean = self.logits(ids)[-1].double()
        changed = self.logits(ids, down, lambda given: given[position].__setitem__(neuron, value))[-1].double()
        (activations,) = self.inputs(ids, [down])
        other = activations.clone()
        other[position, neuron] = value
        before, after = down(activations), down(other)
        if behind is not None:
            before, after = behind(before), behind(after)
        written = ((after - before) * self.residual_factor)[position]
        directly = self.logits(ids, self.final_norm, lambda given: given[position].add_(written))[-1].double()
        first, second = clean.log_softmax(-1), changed.log_softmax(-1)
        total, direct = float(changed[token] - clean[token]), float(directly[token] - clean[token])
        flipped = float(int(changed.argmax()) != int(clean.argmax()))
        return [
            float(second[token] - first[token]), flipped, float(first[next_token] - second[next_token]), total, direct, total - direct,
        ]  # fmt: skip


def held(norm: Any, given: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """`vectors` float64 [position, ..., width] through the norm with the scale that it has for what it is given, [position, width]."""
    exact, made = given.double(), norm(given).double()
    bias = getattr(norm, "bias", None)
    if bias is not None:
        made = made - bias.double()
    if _is_centring(norm):
        exact, vectors = exact - exact.mean(-1, keepdim=True), vectors - vectors.mean(-1, keepdim=True)
    assert float(exact.abs().min()) > LARGE * float(exact.abs().max())
    factor = made / exact
    return vectors * factor.view(len(factor), *[1] * (vectors.ndim - 2), -1)


def _is_centring(norm: Any) -> bool:
    """Whether a common part of all coordinates makes no difference to the norm's output."""
    given = torch.arange(norm.weight.numel() if getattr(norm, "weight", None) is not None else 16, dtype=torch.float32)[None]
    return bool((norm(given) - norm(given + 5)).abs().max() < 1e-3 * norm(given).abs().max())


def _named(parent: Any, names: Sequence[str]) -> Any:
    return next(module for name, module in parent.named_modules() if name.split(".")[-1] in names)


def _altering(change: Change | None) -> Callable[..., Any]:
    assert change is not None

    def hook(_: Any, given: tuple[torch.Tensor, ...]) -> Any:
        altered = given[0].clone()
        change(altered.view(-1, altered.shape[-1]))
        return (altered, *given[1:])

    return hook
