"""Scripts of some tens of neurons each: their records in rows, so that the names of columns stand in a file once.

Holds the shape of a file, which static/atlas.js takes apart again; what a record says is in assets/atlas/neuron_record.py.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from assets.atlas.neuron_record import Records
from reports.atlas.scripts import packed, write_script

NEURONS_PER_FILE = 32  # of some kilobytes each: a file is read within milliseconds
LISTS = ("examples", "writes", "tokens", "scores", "screened", "contributions")
FOLLOWS = -1  # in prediction_ids: the token that does come next in the list


def write_neurons(site: Path, records: Iterable[Records], neurons: int) -> Iterator[str]:
    """Write the records, ascending, as neurons-0000.js and so on; yields each file. `neurons`: in a layer."""

    def file_of(record: Mapping[str, Any]) -> int:
        return (int(record["layer"]) * neurons + int(record["neuron"])) // NEURONS_PER_FILE

    every = (record for block in records for record in block)
    for place, held in groupby(every, file_of):
        yield write_script(site, f"neurons-{place:04d}", packed(rows_of(list(held))))


def rows_of(records: Records) -> dict[str, Any]:
    """`columns`: by part the names of its columns. `neurons`: a list a neuron, of layer, neuron, and each part's rows in that order."""
    columns: dict[str, list[str]] = {}
    for name in ("statistics", "histogram"):
        columns[name] = next((list(record[name]) for record in records if record[name]), [])
    for name in LISTS:
        columns[name] = next((list(record[name][0]) for record in records if record[name]), [])
    return {"columns": columns, "neurons": [_row(record) for record in records]}


def _row(record: Mapping[str, Any]) -> list[Any]:
    single = [list(record[name].values()) if record[name] else None for name in ("statistics", "histogram")]
    lists = [[list(row.values()) for row in _told(record[name])] for name in LISTS]
    return [record["layer"], record["neuron"], *single, *lists]


def _told(rows: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Rows; of an example a prediction that came true is told as such, which takes a third of its room."""
    for row in rows:
        if "prediction_ids" not in row:
            yield row
            continue
        following = [*row["token_ids"][1:], None]
        told = [FOLLOWS if prediction == token else prediction for prediction, token in zip(row["prediction_ids"], following, strict=True)]
        yield {**row, "prediction_ids": told}
