"""The congruence page: pairs that choose each other, tokens with one clear neuron, every token to search, and hub neurons."""

from typing import Any

import polars as pl

from reports.evidence import CONVENTIONS
from reports.figures.figure import script_json
from reports.numbers import rounded
from reports.pages.page import Page
from reports.report_data import ReportData
from reports.text import visible

PAIRS, GAPS, HUBS = 30, 30, 15
SEARCHABLE = 2000  # a convention; the Parquet file holds all: 50,257 tokens would be 4 MB of page


def congruence_page(data: ReportData) -> Page:
    """congruence.html, its parts once per convention."""
    return Page(
        file="congruence.html",
        template="congruence.html",
        title="Congruence of neurons and tokens",
        context={"parts": [part for convention in CONVENTIONS if (part := _part(data, convention))], "beyond": _beyond(data)},
    )


def _beyond(data: ReportData) -> dict[str, Any] | None:
    """Congruence beyond what neuron and token bring along: hubs before and after, pairs, and agreement with contributions."""
    strongest, pairs = data.table("strongest_neurons"), data.table("corrected_mutual_pairs")
    if strongest.is_empty():
        return None
    by_measure = {measure: strongest.filter(pl.col("measure") == measure) for measure in ("plain", "corrected")}
    hubs = data.table("congruence_hubs").sort("plain_rank", "corrected_rank", nulls_last=True)
    agreement = data.table("congruence_agreement")
    return {
        "neurons": {measure: frame.select("layer", "neuron").n_unique() for measure, frame in by_measure.items()},
        "tokens": by_measure["plain"].height,
        "hubs": hubs.to_dicts(),
        "first": hubs.row(0, named=True) if hubs.height else None,
        "pairs": pairs.sort("score", "token_id", descending=[True, False]).head(PAIRS).to_dicts(),
        "all_pairs": pairs.height,
        "agreement": agreement.with_columns(ends=pl.col("among_writers") + pl.col("among_against")).to_dicts(),
        "told": int(agreement["told"].sum()),
        "is_gated": bool(data.facts.get("is_gated")),
    }


def _part(data: ReportData, convention: str) -> dict[str, Any] | None:
    tops = data.table("congruence_tokens").filter((pl.col("convention") == convention) & (pl.col("rank") == 1))
    by_gap = tops.sort("gap", "token_id", descending=[True, False], nulls_last=True)
    pairs = data.table("congruence_mutual_pairs").filter(pl.col("convention") == convention)
    if tops.is_empty() and pairs.is_empty():
        return None
    tracked = [token_id for token_id, _ in data.tracked]
    searchable = pl.concat(
        [by_gap.filter(pl.col("token_id").is_in(tracked)), by_gap.filter(~pl.col("token_id").is_in(tracked)).head(SEARCHABLE)]
    )
    return {
        "convention": convention,
        "pairs": pairs.sort("score", "token_id", descending=[True, False]).head(PAIRS).to_dicts(),
        "all_pairs": pairs.height,
        "gaps": by_gap.drop_nulls("gap").head(GAPS).to_dicts(),
        "hubs": _hubs(tops),
        "tokens": tops.height,
        "searchable": searchable.height,
        "search_json": _search_rows(data, searchable),
    }


def _hubs(tops: pl.DataFrame) -> list[dict[str, Any]]:
    """Neurons by the number of tokens that have them as their most congruent one."""
    counted = tops.group_by("layer", "neuron").agg(tokens=pl.len(), highest=pl.col("congruence").max())
    ranked = counted.sort("tokens", "layer", "neuron", descending=[True, False, False]).head(HUBS)
    return ranked.with_columns(share=pl.col("tokens") / max(1, tops.height)).to_dicts()


def _search_rows(data: ReportData, frame: pl.DataFrame) -> Any:
    """[token id, text, visible text, layer, neuron, congruence, gap, has a page] a row."""
    pages = set(data.studied)
    rows = zip(
        frame["token_id"], frame["token"], frame["layer"], frame["neuron"], rounded(frame["congruence"]), rounded(frame["gap"]), strict=True
    )
    return script_json(
        [
            [token_id, text, visible(text), layer, neuron, value, gap, (layer, neuron) in pages]
            for token_id, text, layer, neuron, value, gap in rows
        ]
    )
