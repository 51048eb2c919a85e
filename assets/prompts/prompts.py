"""Prompts as the model reads them: ids, answers, and every fault of a prompt found before anything is computed.

Holds encoding and refusal. What the model makes of a prompt is in the other modules of this folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from assets.errors import InputError
from assets.model.language_model import LanguageModel
from assets.model.refusals import ModelError
from assets.model.vocabulary import token_id
from assets.study import Prompt


class PromptError(InputError):
    """A prompt that cannot be used with this model. The message names the prompt, what was given and what to do."""


@dataclass(frozen=True)
class EncodedPrompt:
    """One prompt. `clean` and `corrupt` are token ids with the beginning-of-sequence token first, of the same length."""

    name: str
    clean: tuple[int, ...]
    corrupt: tuple[int, ...] | None
    answer_id: int
    wrong_answer_id: int
    clean_texts: tuple[str, ...]  # text of each id of `clean`, as it reads inside running text
    corrupt_texts: tuple[str, ...] | None

    @property
    def variants(self) -> list[tuple[str, tuple[int, ...], tuple[str, ...]]]:
        """(`clean` or `corrupt`, its ids, their texts); a prompt without `corrupt` has one."""
        both = [("clean", self.clean, self.clean_texts)]
        if self.corrupt is not None and self.corrupt_texts is not None:
            both.append(("corrupt", self.corrupt, self.corrupt_texts))
        return both


@dataclass(frozen=True)
class PromptPair:
    """A prompt with its corrupt partner. Positions before `first_difference` hold the same tokens in both."""

    prompt: EncodedPrompt
    corrupt: tuple[int, ...]
    first_difference: int

    @property
    def clean(self) -> tuple[int, ...]:
        """Token ids of the clean prompt."""
        return self.prompt.clean

    @property
    def positions(self) -> int:
        """Tokens of each of the two, the beginning-of-sequence token included."""
        return len(self.corrupt)


def prompt_pairs(prompts: Sequence[EncodedPrompt]) -> list[PromptPair]:
    """The prompts that have a corrupt partner: only they can be patched."""
    pairs = []
    for prompt in prompts:
        if prompt.corrupt is not None:
            differs = [clean != corrupt for clean, corrupt in zip(prompt.clean, prompt.corrupt, strict=True)]
            pairs.append(PromptPair(prompt, prompt.corrupt, differs.index(True)))
    return pairs


def encode_prompts(model: LanguageModel, prompts: Sequence[Prompt]) -> list[EncodedPrompt]:
    """Encode every prompt of a study, or raise one PromptError with a line for each fault of each prompt."""
    faults: list[str] = []
    encoded = []
    for prompt in prompts:
        answer, wrong_answer = (
            answer_id(model, f"prompt {prompt.name}: {field}", getattr(prompt, field), faults) for field in ("answer", "wrong_answer")
        )
        if answer is not None and answer == wrong_answer:
            faults.append(f"prompt {prompt.name}: answer {prompt.answer!r} and wrong_answer {prompt.wrong_answer!r} are the same token "
                          f"(entry {answer}), so their logit difference would always be 0; give two tokens")  # fmt: skip
        clean = prompt_ids(model, prompt.text)
        corrupt = None if prompt.corrupt is None else prompt_ids(model, prompt.corrupt)
        if max((*clean, *(corrupt or ()))) >= model.facts.vocabulary:
            faults.append(f"prompt {prompt.name}: the tokenizer writes entry {max((*clean, *(corrupt or ())))} for it, the model's vocabulary ends "
                          f"at {model.facts.vocabulary - 1}; the folder's tokenizer is of another model: save the right one there")  # fmt: skip
            continue
        faults += _faults(model, prompt, clean, corrupt)
        texts, corrupt_texts = _texts(model, clean), None if corrupt is None else _texts(model, corrupt)
        encoded.append(EncodedPrompt(prompt.name, clean, corrupt, answer or 0, wrong_answer or 0, texts, corrupt_texts))
    if faults:
        raise PromptError("\n".join(faults))
    return encoded


def answer_id(model: LanguageModel, where: str, text: str, faults: list[str]) -> int | None:
    """The entry of an answer; None, with a sentence that begins with `where` added to the faults, if it is not one token."""
    try:
        return token_id(model, text, "Answers are one token each: give one of these")
    except ModelError as error:
        faults.append(f"{where}: {error}")
        return None


def prompt_ids(model: LanguageModel, text: str) -> tuple[int, ...]:
    """Token ids of a text as the model reads it, the beginning-of-sequence token first."""
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    return (model.facts.beginning_token_id, *(int(entry) for entry in ids))


def _texts(model: LanguageModel, ids: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(model.token_texts[entry] for entry in ids)


def _faults(model: LanguageModel, prompt: Prompt, clean: tuple[int, ...], corrupt: tuple[int, ...] | None) -> list[str]:
    """Everything that is wrong with the two texts of a prompt, one sentence each."""
    faults = []
    longest = max(len(clean), len(corrupt or ()))
    if longest > model.facts.context_length:
        faults.append(f"prompt {prompt.name}: {longest} tokens with the beginning-of-sequence token; "
                      f"the model reads at most {model.facts.context_length}: shorten it")  # fmt: skip
    if corrupt is not None and len(clean) != len(corrupt):
        faults.append(f"prompt {prompt.name}: text has {len(clean) - 1} tokens {list(_texts(model, clean)[1:])} and corrupt has "
                      f"{len(corrupt) - 1} {list(_texts(model, corrupt)[1:])}; patching takes one position from the other, so both "
                      "must have the same number: choose another word")  # fmt: skip
    elif corrupt == clean:
        faults.append(f"prompt {prompt.name}: text and corrupt are the same tokens {list(_texts(model, clean)[1:])}; nothing could be "
                      "patched: change the word that decides the answer")  # fmt: skip
    return faults
