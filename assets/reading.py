"""What a stage or a check is given to read: the study and other outputs, each only as far as it declares to read them.

Knows no Dagster, so that a stage can be run from a notebook or a test as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import polars as pl

from assets.contracts import TABLES
from assets.reads import Part, Read
from assets.store import Record
from assets.study import Study
from assets.study_view import UndeclaredError, view_of
from assets.tables import read_in_parts, read_table, scan_table, table_file


@dataclass(frozen=True)
class Reading:
    """`records` are current, undamaged outputs by "asset" or "asset/shard"; `reads` and `fields` what `reader` declares of them."""

    whole_study: Study
    records: Mapping[str, Record]
    reads: tuple[Read, ...]
    fields: tuple[str, ...]
    reader: str

    @cached_property
    def _view(self) -> tuple[Study, set[str]]:
        return view_of(self.whole_study, self.fields, self.reader)

    @cached_property
    def seen(self) -> set[tuple[str, Part, str]]:
        """What was read of other outputs so far: asset, part, name."""
        return set()

    @property
    def study(self) -> Study:
        """The study, of which only declared fields can be read. Raises UndeclaredError for another."""
        return self._view[0]

    @property
    def seen_fields(self) -> set[str]:
        """The study's fields that were read so far, as dotted paths."""
        return self._view[1]

    def shards_of(self, asset: str) -> list[str]:
        """Names of the shards of an asset that are read here, in corpus order."""
        return [label.partition("/")[2] for label in self.records if label.startswith(f"{asset}/")]

    def read(self, table: str, shard: str | None = None) -> pl.DataFrame:
        """A table. Raises ContractError where the file holds other columns."""
        return read_table(self._record(TABLES[table].asset, "table", table, shard), TABLES[table])

    def scan(self, table: str, shard: str | None = None) -> pl.LazyFrame:
        """A table, read only as far as it is used."""
        return scan_table(self._record(TABLES[table].asset, "table", table, shard), TABLES[table])

    def parts(self, table: str, rows: int, shard: str | None = None) -> Iterator[pl.DataFrame]:
        """A table that need not fit into memory, at most so many rows at a time. Raises ContractError where the file holds other columns."""
        record = self._record(TABLES[table].asset, "table", table, shard)
        scan_table(record, TABLES[table])
        return read_in_parts(table_file(record, TABLES[table]), rows)

    def raw(self, table: str, shard: str | None = None) -> pl.DataFrame:
        """A table as its file holds it, whatever its contract says."""
        record = self._record(TABLES[table].asset, "table", table, shard)
        return pl.read_parquet(table_file(record, TABLES[table]), glob=False)

    def raw_parts(self, table: str, rows: int, shard: str | None = None) -> Iterator[pl.DataFrame]:
        """The same, at most so many rows at a time; the first part has none, and so tells the columns of an empty table too."""
        record = self._record(TABLES[table].asset, "table", table, shard)
        file = table_file(record, TABLES[table])
        yield pl.read_parquet(file, glob=False, n_rows=0)
        yield from read_in_parts(file, rows)

    def fact(self, asset: str, name: str, shard: str | None = None) -> Any:
        """A number or text that the record of an output states. KeyError where it states no such thing."""
        return self._record(asset, "fact", name, shard).facts[name]

    def files(self, asset: str, shard: str | None = None) -> Record:
        """The files of an output: a record that knows nothing else."""
        record = self._record(asset, "files", "", shard)
        return replace(record, facts={}, summary={}, provenance={}, inputs={}, created_at="", seconds=0.0)

    def fetched(self, asset: str, shard: str | None = None) -> Record:
        """The same, on this machine: what lies in a bucket is fetched first. A reader of counters opens a record once a process, a folder anew."""
        files = self.files(asset, shard)
        files.storage.folder(files)
        return files

    def record(self, asset: str, shard: str | None = None) -> Record:
        """How and when an output was made: its record without facts and summary."""
        return replace(self._record(asset, "record", "", shard), facts={}, summary={})

    def _record(self, asset: str, part: Part, name: str, shard: str | None) -> Record:
        label = f"{asset}/{shard}" if shard else asset
        if label not in self.records or not any(read.covers(asset, part, name) for read in self.reads):
            wanted = Read(asset, part, name)
            raise UndeclaredError(f"{self.reader} reads {wanted} of {label}, which it does not declare; add it to its reads")
        self.seen.add((asset, part, name))
        return self.records[label]


def unread(reading: Sequence[Reading]) -> tuple[set[str], set[str]]:
    """What was declared and read by none of the readings: declarations of reads, and fields of the study."""
    seen = set().union(*(one.seen for one in reading)) if reading else set()
    seen_fields = set().union(*(one.seen_fields for one in reading)) if reading else set()
    reads = {str(read) for one in reading for read in one.reads if not any(read.covers(*part) for part in seen)}
    fields = {field for one in reading for field in one.fields if not _is_read(field, seen_fields)}
    return reads, fields


def _is_read(field: str, seen: set[str]) -> bool:
    return field in seen or any(path.startswith(f"{field}.") for path in seen)
