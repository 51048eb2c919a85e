"""A page for each studied neuron: its distribution, its curves, the tokens that it writes, the text that moves it, what patching does."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from reports.cards import card
from reports.evidence import CONVENTIONS, SIDES, best_neurons, congruence_unit, curve_of, neuron_patching_of
from reports.figures.figure import Figure
from reports.figures.proportion import Curve, proportion_figure
from reports.figures.small_curve import small_curve
from reports.figures.tokens_of_neuron import tokens_view
from reports.outcome import told_by
from reports.over_sets import set_neurons
from reports.pages.ablation import ablation_figures, ablation_section
from reports.pages.neuron_inputs import inputs_of
from reports.pages.neuron_text import neuron_text
from reports.pages.page import Page, neuron_page
from reports.pages.probes import behaviour_of
from reports.report_data import ReportData

ENDS = ("top", "bottom")


def neuron_pages(data: ReportData) -> list[Page]:
    """One page a studied neuron, in ascending order."""
    studied = data.studied
    return [_page(data, studied, place) for place in range(len(studied))]


def _page(data: ReportData, studied: Sequence[tuple[int, int]], place: int) -> Page:
    neuron = studied[place]
    tokens = _tokens(data, neuron)
    statistics = _of(data.table("neuron_statistics"), neuron).to_dicts()
    return Page(
        file=neuron_page(neuron),
        template="neuron.html",
        title=f"Layer {neuron[0]} neuron {neuron[1]}",
        context={
            "neuron": neuron,
            "is_of_interest": neuron in data.of_interest,
            "tokens": tokens,
            "statistics": statistics[0] if statistics else None,
            "cards": [(token_id, token, lines) for token_id, token in data.tracked if (lines := card(data, token_id, neuron))],
            "behaviour": behaviour_of(data, neuron),
            "written": _written(data, neuron),
            "contexts": neuron_text(data, neuron, _watched(tokens)),
            "watched": [row["token"] for row in tokens if row["token_id"] in _watched(tokens)],
            "patching": _patching(data, neuron),
            "over_sets": [row for name in data.prompt_sets for row in _of(set_neurons(data, name), neuron).iter_rows(named=True)],
            "ablation": ablation_section(data, neuron),
            "inputs": inputs_of(data, neuron),
            "is_gated": bool(data.facts.get("is_gated")),
            "previous": studied[place - 1] if place else None,
            "next": studied[place + 1] if place + 1 < len(studied) else None,
        },
        figures=(
            *(figure for figure in (_curves(data, neuron, tokens), _congruence(data, neuron)) if figure is not None),
            *ablation_figures(data, neuron),
        ),
    )


def _of(frame: pl.DataFrame, neuron: tuple[int, int]) -> pl.DataFrame:
    return frame.filter((pl.col("layer") == neuron[0]) & (pl.col("neuron") == neuron[1]))


def _tokens(data: ReportData, neuron: tuple[int, int]) -> list[dict[str, Any]]:
    """Every tracked token with this neuron's score, best first, and the place of the neuron among all for that token."""
    contributions = dict(_of(data.ranked_contributions, neuron).select("token_id", "contribution").iter_rows())
    rows = []
    for row in _of(data.scores, neuron).iter_rows(named=True):
        scored = best_neurons(data, row["token_id"])
        own = _of(scored, neuron)
        curve = curve_of(data, row["token_id"], neuron)
        rows.append(
            {
                **row,
                "outcome": told_by(row["outcome"]),
                "place": own["place"][0] if own.height else None,
                "of": scored.height,
                "contribution": contributions.get(row["token_id"]),
                "has_curve": curve.height > 0,
                "spark": small_curve(curve, width=110, height=26),
            }
        )
    return sorted(rows, key=lambda row: (-(row["separation"] or 0.0), row["token_id"]))


def _watched(tokens: list[dict[str, Any]]) -> set[int]:
    """Tokens whose prediction is marked in the contexts: the one that the neuron predicts best, if it predicts any."""
    return {row["token_id"] for row in tokens[:1] if row["auroc"] is not None}


def _curves(data: ReportData, neuron: tuple[int, int], tokens: list[dict[str, Any]]) -> Figure | None:
    curves = [
        Curve(row["token"], curve_of(data, row["token_id"], neuron), row["half_activation"], row["direction"] == -1, row["outcome"])
        for row in tokens
        if row["has_curve"]
    ]
    return proportion_figure("proportion", curves, data.study.min_count) if curves else None


def _congruence(data: ReportData, neuron: tuple[int, int]) -> Figure | None:
    """The neuron with every token: only neurons of interest have their whole row."""
    rows = _of(data.table("congruence_neurons_of_interest"), neuron)
    tracked = {token_id for token_id, _ in data.tracked}
    views = [
        tokens_view(f"{word}, {convention}", frame, tracked, congruence_unit(side, convention))
        for side, word in SIDES.items()
        for convention in CONVENTIONS
        if (frame := rows.filter((pl.col("side") == side) & (pl.col("convention") == convention))).height
    ]
    if not views:
        return None
    return Figure(
        name="congruence",
        title="Congruence with every token of the vocabulary",
        note="Writes: its output weights times each token's vector; by the model's own logits, what one unit of its activation adds to the "
        "token's logit. Reads: its input weights times the same vectors, which says whether the direction of the token excites it. "
        "Coloured: the tracked tokens.",
        summary="Congruence of the neuron with every vocabulary entry.",
        height=430,
        views=tuple(views),
        legend_label="Side and convention",
    )


def _written(data: ReportData, neuron: tuple[int, int]) -> list[dict[str, Any]]:
    """Per convention the tokens that the neuron writes most strongly and against most strongly."""
    rows = _of(data.table("congruence_neurons"), neuron).sort("rank")
    return [
        {
            "convention": convention,
            **{end: rows.filter((pl.col("convention") == convention) & (pl.col("end") == end)).to_dicts() for end in ENDS},
        }
        for convention in CONVENTIONS
        if rows.filter(pl.col("convention") == convention).height
    ]


def _patching(data: ReportData, neuron: tuple[int, int]) -> list[dict[str, Any]]:
    """The neuron's row in neuron_patching for each prompt and each way of patching, with its rank."""
    found = []
    for prompt in data.prompts:
        for positions in ("all", "last"):
            found += _of(neuron_patching_of(data, prompt, positions), neuron).to_dicts()
    return found
