"""The documents of a corpus in their original order, from a hub data set or local files.

Empty documents are dropped and counted; duplicates are kept, marked and counted. How domains are numbered is in corpus_domains,
cutting into tokens in token_windows.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from assets.corpus.corpus_domains import DomainError, domain_of, numbered_domains
from assets.errors import InputError
from assets.store.sources import fetch_source
from assets.study import COMMIT, Study
from assets.upstream import Branch, latest_commit
from assets.urls import is_url

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


class CorpusError(InputError):
    """A corpus that cannot be read, lacks the text column or is empty."""


class Row(NamedTuple):
    """What is read of a document: its text, and the domain that it gives. None where the row leaves one empty."""

    text: str | None
    domain: str | None = None


@dataclass(frozen=True)
class Corpus:
    """The tables `corpus_documents` and `corpus_domains` with what was read to make them. `commit` is the hub's, None for local files."""

    documents: pl.DataFrame
    domains: pl.DataFrame
    rows_read: int
    empty: int
    commit: str | None

    @property
    def duplicates(self) -> int:
        """Documents whose text stands earlier in the corpus."""
        return int(self.documents["is_duplicate"].sum())

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the hashes of all documents in order."""
        return hashlib.sha256("".join(self.documents["sha256"]).encode()).hexdigest()


def read_corpus(study: Study) -> Corpus:
    """Read the study's documents. Raises CorpusError naming the file or data set, and what to do."""
    choice = study.corpus
    commit: str | None = None
    source: Iterator[Row]
    if choice.files:
        source = (row for file in choice.files for row in _file_rows(study, file))
    else:
        commit, source = _hub_rows(study)
    rows = list(islice(source, choice.documents))
    kept = [row for row in rows if _has_text(row.text)]
    given = f"corpus {choice.id or ', '.join(choice.files)}"
    if not kept:
        raise CorpusError(f"study {study.name}: {given}: {len(rows)} rows were read and none has any text")
    if choice.domain_column and all(row.domain is None for row in kept):
        raise CorpusError(f"study {study.name}: corpus.domain_column {choice.domain_column!r}: none of the {len(kept)} documents of {given} has "
                          "it; name a column that they have, or leave the field out")  # fmt: skip
    domain, domains = numbered_domains([row.domain and _valid_unicode(row.domain) for row in kept], choice.has_domains)
    documents = documents_frame([row.text for row in rows]).with_columns(domain)
    return Corpus(documents, domains, len(rows), len(rows) - len(kept), commit)


def documents_frame(texts: list[str | None]) -> pl.DataFrame:
    """The table `corpus_documents` of texts in their order, all of domain 0; None and white space alone count as empty."""
    kept = [(row, text) for row, text in enumerate(texts) if text is not None and _has_text(text)]
    frame = pl.DataFrame(
        {"source_row": [row for row, _ in kept], "text": [_valid_unicode(text) for _, text in kept]},
        schema={"source_row": pl.Int64, "text": pl.String},
    )
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in frame["text"]]
    return frame.with_row_index("document").with_columns(
        pl.col("text").str.len_chars().alias("characters"),
        pl.Series("sha256", hashes, dtype=pl.String),
    ).with_columns(pl.col("sha256").is_first_distinct().not_().alias("is_duplicate"), pl.lit(0, pl.Int32).alias("domain"))  # fmt: skip


def _has_text(text: str | None) -> bool:
    return bool(text and text.strip())


