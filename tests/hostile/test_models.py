"""Model folders that cannot be measured, each with what it is told; and families that can, against plain code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets.model.loading import load
from assets.model.refusals import ModelError
from assets.trial.model_parity import model_parity
from tests.hostile.tiny_models import COMMON, GROUPED, OPT, tiny_model
from tests.planted import planted_model

WINDOWS = pl.DataFrame({"document": [0, 1], "window_in_document": [0, 0], "token_ids": [[0, 3, 4, 5, 6, 7], [0, 9, 8, 7]]})


@pytest.fixture(autouse=True)
def forget_loaded_models() -> None:
    load.cache_clear()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_model(tmp_path_factory.mktemp("sound") / "model")


MEASURABLE: dict[str, Any] = {
    "opt, feed-forward width not 4 x model width": ("opt", OPT, 48, False),
    "gpt_neox, parallel blocks": ("gpt_neox", {**COMMON, "rotary_pct": 0.5}, 24, False),
    "llama, gated, untied": ("llama", {**GROUPED, "tie_word_embeddings": False}, 24, True),
    "llama, tied": ("llama", {**GROUPED, "tie_word_embeddings": True}, 24, True),
    "mistral": ("mistral", GROUPED, 24, True),
    "qwen2": ("qwen2", {**COMMON, "num_key_value_heads": 1}, 24, True),
    "gemma, the first": ("gemma", GROUPED, 24, True),
    "phi, parallel blocks, biased unembedding": ("phi", COMMON, 24, False),
}


@pytest.mark.parametrize("name", MEASURABLE)
def test_a_family_that_can_be_measured_has_the_logits_of_plain_code_and_its_own_neurons(tmp_path: Path, name: str) -> None:
    import torch

    family, fields, neurons, is_gated = MEASURABLE[name]
    model = load(tiny_model(tmp_path / "model", family, **fields), "float32", "cpu")
    assert (model.facts.layers, model.facts.neurons, model.facts.is_gated) == (2, neurons, is_gated)
    if "tie_word_embeddings" in fields:
        assert model.facts.is_tied is fields["tie_word_embeddings"]
    parity = model_parity(model, tmp_path / "model", WINDOWS)
    assert parity["prediction_disagreements"].sum() == 0
    assert max(parity["largest_logit_difference"]) < 1e-5

    seen: dict[int, torch.Tensor] = {}
    hooks = [(model.neuron_hook(layer), lambda value, hook, layer=layer: seen.__setitem__(layer, value.clone())) for layer in range(2)]
    with torch.inference_mode(), model.bridge.hooks(fwd_hooks=hooks):
        model.bridge(torch.tensor([[0, 3, 4, 5]]), use_cache=False, output_attentions=False)
    assert {tuple(values.shape) for values in seen.values()} == {(1, 4, neurons)}
    if family == "opt":
        assert min(float(values.min()) for values in seen.values()) == 0.0  # after ReLU
        assert max(float(values.max()) for values in seen.values()) > 0.0


REFUSED_FAMILIES: dict[str, Any] = {
    "opt, norm behind": ("opt", {**OPT, "do_layer_norm_before": False}, "its code does not run in float32 under TransformerLens (RuntimeError: Original component not set for model.decoder.final_layer_norm"),
    "mixtral": ("mixtral", {**COMMON, "num_key_value_heads": 2, "num_local_experts": 4}, "num_local_experts=4: a mixture of experts has no one list of neurons per layer; choose a dense model"),
    "qwen3_moe": ("qwen3_moe", {**GROUPED, "num_experts": 4, "moe_intermediate_size": 8}, "a mixture of experts has no one list of neurons per layer; choose a dense model"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_FAMILIES)
def test_a_family_without_one_list_of_neurons_a_layer_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    family, fields, message = REFUSED_FAMILIES[name]
    folder = tiny_model(tmp_path / "model", family, **fields)
    with pytest.raises(ModelError) as caught:
        load(folder, "float32", "cpu")
    assert str(caught.value).startswith(f"model {folder}: ")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def config(**fields: Any) -> Callable[[Path], None]:
    """Change config.json."""

    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))

    return change


def text(name: str, content: str) -> Callable[[Path], None]:
    """Replace a file."""

    def replace(folder: Path) -> None:
        (folder / name).write_text(content)

    return replace


def without(pattern: str) -> Callable[[Path], None]:
    """Remove files."""

    def remove(folder: Path) -> None:
        for file in folder.glob(pattern):
            file.unlink()

    return remove


def pickled(folder: Path) -> None:
    """Weights that a pickle reader would run."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def truncated(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def corrupt_header(folder: Path) -> None:
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[8:40] = b"\xff" * 32
    file.write_bytes(content)


