"""Scripts of some tens of tokens each: how often a token is there, which neurons write it, go along with it, have its direction or tell it.

Holds how the tables by token become rows; who is first for a token is said by the tables.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from assets.atlas.neuron_record import RIGHT
from assets.statistics.contributions import WRITES, WRITES_AGAINST
from reports.atlas.scripts import packed, write_script
from reports.numbers import rounded
from reports.report_data import ReportData

TOKENS_PER_FILE = 64  # a search loads the files of a dozen tokens: of 256 each they took twice as long
FIRST = 10  # neurons told of a token in each list; the search shows fewer
COUNTS = ("occurrences", "predictions", "correct_predictions")
# By list the columns behind layer and neuron.
LISTS = {
    "writes": ("contribution", "congruence"),
    "writes_against": ("contribution", "congruence"),
    "goes_along": ("standardized_difference", "mean_where_predicted", "mean_elsewhere", "variance_explained"),
    "congruence": ("congruence",),
    "own_first": ("congruence", "rank", "end"),
    "scores": ("separation", "auroc", "direction", "average_precision"),
}
COLUMNS = (*COUNTS, *LISTS)
DIGITS = 3  # what the page shows
Rows = dict[int, list[list[Any]]]


def write_tokens(site: Path, data: ReportData) -> Iterator[str]:
    """Write tokens-0000.js and so on: by token what COLUMNS names; a neuron of a list is [layer, neuron, *columns of LISTS]. Yields each file."""
    counts = data.table("token_counts").sort("token_id")
    lists = list(neurons_by_token(data).values())
    for (place,), held in counts.group_by(pl.col("token_id") // TOKENS_PER_FILE, maintain_order=True):
        rows = {
            token_id: [*counted, *(found.get(token_id, []) for found in lists)]
            for token_id, *counted in held.select("token_id", *COUNTS).iter_rows()
        }
        yield write_script(site, f"tokens-{place:04d}", packed(rows))


def neurons_by_token(data: ReportData) -> dict[str, Rows]:
    """Of each of LISTS the first neurons of every token that has any.

    `own_first` is congruence_neurons read from the token's side: neurons that have it among the first of their own tokens, at either end.
    """
    ends = data.table("contribution_screen")
    own = data.table("congruence_neurons").filter(convention=RIGHT)
    placed = {
        "writes": ends.filter(end=WRITES).with_columns(place="rank"),
        "writes_against": ends.filter(end=WRITES_AGAINST).with_columns(place="rank"),
        "goes_along": data.table("token_neuron_screen").with_columns(place="rank"),
        "congruence": _most_congruent(data),
        "own_first": _by_size(own, "congruence"),
        "scores": data.ranked_scores,
    }
    return {name: _first(frame, LISTS[name]) for name, frame in placed.items()}


def _most_congruent(data: ReportData) -> pl.DataFrame:
    """Of all neurons those that write a token most by their weights. Of a gated model, where a sign is a convention, the one by size."""
    if data.facts.get("is_gated"):
        return data.table("strongest_neurons").filter(measure="plain").with_columns(place=pl.lit(1))
    return data.table("congruence_tokens").filter(convention=RIGHT).with_columns(place="rank")


def _by_size(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """The rows with their `place` within the token by the size of a column: both ends together, so that no sign decides who is told."""
    ordered = rows.sort("token_id", pl.col(column).abs(), "layer", "neuron", descending=[False, True, False, False])
    return ordered.with_columns(place=pl.int_range(1, pl.len() + 1).over("token_id"))


def _first(rows: pl.DataFrame, values: Sequence[str]) -> Rows:
    first = rows.filter(pl.col("place") <= FIRST).sort("token_id", "place")
    told = [rounded(first[name], DIGITS) if first[name].dtype.is_float() else first[name].to_list() for name in values]
    found: Rows = {}
    for token_id, *neuron in zip(first["token_id"], first["layer"], first["neuron"], *told, strict=True):
        found.setdefault(token_id, []).append(neuron)
    return found
