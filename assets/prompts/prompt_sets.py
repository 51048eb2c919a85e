"""Prompt sets as the model reads them: the pairs that a set's fillers make, which of them are drawn, and every fault before long work.

A pair is a clean and a corrupt prompt like any other (prompts): the text with a filler in its slot, and with a corrupt filler. Holds
encoding and drawing. What the model makes of the pairs is in prompt_set_patching.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from assets.model.language_model import LanguageModel
from assets.prompts.prompt_runs import run_both
from assets.prompts.prompts import EncodedPrompt, PromptError, PromptPair, answer_id, encode_prompts, prompt_ids, prompt_pairs
from assets.study import Prompt, PromptSet

SEED = "prompt sets, 20261129"  # of the hash by which pairs are drawn

Fillers = tuple[str, str]  # the clean prompt's and the corrupt one's


@dataclass(frozen=True)
class SetPair:
    """One pair of a set. `prompt` holds both of its texts as token ids."""

    fillers: Fillers
    texts: tuple[str, str]
    prompt: EncodedPrompt

    @property
    def pair(self) -> PromptPair:
        """As patching takes it."""
        return prompt_pairs([self.prompt])[0]


@dataclass(frozen=True)
class Ends:
    """Logit difference answer - wrong answer of a pair's two runs, and whether an improvement can be divided by what lies between."""

    clean: float
    corrupt: float
    is_defined: bool


@dataclass(frozen=True)
class EncodedSet:
    """One set: the study's own, its answers as vocabulary entries, how many pairs have equal length, and those that are drawn."""

    given: PromptSet
    answer_id: int
    wrong_answer_id: int
    of_equal_length: int
    pairs: tuple[SetPair, ...]


def encode_prompt_sets(model: LanguageModel, sets: Sequence[PromptSet]) -> list[EncodedSet]:
    """Encode every prompt set of a study, or raise one PromptError with the faults of each, a line for each fault."""
    faults: list[str] = []
    encoded = [found for one in sets if (found := _encode(model, one, faults))]
    if faults:
        raise PromptError("\n".join(faults))
    return encoded


def pairs_of_equal_length(given: PromptSet, tokens: dict[str, int]) -> list[Fillers]:
    """Every filler with every corrupt filler of as many tokens, in the order of the lists. `tokens`: those of the text with each filler."""
    return [(one, other) for one in given.fillers for other in given.corrupt_fillers if tokens[one] == tokens[other]]


def drawn(pairs: Sequence[Fillers], most: int) -> list[Fillers]:
    """At most so many of the pairs, in their order, by a seeded hash of their fillers: no other list or order changes whether one comes
    before another."""
    hashed = sorted(pairs, key=lambda pair: hashlib.sha256("\0".join((SEED, *pair)).encode()).digest())
    chosen = set(hashed[:most])
    return [pair for pair in pairs if pair in chosen]


def require_patchable(model: LanguageModel, sets: Sequence[EncodedSet]) -> None:
    """Raise PromptError for the first set of which no pair can be patched, because no pair's logit difference changes."""
    for one in sets:
        if not any(ends_of(model, pair).is_defined for pair in one.pairs):
            raise unpatchable(one)


def unpatchable(one: EncodedSet) -> PromptError:
    """What is raised for a set of which no pair can be patched."""
    return PromptError(
        f"prompt set {one.given.name}: the logit difference of answer and wrong answer is the same with the filler and the corrupt filler, in each "
        f"of {len(one.pairs)} pairs; the improvement (patched - corrupt) / (clean - corrupt) is undefined: choose fillers that change the answer"
    )


def ends_of(model: LanguageModel, pair: SetPair) -> Ends:
    """Run both prompts of a pair and keep nothing else of them."""
    runs = run_both(model, pair.pair, ())
    return Ends(runs.clean_difference, runs.corrupt_difference, runs.is_defined)


def _encode(model: LanguageModel, given: PromptSet, faults: list[str]) -> EncodedSet | None:
    """One set, or None with its faults added."""
    where = f"prompt set {given.name}"
    answer, wrong_answer = (answer_id(model, f"{where}: {field}", getattr(given, field), faults) for field in ("answer", "wrong_answer"))
    tokens = {filler: len(prompt_ids(model, given.filled(filler))) - 1 for filler in (*given.fillers, *given.corrupt_fillers)}
    equal = pairs_of_equal_length(given, tokens)
    if not equal:
        faults.append(f"{where}: no pair has the same number of tokens: {_lengths(given.fillers, tokens)} in fillers, "
                      f"{_lengths(given.corrupt_fillers, tokens)} in corrupt_fillers; patching takes one position from the other, so both texts "
                      "must have the same number: choose other fillers")  # fmt: skip
    if answer is None or wrong_answer is None or not equal:
        return None
    pairs = _encoded_pairs(model, given, drawn(equal, given.pairs), faults)
    return EncodedSet(given, answer, wrong_answer, len(equal), pairs)


def _encoded_pairs(model: LanguageModel, given: PromptSet, chosen: Sequence[Fillers], faults: list[str]) -> tuple[SetPair, ...]:
    """The pairs as tokens. Of pairs that cannot be used the first is told, and how many more there are: they mostly have the same fault."""
    encoded, refused = [], []
    for fillers in chosen:
        texts = (given.filled(fillers[0]), given.filled(fillers[1]))
        name = f"set {given.name} ({fillers[0]}, {fillers[1]})"
        prompt = Prompt.model_construct(
            name=name, text=texts[0], corrupt=texts[1], answer=given.answer, wrong_answer=given.wrong_answer
        )  # the study has checked it; a prompt's own name would allow no such text
        try:
            encoded.append(SetPair(fillers, texts, encode_prompts(model, [prompt])[0]))
        except PromptError as error:
            refused.append(str(error))
    if refused:
        more = f" (and {len(refused) - 1} more pairs of this set)" if len(refused) > 1 else ""
        faults.append(f"{refused[0]}{more}")
    return tuple(encoded)


def _lengths(fillers: Sequence[str], tokens: dict[str, int]) -> str:
    """The fillers with their numbers of tokens, a few of them."""
    shown = ", ".join(f"{filler!r} {tokens[filler]}" for filler in fillers[:6])
    return shown + (f" and {len(fillers) - 6} more" if len(fillers) > 6 else "")
