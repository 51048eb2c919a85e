"""The screen page: who writes X, who writes against it and what goes along, for every screened token, to search; and what to study next."""

from typing import Any

import polars as pl
import yaml

from assets.statistics.contributions import WRITES, WRITES_AGAINST
from assets.statistics.luck import DISCOVERY_RATE
from reports.figures.figure import script_json
from reports.numbers import rounded
from reports.pages.page import Page
from reports.report_data import ReportData
from reports.text import visible

SEARCHABLE = 4000  # the most predicted ones; the Parquet file holds all
NEXT = 2  # writers named behind the first


def screen_page(data: ReportData) -> Page:
    """screen.html."""
    listed = _listed(data)
    return Page(
        file="screen.html",
        template="screen.html",
        title="Which neuron writes a token",
        context={
            "tokens": listed.height,
            "searchable": min(listed.height, SEARCHABLE),
            "search_json": _search_rows(data, listed.head(SEARCHABLE)),
            "coverage": _coverage(data),
            "luck": _luck(data),
            "proposals": data.table("proposed_pairs").sort("rank").to_dicts(),
            "snippet": next_study(data.table("proposed_pairs")),
        },
    )


def next_study(proposals: pl.DataFrame) -> str:
    """The fields `tokens` and `neurons` of a study of the proposed pairs, as YAML; "" if nothing is proposed.

    Tokens that their text does not name are given by id. Everything beyond ASCII is escaped, so that what a reader copies is what a
    study reads.
    """
    if proposals.is_empty():
        return ""
    ordered = proposals.sort("rank")
    tokens = [row["token"] if row["is_named_by_text"] else row["token_id"] for row in ordered.iter_rows(named=True)]
    neurons = [list(pair) for pair in ordered.select("layer", "neuron").unique(maintain_order=True).iter_rows()]
    return yaml.safe_dump({"tokens": tokens, "neurons": neurons}, default_flow_style=None, sort_keys=False, width=100)


def _coverage(data: ReportData) -> dict[str, int]:
    """Of the tokens that are ever predicted: how many are screened and left out, with their positions."""
    predicted = data.table("token_counts").filter(pl.col("predictions") > 0)
    screened = predicted["token_id"].is_in(data.table("screened_tokens")["token_id"].to_list())
    return {
        "chosen": data.table("screened_tokens").height,
        "predicted": predicted.height,
        "positions": int(predicted["predictions"].sum()),
        "left_out": int((~screened).sum()),
        "positions_left_out": int(predicted.filter(~screened)["predictions"].sum()),
    }


def _luck(data: ReportData) -> dict[str, int] | None:
    """Of the pairs that stand out, how many are told with at most a tenth of false discoveries; None where luck was not counted."""
    known = data.table("token_neuron_screen")["false_discovery_rate"].drop_nulls()
    return {"pairs": known.len(), "beyond": int((known <= DISCOVERY_RATE).sum())} if known.len() else None


def _listed(data: ReportData) -> pl.DataFrame:
    """token_id, token and predictions of every token that has a writer or a neuron that stands out, the most predicted first."""
    tables = [data.table(name).select("token_id", "token", "predictions") for name in ("contribution_screen", "token_neuron_screen")]
    return pl.concat(tables).unique("token_id", keep="first", maintain_order=True).sort("predictions", "token_id", descending=[True, False])


def _search_rows(data: ReportData, listed: pl.DataFrame) -> Any:
    """A row a token: id, text, visible text, predictions, then lists of neurons: writers, writers against, those that stand out.

    A neuron is [layer, neuron, has a page, contribution]; one that stands out has difference and share explained in the last's place.
    """
    ends = data.table("contribution_screen")
    writers, against = (
        _neurons(data, ends.filter((pl.col("end") == end) & (pl.col("rank") <= most)), ("contribution",))
        for end, most in ((WRITES, 1 + NEXT), (WRITES_AGAINST, 1))
    )
    first = data.table("token_neuron_screen").filter(pl.col("rank") == 1)
    standing = _neurons(data, first, ("standardized_difference", "variance_explained"))
    return script_json(
        [
            [token_id, token, visible(token), predictions, *(found.get(token_id, []) for found in (writers, against, standing))]
            for token_id, token, predictions in listed.iter_rows()
        ]
    )


def _neurons(data: ReportData, rows: pl.DataFrame, values: tuple[str, ...]) -> dict[int, list[list[Any]]]:
    """By token, in the order of rank: [layer, neuron, has a page, *values]."""
    pages = set(data.studied)
    ordered = rows.sort("token_id", "rank")
    told = [rounded(ordered[name]) for name in values]
    found: dict[int, list[list[Any]]] = {}
    for place, (token_id, *neuron) in enumerate(ordered.select("token_id", "layer", "neuron").iter_rows()):
        found.setdefault(token_id, []).append([*neuron, tuple(neuron) in pages, *(of[place] for of in told)])
    return found
