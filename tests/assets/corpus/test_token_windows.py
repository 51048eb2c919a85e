"""Cutting documents into windows, with a tokenizer that gives each character its code point."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.contracts import TOKEN_WINDOWS, conform
from assets.corpus.token_windows import shard_of, token_windows

BEGINNING, VOCABULARY = 7, 2**21


class Characters:
    """One token per character."""

    def __call__(self, texts: list[str], **_: object) -> dict[str, list[list[int]]]:
        return {"input_ids": [[ord(letter) for letter in text] for text in texts]}


def documents(*texts: str, first: int = 0) -> pl.DataFrame:
    columns = {"document": range(first, first + len(texts)), "text": texts, "domain": [number % 3 for number in range(len(texts))]}
    schema: dict[str, Any] = {"document": pl.Int64, "text": pl.String, "domain": pl.Int32, "token_ids": pl.List(pl.Int32)}
    return pl.DataFrame({**columns, "token_ids": [None] * len(texts)}, schema=schema)


def cut(frame: pl.DataFrame, context_length: int, keep: str) -> pl.DataFrame:
    return conform(TOKEN_WINDOWS, token_windows(Characters(), BEGINNING, VOCABULARY, frame, context_length, keep))


def test_first_keeps_one_window_a_document_with_the_beginning_token_in_front() -> None:
    windows = cut(documents("abcdef", "xy"), 4, "first")
    assert windows["token_ids"].to_list() == [[7, 97, 98, 99], [7, 120, 121]]
    assert windows["length"].to_list() == [4, 3]
    assert windows["start"].to_list() == [0, 0]


def test_all_keeps_the_remainder_in_windows_that_do_not_overlap() -> None:
    windows = cut(documents("abcdefg"), 4, "all")
    assert windows["token_ids"].to_list() == [[7, 97, 98, 99], [7, 100, 101, 102], [7, 103]]
    assert windows["window_in_document"].to_list() == [0, 1, 2]
    assert windows["start"].to_list() == [0, 3, 6]


def test_a_document_without_tokens_has_one_window_of_the_beginning_token_alone() -> None:
    frame = documents("", "ab", "")
    for keep in ("first", "all"):
        windows = cut(frame, 4, keep)
        assert windows["token_ids"].to_list() == [[7], [7, 97, 98], [7]]
        assert windows.select("document", "window_in_document", "start", "length").rows() == [(0, 0, 0, 1), (1, 0, 0, 3), (2, 0, 0, 1)]


@pytest.mark.parametrize("keep", ["first", "all"])
def test_every_window_has_the_domain_of_its_document(keep: str) -> None:
    windows = cut(documents("abcdefg", "", "ab", "xyzxyz", first=5), 4, keep)
    assert dict(windows.select("document", "domain").iter_rows()) == {5: 0, 6: 1, 7: 2, 8: 0}


def test_a_shard_without_documents_has_no_windows() -> None:
    assert cut(documents(), 4, "all").is_empty()


def test_a_document_that_ends_on_a_window_has_no_empty_window_behind_it() -> None:
    assert cut(documents("abc"), 4, "all")["token_ids"].to_list() == [[7, 97, 98, 99]]


@settings(deadline=None)
@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=20), min_size=1, max_size=6), st.integers(2, 9))
def test_all_windows_together_are_the_documents(texts: list[str], context_length: int) -> None:
    windows = cut(documents(*texts), context_length, "all")
    joined = windows.group_by("document", maintain_order=True).agg(pl.col("token_ids").list.slice(1).list.explode())
    assert ["".join(map(chr, ids)) for ids in joined["token_ids"]] == texts
    assert (windows["length"] <= context_length).all()


@pytest.mark.parametrize(("count", "shards"), [(1, 1), (10, 3), (7, 7), (1000, 13)])
def test_every_document_is_in_exactly_one_shard(count: int, shards: int) -> None:
    parts = [shard_of(count, shard, shards) for shard in range(shards)]
    assert [document for part in parts for document in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
