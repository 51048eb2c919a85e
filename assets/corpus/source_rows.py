"""The rows of one file of a corpus, whatever its kind, one after another: its text, its domain, its tokens.

Text files are read by Python's own readers: `datasets` turns the text NA of a .csv into nothing and 123 into a number, refuses a
lone surrogate in .jsonl, and names no line. Compressed ones go through pyarrow's streams, which read on behind the first of several
frames and tell where the last is cut off. Hub data sets are in hub_rows; what is kept of the rows in corpus_documents.
"""

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from assets.corpus.corpus_domains import DomainError, domain_of
from assets.errors import InputError
from assets.source_files import SourceFile
from assets.store.sources import fetch_source
from assets.study import COMPRESSIONS, Study

BATCH = 1024  # rows of a table that are in memory at once
LARGEST_ENTRY = 2**31 - 1  # stored as int32


class CorpusError(InputError):
    """A corpus that cannot be read, lacks a column or is empty."""


class Row(NamedTuple):
    """What is read of a document: its text, the domain that it gives, its tokens. None where the row leaves one empty."""

    text: str | None
    domain: str | None = None
    token_ids: list[int] | None = None


@dataclass(frozen=True)
class Columns:
    """The columns that a study reads: finds them in what a source has, and takes them out of its rows."""

    study: Study

    def text_and_tokens(self, source: str, columns: Iterable[str]) -> list[str]:
        """Those of `columns` that hold text and tokens. Raises CorpusError for one that the study names and the source lacks."""
        choice, held = self.study.corpus, sorted(columns)
        wanted = {"text_column": choice.text_column, "tokens_column": choice.tokens_column}
        if choice.tokens_column is None or choice.text_column not in held:  # a corpus with tokens may be without text
            del wanted["tokens_column" if choice.tokens_column is None else "text_column"]
        for field, name in wanted.items():
            if name not in held:
                hint = "; tokens instead of text are named by corpus.tokens_column" if field == "text_column" else ""
                raise CorpusError(f"study {self.study.name}: corpus.{field} {name!r}: {source} has no such column; it has {held}{hint}")
        return [str(name) for name in wanted.values()]

    def needed(self, source: str, columns: Iterable[str]) -> list[str]:
        """The same and the one that holds the domain, of a source whose columns are all known. Raises CorpusError."""
        held, name = sorted(columns), self.study.corpus.domain_column
        found = self.text_and_tokens(source, held)
        if name is not None:
            domain = next((column for column in (name, name.split(".")[0]) if column in held), None)
            if domain is None:
                raise CorpusError(f"study {self.study.name}: corpus.domain_column {name!r}: {source} has no such column; it has {held}")
            found.append(domain)
        return list(dict.fromkeys(found))

    def row(self, where: str, values: Mapping[str, Any]) -> Row:
        """What is read of one row, which stands at `where`. Raises CorpusError for values that are no text and no tokens."""
        choice = self.study.corpus
        text = values.get(choice.text_column)
        if text is not None and not isinstance(text, str):
            raise CorpusError(
                f"study {self.study.name}: corpus.text_column {choice.text_column!r}: in {where}, it holds {type(text).__name__}, not text"
            )
        try:
            domain = None if choice.domain_column is None else domain_of(values, choice.domain_column)
        except DomainError as error:
            raise CorpusError(f"study {self.study.name}: corpus.domain_column {choice.domain_column!r}: in {where}, {error}") from None
        return Row(text, domain, None if choice.tokens_column is None else self._token_ids(where, values.get(choice.tokens_column)))

    def _token_ids(self, where: str, value: Any) -> list[int]:
        given = [] if value is None else list(value) if isinstance(value, list | tuple) else None
        if given is None or not all(type(entry) is int and 0 <= entry <= LARGEST_ENTRY for entry in given):
            odd = (
                type(value).__name__ if given is None else repr(next(e for e in given if type(e) is not int or not 0 <= e <= LARGEST_ENTRY))
            )
            raise CorpusError(f"study {self.study.name}: corpus.tokens_column {self.study.corpus.tokens_column!r}: in {where}, it holds {odd}; "
                              "tokens are a list of vocabulary entries, whole numbers from 0")  # fmt: skip
        return given


def rows_of(study: Study, file: SourceFile) -> Iterator[Row]:
    """The rows of a file in their order, a file behind a URL fetched first. Raises CorpusError naming file, line and remedy."""
    path = fetch_source(file.place) if isinstance(file.place, str) else file.place
    rows = _rows_within(study, path, file.is_saved)
    return (row._replace(domain=file.name) for row in rows) if study.corpus.domain_by_file else rows


def _rows_within(study: Study, file: Path, is_saved: bool) -> Iterator[Row]:
    columns = Columns(study)
    if is_saved:
        yield from _saved_rows(columns, file)
        return
    if not file.is_file():
        raise CorpusError(f"study {study.name}: corpus.files: {file}: no such file")
    kind = next(suffix for suffix in reversed(file.suffixes) if suffix not in COMPRESSIONS)
    with _readable_as(study, file, kind):
        if kind == ".parquet":
            yield from _parquet_rows(columns, file)
        elif kind == ".arrow":
            yield from _arrow_rows(columns, file)
        else:
            with _opened(file) as stream:
                yield from {".txt": _whole_text, ".csv": _csv_rows}.get(kind, _json_rows)(columns, file, stream)