def _valid_unicode(text: str) -> str:
    """Lone surrogates cannot be stored as UTF-8; they become the replacement character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _on_this_machine(study: Study, file: str) -> Path:
    """A file of the study, fetched first if it is a URL."""
    return fetch_source(file) if is_url(file) else study.path(file)


def _file_rows(study: Study, given: str) -> Iterator[Row]:
    rows = _rows_within(study, _on_this_machine(study, given))
    if study.corpus.domain_by_file:
        rows = (Row(row.text, given.rsplit("/", 1)[-1]) for row in rows)
    return rows


def _rows_within(study: Study, file: Path) -> Iterator[Row]:
    if not file.is_file():
        raise CorpusError(f"study {study.name}: corpus.files: {file}: no such file")
    try:
        if file.suffix == ".txt":
            yield Row(file.read_bytes().decode("utf-8-sig"))
        elif file.suffix == ".jsonl":
            yield from _json_lines(study, file)
        else:
            frame = pl.read_parquet(file, glob=False)
            texts = _column(study, str(file), {name: frame[name] for name in frame.columns})
            column = _domain_column(study, str(file), frame.columns)
            domains = repeat(None) if column is None else _domains(study, str(file), frame.select(column).iter_rows(named=True))
            yield from map(Row, texts, domains)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"study {study.name}: corpus.files: {file}: not readable as {file.suffix}: {error}") from None


def _json_lines(study: Study, file: Path) -> Iterator[Row]:
    """Text and domain of each line, None where a later line lacks it. Python's reader: polars turns a lone surrogate into NUL."""
    name = study.corpus.text_column
    with file.open(encoding="utf-8-sig", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            given = f"study {study.name}: corpus.files: {file}: line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # ValueError also for a number of more digits than Python reads
                raise CorpusError(f"{given}: not readable as .jsonl: {error}") from None
            if not isinstance(row, dict):
                raise CorpusError(f"{given}: not readable as .jsonl: it holds {type(row).__name__}, not an object with the field {name!r}")
            if number == 1:
                _column(study, str(file), row)
            text = row.get(name)
            if text is not None and not isinstance(text, str):
                raise CorpusError(
                    f"study {study.name}: corpus.text_column {name!r}: in {file}, line {number}, it holds {type(text).__name__}, not text"
                )
            yield Row(text, _domain(study, f"{file}, line {number}", row))


def _domain_column(study: Study, source: str, columns: Sequence[str]) -> str | None:
    """The column that holds the domain, itself or in a nested field; None if the study names none. Raises CorpusError if there is none."""
    name = study.corpus.domain_column
    if name is None:
        return None
    for column in (name, name.split(".")[0]):
        if column in columns:
            return column
    raise CorpusError(f"study {study.name}: corpus.domain_column {name!r}: {source} has no such column; it has {sorted(columns)}")


def _domain(study: Study, where: str, row: Mapping[str, Any]) -> str | None:
    name = study.corpus.domain_column
    try:
        return None if name is None else domain_of(row, name)
    except DomainError as error:
        raise CorpusError(f"study {study.name}: corpus.domain_column {name!r}: in {where}, {error}") from None


def _domains(study: Study, source: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[str | None]:
    return (_domain(study, f"{source}, row {number}", row) for number, row in enumerate(rows, start=1))


def _column(study: Study, source: str, columns: dict[str, Any]) -> Any:
    name = study.corpus.text_column
    if name not in columns:
        raise CorpusError(f"study {study.name}: corpus.text_column {name!r}: {source} has no such column; it has {sorted(columns)}")
    values = columns[name]
    if isinstance(values, pl.Series) and values.dtype != pl.String:
        raise CorpusError(f"study {study.name}: corpus.text_column {name!r}: in {source} it holds {values.dtype}, not text")
    return values


def _hub_rows(study: Study) -> tuple[str, Iterator[Row]]:
    """The rows of a hub data set at one commit. A branch is resolved first, so that what is read is what is recorded."""
    import datasets
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

    choice = study.corpus
    given = f"study {study.name}: corpus.id {choice.id!r}, revision {choice.revision!r}, split {choice.split!r}"
    if not HUB_ID.fullmatch(str(choice.id)):  # the library would take a folder of this machine, or a loader of that name
        raise CorpusError(f"{given}: no hub id of the form owner/name; local files go into corpus.files")
    try:
        commit = choice.revision or "main"
        if not COMMIT.fullmatch(commit):
            commit = latest_commit(Branch("corpus_documents", "dataset", str(choice.id), commit))
        rows = datasets.load_dataset(str(choice.id), revision=commit, split=choice.split)
    except (RepositoryNotFoundError, RevisionNotFoundError, FileNotFoundError) as error:
        raise CorpusError(f"{given}: not found on the hub or in the local cache: {error}") from None
    except OfflineModeIsEnabled:
        raise CorpusError(f"{given}: the hub cannot be reached; connect once, or give local files") from None
    except ValueError as error:
        raise CorpusError(f"{given}: {error}") from None
    except (HfHubHTTPError, HTTPError, OSError) as error:
        raise ConnectionError(f"{given}: download failed: {' '.join(str(error).split())}") from error
    _column(study, str(choice.id), rows.features)
    column = _domain_column(study, str(choice.id), list(rows.features))
    read = rows.select_columns(list({choice.text_column, column or choice.text_column}))
    numbered = enumerate(read, start=1)
    return commit, (Row(row[choice.text_column], _domain(study, f"{choice.id}, row {number}", row)) for number, row in numbered)
