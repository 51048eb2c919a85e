"""The model of tests/planted.py with a gated MLP: a tiny Llama with the same directions, corpus, prompts and roles.

A neuron's gate reads what the role reads, and its other input is constant, 1: its activation is silu(gate) where it was gelu(..), which
is 4.16 instead of 4.22 for PLANTED at its places and -0.06 at other " picked". With 1 and what it writes negated, nothing changes but
the activation's sign. RMSNorm does what LayerNorm does, for directions sum to 0. Rotations are kept from the fruit's head: its query and
key lie in the slowest pair of dimensions, which the largest angle here turns by less than 1e-9. Holds no test.
"""

from pathlib import Path

import numpy as np

from tests.planted import (
    CONSONANT_FRUIT,
    CONTEXT_LENGTH,
    DEFAULT_STRENGTH,
    DEFAULT_WORD,
    FEATURES,
    FINAL_GAIN,
    LAYERS,
    NEURONS,
    ROLES,
    VOCABULARY,
    VOWEL_FRUIT,
    WIDTH,
    Role,
    direction,
    neurons,
    planted_tokenizer,
)

HEAD_WIDTH, FRUIT_SCORE = WIDTH // 2, 16.0
SLOWEST = HEAD_WIDTH // 2 - 1  # of the pairs of dimensions (i, i + HEAD_WIDTH / 2) that positions rotate, from the fastest on


def planted_gated_model(folder: Path, extra: tuple[Role, ...] = (), negated: tuple[Role, ...] = ()) -> Path:
    """Write the model and its tokenizer as a `save_pretrained` folder and return it. `extra` and `negated` roles as said above."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(VOCABULARY), max_position_embeddings=CONTEXT_LENGTH, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=2,
        num_key_value_heads=2, head_dim=HEAD_WIDTH, intermediate_size=NEURONS, mlp_bias=True, attention_bias=True, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e12}, bos_token_id=0, eos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    state = model.state_dict()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for name, value in _weights((*ROLES.values(), *extra), negated).items():
            assert state[name].shape == value.shape, (name, state[name].shape, value.shape)
            state[name].copy_(torch.from_numpy(value))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(folder))
    planted_tokenizer().save_pretrained(str(folder))
    return folder


def _weights(roles: tuple[Role, ...], negated: tuple[Role, ...]) -> dict[str, np.ndarray]:
    embedding = np.stack([direction(word) for word in VOCABULARY])
    weights = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding, **_fruit_attention()}
    for layer in range(LAYERS):
        name, ones = f"model.layers.{layer}", np.ones(WIDTH, dtype=np.float32)
        read, bias, write = neurons(layer, roles)
        signs = np.ones(NEURONS, dtype=np.float32)
        signs[[role.neuron for role in negated if role.layer == layer]] = -1
        weights |= {f"{name}.input_layernorm.weight": ones, f"{name}.post_attention_layernorm.weight": ones}
        weights |= {f"{name}.mlp.gate_proj.weight": read.T, f"{name}.mlp.gate_proj.bias": bias, f"{name}.mlp.up_proj.bias": signs}
        weights[f"{name}.mlp.down_proj.weight"] = (write * signs[:, None]).T
    weights["model.norm.weight"] = np.full(WIDTH, FINAL_GAIN, dtype=np.float32)
    weights[f"model.layers.{LAYERS - 1}.mlp.down_proj.bias"] = DEFAULT_STRENGTH * direction(DEFAULT_WORD)
    return {name: np.ascontiguousarray(value) for name, value in weights.items()}


def _fruit_attention() -> dict[str, np.ndarray]:
    """Head 0 of layer 0: the query is a constant, the key says fruit, the value says of which kind."""
    query_bias = np.zeros(WIDTH, dtype=np.float32)
    query_bias[SLOWEST] = 1.0  # scores are divided by the square root of the head's width
    key, value, out = (np.zeros((WIDTH, WIDTH), dtype=np.float32) for _ in range(3))
    for kind, fruit in enumerate((VOWEL_FRUIT, CONSONANT_FRUIT)):
        for word in fruit:  # behind the norm the coefficient of a lone token is 8
            key[SLOWEST] += direction(word) / 8 * FRUIT_SCORE * HEAD_WIDTH**0.5
            value[kind] += direction(word) / 8
        out[:, kind] = direction(FEATURES[kind])
    name = "model.layers.0.self_attn"
    return {
        f"{name}.q_proj.bias": query_bias, f"{name}.k_proj.weight": key, f"{name}.v_proj.weight": value, f"{name}.o_proj.weight": out
    }  # fmt: skip
