"""What a stage's computation is given: the study, its verified inputs, a folder to write to, a way to tell progress.

Knows no Dagster, so that a stage can be run from a notebook or a test as well.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assets.contracts import TABLES
from assets.store import Draft, Record
from assets.study import Study
from assets.tables import read_table, scan_table, write_table


@dataclass(frozen=True)
class Work:
    """One output to make. `inputs` are current, undamaged records, by "asset" or "asset/shard"."""

    study: Study
    shard: str | None
    inputs: Mapping[str, Record]
    draft: Draft
    tell: Callable[[str], None]

    def record(self, asset: str, shard: str | None = None) -> Record:
        """The record of an input."""
        return self.inputs[f"{asset}/{shard}" if shard else asset]

    def folder(self, asset: str, shard: str | None = None) -> Path:
        """Folder of an input, on this machine."""
        return self.record(asset, shard).folder

    def read(self, table: str, shard: str | None = None) -> pl.DataFrame:
        """A table of an input."""
        return read_table(self.folder(TABLES[table].asset, shard), TABLES[table])

    def scan(self, table: str, shard: str | None = None) -> pl.LazyFrame:
        """A table of an input, read only as far as it is used."""
        return scan_table(self.folder(TABLES[table].asset, shard), TABLES[table])

    def write(self, table: str, frame: pl.DataFrame) -> None:
        """Write a table of this output and note its number of rows."""
        write_table(self.draft.folder, TABLES[table], frame)
        self.draft.summary[f"{table}_rows"] = frame.height
