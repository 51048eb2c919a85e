"""A page for each prompt set: how its pairs came about, what each neuron restores over them, and whether single prompts' neurons hold."""

from typing import Any

import polars as pl

from reports.cards import with_cards
from reports.evidence import neuron_patching_of
from reports.figures.prompt_sets import OnPrompt, prompt_set_figure
from reports.over_sets import left_out, over_set_sentences, prompts_over_set, set_neurons
from reports.pages.page import Page, neuron_page, prompt_set_page
from reports.report_data import ReportData

DRAWN, LISTED = 20, 10  # neurons in the figure and in the table
PROMPTS = 3  # whose numbers stand in the figure
LEADERS = 5  # neurons that are named above the list of pairs


def prompt_set_pages(data: ReportData) -> list[Page]:
    """One page a set, in the study's order."""
    return [_page(data, place) for place in range(len(data.prompt_sets))]


def _page(data: ReportData, place: int) -> Page:
    name = data.prompt_sets[place]
    of_set = data.table("prompt_sets").filter(prompt_set=name).row(0, named=True)
    neurons = set_neurons(data, name)
    pairs = data.table("prompt_set_pairs").filter(prompt_set=name).sort("pair")
    pages = {neuron: neuron_page(neuron) for neuron in data.studied}
    return Page(
        file=prompt_set_page(name),
        template="prompt_set.html",
        title=f"Prompt set {name}",
        context={
            "of_set": of_set,
            "made_of": left_out(of_set),
            "preferred": pairs["prefers_both"].sum(),
            "sentences": over_set_sentences(data, name),
            "neurons": with_cards(data, of_set["answer_id"], neurons.head(LISTED).to_dicts()),
            "pairs": pairs.to_dicts(),
            "leaders": _leaders(pairs),
            "previous": data.prompt_sets[place - 1] if place else None,
            "next": data.prompt_sets[place + 1] if place + 1 < len(data.prompt_sets) else None,
        },
        figures=(prompt_set_figure(neurons.head(DRAWN), _on_prompts(data, name, neurons.head(DRAWN)), pages),) if neurons.height else (),
    )


def _leaders(pairs: pl.DataFrame) -> list[dict[str, Any]]:
    """The neurons that restore most of any pair, with `led`: of how many; most first, ties to the lower neuron."""
    led = pairs.filter("is_patched").group_by("layer", "neuron").agg(led=pl.len())
    return led.sort("led", "layer", "neuron", descending=[True, False, False]).head(LEADERS).to_dicts()


def _on_prompts(data: ReportData, name: str, shown: pl.DataFrame) -> list[OnPrompt]:
    """What single prompts with the same answers say of the neurons that are drawn."""
    found = []
    for prompt in list(dict.fromkeys(one.prompt for one in prompts_over_set(data, name)))[:PROMPTS]:
        own = neuron_patching_of(data, prompt, "last").select("layer", "neuron", "improvement")
        shares = shown.select("layer", "neuron").join(own, on=["layer", "neuron"], how="left", maintain_order="left")["improvement"]
        found.append(OnPrompt(prompt, shares))
    return found
