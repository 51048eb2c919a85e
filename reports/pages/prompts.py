"""A page for each prompt: how the model reads it, what it predicts, and which parts of the model decide it."""

from typing import Any

import polars as pl

from assets.prompts.attribution_patching import attribution_agreement
from reports.cards import with_cards
from reports.evidence import neuron_patching_of, neuron_sets_of
from reports.figures.figure import Figure
from reports.figures.neuron_pairs import Measure, pairs_view
from reports.figures.neuron_sets import neuron_sets_figure
from reports.figures.neurons_by_layer import neurons_view
from reports.figures.prompts import best_heads, logit_lens_figure, patching_figures
from reports.over_sets import over_sets_sentences
from reports.pages.page import Page, neuron_page, prompt_page
from reports.report_data import ReportData

POSITIONS = {"all": "all positions (as published)", "last": "last position only"}
ESTIMATED = Measure("attribution", "estimate", 0.0)
EXACT = Measure("improvement", "improvement", 0.0)
SHOWN = 10


def prompt_pages(data: ReportData) -> list[Page]:
    """One page a prompt, in the study's order."""
    return [_page(data, place) for place in range(len(data.prompts))]


def _page(data: ReportData, place: int) -> Page:
    name = data.prompts[place]
    prompt = data.prompt(name)
    lens = data.table("logit_lens").filter(pl.col("prompt") == name)
    figures = [logit_lens_figure("lens", lens, prompt.answer, prompt.wrong_answer)] if lens.height else []
    patching = data.table("activation_patching").filter(pl.col("prompt") == name)
    maps = patching_figures("patching", patching)
    neurons = [figure for figure in (_neuron_scatter(data, name), _attribution(data, name)) if figure]
    sets, answer = neuron_sets_of(data, name), _answer_id(data, name)
    return Page(
        file=prompt_page(name),
        template="prompt.html",
        title=f"Prompt {name}",
        context={
            "prompt": prompt,
            "variants": _variants(data, name),
            "maps": maps,
            "heads": best_heads(patching, SHOWN),
            "best": {
                positions: with_cards(data, answer, neuron_patching_of(data, name, positions).head(SHOWN).to_dicts())
                for positions in POSITIONS
            },
            "positions": POSITIONS,
            "sets": with_cards(data, answer, sets.to_dicts()),
            "over_sets": over_sets_sentences(data, name),
            "agreement": _agreement(data, name),
            "previous": data.prompts[place - 1] if place else None,
            "next": data.prompts[place + 1] if place + 1 < len(data.prompts) else None,
        },
        figures=(*figures, *maps, *neurons, *([neuron_sets_figure(sets)] if sets.height else [])),
    )


def _answer_id(data: ReportData, name: str) -> int:
    """The token whose evidence cards stand beside the neurons of the prompt; -1, which no card is of, without predictions."""
    answers = data.table("prompt_predictions").filter(prompt=name, variant="clean", role="answer")["token_id"]
    return int(answers[0]) if answers.len() else -1


def _variants(data: ReportData, name: str) -> list[dict[str, Any]]:
    """Clean and, if there is one, corrupt: the tokens as read and the predictions, best first."""
    tokens = data.table("prompt_tokens").filter(pl.col("prompt") == name).sort("position")
    predictions = data.table("prompt_predictions").filter(pl.col("prompt") == name).sort("rank", "token_id")
    clean = tokens.filter(pl.col("variant") == "clean")["token_id"].to_list()
    found = []
    for variant in ("clean", "corrupt"):
        rows = tokens.filter(pl.col("variant") == variant).to_dicts()
        if rows:
            for place, row in enumerate(rows):
                row["differs"] = place >= len(clean) or row["token_id"] != clean[place]
            found.append({"variant": variant, "tokens": rows, "predictions": predictions.filter(pl.col("variant") == variant).to_dicts()})
    return found


def _neuron_scatter(data: ReportData, name: str) -> Figure | None:
    pages = {neuron: neuron_page(neuron) for neuron in data.studied}
    views = [
        neurons_view(label, frame, "improvement", "", pages, set(data.studied))
        for positions, label in POSITIONS.items()
        if (frame := neuron_patching_of(data, name, positions)).height
    ]
    if not views:
        return None
    return Figure(
        name="neurons",
        title="Patching one neuron at a time",
        note="Each neuron's clean activation is put into the corrupt run, alone. Improvement 1 restores the whole logit difference, "
        "0 changes nothing. Coloured: neurons with a page of their own; a click opens it.",
        summary="Improvement of the logit difference when each neuron is patched alone, by layer.",
        height=430,
        views=tuple(views),
        legend_label="Patched at",
    )


def _agreement(data: ReportData, name: str) -> list[dict[str, Any]]:
    """How well the gradient's estimate orders the neurons that were patched: a row for each choice of positions."""
    exact, estimates = (data.table(table).filter(pl.col("prompt") == name) for table in ("neuron_patching", "attribution_patching"))
    rows = attribution_agreement(exact, estimates).with_columns(pl.col("rank_correlation").fill_nan(None))
    return [{**row, "label": POSITIONS[row["positions"]]} for row in rows.iter_rows(named=True)]


def _attribution(data: ReportData, name: str) -> Figure | None:
    """The gradient's estimate of each neuron's effect against the exact one, where both were computed."""
    pages = {neuron: neuron_page(neuron) for neuron in data.studied}
    estimates = data.table("attribution_patching").filter(pl.col("prompt") == name)
    views = []
    for positions, label in POSITIONS.items():
        estimated = estimates.filter(pl.col("positions") == positions).select("layer", "neuron", "attribution")
        both = neuron_patching_of(data, name, positions).join(estimated, on=["layer", "neuron"], how="inner", maintain_order="left")
        if both.height:
            views.append(pairs_view(label, both, ESTIMATED, EXACT, pages, set(data.studied), diagonal=True))
    if not views:
        return None
    return Figure(
        name="attribution",
        title="What one gradient estimates",
        note="Estimate: clean minus corrupt activation, times the gradient of the logit difference in the corrupt run. One gradient gives "
        "it for all neurons at once; patching runs the later layers for each. On the dotted line, the estimate is exact. The weakest patches, in "
        "which the difference is linear to within rounding, are not run: theirs is the estimate.",
        summary="Exact improvement of each patched neuron against its first-order estimate.",
        height=400,
        views=tuple(views),
        legend_label="Patched at",
    )
