"""A text that is tried against plain Hugging Face code, one neuron at a time, over models that norm, scale and cap in their own ways."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.tried_text.given_text import TextError
from assets.tried_text.tried_text import NEURONS_OF_END, Contribution, ReadToken, TriedText, leading_neuron, tried_text
from tests.family_checks import CLEAN
from tests.hostile.tiny_models import tiny_model
from tests.model_families import FAMILIES
from tests.plain_families import Plain
from tests.planted import PLANTED_LAYER, PLANTED_NEURON, planted_model, planted_token_id

# LayerNorm; gated RMSNorm; norms behind the MLP and a cap; norms behind alone; factors; scaled logits.
NAMES = ("GPT-2", "Llama", "Gemma 2", "OLMo 2", "Granite", "Cohere")
TEXT = (0, *(planted_token_id(word) for word in ("I", " climbed", " up", " the", " apple", " tree", " and", " picked")))


def family_folder(name: str, folder: Path) -> Path:
    return tiny_model(folder / "model", FAMILIES[name].kind, **FAMILIES[name].fields)


def fresh(folder: Path, dtype: str = "float32") -> LanguageModel:
    return load.__wrapped__(folder, dtype, "cpu")


@pytest.fixture(scope="module", params=NAMES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, Plain]:
    folder = family_folder(request.param, tmp_path_factory.mktemp("family"))
    return fresh(folder), Plain(folder)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("planted") / "model"
    planted_model(folder)
    return fresh(folder)


def ends_of(token: ReadToken) -> list[tuple[int, int, float]]:
    return [(one.layer, one.neuron, one.contribution) for one in (*token.writes, *token.writes_against)]


def test_predictions_are_those_of_plain_code(both: tuple[LanguageModel, Plain]) -> None:
    model, plain = both
    tried, logits = tried_text(model, CLEAN), plain.logits(CLEAN).double()
    assert [token.token_id for token in tried.tokens] == list(CLEAN)
    assert [token.prediction_id for token in tried.tokens] == logits.argmax(-1).tolist()
    np.testing.assert_allclose([token.probability for token in tried.tokens], logits.softmax(-1).max(-1).values.numpy(), rtol=1e-5)
    assert [token.token for token in tried.tokens] == [model.token_texts[entry] for entry in CLEAN]


def test_contributions_are_direct_effects_of_plain_code_one_neuron_at_a_time(both: tuple[LanguageModel, Plain]) -> None:
    model, plain = both
    tried, effects = tried_text(model, CLEAN), plain.direct_effects(CLEAN)  # [position, layer, neuron, token]
    assert tried.refused == ""
    for position, token in enumerate(tried.tokens):
        slow = [
            (float(effects[position, layer, neuron, token.prediction_id]), layer, neuron)
            for layer in range(model.facts.layers)
            for neuron in range(model.facts.neurons)
        ]
        size = max(abs(value) for value, _, _ in slow)
        writes = sorted(slow, key=lambda one: (-one[0], *one[1:]))[:NEURONS_OF_END]
        against = sorted(slow)[:NEURONS_OF_END]
        expected = [(layer, neuron, value) for value, layer, neuron in (*writes, *against)]
        assert [one[:2] for one in ends_of(token)] == [one[:2] for one in expected]
        np.testing.assert_allclose([one[2] for one in ends_of(token)], [one[2] for one in expected], rtol=0, atol=2e-5 * size)
        assert token.all_neurons == pytest.approx(sum(value for value, _, _ in slow), abs=1e-4 * size)


def test_activations_are_what_plain_code_gives_to_the_map_that_reads_the_neurons(both: tuple[LanguageModel, Plain]) -> None:
    model, plain = both
    chosen = ((0, 3), (1, 7), (0, 11))
    tried, seen = tried_text(model, CLEAN, chosen), plain.inputs(CLEAN, [plain.down(layer) for layer in range(2)])
    assert tuple(tried.activations) == chosen
    for layer, neuron in chosen:
        np.testing.assert_allclose(tried.activations[layer, neuron], seen[layer][:, neuron].numpy(), rtol=1e-5, atol=1e-6)
    for position, token in enumerate(tried.tokens):
        for one in (*token.writes, *token.writes_against):
            assert one.activation == pytest.approx(float(seen[one.layer][position, one.neuron]), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["Llama", "Gemma 2"])
def test_negating_a_gated_neurons_weights_changes_signs_of_activations_and_nothing_else(name: str, tmp_path: Path) -> None:
    folder, negated = family_folder(name, tmp_path), [3, 5, 11]
    one = tried_text(fresh(folder), CLEAN, ((0, 3), (0, 4)))
    weights = load_file(folder / "model.safetensors")
    for part, rows in (("up_proj", np.s_[negated]), ("down_proj", np.s_[:, negated])):
        for key in [key for key in weights if key.endswith(f"mlp.{part}.weight")]:
            weights[key][rows] *= -1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    other = tried_text(fresh(folder), CLEAN, ((0, 3), (0, 4)))
    assert [[entry[:2] for entry in ends_of(token)] for token in one.tokens] == [
        [entry[:2] for entry in ends_of(token)] for token in other.tokens
    ]
    values, same = (np.array([entry[2] for token in tried.tokens for entry in ends_of(token)]) for tried in (one, other))
    np.testing.assert_allclose(values, same, rtol=0, atol=1e-6)
    np.testing.assert_allclose(one.activations[0, 3], -np.array(other.activations[0, 3]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(one.activations[0, 4], other.activations[0, 4], rtol=0, atol=1e-6)


def test_where_direct_effects_mean_nothing_the_rest_is_told_with_the_reason(tmp_path: Path) -> None:
    folder = family_folder("OPT, norms behind", tmp_path)
    tried = tried_text(fresh(folder), CLEAN, ((1, 2),))
    assert "cannot be told from its weights" in tried.refused
    assert {(token.all_neurons, token.writes, token.writes_against) for token in tried.tokens} == {(None, (), ())}
    assert all(0 < token.probability <= 1 for token in tried.tokens)
    assert len(tried.activations[1, 2]) == len(CLEAN)
    assert tried_text(fresh(folder), CLEAN).activations == {}


def test_the_planted_neuron_writes_what_it_was_planted_to_write(planted: LanguageModel) -> None:
    tried = tried_text(planted, TEXT)
    last = tried.tokens[-1]
    assert last.prediction == " an"
    assert (last.writes[0].layer, last.writes[0].neuron) == (PLANTED_LAYER, PLANTED_NEURON)
    assert last.writes[0].activation == pytest.approx(4.22, abs=0.03)  # attention's softmax leaves a little elsewhere
    assert tuple(tried.activations) == leading_neuron(tried.tokens)


def test_neurons_that_add_nothing_have_no_place_and_equal_ones_stand_in_their_order(tmp_path: Path) -> None:
    folder = family_folder("Llama", tmp_path)
    weights = load_file(folder / "model.safetensors")
    for layer in range(2):
        maps = {part: weights[f"model.layers.{layer}.mlp.{part}.weight"] for part in ("gate_proj", "up_proj", "down_proj")}
        maps["down_proj"][:, 4:] = 0
        for part in ("gate_proj", "up_proj"):
            maps[part][:4] = maps[part][0]
        maps["down_proj"][:, :4] = maps["down_proj"][:, :1].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for token in tried_text(fresh(folder), CLEAN).tokens:
        named = [[(one.layer, one.neuron) for one in end] for end in (token.writes, token.writes_against)]
        assert {neuron for end in named for _, neuron in end} <= {0, 1, 2, 3}
        for end in named:
            assert [neuron for layer, neuron in end if layer == 0] == sorted(neuron for layer, neuron in end if layer == 0)


def test_the_leading_neuron_writes_most_behind_the_beginning_the_earliest_of_equals() -> None:
    def token(*contributions: tuple[int, float]) -> ReadToken:
        return ReadToken(0, "", 0, "", 1.0, None, tuple(Contribution(1, neuron, 1.0, value) for neuron, value in contributions), ())

    assert leading_neuron([token((1, 9.0)), token((2, 3.0), (1, 2.0)), token((4, 5.0)), token((5, 5.0))]) == ((1, 4),)
    assert leading_neuron([token((1, 9.0)), token()]) == ()
    assert leading_neuron(()) == ()


def test_a_text_on_which_a_model_overflows_is_refused(planted: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def overflowing(model: LanguageModel, token_ids: torch.Tensor) -> torch.Tensor:
        return planted.plain(token_ids, use_cache=False).logits * float("inf")

    monkeypatch.setattr("assets.tried_text.tried_text.whole_logits", overflowing)
    with pytest.raises(TextError, match="not finite numbers; set model.dtype to float32"):
        tried_text(planted, TEXT)


def test_in_half_precision_contributions_stand(tmp_path: Path) -> None:
    tried: TriedText = tried_text(fresh(family_folder("Granite", tmp_path), "bfloat16"), CLEAN)
    assert tried.refused == ""
    assert all(len(token.writes) == NEURONS_OF_END for token in tried.tokens)
