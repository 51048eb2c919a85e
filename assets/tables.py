"""Contract tables as Parquet files: written as promised, and checked against the promise when read."""

from io import BytesIO
from pathlib import Path

import polars as pl

from assets.contracts import ContractError, Table, conform
from assets.store import Record


def write_table(folder: Path, table: Table, frame: pl.DataFrame) -> Path:
    """Write `frame` as <folder>/<table>.parquet with the contract's columns. Raises ContractError."""
    file = folder / f"{table.name}.parquet"
    conform(table, frame).write_parquet(file, compression="zstd")
    return file


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
