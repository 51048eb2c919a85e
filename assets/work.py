"""What a stage's computation is given: what it may read, a folder to write to, a way to tell progress. Knows no Dagster."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from assets.contracts import TABLES
from assets.reading import Reading
from assets.store import Draft
from assets.tables import write_table, write_table_in_parts


@dataclass(frozen=True)
class Work(Reading):
    """One output to make: of a shard, if its asset is partitioned."""

    shard: str | None
    draft: Draft
    tell: Callable[[str], None]

    def write(self, table: str, frame: pl.DataFrame) -> None:
        """Write a table of this output and note its number of rows."""
        write_table(self.draft.folder, TABLES[table], frame)
        self.draft.summary[f"{table}_rows"] = frame.height

    def write_in_parts(self, table: str, parts: Iterable[pl.DataFrame]) -> None:
        """The same of a table that need not fit into memory."""
        rows = write_table_in_parts(self.draft.folder / f"{table}.parquet", TABLES[table], parts)
        self.draft.summary[f"{table}_rows"] = rows

    def state(self, **facts: object) -> None:
        """State facts of this output: numbers and texts that other stages may read, and people see."""
        self.draft.facts.update(facts)

    def refuse(self, tables: Sequence[str], reason: str) -> None:
        """Leave these tables of this output empty, whatever was written of them, and state why: what they hold cannot be measured here."""
        for table in tables:
            self.write(table, TABLES[table].schema.to_frame())
        self.state(refused=reason)
        self.tell(f"left empty: {reason}")

    def show(self, **numbers: object) -> None:
        """Show numbers of this output to people; no stage can read them."""
        self.draft.summary.update(numbers)
