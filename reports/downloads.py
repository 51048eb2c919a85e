"""The tables as files inside the site: each as Parquet, small ones without lists as CSV too.

The tables of the atlas are left where they were published: they are larger than all others together, and its pages hold their numbers packed.
"""

from dataclasses import dataclass
from pathlib import Path

from assets.contracts import TABLES, conform
from assets.stages import STAGES
from reports.report_data import ReportData

CSV_ROWS = 5000  # more rows than a spreadsheet reader scrolls through
NOT_COPIED = STAGES["atlas"].tables


@dataclass(frozen=True)
class Download:
    """One file: its path inside the site, its format, its size in bytes."""

    path: str
    format: str
    bytes: int


def write_downloads(data: ReportData, folder: Path) -> dict[str, list[Download]]:
    """Write data/<table>.parquet and .csv below `folder`; returns them by table, NOT_COPIED left out. Raises ContractError for a frame off its contract."""
    (folder / "data").mkdir()
    downloads = {}
    for name in data.table_names:
        if name in NOT_COPIED:
            continue
        frame = conform(TABLES[name], data.tables[name])
        frame.write_parquet(folder / "data" / f"{name}.parquet", compression="zstd")
        formats = ["parquet"]
        has_lists = any(dtype.is_nested() for dtype in frame.dtypes)  # which CSV cannot hold
        if frame.height <= CSV_ROWS and not has_lists:
            frame.write_csv(folder / "data" / f"{name}.csv")
            formats.append("csv")
        downloads[name] = [Download(f"data/{name}.{kind}", kind, (folder / "data" / f"{name}.{kind}").stat().st_size) for kind in formats]
    return downloads
