"""Prompt sets: which pairs fillers make, which are drawn, and the refusal of sets that cannot be used."""

import itertools

import numpy as np
import pytest

from assets.prompts.prompt_sets import drawn, encode_prompt_sets, ends_of, pairs_of_equal_length, require_patchable
from assets.prompts.prompts import PromptError
from assets.study import PromptSet
from tests.assets.prompts.conftest import Loaded, fruit_set
from tests.planted import planted_token_id


def refusal(loaded: Loaded, *sets: PromptSet) -> str:
    with pytest.raises(PromptError) as caught:
        encode_prompt_sets(loaded.model, sets)
    return str(caught.value)


def test_every_filler_with_every_corrupt_filler_is_a_pair_like_a_prompt_of_the_study(planted: Loaded) -> None:
    (one,) = encode_prompt_sets(planted.model, [fruit_set()])
    assert (one.answer_id, one.wrong_answer_id) == (planted_token_id(" an"), planted_token_id(" a"))
    assert [pair.fillers for pair in one.pairs] == [("apple", "lemon"), ("apple", "pear"), ("orange", "lemon"), ("orange", "pear")]
    assert one.of_equal_length == 4
    for pair in one.pairs:
        text, corrupt = (f"I climbed up the {filler} tree and picked" for filler in pair.fillers)
        assert pair.texts == (text, corrupt)
        alone = planted.encode(text=text, corrupt=corrupt)
        assert (pair.prompt.clean, pair.prompt.corrupt) == (alone.clean, alone.corrupt)
        assert (pair.prompt.answer_id, pair.prompt.wrong_answer_id) == (alone.answer_id, alone.wrong_answer_id)


def test_only_pairs_with_the_same_number_of_tokens_are_made(planted: Loaded) -> None:
    (one,) = encode_prompt_sets(
        planted.model, [fruit_set(fillers=("apple", "apple and orange"), corrupt_fillers=("lemon", "pear tree , an"))]
    )
    assert [pair.fillers for pair in one.pairs] == [("apple", "lemon")]
    assert one.of_equal_length == 1
    lengths = {"a": 1, "b": 2, "c": 2, "d": 3}
    given = fruit_set(fillers=("a", "b"), corrupt_fillers=("c", "d"))
    assert pairs_of_equal_length(given, lengths) == [("b", "c")]


def test_pairs_are_drawn_by_a_hash_of_their_fillers_alone() -> None:
    pairs = list(itertools.product([f"vowel {number}" for number in range(12)], [f"consonant {number}" for number in range(12)]))
    few = drawn(pairs, 48)
    assert len(few) == 48
    assert few == [pair for pair in pairs if pair in few]  # in their order
    assert drawn(pairs, 144) == drawn(pairs, 500) == pairs
    assert set(drawn(pairs, 20)) < set(few)
    shuffled = [pairs[place] for place in np.random.default_rng(0).permutation(len(pairs))]
    assert set(drawn(shuffled, 48)) == set(few)
    assert drawn(pairs, 48) == few
    assert len({one for one, _ in few}) > 8  # drawn from everywhere, not the first four rows
    assert len({other for _, other in few}) > 8


def test_a_set_of_which_no_pair_has_equal_length_is_refused_with_the_lengths(planted: Loaded) -> None:
    message = refusal(planted, fruit_set(corrupt_fillers=("lemon tree", "pear tree")))
    assert message == (
        "prompt set fruit: no pair has the same number of tokens: 'apple' 8, 'orange' 8 in fillers, 'lemon tree' 9, 'pear tree' 9 in "
        "corrupt_fillers; patching takes one position from the other, so both texts must have the same number: choose other fillers"
    )
    many = tuple(f"{'pear ' * number}tree tree" for number in range(8))
    assert "and 2 more in corrupt_fillers" in refusal(planted, fruit_set(corrupt_fillers=many))


def test_answers_that_are_not_one_token_and_faults_of_several_sets_are_told_together(planted: Loaded) -> None:
    lines = refusal(planted, fruit_set(answer=" an apple"), fruit_set(name="long", text=" it" * 64 + " {fruit}")).split("\n")
    assert lines[0].startswith("prompt set fruit: answer: token ' an apple': not one token of this tokenizer")
    assert lines[1] == (
        "prompt set long (apple, lemon): 66 tokens with the beginning-of-sequence token; the model reads at most 64: shorten it "
        "(and 3 more pairs of this set)"
    )
    assert len(lines) == 2


def test_fillers_that_the_tokenizer_cannot_tell_apart_are_refused(planted: Loaded) -> None:
    message = refusal(planted, fruit_set(fillers=("apple", "banana"), corrupt_fillers=("cherry",)))
    assert message.startswith("prompt set fruit (banana, cherry): text and corrupt are the same tokens ['I', ' climbed'")


def test_a_set_whose_fillers_never_move_the_answer_is_refused_and_one_with_a_pair_that_does_is_not(planted: Loaded) -> None:
    # No layer of the planted model looks back at the first word.
    still = fruit_set(name="still", text="{who} rested", fillers=("I",), corrupt_fillers=(" I", " it"))
    (never,) = encode_prompt_sets(planted.model, [still])
    assert not any(ends_of(planted.model, pair).is_defined for pair in never.pairs)
    with pytest.raises(
        PromptError, match=r"^prompt set still: the logit difference .* in each of 2 pairs; .* undefined: choose fillers that"
    ):
        require_patchable(planted.model, [never])
    require_patchable(planted.model, encode_prompt_sets(planted.model, [fruit_set()]))
