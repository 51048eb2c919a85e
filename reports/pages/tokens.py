"""A page for each tracked token: how often it is predicted, which neurons tell when, and which neurons write it."""

from typing import Any

import polars as pl

from assets.counting.histograms import TOP_PREDICTION
from reports.cards import card, with_cards
from reports.evidence import (
    CONVENTIONS,
    SIDES,
    ablated_neurons,
    best_neurons,
    congruence_unit,
    curve_of,
    evidence,
    token_row,
    writes_by_size,
)
from reports.figures.figure import Figure, View
from reports.figures.neuron_pairs import Measure, pairs_view
from reports.figures.neurons_by_layer import neurons_view
from reports.figures.proportion import overlay_figure
from reports.figures.small_curve import small_curve
from reports.outcome import told_by
from reports.pages.halves import agreement, domains, growth
from reports.pages.page import Page, neuron_page, token_page
from reports.pages.probes import probes_of
from reports.report_data import ReportData
from reports.roles import roles, written_by
from reports.text import quoted

WRITTEN = Measure("congruence", "congruence", 0.0)
PREDICTED = Measure("auroc", "AUROC", 0.5)
SHOWN = 20  # best neurons in the table
WRITERS = 10  # at either end
CONTRASTED = 8  # in each list of a contrast


def token_pages(data: ReportData) -> list[Page]:
    """One page a tracked token, in the study's order."""
    return [_page(data, place) for place in range(len(data.tracked))]


def _page(data: ReportData, place: int) -> Page:
    token_id, token = data.tracked[place]
    rows, found = _neurons(data, token_id), evidence(data, token_id, token)
    figures = [_curves(data, token_id, token, rows), _congruence(data, token_id, token, rows), _scores(data, token_id, token, rows)]
    return Page(
        file=token_page(token_id),
        template="token.html",
        title=f"Token {quoted(token)}",
        context={
            "evidence": found,
            "card": card(data, token_id, found.neuron) if found.neuron else [],
            "by_embedding": _predictions_by_embedding(data, token_id),
            "rows": rows,
            "agreement": agreement(data, token_id),
            "growth": growth(data, token_id),
            "domains": domains(data, token_id, found.neuron),
            "all_neurons": best_neurons(data, token_id).height,
            "conventions": CONVENTIONS,
            "by_size": writes_by_size(data),
            "roles": roles(data, token_id, token),
            "writers": _writers(data, token_id),
            "members": data.members(token_id),
            "outcomes": _outcomes(data, token_id),
            "contrasts": _contrasts(data, token_id),
            "probes": probes_of(data, token_id),
            "ablated": ablated_neurons(data, token_id),
            "previous": data.tracked[place - 1] if place else None,
            "next": data.tracked[place + 1] if place + 1 < len(data.tracked) else None,
        },
        figures=tuple(figure for figure in figures if figure is not None),
    )


def _predictions_by_embedding(data: ReportData, token_id: int) -> int | None:
    """How often the token is the top prediction as published; None where the study does not count that."""
    found = data.table("embedding_predictions").filter(pl.col("token_id") == token_id)["predictions"]
    return int(found[0]) if found.len() else None


def _neurons(data: ReportData, token_id: int) -> list[dict[str, Any]]:
    """The best neurons of the token, and the neurons of interest wherever they stand, with their congruence ranks."""
    ranked = best_neurons(data, token_id)
    for convention in CONVENTIONS:
        ranks = token_row(data, token_id, convention).select(
            "layer", "neuron", pl.col("rank").alias(f"rank_{convention}"), pl.col("congruence").alias(f"congruence_{convention}")
        )
        ranked = ranked.join(ranks, on=["layer", "neuron"], how="left", maintain_order="left")
    best = max(SHOWN, data.study.best_neurons)
    rows = [row for row in ranked.iter_rows(named=True) if row["place"] <= best or (row["layer"], row["neuron"]) in data.of_interest]
    for row in rows:
        row["spark"] = small_curve(curve_of(data, token_id, (row["layer"], row["neuron"])), width=110, height=26)
    return with_cards(data, token_id, rows)


def _writers(data: ReportData, token_id: int) -> list[tuple[str, list[dict[str, Any]]]]:
    """(what, rows of contributions with the neuron's place as a predictor) at either end; none where nothing is written."""
    written = written_by(data, token_id).join(
        best_neurons(data, token_id).select("layer", "neuron", "auroc", predicts="place"),
        on=["layer", "neuron"],
        how="left",
        maintain_order="left",
    )
    ends = (
        ("Write it", written.filter(pl.col("contribution") > 0)),
        ("Write against it", written.filter(pl.col("contribution") < 0).reverse()),
    )
    return [(what, with_cards(data, token_id, rows.head(WRITERS).iter_rows(named=True))) for what, rows in ends if rows.height]


