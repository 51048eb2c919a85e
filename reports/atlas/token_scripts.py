"""Scripts of some hundred tokens each: which neurons write a token, which write against it, which go along with it, and which have its direction.

Holds how the tables by token become rows; who is first for a token is said by the tables.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from assets.atlas.neuron_record import RIGHT
from assets.statistics.contributions import WRITES, WRITES_AGAINST
from reports.atlas.scripts import packed, write_script
from reports.numbers import rounded
from reports.report_data import ReportData

TOKENS_PER_FILE = 256
FIRST = 5  # neurons told of a token in each list
COLUMNS = ("occurrences", "predictions", "writes", "writes_against", "goes_along", "congruence")


def write_tokens(site: Path, data: ReportData) -> Iterator[str]:
    """Write tokens-0000.js and so on: by token what COLUMNS names; a neuron of a list is [layer, neuron, number]. Yields each file."""
    counts = data.table("token_counts").sort("token_id")
    lists = neurons_by_token(data)
    for (place,), held in counts.group_by(pl.col("token_id") // TOKENS_PER_FILE, maintain_order=True):
        rows = {
            token_id: [occurrences, predictions, *(found.get(token_id, []) for found in lists)]
            for token_id, occurrences, predictions in held.select("token_id", "occurrences", "predictions").iter_rows()
        }
        yield write_script(site, f"tokens-{place:04d}", packed(rows))


def neurons_by_token(data: ReportData) -> list[dict[int, list[list[Any]]]]:
    """Of each list of COLUMNS the first neurons of every token that has any."""
    ends = data.table("contribution_screen")
    weights = data.table("congruence_tokens").filter(convention=RIGHT)
    return [
        _first(ends.filter(end=WRITES), "contribution"),
        _first(ends.filter(end=WRITES_AGAINST), "contribution"),
        _first(data.table("token_neuron_screen"), "standardized_difference"),
        _first(weights, "congruence"),
    ]


def _first(rows: pl.DataFrame, value: str) -> dict[int, list[list[Any]]]:
    ordered = rows.filter(pl.col("rank") <= FIRST).sort("token_id", "rank")
    found: dict[int, list[list[Any]]] = {}
    for (token_id, *neuron), told in zip(
        ordered.select("token_id", "layer", "neuron").iter_rows(), rounded(ordered[value], 4), strict=True
    ):
        found.setdefault(token_id, []).append([*neuron, told])
    return found
