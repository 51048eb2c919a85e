"""Neurons found by structure: where the bridge knows a model, they are the bridge's; where nothing, or too much, could be neurons, it is said."""

from pathlib import Path
from typing import Any

import pytest
import torch

from assets.model.block_maps import StructureError
from assets.model.found_parts import FoundParts, found_parts
from assets.model.loading import load
from assets.model.weights import embedding, input_weights, output_weights, unembedding
from tests.hostile.tiny_models import COMMON, tiny_model
from tests.model_families import FAMILIES

KNOWN = (
    "GPT-2",
    "GPT-NeoX",
    "GPT-J",
    "OPT",
    "BLOOM",
    "MPT",
    "Falcon",
    "Llama",
    "Phi",
    "Phi-3",
    "Gemma 2",
    "Granite",
    "Cohere",
    "StarCoder 2",
)
READ_OFF = ("GPT-2", "OPT", "Llama", "Phi-3", "GPT-J")  # Conv1D; maps in the block itself; two maps; two in one; one norm for both parts


def plain(folder: Path, kind: str, **fields: Any) -> Any:
    """A tiny model in plain code."""
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(str(tiny_model(folder / "model", kind, **fields)), attn_implementation="eager")
    return loaded.eval()


def helium(folder: Path) -> Any:
    """A model that the bridge does not know."""
    return plain(folder, "helium", **FAMILIES["Helium"].fields)


def refusal(model: Any) -> str:
    """Why nothing is found."""
    with pytest.raises(StructureError) as caught:
        found_parts(model)
    return str(caught.value)


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_found_is_what_the_bridge_knows(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    found = found_parts(plain(tmp_path, family.kind, **family.fields))
    model = load.__wrapped__(tmp_path / "model", "float32", "cpu")
    assert found.parts.neuron_maps == model.parts.neuron_maps
    assert found.parts.blocks == model.parts.blocks
    assert found.parts.final_norm == model.parts.final_norm
    assert (found.neurons, found.width, found.is_gated) == (model.facts.neurons, model.facts.model_width, model.facts.is_gated)


@pytest.mark.parametrize("name", READ_OFF)
def test_weights_read_off_plain_code_are_the_bridges(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES[name]
    folder = tiny_model(tmp_path / "model", family.kind, **family.fields)
    bridged = load.__wrapped__(folder, "float32", "cpu")
    monkeypatch.setattr("transformer_lens.factories.architecture_adapter_factory.SUPPORTED_ARCHITECTURES", {})
    alone = load.__wrapped__(folder, "float32", "cpu")
    assert alone.bridge_if_known is None
    assert alone.facts == bridged.facts
    for layer in range(2):
        assert torch.equal(output_weights(alone, layer), output_weights(bridged, layer))
        assert torch.equal(input_weights(alone, layer), input_weights(bridged, layer))
    assert torch.equal(unembedding(alone), unembedding(bridged))
    assert torch.equal(embedding(alone), embedding(bridged))


def test_the_gate_is_found_whatever_the_sign_of_the_other_factor_and_whichever_comes_first(tmp_path: Path) -> None:
    model = helium(tmp_path)
    gates = [f"model.layers.{layer}.mlp.gate_proj" for layer in range(2)]
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.up_proj.weight[::2] *= -1
            layer.mlp.down_proj.weight[:, ::2] *= -1
    assert [reading.linear for reading in found_parts(model).parts.reading or ()] == gates
    for layer in model.model.layers:  # the other order among the block's modules
        modules = layer.mlp._modules
        modules["gate_proj"] = modules.pop("gate_proj")
    assert [reading.linear for reading in found_parts(model).parts.reading or ()] == gates


def test_two_gates_are_counted_but_not_read(tmp_path: Path) -> None:
    model = helium(tmp_path)
    for layer in model.model.layers:
        layer.mlp.forward = lambda x, mlp=layer.mlp: mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * mlp.act_fn(mlp.up_proj(x)))
    found = found_parts(model)
    assert found.is_gated
    assert found.parts.reading is None


@pytest.mark.parametrize(
    ("kind", "fields", "told"),
    [
        ("mamba", {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}, "layer 0 has no linear map that reads neurons"),
        ("mixtral", {**COMMON, "num_key_value_heads": 2, "num_local_experts": 4}, "layer 0 has no linear map that reads neurons"),
        ("bert", COMMON, "what it computes at a position depends on tokens behind it"),
        ("xlm", {"emb_dim": 16, "n_layers": 2, "n_heads": 2}, "it has 2 lists of blocks"),
    ],
)
def test_models_without_one_list_of_neurons_a_layer_are_told(kind: str, fields: dict[str, Any], told: str, tmp_path: Path) -> None:
    assert told in refusal(plain(tmp_path, kind, **fields))


def test_an_encoder_decoder_is_told(tmp_path: Path) -> None:
    model = helium(tmp_path)
    model.config.is_encoder_decoder = True
    assert refusal(model) == "it is an encoder-decoder, which has two lists of neurons"


def _mixed(mlp: Any, given: torch.Tensor) -> torch.Tensor:
    return mlp.down_proj((mlp.act_fn(mlp.gate_proj(given)) * mlp.up_proj(given)).softmax(-1))


def _shifted(mlp: Any, given: torch.Tensor) -> torch.Tensor:
    return mlp.down_proj((mlp.act_fn(mlp.gate_proj(given)) * mlp.up_proj(given)).cumsum(1))


def _unused(mlp: Any, given: torch.Tensor) -> torch.Tensor:
    return mlp.down_proj(mlp.act_fn(mlp.gate_proj(given)) * mlp.up_proj(given)) * 0


@pytest.mark.parametrize("forward", [_mixed, _shifted, _unused])
def test_what_only_looks_like_neurons_is_not_taken_for_them(forward: Any, tmp_path: Path) -> None:
    """Numbers mixed over neurons, over positions, or written nowhere: one layer of two is enough."""
    model = helium(tmp_path)
    mlp = model.model.layers[1].mlp
    mlp.forward = lambda given: forward(mlp, given)
    assert refusal(model).startswith("layer 1 has no linear map that reads neurons")


def test_two_mlps_in_a_block_are_ambiguous(tmp_path: Path) -> None:
    model = helium(tmp_path)
    for layer in model.model.layers:
        first, second = layer.mlp, type(layer.mlp)(model.config)
        first.second = second
        first.forward = lambda given, first=first: type(first).forward(first, given) + first.second(given)
    assert refusal(model) == "layer 0 has 2 maps that could read neurons (mlp.down_proj, mlp.second.down_proj)"


def test_layers_of_different_build_are_told(tmp_path: Path) -> None:
    model = helium(tmp_path)
    with_other = model.model.layers[1].mlp
    with_other.out = with_other.down_proj
    del with_other.down_proj
    with_other.forward = lambda given: with_other.out(with_other.act_fn(with_other.gate_proj(given)) * with_other.up_proj(given))
    assert refusal(model) == "its layers have different maps that read neurons (mlp.down_proj, mlp.out)"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["Helium", "BioGPT", "Persimmon"])
def test_rounding_hides_no_neurons(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    family = FAMILIES[name]
    model = plain(tmp_path, family.kind, **family.fields)
    exact: FoundParts = found_parts(model)
    assert found_parts(model.to(dtype)) == exact
