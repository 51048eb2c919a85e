"""Tiny random models of many families with the planted tokenizer, saved as folders. Holds no test."""

from pathlib import Path
from typing import Any

from tests.planted import VOCABULARY, planted_tokenizer

COMMON = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 32}
OPT = {
    "hidden_size": 32,
    "ffn_dim": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "word_embed_proj_dim": 32,
}
GROUPED = {**COMMON, "num_key_value_heads": 1, "head_dim": 8}


def tiny_model(folder: Path, family: str, **fields: Any) -> Path:
    """Write a model of the family whose every weight, norms and biases included, is a seeded normal number of size 0.3."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(family, vocab_size=len(VOCABULARY), bos_token_id=0, eos_token_id=0, pad_token_id=None, **fields)
    model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    model.save_pretrained(str(folder))
    planted_tokenizer().save_pretrained(str(folder))
    return folder
