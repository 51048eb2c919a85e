"""What a person gives to try: a text as the model's token ids, and neurons by name. Every fault is told before the model runs."""

import re

from assets.errors import InputError
from assets.model.language_model import LanguageModel, ModelFacts
from assets.prompts.prompts import prompt_ids

MOST_TOKENS = 256  # with the beginning-of-sequence token: the whole logits of so many positions fit into memory, and a page shows them
MOST_CHARACTERS = 10_000  # looked at before anything is cut into tokens
MOST_NEURONS = 8
NEURON = re.compile(r"L([0-9]{1,9})[ -]*N([0-9]{1,9})", re.IGNORECASE)  # L25 N1527, or as an address has it, L25-N1527


class TextError(InputError):
    """A text or a neuron that cannot be tried. The message names what was given, what is allowed and what to do."""


def text_ids(model: LanguageModel, text: str) -> tuple[int, ...]:
    """Token ids of a text as the model reads it, the beginning-of-sequence token first. Raises TextError for one that cannot be tried."""
    refuse_text(text)
    ids, longest = prompt_ids(model, text), min(MOST_TOKENS, model.facts.context_length)
    if len(ids) == 1:
        raise TextError(f"text: given {text[:40]!r}, of which this model's tokenizer makes no token; give at least a word")
    if len(ids) > longest:
        reads = "are tried at a time" if longest == MOST_TOKENS else "are what this model reads"
        raise TextError(f"text: given {len(ids)} tokens, the beginning-of-sequence token among them; at most {longest} {reads}: shorten it")
    if max(ids) >= model.facts.vocabulary:
        raise TextError(f"text: the tokenizer writes entry {max(ids)} for it, the model's vocabulary ends at {model.facts.vocabulary - 1}; "
                        "the model folder's tokenizer is of another model: save the right one there")  # fmt: skip
    return ids


def refuse_text(text: str) -> None:
    """Raise TextError for what is no text, before any model is loaded for it."""
    if not text.strip():
        raise TextError("text: given none; give a sentence")
    if len(text) > MOST_CHARACTERS:
        raise TextError(f"text: given {len(text):,} characters; at most {MOST_CHARACTERS:,} are looked at: shorten it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(f"text: character {error.start + 1} is half of a pair (a lone surrogate), which is no text; leave it out") from None


def named_neurons(given: str, most: int | None = MOST_NEURONS) -> tuple[tuple[int, int], ...]:
    """(layer, neuron) of each neuron that a list such as "L1 N3, L2 N7" names, each once, in its order. Raises TextError, also for more than `most`."""
    found = []
    for name in filter(None, (part.strip() for part in given.split(","))):
        match = NEURON.fullmatch(name)
        if match is None:
            raise TextError(f"neurons: given {name[:40]!r}; write a neuron as L1 N3, and a comma between two")
        found.append((int(match[1]), int(match[2])))
    chosen = tuple(dict.fromkeys(found))
    if most is not None and len(chosen) > most:
        raise TextError(f"neurons: given {len(chosen)}; at most {most} are shown at a time")
    return chosen


def refuse_neurons(facts: ModelFacts, neurons: tuple[tuple[int, int], ...]) -> None:
    """Raise TextError for a neuron that the model does not have."""
    for layer, neuron in neurons:
        if layer >= facts.layers or neuron >= facts.neurons:
            raise TextError(f"neurons: L{layer} N{neuron} does not exist; the model has layers 0 to {facts.layers - 1} with neurons "
                            f"0 to {facts.neurons - 1} each")  # fmt: skip
