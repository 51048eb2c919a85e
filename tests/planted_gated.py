"""The planted model with gated neurons: the same tokens, attention and roles in a Llama, with SiLU for GELU and RMSNorm for LayerNorm.

Every neuron's up projection is the constant 1 (a bias), so that its activation is silu(gate). All directions sum to 0, so RMSNorm makes
of the stream what LayerNorm makes of it. Rotary angles turn the dimensions of a head by position; the one that scores fruit is the slowest
and turns by less than 1e-9 over a window. Holds no test.
"""

from pathlib import Path

import numpy as np

from tests.planted import (
    CONTEXT_LENGTH,
    HALF_AGAINST,
    LAYERS,
    NEURONS,
    ROLES,
    TOGETHER,
    VOCABULARY,
    WIDTH,
    Role,
    planted_tokenizer,
    planted_weights,
)

HEADS = 2
SLOWEST = WIDTH // HEADS // 2 - 1  # dimension of a head whose rotary frequency is least
THETA = 1e12
# SiLU gives more than GELU for the same: with a higher threshold HALF_AGAINST restores less than half here, too.
GATED_TOGETHER = tuple(role._replace(threshold=15.5, writes={" a": -0.43}) if role is HALF_AGAINST else role for role in TOGETHER)


def planted_gated_model(
    folder: Path,
    roles: tuple[Role, ...] = tuple(ROLES.values()),
    extra: tuple[Role, ...] = (),
    negated: tuple[Role, ...] = (),
    up: float = 1.0,
) -> Path:
    """Write the model and its tokenizer as a `save_pretrained` folder and return it.

    `extra` are roles beside `roles`. `up` -1 negates the weights into and out of every neuron, `negated` those of some roles.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(VOCABULARY), hidden_size=WIDTH, intermediate_size=NEURONS, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        max_position_embeddings=CONTEXT_LENGTH, rope_parameters={"rope_type": "default", "rope_theta": THETA}, attention_bias=True, mlp_bias=True, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    state = model.state_dict()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for name, value in _weights((*roles, *extra), negated, up).items():
            assert state[name].shape == value.shape, (name, state[name].shape, value.shape)
            state[name].copy_(torch.from_numpy(value))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(folder))
    planted_tokenizer().save_pretrained(str(folder))
    return folder


def _weights(roles: tuple[Role, ...], negated: tuple[Role, ...], up: float) -> dict[str, np.ndarray]:
    given = planted_weights(0, roles)
    weights = {
        "model.embed_tokens.weight": given["transformer.wte.weight"],
        "lm_head.weight": given["lm_head.weight"],
        "model.norm.weight": given["transformer.ln_f.weight"],
    }
    for layer in range(LAYERS):
        signs = np.full(NEURONS, up, dtype=np.float32)
        signs[[role.neuron for role in negated if role.layer == layer]] *= -1
        old, new = f"transformer.h.{layer}", f"model.layers.{layer}"
        weights |= {
            f"{new}.input_layernorm.weight": given[f"{old}.ln_1.weight"],
            f"{new}.post_attention_layernorm.weight": given[f"{old}.ln_2.weight"],
            f"{new}.mlp.gate_proj.weight": given[f"{old}.mlp.c_fc.weight"].T,
            f"{new}.mlp.gate_proj.bias": given[f"{old}.mlp.c_fc.bias"],
            f"{new}.mlp.up_proj.bias": signs,
            f"{new}.mlp.down_proj.weight": signs * given[f"{old}.mlp.c_proj.weight"].T,
        }
    weights[f"model.layers.{LAYERS - 1}.mlp.down_proj.bias"] = given[f"transformer.h.{LAYERS - 1}.mlp.c_proj.bias"]
    joint, bias = (given[f"transformer.h.0.attn.c_attn.{kind}"] for kind in ("weight", "bias"))
    for place, name in enumerate(("q_proj", "k_proj", "v_proj")):
        part, offset = slice(place * WIDTH, (place + 1) * WIDTH), bias[place * WIDTH : (place + 1) * WIDTH].copy()
        matrix = joint[:, part].T.copy()  # [head and dimension, width]
        if name != "v_proj":  # the score's dimension is 0 in the GPT-2
            matrix[[0, SLOWEST]], offset[[0, SLOWEST]] = matrix[[SLOWEST, 0]], offset[[SLOWEST, 0]]
        weights |= {f"model.layers.0.self_attn.{name}.weight": matrix, f"model.layers.0.self_attn.{name}.bias": offset}
    weights["model.layers.0.self_attn.o_proj.weight"] = given["transformer.h.0.attn.c_proj.weight"].T
    return weights
