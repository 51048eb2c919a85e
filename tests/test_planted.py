"""The planted model does what its docstring works out by hand: the ground on which other tests stand."""

import json
from pathlib import Path

import pytest

from assets.model.language_model import LanguageModel
from assets.model.loading import load
from tests import planted
from tests.planted import ANSWER, CLEAN_PROMPT, CORRUPT_PROMPT, VOCABULARY, WRONG_ANSWER, Role, planted_token_id


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted.planted_model(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return load(folder, device="cpu")


def _ids(model: LanguageModel, text: str) -> list[int]:
    return [0, *model.tokenizer(text, add_special_tokens=False)["input_ids"]]


def _logits(model: LanguageModel, text: str, hooks=()):
    """Logits [position, token]."""
    import torch

    with torch.inference_mode(), model.bridge.hooks(fwd_hooks=list(hooks)):
        return model.bridge(torch.tensor([_ids(model, text)]), use_cache=False)[0]


def _activations(model: LanguageModel, text: str, role: Role) -> list[float]:
    kept = []
    _logits(model, text, [(model.neuron_hook(role.layer), lambda activation, hook: kept.append(activation[0, :, role.neuron].tolist()))])
    return kept[0]


def _predictions(model: LanguageModel, text: str) -> list[str]:
    return [VOCABULARY[entry] for entry in _logits(model, text).argmax(-1).tolist()]


def test_every_word_is_one_token_that_reads_as_it_is_written(model: LanguageModel) -> None:
    assert model.token_texts == list(VOCABULARY)


def test_the_corpus_holds_the_counts_that_its_constants_name(model: LanguageModel, tmp_path: Path) -> None:
    texts = [json.loads(line)["text"] for line in planted.planted_corpus(tmp_path).read_text().splitlines()]
    ids = [_ids(model, text) for text in texts]
    predictions = [word for text in texts for word in _predictions(model, text)]
    assert (len(texts), planted.PREDICTIONS_OF_AN, planted.OCCURRENCES_OF_AN, planted.PREDICTIONS_OF_A) == (28, 14, 14, 17)
    assert len(texts) == planted.DOCUMENTS
    assert predictions.count(" an") == planted.PREDICTIONS_OF_AN
    assert predictions.count(" a") == planted.PREDICTIONS_OF_A
    assert sum(window.count(planted_token_id(" an")) for window in ids) == planted.OCCURRENCES_OF_AN
    assert max(len(window) for window in ids) <= 20
    assert not any(planted_token_id("<unk>") in window for window in ids)


def test_predictions_follow_the_planted_rules_at_every_position(model: LanguageModel) -> None:
    default = [" the"] * 2
    assert _predictions(model, CLEAN_PROMPT) == [*default, " up", " the", " the", " the", " the", " the", " an"]
    assert _predictions(model, CORRUPT_PROMPT) == [*default, " up", " the", " the", " the", " the", " the", " a"]


def test_the_planted_neuron_fires_where_it_was_worked_out_to(model: LanguageModel) -> None:
    clean = _activations(model, CLEAN_PROMPT, planted.PLANTED)
    assert clean[-1] == pytest.approx(4.22, abs=0.05)  # noise moves it a little
    assert max(clean[:-1]) < 0.01
    assert max(_activations(model, CORRUPT_PROMPT, planted.PLANTED)) < 0.01
    both = _activations(model, "I climbed up the apple tree, then the lemon tree, and picked", planted.PLANTED)
    assert both[-1] == pytest.approx(1.9, abs=0.15)  # 1.95 before the gelu


def test_the_planted_neuron_alone_moves_the_answer(model: LanguageModel) -> None:
    role = planted.PLANTED
    (activation,) = _activations(model, CLEAN_PROMPT, role)[-1:]

    def patch(values, hook):
        values = values.clone()
        values[0, -1, role.neuron] = activation
        return values

    def difference(logits) -> float:
        return float(logits[-1, planted_token_id(ANSWER)] - logits[-1, planted_token_id(WRONG_ANSWER)])

    clean, corrupt = difference(_logits(model, CLEAN_PROMPT)), difference(_logits(model, CORRUPT_PROMPT))
    patched = difference(_logits(model, CORRUPT_PROMPT, [(model.neuron_hook(role.layer), patch)]))
    assert len(_ids(model, CLEAN_PROMPT)) == len(_ids(model, CORRUPT_PROMPT))
    assert clean > 2
    assert corrupt < -2
    assert (patched - corrupt) / (clean - corrupt) == pytest.approx(1.0, abs=0.02)


def test_the_indirect_neuron_works_through_its_relay_alone(model: LanguageModel) -> None:
    def silence(role: Role):
        def hook(values, hook):
            values = values.clone()
            values[..., role.neuron] = 0
            return values

        return [(model.neuron_hook(role.layer), hook)]

    text = "I climbed"
    assert VOCABULARY[int(_logits(model, text)[-1].argmax())] == " up"
    for role in (planted.INDIRECT, planted.RELAY):
        assert VOCABULARY[int(_logits(model, text, silence(role))[-1].argmax())] != " up"


def test_the_silent_neuron_never_fires_and_the_empty_one_fires_at_every_tree(model: LanguageModel) -> None:
    assert max(_activations(model, CLEAN_PROMPT, planted.SILENT)) == 0
    empty = _activations(model, CLEAN_PROMPT, planted.EMPTY)
    tree = _ids(model, CLEAN_PROMPT).index(planted_token_id(" tree"))
    assert empty[tree] == pytest.approx(2.83, abs=0.02)
    assert max(empty[:tree] + empty[tree + 1 :]) < 0.01
