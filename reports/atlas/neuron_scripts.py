"""Scripts of some tens of neurons each: their records by columns, so that numbers of one kind stand together and pack well.

An example's text is not in them: they say in which piece of text_scripts it begins. Holds the shape of a file, which static/atlas.js takes
apart again; what a record says is in assets/atlas/neuron_record.py.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from assets.atlas.atlas_texts import PIECE
from assets.atlas.neuron_record import SHADES, Records
from reports.atlas.scripts import packed, write_script
from reports.atlas.text_scripts import PieceNumbers

NEURONS_PER_FILE = 32  # of some kilobytes each: a file is read within milliseconds
SINGLE = ("statistics", "histogram")  # one row a neuron, or none
LISTS = (
    "examples", "writes", "reads", "tokens", "current_tokens", "scores", "screened", "contributions", "neighbours", "evidence", "patched", "ablated",
    "prompt_ablated",
)  # fmt: skip


_OF_PIECE = ("document", "window_in_document", "first_position")  # a piece says these, or they follow from the example's position


def write_neurons(site: Path, records: Iterable[Records], neurons: int, pieces: PieceNumbers) -> Iterator[str]:
    """Write the records, ascending, as neurons-0000.js and so on; yields each file. `neurons`: in a layer."""

    def file_of(record: Mapping[str, Any]) -> int:
        return (int(record["layer"]) * neurons + int(record["neuron"])) // NEURONS_PER_FILE

    every = (record for block in records for record in block)
    for place, held in groupby(every, file_of):
        yield write_script(site, f"neurons-{place:04d}", packed(columns_of(list(held), pieces)))


def columns_of(records: Records, pieces: PieceNumbers) -> dict[str, Any]:
    """`neurons`: layer and neuron of each. By part `rows`, how many each neuron has, and `columns`, the values of all, one neuron behind another."""
    rows = {name: [[record[name]] if record[name] else [] for record in records] for name in SINGLE}
    rows |= {name: [record[name] for record in records] for name in LISTS}
    rows["examples"] = [[_example(row, pieces) for row in own] for own in rows["examples"]]
    return {
        "neurons": [[record["layer"], record["neuron"]] for record in records],
        "rows": {name: [len(own) for own in parts] for name, parts in rows.items()},
        "columns": {name: _columns([row for own in parts for row in own]) for name, parts in rows.items()},
    }


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _example(row: Mapping[str, Any], pieces: PieceNumbers) -> dict[str, Any]:
    """The row with the piece that its text begins in, and with whole numbers for activations, in units of 10 ** -places."""
    places = _places(row["activations"])
    return {
        **{name: value for name, value in row.items() if name not in _OF_PIECE},
        "piece": pieces[row["document"], row["window_in_document"], row["first_position"] // PIECE * PIECE],
        "places": places,
        "activations": [None if value is None else round(value * 10**places) for value in row["activations"]],
    }


def _places(activations: Sequence[float | None]) -> int:
    """Behind the point, with which no activation of a record loses anything; one more where the largest may have been rounded up to a power of ten."""
    largest = max(map(abs, filter(None, activations)), default=0.0)
    if not largest:
        return 0
    power = math.floor(math.log10(largest))
    places = SHADES - 1 - power
    return max(0, places + (round(largest * 10.0**places) == 10 ** (SHADES - 1)))
