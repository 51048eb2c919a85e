"""The documents of a corpus in their original order, from a hub data set or local files.

Empty documents are dropped and counted; duplicates are kept, marked and counted. Cutting into tokens is in token_windows.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from assets.errors import InputError
from assets.store.sources import fetch_source
from assets.study import COMMIT, Study
from assets.upstream import Branch, latest_commit
from assets.urls import is_url

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


class CorpusError(InputError):
    """A corpus that cannot be read, lacks the text column or is empty."""


@dataclass(frozen=True)
class Corpus:
    """The table `corpus_documents` with what was read to make it. `commit` is the hub's, None for local files."""

    documents: pl.DataFrame
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
    texts: Iterator[str | None]
    if choice.files:
        texts = (text for file in choice.files for text in _file_texts(study, _on_this_machine(study, file)))
    else:
        commit, texts = _hub_texts(study)
    rows = list(islice(texts, choice.documents))
    corpus = Corpus(documents_frame(rows), len(rows), sum(not _has_text(text) for text in rows), commit)
    if corpus.documents.is_empty():
        raise CorpusError(
            f"study {study.name}: corpus {choice.id or ', '.join(choice.files)}: {len(rows)} rows were read and none has any text"
        )
    return corpus


def documents_frame(texts: list[str | None]) -> pl.DataFrame:
    """The table `corpus_documents` of texts in their order; None and white space alone count as empty."""
    kept = [(row, text) for row, text in enumerate(texts) if text is not None and _has_text(text)]
    frame = pl.DataFrame(
        {"source_row": [row for row, _ in kept], "text": [_valid_unicode(text) for _, text in kept]},
        schema={"source_row": pl.Int64, "text": pl.String},
    )
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in frame["text"]]
    return frame.with_row_index("document").with_columns(
        pl.col("text").str.len_chars().alias("characters"),
        pl.Series("sha256", hashes, dtype=pl.String),
    ).with_columns(pl.col("sha256").is_first_distinct().not_().alias("is_duplicate"))  # fmt: skip


def _has_text(text: str | None) -> bool:
    return bool(text and text.strip())


def _valid_unicode(text: str) -> str:
    """Lone surrogates cannot be stored as UTF-8; they become the replacement character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _on_this_machine(study: Study, file: str) -> Path:
    """A file of the study, fetched first if it is a URL."""
    return fetch_source(file) if is_url(file) else study.path(file)


def _file_texts(study: Study, file: Path) -> Iterator[str | None]:
    if not file.is_file():
        raise CorpusError(f"study {study.name}: corpus.files: {file}: no such file")
    try:
        if file.suffix == ".txt":
            yield file.read_bytes().decode("utf-8-sig")
        elif file.suffix == ".jsonl":
            yield from _json_lines(study, file)
        else:
            frame = pl.read_parquet(file, glob=False)
            yield from _column(study, str(file), {name: frame[name] for name in frame.columns})
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"study {study.name}: corpus.files: {file}: not readable as {file.suffix}: {error}") from None


def _json_lines(study: Study, file: Path) -> Iterator[str | None]:
    """The text column of each line, None where a later line lacks it. Python's reader: polars turns a lone surrogate into NUL."""
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
            yield text


def _column(study: Study, source: str, columns: dict[str, Any]) -> Any:
    name = study.corpus.text_column
    if name not in columns:
        raise CorpusError(f"study {study.name}: corpus.text_column {name!r}: {source} has no such column; it has {sorted(columns)}")
    values = columns[name]
    if isinstance(values, pl.Series) and values.dtype != pl.String:
        raise CorpusError(f"study {study.name}: corpus.text_column {name!r}: in {source} it holds {values.dtype}, not text")
    return values


def _hub_texts(study: Study) -> tuple[str, Iterator[str | None]]:
    """The texts of a hub data set at one commit. A branch is resolved first, so that what is read is what is recorded."""
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
    return commit, (row[choice.text_column] for row in rows.select_columns([choice.text_column]))
