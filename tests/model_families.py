"""The model families of docs/models.md, each as a tiny model with random weights. Holds no test."""

from dataclasses import dataclass
from typing import Any

from tests.hostile.tiny_models import COMMON, GROUPED, OPT

WINDOW = 3  # positions that a local attention sees: shorter than the prompts
_PAIRED = {**COMMON, "num_key_value_heads": 2}
_SIZED = {**_PAIRED, "head_dim": 8}
_GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 24, "n_positions": 32}
_NEO = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 24, "max_position_embeddings": 32}
_FALCON = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "bias": False, "multi_query": False}
_GRANITE = {"residual_multiplier": 0.5, "logits_scaling": 3.0, "embedding_multiplier": 2.0, "attention_multiplier": 0.2}


UNKNOWN = "TransformerLens does not know it"


@dataclass(frozen=True)
class Family:
    """`kind` is the model_type of config.json; `published` models of it; `departs` in what it is not as Llama or GPT-2."""

    kind: str
    fields: dict[str, Any]
    published: str
    departs: str = ""


FAMILIES: dict[str, Family] = {
    "GPT-2": Family("gpt2", _GPT, "GPT-2, DistilGPT2"),
    "GPT-BigCode": Family("gpt_bigcode", _GPT, "StarCoder, SantaCoder", "one key and value for all heads"),
    "GPT-Neo": Family(
        "gpt_neo", {**_NEO, "window_size": WINDOW, "attention_types": [[["global", "local"], 1]]}, "GPT-Neo, TinyStories",
        "every other layer sees a window",
    ),
    "GPT-NeoX": Family("gpt_neox", {**COMMON, "rotary_pct": 0.5}, "Pythia, GPT-NeoX", "attention and MLP side by side"),
    "GPT-J": Family("gptj", {**_GPT, "rotary_dim": 4}, "GPT-J", "attention and MLP side by side, biased unembedding"),
    "OPT": Family("opt", OPT, "OPT (not 350M)", "ReLU"),
    "OPT, norms behind": Family(
        "opt", {**OPT, "word_embed_proj_dim": 16, "do_layer_norm_before": False}, "OPT 350M",
        "norms behind both parts of a block, a projection and no norm before the unembedding",
    ),
    "BLOOM": Family("bloom", {"hidden_size": 16, "n_layer": 2, "n_head": 2}, "BLOOM, BLOOMZ", "ALiBi"),
    "MPT": Family("mpt", {"d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 32}, "MPT", "ALiBi"),
    "Falcon": Family("falcon", {**_FALCON, "alibi": False, "new_decoder_architecture": False}, "Falcon", "attention and MLP side by side"),
    "Falcon, ALiBi": Family("falcon", {**_FALCON, "alibi": True, "new_decoder_architecture": False}, "Falcon-RW", "ALiBi"),
    "Llama": Family("llama", {**GROUPED, "tie_word_embeddings": False}, "Llama, SmolLM2, TinyLlama, Vicuna"),
    "Mistral": Family("mistral", {**GROUPED, "sliding_window": WINDOW}, "Mistral", "every layer sees a window"),
    "Qwen 2": Family("qwen2", {**COMMON, "num_key_value_heads": 1}, "Qwen 2, Qwen 2.5"),
    "Qwen 3": Family("qwen3", GROUPED, "Qwen 3", "norms on queries and keys"),
    "Phi": Family("phi", COMMON, "Phi-1, Phi-1.5, Phi-2", "attention and MLP side by side, biased unembedding"),
    "Phi-3": Family("phi3", _PAIRED, "Phi-3, Phi-4", "gate and up weights in one"),
    "OLMo": Family("olmo", _PAIRED, "OLMo", "norms without gain"),
    "OLMo 2": Family("olmo2", _PAIRED, "OLMo 2", "norms behind attention and MLP, none before"),
    "OLMo 3": Family("olmo3", {**_PAIRED, "sliding_window": WINDOW}, "OLMo 3", "norms behind, none before; some layers see a window"),
    "Gemma": Family("gemma", GROUPED, "Gemma", "gain stored less 1, scaled embedding"),
    "Gemma 2": Family(
        "gemma2", {**GROUPED, "sliding_window": WINDOW, "final_logit_softcapping": 0.5}, "Gemma 2",
        "norms on both sides, every other layer sees a window, capped logits",
    ),
    "Gemma 3": Family(
        "gemma3_text", {**GROUPED, "sliding_window": WINDOW, "sliding_window_pattern": 2}, "Gemma 3 (text)",
        "norms on both sides, most layers see a window",
    ),
    "VaultGemma": Family(
        "vaultgemma", {**GROUPED, "sliding_window": WINDOW, "final_logit_softcapping": 0.5}, "VaultGemma", "windows, capped logits",
    ),
    "GLM": Family("glm", _SIZED, "GLM-4 9B"),
    "GLM-4": Family("glm4", _SIZED, "GLM-4-0414", "norms on both sides"),
    "Granite": Family("granite", {**_PAIRED, **_GRANITE}, "Granite 3", "factors on embedding, attention, blocks and logits"),
    "Cohere": Family("cohere", {**_PAIRED, "logit_scale": 0.2}, "Command R", "attention and MLP side by side, scaled logits"),
    "Cohere 2": Family(
        "cohere2", {**_PAIRED, "logit_scale": 0.2, "sliding_window": WINDOW}, "Command R7B", "scaled logits, most layers see a window",
    ),
    "StableLM": Family("stablelm", _PAIRED, "StableLM"),
    "StarCoder 2": Family("starcoder2", {**_PAIRED, "sliding_window": None}, "StarCoder 2"),
    "Nemotron": Family("nemotron", _SIZED, "Minitron, Nemotron 4", "gain stored less 1, squared ReLU"),
    "SmolLM3": Family("smollm3", _PAIRED, "SmolLM3"),
    "Arcee": Family("arcee", _SIZED, "AFM", "squared ReLU"),
    "Apertus": Family("apertus", _PAIRED, "Apertus", "xIELU"),
    "Seed-OSS": Family("seed_oss", _SIZED, "Seed-OSS"),
    "ERNIE 4.5": Family("ernie4_5", _SIZED, "ERNIE 4.5 0.3B"),
    "BitNet": Family("bitnet", _PAIRED, "BitNet, unpacked to float", "a norm inside the MLP"),
    "Helium": Family("helium", GROUPED, "Helium 1", UNKNOWN),
    "Persimmon": Family("persimmon", COMMON, "Persimmon 8B", f"{UNKNOWN}; norms on queries and keys, squared ReLU"),
    "BioGPT": Family("biogpt", COMMON, "BioGPT", f"{UNKNOWN}; scaled embedding"),
    "Ministral": Family("ministral", {**GROUPED, "sliding_window": WINDOW, "layer_types": ["sliding_attention"] * 2}, "Ministral", f"{UNKNOWN}; every layer sees a window"),
    "GPT-NeoX Japanese": Family(
        "gpt_neox_japanese", {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_multiple_size": 2, "max_position_embeddings": 32},
        "GPT-NeoX Japanese 2.7B", UNKNOWN,
    ),
    "CTRL": Family("ctrl", {"n_embd": 16, "dff": 24, "n_layer": 2, "n_head": 2, "n_positions": 32}, "CTRL", f"{UNKNOWN}; biased unembedding"),
    "CWM": Family("cwm", {**GROUPED, "sliding_window": WINDOW}, "Code World Model", f"{UNKNOWN}; some layers see a window"),
    "Granite, windows": Family("granite_swa", {**_PAIRED, **_GRANITE}, "Granite SWA", f"{UNKNOWN}; factors on blocks and logits"),
    "Mixtral": Family("mixtral", {**_PAIRED, "num_local_experts": 4}, "Mixtral", "a mixture of experts"),
    "Qwen 3 MoE": Family("qwen3_moe", {**GROUPED, "num_experts": 4, "moe_intermediate_size": 8}, "Qwen 3 30B-A3B", "a mixture of experts"),
}  # fmt: skip