def endless_header(folder: Path) -> None:
    """A header that claims to be 2^62 bytes long."""
    file = folder / "model.safetensors"
    file.write_bytes((2**62).to_bytes(8, "little") + file.read_bytes()[8:])


def header(change: Callable[[dict], None], padded: int = 0) -> Callable[[Path], None]:
    """Change the header of the weights and leave the bytes that it describes as they are."""

    def rewrite(folder: Path) -> None:
        file = folder / "model.safetensors"
        content = file.read_bytes()
        length = int.from_bytes(content[:8], "little")
        fields = json.loads(content[8 : 8 + length])
        change(fields)
        new = json.dumps(fields).encode() + b" " * padded
        file.write_bytes(len(new).to_bytes(8, "little") + new + content[8 + length :])

    return rewrite


OF = "transformer.h.1.mlp.c_fc.weight"


def overlapping(fields: dict) -> None:
    fields[OF]["data_offsets"] = fields["transformer.h.0.mlp.c_fc.weight"]["data_offsets"]


def beyond_the_end(fields: dict) -> None:
    fields[OF]["data_offsets"] = [10**15, 10**15 + 4]


def backwards(fields: dict) -> None:
    fields[OF]["data_offsets"] = fields[OF]["data_offsets"][::-1]


def half_as_wide(fields: dict) -> None:
    fields[OF]["dtype"] = "F16"


def no_such_dtype(fields: dict) -> None:
    fields[OF]["dtype"] = "F1024"


def whole_numbers(fields: dict) -> None:
    fields[OF]["dtype"] = "I32"  # as wide as float32: offsets agree


def overflowing_shape(fields: dict) -> None:
    fields[OF]["shape"] = [2**63, 2**63]


def with_code_for_the_tokenizer(folder: Path) -> None:
    """A tokenizer that names a class in a file of the folder; importing that file would end the process."""
    file = folder / "tokenizer_config.json"
    fields = {**json.loads(file.read_text()), "tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    file.write_text(json.dumps(fields))
    (folder / "evil.py").write_text("import os; os._exit(66)")


def weights(change: Callable[[dict], None]) -> Callable[[Path], None]:
    """Change the weights and save them as safetensors again."""

    def rewrite(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        held = load_file(folder / "model.safetensors")
        change(held)
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})

    return rewrite


def nan(held: dict) -> None:
    held["transformer.h.1.mlp.c_fc.weight"][3, 5] = float("nan")


def infinite(held: dict) -> None:
    held["transformer.wte.weight"][2, 2] = float("inf")


def lacking(held: dict) -> None:
    for name in [name for name in held if name.startswith("transformer.h.2.mlp.c_proj")]:
        del held[name]


def foreign_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"wte": "../../pytorch_model.bin"}}))