def _outcomes(data: ReportData, token_id: int) -> list[dict[str, Any]]:
    """For each outcome that was counted: cases, and the first neuron by separation, by average precision and by contribution."""
    by_outcome = [
        ("token_neuron_scores", "outcome_scores", ("separation", "average_precision")),
        ("contributions", "outcome_contributions", ("contribution",)),
    ]
    rows = []
    for row in data.table("token_outcomes").filter(pl.col("token_id") == token_id).iter_rows(named=True):
        first: dict[str, Any] = {}
        for published, further, columns in by_outcome:
            is_published = row["outcome"] == TOP_PREDICTION
            frame = data.table(published) if is_published else data.table(further).filter(pl.col("outcome") == row["outcome"])
            own = frame.filter(pl.col("token_id") == token_id)
            first |= {column: _first(own, column) for column in columns}
        rows.append({**row, "words": told_by(row["outcome"]), **first})
    return rows


def _first(frame: pl.DataFrame, column: str) -> dict[str, Any] | None:
    """The row with the largest value; ties go to the lower neuron."""
    known = frame.filter(pl.col(column).is_not_null()).sort(column, "layer", "neuron", descending=[True, False, False])
    return next(known.head(1).iter_rows(named=True), None)


def _contrasts(data: ReportData, token_id: int) -> list[dict[str, Any]]:
    """For each token that this one is told against, by the outcome that leads: who moves the difference of the logits, who tells apart."""
    own = data.table("contrasts").filter((pl.col("token_id") == token_id) & (pl.col("outcome") == data.leading[token_id]))
    found = []
    for (other_id, other), rows in own.partition_by("other_id", "other", as_dict=True, maintain_order=True).items():
        lists = [
            (
                "Move the difference most",
                rows.filter(pl.col("contribution") > 0).sort("contribution", descending=True, maintain_order=True),
            ),
            ("Move it the other way", rows.filter(pl.col("contribution") < 0).sort("contribution", maintain_order=True)),
            ("Tell the two apart", rows.drop_nulls("separation").sort("separation", descending=True, maintain_order=True)),
        ]
        shown = [(what, with_cards(data, token_id, ranked.head(CONTRASTED).to_dicts())) for what, ranked in lists if ranked.height]
        if shown:
            found.append({"other_id": other_id, "other": other, "lists": shown})
    return found


def _studied(data: ReportData, rows: list[dict[str, Any]]) -> list[tuple[int, int]]:
    pages = set(data.studied)
    return [neuron for row in rows if (neuron := (row["layer"], row["neuron"])) in pages]


def _curves(data: ReportData, token_id: int, token: str, rows: list[dict[str, Any]]) -> Figure | None:
    curves = [(f"L{layer} N{neuron}", curve_of(data, token_id, (layer, neuron))) for layer, neuron in _studied(data, rows)]
    curves = [(label, curve) for label, curve in curves if curve.height]
    return overlay_figure("curves", token, curves, data.study.min_count, told_by(data.leading[token_id])) if curves else None


def _congruence(data: ReportData, token_id: int, token: str, rows: list[dict[str, Any]]) -> Figure | None:
    pages = {neuron: neuron_page(neuron) for neuron in data.studied}
    marked = set(_studied(data, rows))
    views = []
    for side, side_word in SIDES.items():
        for convention in CONVENTIONS:
            frame = token_row(data, token_id, convention, side)
            if frame.height:
                views.append(
                    neurons_view(f"{side_word}, {convention}", frame, "congruence", congruence_unit(side, convention), pages, marked)
                )
    if not views:
        return None
    return Figure(
        name="congruence",
        title=f"Congruence of {quoted(token)} with every neuron",
        note="Writes: each neuron's output weights times the token's vector. Reads: its input weights times the same vector, which says "
        "whether the direction of the token excites it. Inside a layer, neurons stand from left to right by their number. Coloured: the "
        "studied neurons of this token; a click opens their page.",
        summary=f"Congruence of {quoted(token)} with all neurons, by layer.",
        height=430,
        views=tuple(views),
        legend_label="Side and convention",
    )


def _scores(data: ReportData, token_id: int, token: str, rows: list[dict[str, Any]]) -> Figure | None:
    pages = {neuron: neuron_page(neuron) for neuron in data.studied}
    scores = best_neurons(data, token_id).select("layer", "neuron", "auroc")
    views: list[View] = []
    for convention in CONVENTIONS:
        joined = token_row(data, token_id, convention).join(scores, on=["layer", "neuron"], how="left", maintain_order="left")
        if joined.drop_nulls("auroc").height:
            views.append(pairs_view(convention, joined, WRITTEN, PREDICTED, pages, set(_studied(data, rows))))
    if not views:
        return None
    return Figure(
        name="scores",
        title="What a neuron predicts against what it writes",
        note=f"AUROC: how well the activation tells the positions at which {quoted(token)} is predicted, by being high above 0.5, by being "
        "low below it; 0.5 says nothing. Congruence: what the neuron's weights add to the token's logit. A neuron on the upper right does "
        "both, one on the lower left does both by being low.",
        summary=f"AUROC against congruence of every neuron for {quoted(token)}.",
        height=430,
        views=tuple(views),
        legend_label="Convention",
    )
