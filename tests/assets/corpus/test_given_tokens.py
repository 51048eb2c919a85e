"""Tokens that a corpus gives: the same windows as of its text, and refused where they are of another tokenizer."""

import polars as pl
import pytest

from assets.contracts import CORPUS_DOCUMENTS
from assets.corpus.corpus_documents import documents_frame
from assets.corpus.source_rows import CorpusError
from assets.corpus.token_windows import token_windows
from tests.assets.corpus.test_token_windows import Characters

BEGINNING, END, PADDING, VOCABULARY = 1, 2, 3, 128


class Characters128(Characters):
    """One token per character, with an end and a padding token."""

    eos_token_id, pad_token_id = END, PADDING


def documents(texts: list[str], token_ids: list[list[int]]) -> pl.DataFrame:
    frame = documents_frame([text or "x" for text in texts])
    return frame.with_columns(pl.Series("text", texts), pl.Series("token_ids", token_ids, dtype=CORPUS_DOCUMENTS.schema["token_ids"]))


def windows(frame: pl.DataFrame) -> pl.DataFrame:
    return token_windows(Characters128(), BEGINNING, VOCABULARY, frame, 5, "all")


def test_tokens_give_the_windows_of_their_text() -> None:
    texts = ["an apple", "pear"]
    entries = [[ord(letter) for letter in text] for text in texts]
    expected = windows(documents_frame(texts))
    assert windows(documents(texts, entries)).equals(expected)
    assert windows(documents(["", ""], entries)).equals(expected)


def test_what_stands_around_the_text_is_left_out() -> None:
    entries = [[BEGINNING, *map(ord, "an"), END, PADDING, PADDING], [*map(ord, "fig"), END, *map(ord, "fig"), END]]
    assert windows(documents(["an", ""], entries))["token_ids"].to_list() == [
        [BEGINNING, *map(ord, "an")],
        [BEGINNING, *map(ord, "fig"), END],
        [BEGINNING, *map(ord, "fig")],
    ]


def test_tokens_that_were_cut_at_a_length_are_taken() -> None:
    assert windows(documents(["an apple"], [[*map(ord, "an")]]))["token_ids"].to_list() == [[BEGINNING, *map(ord, "an")]]


@pytest.mark.parametrize(
    ("text", "entries", "message"),
    [
        (
            "",
            [97, 128],
            "row 0 of the corpus holds entry 128, the model's vocabulary ends at 127; the corpus was tokenized for another model",
        ),
        ("ab", [97, 99], "row 0 of the corpus holds entry 99 as token 1 of its text, this model's tokenizer writes entry 98"),
        ("ab", [97, 98, 99], "row 0 of the corpus holds entry 99 as token 2 of its text, this model's tokenizer writes nothing more"),
    ],
)
def test_tokens_of_another_model_are_refused(text: str, entries: list[int], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        windows(documents([text], [entries]))
