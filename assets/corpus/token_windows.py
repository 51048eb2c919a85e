"""Documents cut into windows of tokens: the beginning-of-sequence token, then at most context_length - 1 tokens. Tokens are the
tokenizer's, or those that the corpus gives (given_tokens).

`first` keeps a document's first window, as published; `all` keeps the remainder too, in windows that do not overlap. A shard
is a contiguous range of documents, so that the same corpus cut otherwise holds the same windows.
"""

from typing import Any

import polars as pl

from assets.contracts import TOKEN_WINDOWS
from assets.corpus.given_tokens import given_tokens
from assets.corpus.source_rows import CorpusError
from assets.study import Study

BATCH = 1024  # documents handed to the tokenizer at once: bounds memory; the fast tokenizers run them in parallel


def shard_of(documents: int, shard: int, shards: int) -> range:
    """The documents of one shard: every document is in exactly one, and sizes differ by at most one."""
    return range(documents * shard // shards, documents * (shard + 1) // shards)


def token_windows(tokenizer: Any, beginning: int, vocabulary: int, documents: pl.DataFrame, context_length: int, keep: str) -> pl.DataFrame:
    """The table `token_windows` of the given rows of `corpus_documents`. `beginning` is the beginning-of-sequence id, `vocabulary` how many
    entries the model has. Raises CorpusError for tokens of the corpus that are not of this model.
    """
    step = context_length - 1  # the beginning-of-sequence token takes one place
    read = (documents[start : start + BATCH] for start in range(0, documents.height, BATCH))
    parts = [_cut(part, _tokens(tokenizer, beginning, vocabulary, part), step, keep) for part in read]
    schema = TOKEN_WINDOWS.schema
    schema.pop("length")  # counted below
    windows = pl.concat(parts) if parts else pl.DataFrame(schema=schema).drop("domain")
    return windows.join(documents.select("document", "domain"), on="document", how="left", maintain_order="left").with_columns(
        pl.concat_list(pl.lit(beginning, dtype=pl.Int32), pl.col("token_ids")).alias("token_ids"),
    ).with_columns(pl.col("token_ids").list.len().cast(pl.Int32).alias("length"))  # fmt: skip


def refuse_unknown_entries(windows: pl.DataFrame, vocabulary: int, study: Study) -> None:
    """Raise CorpusError for ids that the model's embedding lacks: its tokenizer has more entries than it, and the corpus uses them."""
    largest = windows.select(pl.col("token_ids").list.max().max()).item()
    if largest is not None and largest >= vocabulary:
        raise CorpusError(f"study {study.name}: the tokenizer writes entry {largest} for this corpus, the model's vocabulary ends at {vocabulary - 1}; "
                          "the folder's tokenizer is of another model: save the right one there")  # fmt: skip


def _tokens(tokenizer: Any, beginning: int, vocabulary: int, documents: pl.DataFrame) -> list[list[int]]:
    if documents["token_ids"].null_count() < documents.height:
        return given_tokens(tokenizer, beginning, vocabulary, documents)
    ids: list[list[int]] = tokenizer(documents["text"].to_list(), add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _cut(documents: pl.DataFrame, ids: list[list[int]], step: int, keep: str) -> pl.DataFrame:
    """Windows of a few documents, without the beginning-of-sequence token. Time and memory grow with the tokens, however long a document."""
    whole = pl.DataFrame(
        {"document": documents["document"], "token_ids": ids}, schema={"document": pl.Int64, "token_ids": pl.List(pl.Int32)}
    )
    if keep == "first":
        zero = pl.lit(0, dtype=pl.Int32)
        return whole.select("document", zero.alias("window_in_document"), zero.alias("start"), pl.col("token_ids").list.head(step))
    places = pl.int_ranges(0, pl.col("token_ids").list.len(), dtype=pl.Int32).alias("place")
    return (
        whole.with_columns(places)
        .explode("token_ids", "place", empty_as_null=True)
        .with_columns((pl.col("place").fill_null(0) // step).alias("window_in_document"))  # a document without tokens has one window
        .group_by("document", "window_in_document", maintain_order=True)
        .agg(pl.col("token_ids").drop_nulls())
        .with_columns((pl.col("window_in_document") * step).cast(pl.Int32).alias("start"))
        .select("document", "window_in_document", "start", "token_ids")
    )
