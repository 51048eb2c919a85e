"""The screen page: which neuron predicts X, for every screened token, to search; and what the next study might track and look at."""

from typing import Any

import polars as pl
import yaml

from assets.statistics.contributions import WRITES
from reports.figures.figure import script_json
from reports.numbers import rounded
from reports.pages.page import Page
from reports.report_data import ReportData
from reports.text import visible

SEARCHABLE = 4000  # the most predicted ones; the Parquet file holds all
NEXT = 2  # neurons named behind the first


def screen_page(data: ReportData) -> Page:
    """screen.html."""
    screen = data.table("token_neuron_screen")
    ranked = screen.filter(pl.col("rank") == 1).sort("predictions", "token_id", descending=[True, False])
    return Page(
        file="screen.html",
        template="screen.html",
        title="Which neuron predicts a token",
        context={
            "tokens": ranked.height,
            "searchable": min(ranked.height, SEARCHABLE),
            "search_json": _search_rows(data, screen, ranked.head(SEARCHABLE)),
            "coverage": _coverage(data),
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


def _search_rows(data: ReportData, screen: pl.DataFrame, ranked: pl.DataFrame) -> Any:
    """A row a token: id, text, visible text, layer, neuron, difference, share, has a page, predictions, the two means, next neurons,
    the first writer.

    A next neuron is [layer, neuron, has a page], a writer [layer, neuron, has a page, contribution] or none.
    """
    pages = set(data.studied)
    behind = screen.filter(pl.col("rank").is_between(2, 1 + NEXT)).sort("token_id", "rank")
    following: dict[int, list[list[Any]]] = {}
    for token_id, layer, neuron in behind.select("token_id", "layer", "neuron").iter_rows():
        following.setdefault(token_id, []).append([layer, neuron, (layer, neuron) in pages])
    first = data.table("contribution_screen").filter((pl.col("end") == WRITES) & (pl.col("rank") == 1))
    writers = {
        token_id: [layer, neuron, (layer, neuron) in pages, round(contribution, 4)]
        for token_id, layer, neuron, contribution in first.select("token_id", "layer", "neuron", "contribution").iter_rows()
    }
    names = ("standardized_difference", "variance_explained", "mean_where_predicted", "mean_elsewhere")
    difference, share, here, elsewhere = (rounded(ranked[name]) for name in names)
    return script_json(
        [
            [
                row["token_id"],
                row["token"],
                visible(row["token"]),
                row["layer"],
                row["neuron"],
                difference[place],
                share[place],
                (row["layer"], row["neuron"]) in pages,
                row["predictions"],
                here[place],
                elsewhere[place],
                following.get(row["token_id"], []),
                writers.get(row["token_id"]),
            ]
            for place, row in enumerate(ranked.iter_rows(named=True))
        ]
    )
