"""From the text of a token to its vocabulary entry, and back to a refusal that says what the text splits into."""

from assets.model.language_model import LanguageModel
from assets.model.refusals import ModelError


def token_id(model: LanguageModel, token: str | int, remedy: str = "Track one of these, or give an id") -> int:
    """The one vocabulary entry that reads as `token` inside running text (an id is returned if it exists).

    SentencePiece vocabularies also hold raw bytes that read like characters; the entry that encoding uses is preferred.
    Raises ModelError that says what the text splits into where it is not one entry, and `remedy`.
    """
    if isinstance(token, int):
        if token >= model.facts.vocabulary:
            raise ModelError(f"token {token}: the vocabulary has entries 0 to {model.facts.vocabulary - 1}")
        return token
    candidates = [entry for entry, text in enumerate(model.token_texts) if text == token]
    if not candidates:
        pieces = [model.token_texts[entry] for entry in split_inside_running_text(model, token)]
        raise ModelError(f"token {token!r}: not one token of this tokenizer; inside running text it splits into "
                         f"{' + '.join(repr(piece) for piece in pieces)}. {remedy}")  # fmt: skip
    whole = [entry for entry in candidates if not _is_byte(model, entry)]
    return (whole or candidates)[0]


def is_named_by_text(model: LanguageModel, entry: int) -> bool:
    """Whether `token_id` finds the entry by its text. It does not where the text is empty or another entry that reads the same is preferred."""
    text = model.token_texts[entry]
    return bool(text) and token_id(model, text) == entry


def _is_byte(model: LanguageModel, entry: int) -> bool:
    piece = str(model.tokenizer.convert_ids_to_tokens(entry))
    return piece.startswith("<0x") and piece.endswith(">")


def split_inside_running_text(model: LanguageModel, text: str) -> list[int]:
    """Token ids of `text` as the tokenizer cuts it after other text: encoding it bare would let SentencePiece add a space."""
    before = model.tokenizer("a.", add_special_tokens=False)["input_ids"]
    both = model.tokenizer("a." + text, add_special_tokens=False)["input_ids"]
    return both[len(before) :] if both[: len(before)] == before else model.tokenizer(text, add_special_tokens=False)["input_ids"]
