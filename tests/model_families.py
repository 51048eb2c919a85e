"""Tiny random models of the families that docs/models.md lists, and plain Hugging Face code that is run on them. Holds no test.

Nothing of the product or of its wrapper is used by what is compared with it.
"""

from typing import Any

from tests.hostile.tiny_models import COMMON, GROUPED, OPT

WINDOW = 3  # positions that a local attention sees: shorter than the prompts
_PAIRED = {**COMMON, "num_key_value_heads": 2}
_BLOCKS = {"n_layer": 2, "n_head": 2, "hidden_size": 16}
_FALCON = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "bias": False}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 24, "n_positions": 32}),
    "gpt_neox": ("gpt_neox", {**COMMON, "rotary_pct": 0.5}),
    "gptj": ("gptj", {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 24, "n_positions": 32, "rotary_dim": 4}),
    "gpt_neo": (
        "gpt_neo",
        {
            "hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 24, "max_position_embeddings": 32,
            "window_size": WINDOW, "attention_types": [[["global", "local"], 1]],
        },
    ),
    "opt": ("opt", OPT),
    "phi": ("phi", COMMON),
    "phi3": ("phi3", _PAIRED),
    "llama": ("llama", {**GROUPED, "tie_word_embeddings": False}),
    "mistral": ("mistral", {**GROUPED, "sliding_window": WINDOW}),
    "qwen2": ("qwen2", {**COMMON, "num_key_value_heads": 1}),
    "qwen3": ("qwen3", GROUPED),
    "olmo": ("olmo", _PAIRED),
    "olmo2": ("olmo2", _PAIRED),
    "gemma": ("gemma", GROUPED),
    "gemma2": ("gemma2", {**GROUPED, "sliding_window": WINDOW, "final_logit_softcapping": 0.5}),
    "gemma3": ("gemma3_text", {**GROUPED, "sliding_window": WINDOW, "sliding_window_pattern": 2}),
    "glm4": ("glm4", {**_PAIRED, "head_dim": 8}),
    "granite": (
        "granite",
        {**_PAIRED, "residual_multiplier": 0.5, "logits_scaling": 3.0, "embedding_multiplier": 2.0, "attention_multiplier": 0.2},
    ),
    "cohere": ("cohere", {**_PAIRED, "logit_scale": 0.2}),
    "stablelm": ("stablelm", _PAIRED),
    "starcoder2": ("starcoder2", {**_PAIRED, "sliding_window": None}),
    "nemotron": ("nemotron", {**_PAIRED, "head_dim": 8}),
    "smollm3": ("smollm3", _PAIRED),
    "mpt": ("mpt", {"d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 32}),
    "bloom": ("bloom", _BLOCKS),
    "falcon, rotary": ("falcon", {**_FALCON, "alibi": False, "multi_query": False, "new_decoder_architecture": False}),
    "falcon, ALiBi": ("falcon", {**_FALCON, "alibi": True, "multi_query": False, "new_decoder_architecture": False}),
}  # fmt: skip
