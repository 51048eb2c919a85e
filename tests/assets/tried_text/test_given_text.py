"""What is given to try: texts and neurons that can be read, and the sentence for each that cannot."""

import pytest

from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.tried_text import given_text
from assets.tried_text.given_text import MOST_CHARACTERS, TextError, named_neurons, refuse_neurons, refuse_text, text_ids
from tests.planted import CONTEXT_LENGTH, planted_model, planted_token_id


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("planted") / "model"
    planted_model(folder)
    return load.__wrapped__(folder, "float32", "cpu")


def test_a_text_is_read_with_the_beginning_first(model: LanguageModel) -> None:
    assert text_ids(model, "I picked an") == (0, *(planted_token_id(word) for word in ("I", " picked", " an")))


def test_as_many_tokens_as_the_model_reads_are_tried_and_not_one_more(model: LanguageModel) -> None:
    assert len(text_ids(model, " an" * (CONTEXT_LENGTH - 1))) == CONTEXT_LENGTH
    with pytest.raises(TextError) as told:
        text_ids(model, " an" * CONTEXT_LENGTH)
    assert str(told.value) == (
        f"text: given {CONTEXT_LENGTH + 1} tokens, the beginning-of-sequence token among them; at most {CONTEXT_LENGTH} are what this model reads: shorten it"
    )


def test_a_model_that_reads_more_is_tried_with_fewer(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given_text, "MOST_TOKENS", 4)
    with pytest.raises(TextError, match="given 6 tokens.*at most 4 are tried at a time: shorten it"):
        text_ids(model, " an" * 5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "text: given none; give a sentence"),
        (" \n\t", "text: given none; give a sentence"),
        ("a" * (MOST_CHARACTERS + 1), "text: given 10,001 characters; at most 10,000 are looked at: shorten it"),
        ("an \ud83d apple", "text: character 4 is half of a pair (a lone surrogate), which is no text; leave it out"),
    ],
)
def test_what_is_no_text_is_refused_before_a_model_is_asked(text: str, told: str) -> None:
    with pytest.raises(TextError) as refused:
        refuse_text(text)
    assert str(refused.value) == told


def test_an_entry_beyond_the_vocabulary_is_refused(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given_text, "prompt_ids", lambda *_: (0, 4000))
    with pytest.raises(TextError, match="writes entry 4000 for it, the model's vocabulary ends at"):
        text_ids(model, "an")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("", ()),
        (" , ,", ()),
        ("L1 N3", ((1, 3),)),
        ("L1 N3, L2 N7,", ((1, 3), (2, 7))),
        ("l25n1527,L25-N1527 , L0 N0", ((25, 1527), (0, 0))),
    ],
)
def test_neurons_are_named_as_the_pages_name_them(given: str, named: tuple[tuple[int, int], ...]) -> None:
    assert named_neurons(given) == named


@pytest.mark.parametrize("given", ["1.3", "L1", "L1 N3; L2 N7", "L-1 N3", "L1 N3 L2 N7", "L١ N3", "L9999999999 N1", "<b>"])
def test_what_names_no_neuron_is_refused(given: str) -> None:
    with pytest.raises(TextError) as told:
        named_neurons(f"L1 N3, {given}")
    assert str(told.value) == f"neurons: given {given!r}; write a neuron as L1 N3, and a comma between two"


def test_too_many_neurons_are_refused() -> None:
    assert len(named_neurons(",".join(f"L0 N{neuron}" for neuron in range(8)))) == 8
    with pytest.raises(TextError, match="given 9; at most 8 are shown at a time"):
        named_neurons(",".join(f"L0 N{neuron}" for neuron in range(9)))


def test_neurons_that_the_model_does_not_have_are_refused(model: LanguageModel) -> None:
    refuse_neurons(model.facts, ((0, 0), (2, 15)))
    for neuron in ((3, 0), (0, 16)):
        with pytest.raises(
            TextError, match=f"L{neuron[0]} N{neuron[1]} does not exist; the model has layers 0 to 2 with neurons 0 to 15 each"
        ):
            refuse_neurons(model.facts, ((0, 0), neuron))
