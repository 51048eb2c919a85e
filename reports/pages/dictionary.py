"""The data page: every table of the product with its columns, the files to download, and where each output came from."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from assets.contracts import TABLES, histogram_tensors
from assets.stages import CORPUS_TABLES
from reports.downloads import NOT_COPIED, Download
from reports.numbers import moment, plural, size
from reports.pages.page import Page
from reports.report_data import ReportData

_DTYPES = {"String": "text", "Boolean": "true or false", "List(Int32)": "list of int32"}


def data_page(data: ReportData, downloads: Mapping[str, list[Download]]) -> Page:
    """data.html. `downloads` are the files that the site holds, by table."""
    tables = [
        {
            "table": table,
            "columns": [{"column": column, "dtype": _DTYPES.get(str(column.dtype), str(column.dtype).lower())} for column in table.columns],
            "rows": data.tables[name].height if name in data.tables else None,
            "downloads": downloads.get(name, []),
            "absent": _absent(data, name),
        }
        for name, table in TABLES.items()
    ]
    return Page(
        file="data.html",
        template="data.html",
        title="Data dictionary and downloads",
        context={
            "tables": tables,
            "not_copied": [name for name in NOT_COPIED if name in data.tables],
            "tensors": histogram_tensors(data.study.embedding_predictions, data.study.further_outcomes),
            "provenance": [_provenance(record) for record in data.provenance],
        },
    )


def _absent(data: ReportData, name: str) -> str:
    """Why the site holds no file of a table, and where there is one."""
    if name in CORPUS_TABLES:
        return "kept with the run's outputs: too large for a page"
    if name not in NOT_COPIED or name not in data.tables:
        return "not part of this report"
    files = {
        file: amount
        for record in data.provenance
        if record["asset"] == TABLES[name].asset
        for file, amount in record.get("files", {}).items()
    }
    amount = files.get(f"{name}.parquet")
    return f"in the study's folder{f', {size(amount)}' if amount is not None else ''}"


def _provenance(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "asset": record["asset"],
        "fingerprint": str(record.get("fingerprint", "")),
        "code_version": str(record.get("code_version", "")),
        "created_at": moment(record.get("created_at")),
        "seconds": record.get("seconds"),
        "bytes": record.get("bytes"),
        "inputs": _inputs(record.get("inputs")),
    }


def _inputs(inputs: Any) -> list[tuple[str, str]]:
    """Inputs as (name, content hash or ""); the shards of one output are one entry, so that a study of 20 shards can be read."""
    contents = {name: str(content) for name, content in inputs.items()} if isinstance(inputs, Mapping) else dict.fromkeys(inputs or (), "")
    shards = Counter(name.partition("/")[0] for name in contents)
    whole = {name.partition("/")[0]: content for name, content in contents.items()}
    return [(name, whole[name]) if amount == 1 else (f"{name} ({plural(amount, 'shard')})", "") for name, amount in shards.items()]
