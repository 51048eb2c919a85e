"""Prompts that cannot be used: one exact message that names the prompt, before the corpus is read or anything is patched."""

import re
from typing import Any

import pytest

from assets.study import StudyError
from orchestration.run import faults_of
from tests.pipeline.conftest import Bench

SOUND = {"name": "fruit", "text": "I picked", "corrupt": "I climbed", "answer": " an", "wrong_answer": " a"}


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (
            {"name": "long", "corrupt": "I then climbed"},
            "prompt long: text has 2 tokens ['I', ' picked'] and corrupt has 3 ['I', ' then', ' climbed']; patching takes one position from "
            "the other, so both must have the same number: choose another word",
        ),
        (
            {"name": "two", "answer": " an apple"},
            "prompt two: answer: token ' an apple': not one token of this tokenizer; inside running text it splits into ' an' + ' apple'. "
            "Answers are one token each: give one of these",
        ),
        (
            {"name": "wrong", "wrong_answer": " a pear"},
            "prompt wrong: wrong_answer: token ' a pear': not one token of this tokenizer; inside running text it splits into ' a' + ' pear'. "
            "Answers are one token each: give one of these",
        ),
        (
            {"name": "same", "text": "I picked bananas", "corrupt": "I picked cherries"},
            "prompt same: text and corrupt are the same tokens ['I', ' picked', '<unk>']; nothing could be patched: change the word that "
            "decides the answer",
        ),
    ],
    ids=["different lengths", "an answer of two tokens", "a wrong answer of two tokens", "the same tokens"],
)
def test_a_prompt_that_cannot_be_used_stops_the_study_before_the_corpus_is_read(bench: Bench, prompt: dict[str, str], message: str) -> None:
    assert told(bench, [SOUND, {**SOUND, **prompt}]) == message


def test_a_pair_with_equal_logit_differences_stops_the_study_after_two_runs_of_the_model_and_before_the_corpus_is_read(
    bench: Bench,
) -> None:
    # No layer of the planted model looks back at the first word.
    fault = told(bench, [SOUND, {**SOUND, "name": "equal", "text": "I rested", "corrupt": " I rested"}])
    found = re.fullmatch(
        r"prompt equal: the logit difference of answer and wrong answer is (\S+) on text and (\S+) on corrupt; the improvement "
        r"\(patched - corrupt\) / \(clean - corrupt\) is undefined: choose a corrupt text that changes the answer",
        fault,
    )
    assert found is not None, fault
    assert float(found[1]) == pytest.approx(float(found[2]), abs=1e-5)


FRUITS = {
    "name": "fruits",
    "text": "I {verb}",
    "answer": " an",
    "fillers": ["picked"],
    "wrong_answer": " a",
    "corrupt_fillers": ["climbed"],
}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"corrupt_fillers": ["climbed up"]},
            "prompt set fruits: no pair has the same number of tokens: 'picked' 2 in fillers, 'climbed up' 3 in corrupt_fillers; patching takes "
            "one position from the other, so both texts must have the same number: choose other fillers",
        ),
        (
            {"answer": " an apple"},
            "prompt set fruits: answer: token ' an apple': not one token of this tokenizer; inside running text it splits into ' an' + ' apple'. "
            "Answers are one token each: give one of these",
        ),
        (
            {"fillers": ["danced"], "corrupt_fillers": ["sang"]},
            "prompt set fruits (danced, sang): text and corrupt are the same tokens ['I', '<unk>']; nothing could be patched: change the word "
            "that decides the answer",
        ),
        (
            {
                "text": "{verb} rested",
                "fillers": ["I"],
                "corrupt_fillers": [" I"],
            },  # no layer of the planted model looks back at the first word
            "prompt set fruits: the logit difference of answer and wrong answer is the same with the filler and the corrupt filler, in each of 1 "
            "pairs; the improvement (patched - corrupt) / (clean - corrupt) is undefined: choose fillers that change the answer",
        ),
    ],
    ids=["different lengths", "an answer of two tokens", "the same tokens", "an answer that does not move"],
)
def test_a_prompt_set_that_cannot_be_used_stops_the_study_before_the_corpus_is_read(
    bench: Bench, fields: dict[str, Any], message: str
) -> None:
    assert told(bench, [SOUND], prompt_sets=[{**FRUITS, **fields}]) == message


def told(bench: Bench, prompts: list[dict[str, Any]], **fields: Any) -> str:
    """The one fault of a run with these prompts, which must have made nothing but the list of the model's files."""
    result = bench.run(prompts=prompts, **fields)
    assert not result.success
    made = [event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key]
    assert made == ["model_snapshot"]
    (fault,) = faults_of(result)
    return fault.removeprefix("planted/tracked_tokens: ")


def test_an_answer_that_is_the_wrong_answer_is_refused_when_the_study_is_read(bench: Bench) -> None:
    with pytest.raises(StudyError) as caught:
        bench.run(prompts=[SOUND, {**SOUND, "name": "twice", "wrong_answer": " an"}])
    assert str(caught.value) == (
        f"{bench.file}: field prompts.1: prompt twice: answer and wrong_answer are both ' an'; their logit difference would be 0: give two tokens"
    )
    assert not bench.settings.data.exists()
