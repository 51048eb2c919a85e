"""Loading a model: what is refused and why, what a token reads as, what a snapshot records, what parity measures."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from assets.contracts import MODEL_PARITY, MODEL_SNAPSHOT, TRACKED_TOKENS, conform
from assets.histograms.activation_bins import bins_for, slot_finder
from assets.model.language_model import LanguageModel, texts_inside_running_text
from assets.model.loading import choose_device, load
from assets.model.model_snapshot import model_files, refuse_changed_files, resolve_model
from assets.model.refusals import ModelError
from assets.model.vocabulary import token_id
from assets.study import FixedBins, Study
from assets.trial.model_parity import model_parity
from assets.trial.tracked_tokens import tracked_tokens, try_study
from tests.planted import LAYERS, NEURONS, VOCABULARY, planted_model, planted_token_id
from tests.real_inputs import SHARED_REAL


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_model(tmp_path_factory.mktemp("planted") / "model")


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return load(folder, "float32", "cpu")


def study(folder: Path, **fields: object) -> Study:
    given = {
        "name": "s",
        "folder": folder,
        "model": {"id": "model"},
        "tokens": (" an",),
        "corpus": {"files": ("c.txt",), "context_length": 8},
    }
    return Study.model_validate({**given, **fields})


def changed_config(folder: Path, target: Path, **fields: object) -> Path:
    shutil.copytree(folder, target)
    file = target / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
    return target


def test_the_facts_are_those_of_the_planted_model(model: LanguageModel) -> None:
    facts = model.facts
    assert (facts.layers, facts.neurons, facts.vocabulary, facts.is_gated, facts.normalization) == (
        LAYERS,
        NEURONS,
        len(VOCABULARY),
        False,
        "LN",
    )
    assert facts.is_tied
    assert facts.beginning_token_id == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"auto_map": {"AutoModel": "code.Model"}}, r"code of its own \(auto_map\); remote code is never run"),
        ({"num_local_experts": 8}, r"num_local_experts=8: a mixture of experts has no one list of neurons"),
    ],
)
def test_models_whose_neurons_cannot_be_measured_are_refused_with_the_reason(
    folder: Path, tmp_path: Path, fields: dict, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        load(changed_config(folder, tmp_path / "model", **fields), "float32", "cpu")


def test_pickled_weights_a_missing_config_and_a_missing_tokenizer_are_refused(folder: Path, tmp_path: Path) -> None:
    pickled = shutil.copytree(folder, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no .safetensors weights; only safetensors are read \(pickled weights can run code\)"):
        load(pickled, "float32", "cpu")
    with pytest.raises(ModelError, match=r"no config.json there; give a hub id or a folder made by save_pretrained"):
        load(tmp_path, "float32", "cpu")
    mute = shutil.copytree(folder, tmp_path / "mute")
    for file in mute.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        load(mute, "float32", "cpu")


def test_tokens_are_found_by_how_they_read_inside_running_text(model: LanguageModel) -> None:
    assert token_id(model, " an") == planted_token_id(" an")
    assert token_id(model, "an") == planted_token_id("an")
    assert token_id(model, 5) == 5
    with pytest.raises(ModelError, match=r"token 999: the vocabulary has entries 0 to \d+"):
        token_id(model, 999)


@pytest.mark.skipif(not SHARED_REAL.is_dir(), reason=f"the real GPT-2 tokenizer is not at {SHARED_REAL}")
def test_the_real_gpt2_tokenizer_has_the_published_ids() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(SHARED_REAL / "gpt2_tokenizer"))
    texts = texts_inside_running_text(tokenizer, 50_257)
    assert (texts.index(" an"), texts.index(" a"), texts.index("an"), len(texts)) == (281, 257, 272, 50_257)
    fake = SimpleNamespace(facts=SimpleNamespace(vocabulary=50_257), token_texts=texts, tokenizer=tokenizer)
    with pytest.raises(ModelError, match=r"token ' lemonade stand': not one token .* splits into ' lemon' \+ 'ade' \+ ' stand'"):
        token_id(fake, " lemonade stand")  # type: ignore[arg-type]


def test_tracked_tokens_are_the_study_s_and_doubles_are_told(model: LanguageModel, tmp_path: Path) -> None:
    frame = conform(TRACKED_TOKENS, tracked_tokens(model, study(tmp_path, tokens=(" an", 5))))
    assert frame.rows() == [(0, " an", planted_token_id(" an"), " an"), (1, "5", 5, VOCABULARY[5])]
    double = study(tmp_path, tokens=(" an", planted_token_id(" an")))
    with pytest.raises(ModelError, match="are both entry"):
        tracked_tokens(model, double)


def test_a_study_that_asks_for_what_the_model_lacks_is_told_before_work_begins(model: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="layer 0 neuron 16 does not exist; the model has layers 0 to 2 with neurons 0 to 15 each"):
        try_study(model, study(tmp_path, neurons=({"layer": 0, "neuron": 16},)))
    with pytest.raises(ModelError, match="context_length 65 is more than the model's 64"):
        try_study(model, study(tmp_path, corpus={"files": ("c.txt",), "context_length": 65}))


def test_a_snapshot_lists_every_file_and_notices_a_changed_one(folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "model")
    assert resolve_model(study(tmp_path)).folder == copied.resolve()
    snapshot = conform(MODEL_SNAPSHOT, model_files(copied))
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(snapshot["file"])
    refuse_changed_files(snapshot, copied)
    (copied / "config.json").write_text((copied / "config.json").read_text() + "\n")
    with pytest.raises(ModelError, match=r"config.json has changed since model_snapshot recorded it"):
        refuse_changed_files(snapshot, copied)


@pytest.mark.parametrize("given", ["owner/name of it", "owner/na--me", "-owner/name", "owner/" + "n" * 200])
def test_an_id_that_the_hub_could_not_have_is_told_without_a_network(tmp_path: Path, given: str) -> None:
    with pytest.raises(ModelError, match=r"no hub id of the form owner/name \(") as caught:
        resolve_model(study(tmp_path, model={"id": given}))
    assert len(str(caught.value).splitlines()) == 1


def test_a_gpu_that_is_not_there_is_told_and_the_model_not_blamed() -> None:
    with pytest.raises(ModelError, match=r"model.device: given 'cuda:99'; torch sees \d+ GPUs here; give auto, cpu or one that is there"):
        choose_device("cuda:99")
    assert choose_device("cpu") == "cpu"


def test_an_id_that_is_neither_a_folder_nor_a_hub_id_is_told_without_a_network(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model.id './nowhere': no such folder .*, and no hub id of the form owner/name"):
        resolve_model(study(tmp_path, model={"id": "./nowhere"}))


def test_parity_is_zero_disagreements_for_the_same_weights_and_shows_other_weights(
    model: LanguageModel, folder: Path, tmp_path: Path
) -> None:
    ids = [[0, 3, 4, 5, 6, 7], [0, 9, 8, 7]]
    windows = pl.DataFrame({"document": [0, 1], "window_in_document": [0, 0], "token_ids": ids})
    same = conform(MODEL_PARITY, model_parity(model, folder, windows))
    assert same["prediction_disagreements"].sum() == 0
    assert max(same["largest_logit_difference"]) < 1e-4
    assert same["positions"].to_list() == [6, 4]
    assert same["float32_prediction_disagreements"].sum() == 0  # the pass runs plain code: bit for bit
    assert same["float32_bin_disagreements"].sum() == 0
    assert same["activations"].to_list() == [6 * LAYERS * NEURONS, 4 * LAYERS * NEURONS]
    other = changed_config(folder, tmp_path / "model", layer_norm_epsilon=1.0)
    assert max(model_parity(model, other, windows)["largest_logit_difference"]) > 0.1


def test_half_precision_is_measured_against_float32_by_predictions_and_by_the_study_s_bins(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    half = load.__wrapped__(folder, "bfloat16", "cpu")
    generator = torch.Generator().manual_seed(0)
    ids = [[0, *torch.randint(1, 30, (24,), generator=generator).tolist()] for _ in range(3)]
    windows = pl.DataFrame({"document": [0, 1, 2], "window_in_document": [0, 0, 0], "token_ids": ids})
    table = conform(MODEL_PARITY, model_parity(half, folder, windows, lambda largest: slot_finder(bins_for(FixedBins(), 3, 16, largest))))
    expected_bins, expected_predictions = [], []
    models = [AutoModelForCausalLM.from_pretrained(str(folder), attn_implementation="eager", dtype=dtype).eval()  # type: ignore[no-untyped-call]
              for dtype in (torch.bfloat16, torch.float32)]  # fmt: skip
    for window in ids:
        found = []
        for model in models:
            seen: list[torch.Tensor] = []
            handles = [
                block.mlp.c_proj.register_forward_pre_hook(lambda module, given, seen=seen: seen.append(given[0].float()))
                for block in model.transformer.h
            ]
            with torch.inference_mode():
                top = model(torch.tensor([window]), use_cache=False).logits.argmax(-1)
            for handle in handles:
                handle.remove()
            found.append(((torch.stack(seen) * 5).floor().clamp(-6, 75), top))
        expected_bins.append(int((found[0][0] != found[1][0]).sum()))
        expected_predictions.append(int((found[0][1] != found[1][1]).sum()))
    assert table["float32_bin_disagreements"].to_list() == expected_bins
    assert table["float32_prediction_disagreements"].to_list() == expected_predictions
    assert sum(expected_bins) > 0


def test_the_allocator_is_told_to_keep_memory_where_it_can_be() -> None:
    from assets.model.freed_memory import keep_freed_memory

    assert keep_freed_memory() is (sys.platform == "linux")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator, and Linux's way to tell what a process holds")
def test_what_the_allocator_kept_is_handed_back() -> None:
    """In a process of its own, whose small blocks are freed but kept: 200 MiB in blocks of 64 KiB, which are never mapped each by itself."""
    held = """
import os, resource
from assets.model.freed_memory import hand_back_freed_memory, keep_freed_memory
def resident() -> int:
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20
keep_freed_memory()
blocks = [os.urandom(1 << 16) for _ in range(3200)]
del blocks
before = resident()
hand_back_freed_memory()
print(before - resident())
"""
    shown = subprocess.run([sys.executable, "-c", held], capture_output=True, text=True, check=True)
    assert int(shown.stdout) > 150
