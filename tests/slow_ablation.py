"""Ablation once more, slow and obvious: plain Hugging Face models, one whole forward pass for every replaced activation.

Shares nothing with the product but the model's folder. A change of one neuron reaches the residual stream through the model's
own projection; for the direct effect it is added in front of the final norm instead. And the p-value of an effect, in a loop.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch

from tests import slow_patching as slow


@torch.no_grad()
def effects(
    plain: Any, ids: Sequence[int], position: int, layer: int, neuron: int, value: float, token: int, next_token: int
) -> dict[str, float]:
    """Every measure of replacing one neuron's activation at one position by `value`."""
    module = slow.down_projection(plain, layer)
    clean = logits_at(plain, ids, position)
    changed = logits_at(plain, ids, position, module, lambda given: given[position].__setitem__(neuron, float(value)))
    written = _written(plain, module, ids, position, neuron, value)
    directly = logits_at(plain, ids, position, slow.final_norm(plain), lambda given: given[position].add_(written))
    before, after = clean.log_softmax(-1), changed.log_softmax(-1)
    total, direct = float(changed[token] - clean[token]), float(directly[token] - clean[token])
    return {
        "log_probability": float(after[token] - before[token]),
        "flipped": float(int(changed.argmax()) != int(clean.argmax())),
        "loss": float(before[next_token] - after[next_token]),
        "logit": total,
        "direct": direct,
        "mediated": total - direct,
    }


def p_value(effect: float, controls: Sequence[float]) -> tuple[float, str]:
    """How rare the effect is among those of the controls, and where that comes from: decision 0024 in plain Python."""
    amount, size = len(controls), abs(effect)
    ordered = sorted((abs(control) for control in controls), reverse=True)
    as_far = sum(control >= size for control in ordered)
    positive = sum(control > 0 for control in ordered)
    tail = min(max(amount // 8, 5), positive - 1)
    enough = min(4, max(1, amount // 25), tail + 1)
    if tail < 1 or as_far >= enough or len(set(ordered[: tail + 1])) < tail + 1:
        return (1 + as_far) / (1 + amount), "counted"
    threshold = ordered[tail]
    mean = sum(math.log(control / threshold) for control in ordered[:tail]) / tail
    beyond = (tail + 1) / (amount + 1) * (1 + math.log(size / threshold) / (tail * mean)) ** -tail
    if beyond < 1 / (1 + amount) ** 2:
        return 1 / (1 + amount) ** 2, "floor"
    return min(beyond, (1 + enough) / (1 + amount)), "tail"


@torch.no_grad()
def logits_at(plain: Any, ids: Sequence[int], position: int, module: Any = None, change: Any = None) -> torch.Tensor:
    """[vocabulary] at a position of a run in which `change` alters what the module is given, [position, width], in place."""

    def hook(_: Any, args: Any) -> Any:
        given = args[0].clone()
        change(given[0])
        return (given, *args[1:])

    handle = module.register_forward_pre_hook(hook) if module is not None else None
    logits = plain(torch.tensor([list(ids)]), use_cache=False).logits[0, position].double()
    if handle is not None:
        handle.remove()
    return logits


@torch.no_grad()
def _written(plain: Any, module: Any, ids: Sequence[int], position: int, neuron: int, value: float) -> torch.Tensor:
    """[width]: what the projection writes more when the neuron has this value."""
    before = slow.input_of(plain, module, ids)[position]
    after = before.clone()
    after[neuron] = float(value)
    return module(after[None])[0] - module(before[None])[0]


@torch.no_grad()
def prompt_probabilities(plain: Any, ids: Sequence[int], layer: int, neuron: int, values: Sequence[float], positions: str) -> torch.Tensor:
    """[vocabulary] after the prompt, with the neuron's activation replaced by `values` [position], at `all` positions or the `last`."""

    def change(given: torch.Tensor) -> None:
        for position in range(len(ids)):
            if positions == "all" or position == len(ids) - 1:
                given[position, neuron] = values[position]

    return logits_at(plain, ids, len(ids) - 1, slow.down_projection(plain, layer), change).softmax(-1)


@torch.no_grad()
def with_negated_input(plain: Any, layer: int, neuron: int, is_folded: bool) -> Any:
    """A copy of the model in which one neuron's input weights (a gated MLP: the gate's) are multiplied by -1.

    Folded: the norm's bias has gone through the weights into the neuron's bias before, where it keeps its sign.
    """
    changed = copy.deepcopy(plain)
    norm, module = _norm_and_input(changed, layer)
    weights = module.weight[:, neuron] if module.weight.shape[0] == norm.weight.shape[0] else module.weight[neuron]  # Conv1D or Linear
    if is_folded and getattr(norm, "bias", None) is not None:
        module.bias[neuron] += 2 * weights @ norm.bias
    weights.mul_(-1)
    return changed


def _norm_and_input(plain: Any, layer: int) -> tuple[Any, Any]:
    """The norm before the MLP and the projection into the activation function, in Hugging Face's names."""
    kind = plain.config.model_type
    if kind == "gpt2":
        block = plain.transformer.h[layer]
        return block.ln_2, block.mlp.c_fc
    if kind == "gpt_neox":
        block = plain.gpt_neox.layers[layer]
        return block.post_attention_layernorm, block.mlp.dense_h_to_4h
    block = plain.model.layers[layer]
    return block.post_attention_layernorm, block.mlp.gate_proj
