"""Tokens that a corpus gives instead of text: trimmed to what the text alone is, and refused where they are of another tokenizer.

Cuts no windows: token_windows does.
"""

from itertools import zip_longest
from typing import Any

import polars as pl

from assets.corpus.source_rows import CorpusError


def given_tokens(tokenizer: Any, beginning: int, vocabulary: int, documents: pl.DataFrame) -> list[list[int]]:
    """The entries of each of the given rows of `corpus_documents`, without the beginning-of-sequence token in front and without the end
    and padding tokens behind.

    Where the text is there too, the entries must be those of the tokenizer, or its first ones: corpora are often cut at a length. Raises
    CorpusError naming the first document for which they are not, or that holds an entry which the vocabulary lacks.
    """
    behind = {beginning, tokenizer.eos_token_id, tokenizer.pad_token_id} - {None}
    trimmed = [_trimmed(entries, beginning, behind) for entries in documents["token_ids"].to_list()]
    for row, entries in zip(documents["source_row"], trimmed, strict=True):
        if entries and max(entries) >= vocabulary:
            raise CorpusError(f"corpus.tokens_column: row {row} of the corpus holds entry {max(entries)}, the model's vocabulary ends at {vocabulary - 1}; "
                              "the corpus was tokenized for another model: name one for this model, or its text")  # fmt: skip
    has_text = documents.filter(pl.col("text") != "")
    if has_text.height:
        expected = dict(
            zip(
                has_text["source_row"],
                tokenizer(has_text["text"].to_list(), add_special_tokens=False, verbose=False)["input_ids"],
                strict=True,
            )
        )
        for row, entries in zip(documents["source_row"], trimmed, strict=True):
            if row in expected and entries != expected[row][: len(entries)]:
                raise CorpusError(_another(row, entries, expected[row]))
    return trimmed


def _trimmed(entries: list[int], beginning: int, behind: set[int]) -> list[int]:
    start, end = int(bool(entries) and entries[0] == beginning), len(entries)
    while end > start and entries[end - 1] in behind:
        end -= 1
    return entries[start:end]


def _another(row: int, entries: list[int], expected: list[int]) -> str:
    place = next(place for place, (one, other) in enumerate(zip_longest(entries, expected)) if one != other)
    written = f"entry {expected[place]}" if place < len(expected) else "nothing more"
    return (f"corpus.tokens_column: row {row} of the corpus holds entry {entries[place]} as token {place} of its text, this model's tokenizer writes "
            f"{written}; the corpus was tokenized for another model: leave tokens_column out, so that its text is cut anew")  # fmt: skip
