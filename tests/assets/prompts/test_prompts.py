"""Encoding of prompts, and the refusal of prompts that cannot be used."""

from dataclasses import replace
from typing import Any

import pytest

from assets.prompts.prompts import PromptError, encode_prompts, prompt_pairs
from assets.study import Prompt
from tests.assets.prompts.conftest import Loaded, fruit_prompt
from tests.planted import CONTEXT_LENGTH, planted_token_id


def refusal(planted: Loaded, *prompts: Prompt) -> str:
    """The message of the PromptError, from a model that cannot compute anything: its code is missing."""
    no_code: Any = None
    with pytest.raises(PromptError) as caught:
        encode_prompts(replace(planted.model, bridge_if_known=no_code, plain=no_code), prompts)
    return str(caught.value)


def test_a_prompt_is_its_tokens_behind_one_beginning_token(planted: Loaded) -> None:
    prompt = planted.encode()
    words = ("<|endoftext|>", "I", " climbed", " up", " the", " apple", " tree", " and", " picked")
    assert prompt.clean_texts == words
    assert prompt.clean == tuple(planted_token_id(word) for word in words)
    assert prompt.corrupt == tuple(planted_token_id(word) for word in (*words[:5], " lemon", *words[6:]))
    assert (prompt.answer_id, prompt.wrong_answer_id) == (planted_token_id(" an"), planted_token_id(" a"))


def test_a_pair_knows_the_first_position_at_which_its_tokens_differ(planted: Loaded) -> None:
    alone = encode_prompts(planted.model, [Prompt(name="alone", text="I picked", answer=" an", wrong_answer=" a", corrupt=None)])
    assert prompt_pairs(alone) == []
    assert [pair.first_difference for pair in prompt_pairs([*alone, planted.encode()])] == [5]


def test_prompts_of_different_length_are_refused_with_the_tokens_of_both(planted: Loaded) -> None:
    message = refusal(planted, fruit_prompt(text="I picked", corrupt="I then picked"))
    assert message.startswith("prompt fruit: text has 2 tokens ['I', ' picked'] and corrupt has 3 ['I', ' then', ' picked']")
    assert "choose another word" in message


def test_an_answer_that_is_not_one_token_is_refused_with_what_it_splits_into(planted: Loaded) -> None:
    message = refusal(planted, fruit_prompt(answer=" an apple"))
    assert message.startswith("prompt fruit: answer: token ' an apple': not one token")
    assert "' an' + ' apple'" in message


def test_an_answer_that_is_the_wrong_answer_is_refused(planted: Loaded) -> None:
    same = Prompt.model_construct(name="same", text="I", corrupt=None, answer=" an", wrong_answer=" an")
    assert refusal(planted, same).startswith("prompt same: answer ' an' and wrong_answer ' an' are the same token (entry 14)")


def test_a_prompt_that_fills_the_context_is_accepted_and_one_token_more_is_refused(planted: Loaded) -> None:
    fits = Prompt(name="fits", text=" it" * (CONTEXT_LENGTH - 1), answer=" an", wrong_answer=" a", corrupt=None)
    assert len(encode_prompts(planted.model, [fits])[0].clean) == CONTEXT_LENGTH
    message = refusal(planted, Prompt(name="long", text=" it" * CONTEXT_LENGTH, answer=" an", wrong_answer=" a", corrupt=None))
    assert message == "prompt long: 65 tokens with the beginning-of-sequence token; the model reads at most 64: shorten it"


def test_different_texts_of_the_same_tokens_are_refused(planted: Loaded) -> None:
    message = refusal(planted, fruit_prompt(text="I picked bananas", corrupt="I picked cherries"))  # both end in <unk>
    assert message.startswith("prompt fruit: text and corrupt are the same tokens ['I', ' picked', '<unk>']")


def test_all_faults_of_all_prompts_are_told_at_once(planted: Loaded) -> None:
    lines = refusal(planted, fruit_prompt(answer=" kiwi jam", corrupt="I"), fruit_prompt(), fruit_prompt(wrong_answer="!!")).splitlines()
    assert [line.split(":")[1].strip().split(" ")[0] for line in lines] == ["answer", "text", "wrong_answer"]
