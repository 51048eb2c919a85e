"""Contract tables as Parquet files: written as promised, and checked against the promise when read."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from assets.contracts import ContractError, Table, conform
from assets.store import Record

if TYPE_CHECKING:
    import pyarrow as pa


def write_table(folder: Path, table: Table, frame: pl.DataFrame) -> Path:
    """Write `frame` as <folder>/<table>.parquet with the contract's columns. Raises ContractError."""
    file = folder / f"{table.name}.parquet"
    conform(table, frame).write_parquet(file, compression="zstd")
    return file


def write_table_in_parts(file: Path, table: Table, parts: Iterable[pl.DataFrame]) -> int:
    """The same of a table that need not fit into memory, a row group a part, and how many rows it has. Raises ContractError.

    Not polars' sink_parquet: of 2 GB of long documents it held 2.4 GB, since its reader fetches up to 128 row groups ahead.
    """
    import pyarrow.parquet as pq

    rows = 0
    with pq.ParquetWriter(file, _arrow(pl.DataFrame(schema=table.schema)).schema, compression="zstd") as writer:
        for part in parts:
            writer.write_table(_arrow(conform(table, part)))
            rows += part.height
    return rows


def read_in_parts(file: Path | BytesIO, rows: int) -> Iterator[pl.DataFrame]:
    """A file of write_table_in_parts, at most so many rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as held:
        for batch in held.iter_batches(batch_size=rows):
            part = pl.from_arrow(pa.Table.from_batches([batch]))
            assert isinstance(part, pl.DataFrame)
            yield part


def _arrow(frame: pl.DataFrame) -> "pa.Table":
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())  # what every reader of Parquet knows


def table_file(source: Path | Record, table: Table) -> Path | BytesIO:
    """The file of a table in a folder or of a record. Beside counters, which are large, it alone is fetched, verified and not kept."""
    name = f"{table.name}.parquet"
    if isinstance(source, Path):
        return source / name
    stands_alone = all(file.endswith(".parquet") for file in source.files)
    here = source.folder if stands_alone else source.here
    return here / name if here else BytesIO(source.read(name))


def scan_table(source: Path | Record, table: Table) -> pl.LazyFrame:
    """The table, read only as far as it is used. Raises ContractError where the file holds other columns."""
    frame = pl.scan_parquet(table_file(source, table), glob=False)
    found = frame.collect_schema()
    if found != table.schema:
        address = source if isinstance(source, Path) else source.address
        raise ContractError(f"{address}/{table.name}.parquet holds {dict(found)}; the contract {table.name} promises {dict(table.schema)}. "
                            "Run the study again")  # fmt: skip
    return frame


def read_table(source: Path | Record, table: Table) -> pl.DataFrame:
    """The whole table in memory."""
    return scan_table(source, table).collect()