@contextmanager
def _readable_as(study: Study, file: Path, kind: str) -> Iterator[None]:
    """Whatever a reader raises is a fault of the file: told with its name."""
    import lzma

    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, csv.Error, lzma.LZMAError, OSError, EOFError, UnicodeDecodeError) as error:
        told = " ".join(str(error).split())
        raise CorpusError(f"study {study.name}: corpus.files: {file}: not readable as {kind}: {told}") from None


@contextmanager
def _opened(file: Path) -> Iterator[io.BufferedReader]:
    """The bytes of a file, decompressed as its name ends."""
    import lzma

    import pyarrow as pa

    if file.suffix == ".xz":
        with lzma.open(file) as unpacked:
            yield io.BufferedReader(unpacked)
        return
    compression = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}.get(file.suffix)
    with pa.OSFile(str(file)) as packed:
        yield io.BufferedReader(pa.CompressedInputStream(packed, compression) if compression else packed, 1 << 20)


def _whole_text(columns: Columns, file: Path, stream: io.BufferedReader) -> Iterator[Row]:
    if columns.study.corpus.tokens_column:
        raise CorpusError(f"study {columns.study.name}: corpus.tokens_column: {file} holds text alone; leave tokens_column out")
    yield Row(stream.read().decode("utf-8-sig"))


def _csv_rows(columns: Columns, file: Path, stream: io.BufferedReader) -> Iterator[Row]:
    """A header, then a row a document; all values are text."""
    csv.field_size_limit(sys.maxsize)  # a document is longer than the module's 131,072 characters
    reader = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), strict=True)
    if reader.fieldnames:
        columns.needed(str(file), reader.fieldnames)
    try:
        for row in reader:
            yield columns.row(f"{file}, line {reader.line_num}", row)
    except csv.Error as error:
        raise CorpusError(
            f"study {columns.study.name}: corpus.files: {file}: after line {reader.line_num}: not readable as .csv: {error}"
        ) from None


def _json_rows(columns: Columns, file: Path, stream: io.BufferedReader) -> Iterator[Row]:
    """An object a line, or one array of objects, which is in memory whole."""
    start = stream.peek(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    lines = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="\n")
    items: Iterable[tuple[int, Any]]
    if start.startswith(b"[") and ".json" in file.suffixes:
        told, items = "item", enumerate(_array(columns.study, file, lines), start=1)
    else:
        told, items = "line", _objects(columns.study, file, lines)
    is_first = True
    for number, row in items:
        where = f"{file}, {told} {number}"
        if not isinstance(row, dict):
            raise CorpusError(f"study {columns.study.name}: corpus.files: {file}: {told} {number}: not readable as {_kind(file)}: it holds "
                              f"{type(row).__name__}, not an object with the field {columns.study.corpus.text_column!r}")  # fmt: skip
        if is_first:
            columns.text_and_tokens(str(file), row)
            is_first = False
        yield columns.row(where, row)


def _kind(file: Path) -> str:
    return ".json" if ".json" in file.suffixes else ".jsonl"


def _array(study: Study, file: Path, lines: io.TextIOWrapper) -> list[Any]:
    try:
        return list(json.load(lines))
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"study {study.name}: corpus.files: {file}: not readable as .json: {error}") from None


def _objects(study: Study, file: Path, lines: io.TextIOWrapper) -> Iterator[tuple[int, Any]]:
    """Each line with its number. Python's reader: polars turns a lone surrogate into NUL."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:  # ValueError also for a number of more digits than Python reads
            raise CorpusError(f"study {study.name}: corpus.files: {file}: line {number}: not readable as {_kind(file)}: {error}") from None


def _parquet_rows(columns: Columns, file: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as table:
        needed = columns.needed(str(file), table.schema_arrow.names)
        batches = table.iter_batches(batch_size=BATCH, columns=needed)
        rows = (row for batch in batches for row in batch.to_pylist())  # a dictionary's entries come as what they stand for
        for number, row in enumerate(rows, start=1):
            yield columns.row(f"{file}, row {number}", row)


def _arrow_rows(columns: Columns, file: Path) -> Iterator[Row]:
    import datasets

    yield from table_rows(columns, str(file), datasets.Dataset.from_file(str(file)))


def _saved_rows(columns: Columns, folder: Path) -> Iterator[Row]:
    """The rows of a data set as `save_to_disk` left it; of several splits the study's."""
    import datasets

    study = columns.study
    try:
        saved = datasets.load_from_disk(str(folder))
    except Exception as error:  # of any kind: the folder's files are whatever they are
        raise CorpusError(f"study {study.name}: corpus.files: {folder}: not readable as a saved data set: {error}") from None
    if isinstance(saved, datasets.DatasetDict):
        if study.corpus.split not in saved:
            raise CorpusError(
                f"study {study.name}: corpus.split {study.corpus.split!r}: {folder} has no such split; it has {sorted(saved)}"
            )
        saved = saved[study.corpus.split]
    yield from table_rows(columns, str(folder), saved)


def table_rows(columns: Columns, source: str, table: Any) -> Iterator[Row]:
    """The rows of a data set of the library, `Dataset` or `IterableDataset`, of which no more is read than is asked for."""
    names = table.column_names
    if names is not None:
        table = table.select_columns(columns.needed(source, names))
    for number, row in enumerate(table, start=1):
        if names is None and number == 1:
            columns.text_and_tokens(source, row)
        yield columns.row(f"{source}, row {number}", row)
