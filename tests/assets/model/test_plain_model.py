"""Plain code beside the bridge: the same weights in memory, plain Hugging Face code's bits, every family's neurons."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.activations import NewGELUActivation

from assets.model import cached_activation
from assets.model.cached_activation import cached_new_gelu
from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.model.plain_model import last_hidden, neurons_reported, whole_logits
from tests.assets.prompts.tiny_models import FAMILIES, save_tiny_model
from tests.planted import planted_model, planted_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_model(tmp_path_factory.mktemp("planted") / "model")


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return load.__wrapped__(folder, "float32", "cpu")


def test_plain_code_takes_no_memory_for_weights_of_its_own(model: LanguageModel) -> None:
    held = {weights.data_ptr() for weights in model.bridge.original_model.parameters()}
    assert {weights.data_ptr() for weights in model.plain.parameters()} <= held


def test_plain_code_gives_the_bits_of_the_files_read_by_hugging_face_alone(model: LanguageModel, folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    alone: Any = AutoModelForCausalLM.from_pretrained(str(folder), attn_implementation="eager", dtype=torch.float32).eval()
    ids = torch.randint(0, 30, (3, 40), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(whole_logits(model, ids), alone(ids, use_cache=False).logits)
        assert torch.equal(last_hidden(model, ids), alone.transformer(ids, use_cache=False).last_hidden_state)


@pytest.mark.parametrize("numbers", [1, 31, 32, 999, 4096 + 7, 3 * 4096])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_in_pieces_has_every_bit_of_hugging_faces(numbers: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_activation, "PIECE", 1024)
    given = (torch.randn(numbers, generator=torch.Generator().manual_seed(numbers)) * 5).to(dtype)
    given[0] = torch.nan
    found, expected = cached_new_gelu()(given), NewGELUActivation()(given)
    assert torch.equal(found.view(torch.int16), expected.view(torch.int16))


def test_gelu_in_pieces_takes_any_shape_and_order_of_memory() -> None:
    given = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(0)).transpose(0, 1)
    assert torch.equal(cached_new_gelu()(given), NewGELUActivation()(given))
    assert cached_new_gelu()(torch.empty(0, 4)).shape == (0, 4)


def saved_opt(folder: Path) -> Path:
    """A random OPT, whose layers flatten rows and positions into one axis."""
    from transformers import OPTConfig, OPTForCausalLM

    tokenizer = planted_tokenizer()
    config = OPTConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, ffn_dim=24, num_attention_heads=2, word_embed_proj_dim=16,
        max_position_embeddings=32, bos_token_id=0, eos_token_id=0, pad_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    OPTForCausalLM(config).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("family", [*FAMILIES, "opt"])
def test_the_reported_activations_are_what_the_bridge_calls_the_neurons(family: str, tmp_path: Path) -> None:
    model = load.__wrapped__(saved_opt(tmp_path) if family == "opt" else save_tiny_model(tmp_path, family), device="cpu")
    ids = torch.randint(0, model.facts.vocabulary, (2, 9), generator=torch.Generator().manual_seed(0))
    plain: dict[int, torch.Tensor] = {}
    bridged: dict[int, torch.Tensor] = {}
    hooks = [
        (model.neuron_hook(layer), lambda values, hook, layer=layer: bridged.update({layer: values})) for layer in range(model.facts.layers)
    ]
    with torch.inference_mode():
        with neurons_reported(model, lambda layer, values: plain.update({layer: values})):
            last_hidden(model, ids)
        last_hidden(model, ids)  # nothing is reported once it is closed
        with model.bridge.hooks(fwd_hooks=hooks):
            model.bridge(ids, use_cache=False, output_attentions=False)
    assert list(plain) == list(range(model.facts.layers))
    for layer, values in plain.items():
        assert values.shape == (2, 9, model.facts.neurons)
        torch.testing.assert_close(values, bridged[layer], atol=1e-5, rtol=1e-4)