BROKEN = {
    "no config": (without("config.json"), "no config.json there; give a hub id or a folder made by save_pretrained"),
    "config not JSON": (text("config.json", '{"model_type": "gpt2",'), "config.json is not readable as JSON"),
    "config a list": (text("config.json", "[]"), "config.json holds list, not fields"),
    "config of NUL bytes": (text("config.json", "\0" * 50), "config.json is not readable as JSON"),
    "unknown architecture": (config(model_type="no-such-model", architectures=["NoSuchModel"]), "cannot be loaded"),
    "no architecture": (text("config.json", "{}"), "cannot be loaded"),
    "remote code": (config(auto_map={"AutoModelForCausalLM": "code.Model"}), "config.json asks for code of its own (auto_map); remote code is never run"),
    "experts inside a text part": (config(text_config={"n_routed_experts": 64}), "n_routed_experts=64: a mixture of experts"),
    "no tokenizer": (without("tokenizer*"), "tokenizer"),
    "tokenizer not JSON": (text("tokenizer.json", "{"), "cannot be loaded"),
    "pickled weights": (pickled, "no .safetensors weights; only safetensors are read (pickled weights can run code)"),
    "no weights": (without("*.safetensors"), "no .safetensors weights"),
    "an index that names a pickle outside": (foreign_index, "model.safetensors.index.json names '../../pytorch_model.bin', which is no .safetensors file of the folder"),
    "truncated weights": (truncated, "cannot be loaded (SafetensorError:"),
    "corrupt header": (corrupt_header, "cannot be loaded (SafetensorError:"),
    "endless header": (endless_header, "cannot be loaded (SafetensorError:"),
    "header that overlaps": (header(overlapping), "cannot be loaded (SafetensorError:"),
    "header that leads beyond the end": (header(beyond_the_end), "cannot be loaded (SafetensorError:"),
    "header that runs backwards": (header(backwards), "cannot be loaded (SafetensorError:"),
    "header with a dtype of half the width": (header(half_as_wide), "cannot be loaded (SafetensorError:"),
    "header with a dtype that is none": (header(no_such_dtype), "cannot be loaded (SafetensorError:"),
    "header with whole numbers": (header(whole_numbers), "model.safetensors holds transformer.h.1.mlp.c_fc.weight as I32, whole numbers; only models with floating-point weights are measured"),
    "header with a shape that overflows": (header(overflowing_shape), "cannot be loaded (SafetensorError:"),
    "header of 101 MB": (header(lambda fields: None, padded=101_000_000), "cannot be loaded (SafetensorError:"),
    "code of the tokenizer's own": (with_code_for_the_tokenizer, "tokenizer_config.json asks for code of its own (auto_map); remote code is never run"),
    "empty weights": (text("model.safetensors", ""), "cannot be loaded (SafetensorError:"),
    "fewer layers claimed": (config(n_layer=2), "the weights hold, but config.json does not name, transformer.h.2"),
    "more layers claimed": (config(n_layer=4), "the weights lack transformer.h.3"),
    "another width claimed": (config(n_inner=32), "config.json gives another shape than the weights for transformer.h.0.mlp.c_fc"),
    "a billion neurons claimed": (config(n_inner=10**9), "config.json gives another shape than the weights for transformer.h.0.mlp.c_fc"),
    "a billion entries claimed": (config(vocab_size=10**9), "config.json gives another shape than the weights for"),
    "a million positions claimed": (config(n_positions=10**6), "config.json gives another shape than the weights for transformer.wpe.weight"),
    "no layer": (config(n_layer=0), "the weights hold, but config.json does not name, transformer.h.0"),
    "layers as text": (config(n_layer="three"), "cannot be loaded"),
    "weights that lack a layer's MLP": (weights(lacking), "the weights lack transformer.h.2.mlp.c_proj"),
    "a weight that is NaN": (weights(nan), "weights transformer.h.1.mlp.c_fc.weight hold NaN or infinity"),
    "a weight that is infinite": (weights(infinite), "weights transformer.wte.weight hold NaN or infinity"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_or_unsafe_folder_is_refused_in_one_sentence(sound: Path, tmp_path: Path, name: str) -> None:
    damage, message = BROKEN[name]
    folder = Path(shutil.copytree(sound, tmp_path / "model"))
    damage(folder)
    with pytest.raises(ModelError) as caught:
        load(folder, "float32", "cpu")
    assert str(caught.value).startswith(f"model {folder}: ")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_trial_follows_the_arithmetic_of_half_precision(sound: Path, tmp_path: Path) -> None:
    for dtype in ("bfloat16", "float16"):
        assert load(sound, dtype, "cpu").facts.neurons == 16
        load.cache_clear()
    assert load(tiny_model(tmp_path / "model", "llama", **GROUPED), "bfloat16", "cpu").facts.neurons == 24
