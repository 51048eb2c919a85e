"""Congruence the slow, obvious way: every dot product and every ranking in a Python loop, from plain Hugging Face weights.

Shares no code with the product. Knows the families that the tests use: GPT-2, Llama, Gemma and GPT-NeoX.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Weights(NamedTuple):
    """Plain float64 weights of one model, straight from its modules."""

    embedding: np.ndarray  # [token, width]
    unembedding: np.ndarray  # [token, width]
    final_gain: np.ndarray  # [width]
    gains: list[np.ndarray]  # per layer: of the norm before the MLP, [width]
    reads: list[np.ndarray]  # per layer: [neuron, width], the gate of a gated MLP
    writes: list[np.ndarray]  # per layer: [neuron, width]
    centres: bool  # LayerNorm


def weights(folder: Path) -> Weights:
    """Read a folder with transformers alone."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(str(folder))
    kind = model.config.model_type
    unembedding = _array(model.get_output_embeddings().weight)
    if kind == "gpt2":
        body = model.transformer
        mlps = [(block.ln_2.weight, block.mlp.c_fc.weight.T, block.mlp.c_proj.weight) for block in body.h]
        embedding, final = body.wte.weight, body.ln_f.weight
    elif kind == "gpt_neox":
        body = model.gpt_neox
        mlps = [
            (block.post_attention_layernorm.weight, block.mlp.dense_h_to_4h.weight, block.mlp.dense_4h_to_h.weight.T)
            for block in body.layers
        ]
        embedding, final = body.embed_in.weight, body.final_layer_norm.weight
    else:
        body, offset = model.model, 1 if kind == "gemma" else 0
        mlps = [
            (block.post_attention_layernorm.weight + offset, block.mlp.gate_proj.weight, block.mlp.down_proj.weight.T)
            for block in body.layers
        ]
        embedding, final = body.embed_tokens.weight, body.norm.weight + offset
    gains, reads, writes = ([_array(part) for part in parts] for parts in zip(*mlps, strict=True))
    return Weights(_array(embedding), unembedding, _array(final), gains, reads, writes, kind in ("gpt2", "gpt_neox"))


def congruence_matrix(of: Weights, convention: str) -> np.ndarray:
    """Every neuron of every layer against every token: float64 [neuron number, token]."""
    rows = []
    for layer in of.writes:
        for neuron in layer:
            row = []
            for token in range(len(of.embedding)):
                vector = of.embedding[token] if convention == "published" else of.unembedding[token] * of.final_gain
                row.append(_dot(neuron, vector, of.centres))
            rows.append(row)
    return np.array(rows)


def input_matrix(of: Weights) -> np.ndarray:
    """The input side of every neuron against every token: float64 [neuron number, token]."""
    rows = []
    for gain, layer in zip(of.gains, of.reads, strict=True):
        for neuron in layer:
            rows.append([_dot(neuron * gain, vector, of.centres) for vector in of.embedding])
    return np.array(rows)


def ranking(values: list[float], allowed: list[int]) -> list[tuple[int, float, float | None]]:
    """Indices in falling order of value, ties to the lower index, as (index, value, lead over the next)."""
    order = sorted(allowed, key=lambda index: (-values[index], index))
    ranked: list[tuple[int, float, float | None]] = []
    for place, index in enumerate(order):
        lead = values[index] - values[order[place + 1]] if place + 1 < len(order) else None
        ranked.append((index, values[index], lead))
    return ranked


def mutual_pairs(matrix: np.ndarray, allowed: list[int]) -> dict[tuple[int, int], float]:
    """(token, neuron number) -> token gap x neuron gap, wherever each is the other's best."""
    pairs = {}
    neurons = list(range(len(matrix)))
    best_tokens = {neuron: ranking(list(matrix[neuron]), allowed)[0] for neuron in neurons}
    for token in allowed:
        neuron, _, token_gap = ranking(list(matrix[:, token]), neurons)[0]
        best_token, _, neuron_gap = best_tokens[neuron]
        if best_token == token and token_gap is not None and neuron_gap is not None:
            pairs[token, neuron] = token_gap * neuron_gap
    return pairs


def _dot(first: np.ndarray, second: np.ndarray, centres: bool) -> float:
    if centres:
        first, second = first - sum(first) / len(first), second - sum(second) / len(second)
    return float(sum(one * other for one, other in zip(first, second, strict=True)))


def _array(tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def corrected_matrix(matrix: np.ndarray, allowed: list[int], is_gated: bool) -> np.ndarray:
    """Congruence beyond what neuron and token bring along: float64 [neuron number, allowed token], from the whole matrix at once."""
    scores = matrix[:, allowed]
    deviations = scores.std(axis=1)
    is_alive = deviations > 1e-6 * deviations.max()
    standard = np.zeros_like(scores)
    for neuron in np.flatnonzero(is_alive):
        standard[neuron] = (scores[neuron] - scores[neuron].mean()) / deviations[neuron]
    if not is_gated:
        for token in range(len(allowed)):
            standard[is_alive, token] -= standard[is_alive, token].mean()
    return standard
