"""The documents of a corpus in their original order, from a hub data set or local files, read and kept a thousand at a time.

Empty documents are dropped and counted; duplicates are kept, marked and counted. What is remembered of a document that was read is its
hash alone, so that memory does not grow with its text. Rows of files are in source_rows and hub_rows, how domains are numbered in
corpus_domains, cutting into tokens in token_windows.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from assets.contracts import CORPUS_DOCUMENTS, CORPUS_FILES
from assets.corpus.corpus_domains import domain_name, numbered_domains
from assets.corpus.hub_rows import hub_files
from assets.corpus.source_rows import BATCH, CorpusError, Row, rows_of
from assets.source_files import source_files
from assets.study import Study
from assets.tables import read_in_parts, write_table_in_parts

DRAFT = "documents_read.parquet"
CHARACTERS_BETWEEN_LINES = 100_000_000


@dataclass(frozen=True)
class Corpus:
    """The tables `corpus_documents`, `corpus_domains` and `corpus_files` with what was read to make them.

    `documents` comes in parts, once, out of the folder that read_corpus was given. `commit` is the hub's, None for local files.
    """

    documents: Iterator[pl.DataFrame]
    domains: pl.DataFrame
    files: pl.DataFrame
    rows_read: int
    kept: int
    duplicates: int
    characters: int
    fingerprint: str  # SHA-256 over the hashes of all documents in order
    commit: str | None

    @property
    def empty(self) -> int:
        """Rows without text."""
        return self.rows_read - self.kept


def read_corpus(study: Study, folder: Path, tell: Callable[[str], None] = lambda line: None) -> Corpus:
    """Read the study's documents, no more of them than it asks for; they lie in `folder` meanwhile.

    Raises CorpusError naming the file or data set, and what to do. `tell` is given a line now and then.
    """
    choice, reader = study.corpus, _Reader(study.corpus.has_domains)
    given = f"corpus {choice.id or ', '.join(choice.files)}"
    commit: str | None = None
    sources: Iterable[tuple[str, Iterator[Row]]]
    if choice.files:
        sources = ((file.given, rows_of(study, file)) for file in source_files(study))
    else:
        commit, sources = hub_files(study)
    write_table_in_parts(folder / DRAFT, CORPUS_DOCUMENTS, reader.read(sources, choice.documents, tell))
    if not reader.kept:
        without = "tokens" if choice.tokens_column else "text"
        raise CorpusError(f"study {study.name}: {given}: {reader.rows} rows were read and none has any {without}")
    if choice.domain_column and not reader.is_domain_given:
        raise CorpusError(f"study {study.name}: corpus.domain_column {choice.domain_column!r}: none of the {reader.kept} documents of {given} has "
                          "it; name a column that they have, or leave the field out")  # fmt: skip
    numbers, domains = numbered_domains(reader.domains)
    documents = (_with_domains(part, [numbers[name] for name in reader.domains]) for part in read_in_parts(folder / DRAFT, BATCH))
    return Corpus(documents, domains, pl.DataFrame(reader.files, schema=CORPUS_FILES.schema, orient="row"), reader.rows, reader.kept,
                  reader.duplicates, reader.characters, reader.fingerprint.hexdigest(), commit)  # fmt: skip


def _with_domains(part: pl.DataFrame, numbers: list[int]) -> pl.DataFrame:
    """Domains by their final numbers instead of the order in which they came."""
    return part.with_columns(pl.Series("domain", numbers, dtype=pl.Int32).gather(part["domain"]))


def documents_frame(texts: Sequence[str | None]) -> pl.DataFrame:
    """The table `corpus_documents` of texts in their order, all of domain 0; None and white space alone count as empty."""
    return _Reader(has_domains=False).frame([Row(text) for text in texts])


@dataclass
class _Reader:
    """What is known of the rows read so far. Domains are numbered as they come, until all are known."""

    has_domains: bool
    rows: int = 0
    kept: int = 0
    duplicates: int = 0
    characters: int = 0
    is_domain_given: bool = False
    fingerprint: Any = field(default_factory=hashlib.sha256)
    domains: Counter[str] = field(default_factory=Counter)
    files: list[tuple[int, str, int, int]] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)  # 32 bytes a document, some 130 as Python holds them

    def read(
        self, sources: Iterable[tuple[str, Iterator[Row]]], documents: int | None, tell: Callable[[str], None]
    ) -> Iterator[pl.DataFrame]:
        """The documents of the sources, at most so many rows, in parts."""
        told = 0
        for number, (name, rows) in enumerate(sources):
            first = self.rows
            wanted = islice(rows, None if documents is None else documents - first)
            while batch := list(islice(wanted, BATCH)):
                yield self.frame(batch)
                if self.characters - told > CHARACTERS_BETWEEN_LINES:
                    told = self.characters
                    tell(f"documents: {self.rows:,} read, {self.characters:,} characters, now in {name}")
            self.files.append((number, name, first, self.rows - first))
            if documents is not None and self.rows >= documents:
                break

    def frame(self, rows: Sequence[Row]) -> pl.DataFrame:
        """The next rows as the table `corpus_documents`."""
        kept = [(place, row) for place, row in enumerate(rows, start=self.rows) if _is_kept(row)]
        names = [domain_name(row.domain and _valid_unicode(row.domain), self.has_domains) for _, row in kept]
        self.domains.update(names)
        self.is_domain_given |= any(row.domain is not None for _, row in kept)
        order = {name: number for number, name in enumerate(self.domains)}
        texts = [_valid_unicode(row.text or "") for _, row in kept]
        hashes = [_hash(text, row.token_ids) for text, (_, row) in zip(texts, kept, strict=True)]
        is_duplicate = [self._is_seen(digest) for digest in hashes]
        frame = pl.DataFrame(
            {
                "document": range(self.kept, self.kept + len(kept)), "source_row": [place for place, _ in kept], "text": texts,
                "characters": [len(text) for text in texts], "sha256": [digest.hex() for digest in hashes], "is_duplicate": is_duplicate,
                "domain": [order[name] for name in names], "token_ids": [row.token_ids for _, row in kept],
            }, schema=CORPUS_DOCUMENTS.schema,
        )  # fmt: skip
        self.fingerprint.update("".join(frame["sha256"]).encode())
        self.rows, self.kept = self.rows + len(rows), self.kept + len(kept)
        self.duplicates, self.characters = self.duplicates + sum(is_duplicate), self.characters + int(frame["characters"].sum())
        return frame

    def _is_seen(self, digest: bytes) -> bool:
        before = len(self.seen)
        self.seen.add(digest)
        return len(self.seen) == before


def _hash(text: str, token_ids: list[int] | None) -> bytes:
    return hashlib.sha256(text.encode() if token_ids is None else np.array(token_ids, "<i4").tobytes()).digest()


def _is_kept(row: Row) -> bool:
    return bool(row.text and row.text.strip()) if row.token_ids is None else bool(row.token_ids)


def _valid_unicode(text: str) -> str:
    """Lone surrogates cannot be stored as UTF-8; they become the replacement character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
