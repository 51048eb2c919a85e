"""Prompt sets in the report: their page and figure, and what is said of single prompts' neurons over them."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets.contracts import TABLES
from reports.answer import plain
from reports.over_sets import ALONE, HOLDS, IN_PART, left_out, over_set_sentences, over_sets, over_sets_sentences, set_neurons
from reports.pages.prompt_sets import prompt_set_pages
from reports.report_data import ReportData
from reports.roles import roles
from tests.reports.sample_data import AN, PLANTED

OVER = "restores 38 % in the median of 2 pairs (quartiles 31 % to 44 %) and is among the first ten in 100 % of them: it holds."


def without(data: ReportData, *names: str) -> ReportData:
    return dataclasses.replace(data, tables={**data.tables, **{name: TABLES[name].schema.to_frame() for name in names}})


def with_planted(data: ReportData, **values: Any) -> ReportData:
    """With other values in the row of the planted neuron."""
    is_planted = (pl.col("layer") == PLANTED[0]) & (pl.col("neuron") == PLANTED[1])
    frame = data.tables["prompt_set_patching"].with_columns(
        pl.when(is_planted).then(pl.lit(value)).otherwise(pl.col(name)).alias(name) for name, value in values.items()
    )
    return dataclasses.replace(data, tables={**data.tables, "prompt_set_patching": frame})


def text_of(html: str) -> str:
    return " ".join(re.sub("<[^>]+>", "", html).split())


def test_the_figure_draws_medians_with_quartiles_and_the_prompt_beside_them(data: ReportData) -> None:
    (page,) = prompt_set_pages(data)
    (figure,) = page.figures
    medians, ring = figure.views[0].data
    first = set_neurons(data, "fruits").head(20)
    assert first.row(0)[1:3] == PLANTED
    assert medians["y"] == pytest.approx(first["median"].to_list(), rel=1e-3)
    assert medians["error_y"]["array"][0] == medians["error_y"]["arrayminus"][0] == 0.0625
    assert medians["customdata"][0] == ["L1 N17", "31.2\u202f% to 43.8\u202f%", "neuron-1-17.html", "100\u202f%"]
    patched = data.tables["neuron_patching"].filter(prompt="apple", positions="last")
    on_prompt = first.join(patched, on=["layer", "neuron"], maintain_order="left")["improvement"]
    assert ring["name"] == "on the prompt apple"
    assert ring["y"] == pytest.approx(on_prompt.to_list(), rel=1e-3)


def test_the_page_says_how_the_pairs_came_about_and_lists_them_all(site: Path) -> None:
    html = (site / "set-fruits.html").read_text(encoding="utf-8")
    shown = text_of(html)
    assert (
        "3 × 2 fillers make 6 pairs; 3 left out, as the two texts have different numbers of tokens; 1 not patched, as the answer does not move."
        in shown
    )
    assert "In 2 of 3 pairs the model prefers the answer" in shown
    assert f"Layer 1 neuron 17 restores 50 % on the prompt apple. Over this set it {OVER}" in shown
    assert '<a href="prompt-apple.html">apple</a>' in html
    pairs = html[html.index('id="pairs"') :]
    assert "Most restoring: L1 N17 in 2 of 2 pairs." in text_of(pairs)
    rows = [[text_of(cell) for cell in re.findall("<td.*?>(.*?)</td>", row)] for row in re.findall("<tr>(<td.*?)</tr>", pairs)]
    assert [row[-2:] for row in rows] == [["L1 N17", "50.0 %"], ["L1 N17", "25.0 %"], ["not patched", "–"]]
    neurons = re.findall("<tr>(<td.*?)</tr>", html[: html.index('id="pairs"')])
    assert len(neurons) == 10
    assert "37.5\u202f%" in neurons[0]


def test_prompts_the_front_page_and_its_cards_lead_to_the_set(site: Path) -> None:
    prompt = (site / "prompt-apple.html").read_text(encoding="utf-8")
    assert f"Layer 1 neuron 17 restores 50 % on this prompt. Over the prompt set fruits it {OVER}" in text_of(prompt)
    front = (site / "index.html").read_text(encoding="utf-8")
    assert f"Over the prompt set fruits, layer 1 neuron 17 {OVER}" in text_of(front)
    assert front.count('href="set-fruits.html"') == 2
    assert "2 pairs; largest median: L1 N17, 38 % restored" in text_of(front)


def test_a_neurons_page_says_what_it_restores_over_the_set(site: Path) -> None:
    html = (site / "neuron-1-17.html").read_text(encoding="utf-8")
    part = html[html.index('id="patching"') :]
    row = re.findall("<tr>(<td.*?)</tr>", part[part.index("Prompt set</th>") :])[0]
    assert [text_of(cell) for cell in re.findall("<td.*?>(.*?)</td>", row)] == [
        "fruits 2 pairs",
        "0.375",
        "0.312 to 0.438",
        "1 of 192",
        "100 %",
    ]


def test_a_neuron_holds_over_most_pairs_in_part_or_on_the_prompt_alone(data: ReportData) -> None:
    for share, median, verdict, words in (
        (0.75, 0.05, HOLDS, "it holds"),
        (0.74, 0.3, IN_PART, "it holds for some of them"),
        (0.25, 0.3, IN_PART, "it holds for some of them"),
        (0.24, 0.3, ALONE, "that is this prompt's alone"),
        (1.0, 0.049, ALONE, "that is this prompt's alone"),
    ):
        changed = with_planted(data, first_ten_share=share, median=median)
        (one,) = over_sets(changed, "apple")
        assert (one.neuron, one.verdict) == (PLANTED, verdict)
        assert plain(over_sets_sentences(changed, "apple")[0]).endswith(f": {words}.")
        assert plain(over_set_sentences(changed, "fruits")[0]).endswith(f": {words}.")


def test_nothing_is_said_of_prompts_with_other_answers_unpatched_ones_and_layers_left_out(data: ReportData) -> None:
    assert over_sets(data, "plain") == []  # it has no corrupt partner
    others = data.tables["prompt_sets"].with_columns(wrong_answer_id=pl.lit(99, pl.Int32))
    assert over_sets(dataclasses.replace(data, tables={**data.tables, "prompt_sets": others}), "apple") == []
    weak = data.tables["neuron_patching"].with_columns(pl.col("improvement").clip(upper_bound=0.04))
    assert over_sets(dataclasses.replace(data, tables={**data.tables, "neuron_patching": weak}), "apple") == []
    kept = data.tables["prompt_set_patching"].filter(pl.col("layer") != PLANTED[0])
    assert over_sets(dataclasses.replace(data, tables={**data.tables, "prompt_set_patching": kept}), "apple") == []


def test_a_study_without_prompt_sets_says_nothing_of_them(data: ReportData) -> None:
    nothing = without(data, "prompt_sets", "prompt_set_pairs", "prompt_set_patching")
    assert nothing.prompt_sets == []
    assert prompt_set_pages(nothing) == []
    with_sets, bare = ([plain(sentence) for sentence in roles(one, AN, " an")] for one in (data, nothing))
    assert any("prompt set" in sentence for sentence in with_sets)
    assert [re.sub(r" Over the prompt set.*?: it holds\.", "", sentence) for sentence in with_sets] == bare


def test_words_for_pairs_that_were_all_patched_or_drawn_from_more() -> None:
    row = {"fillers": 12, "corrupt_fillers": 12, "of_equal_length": 144, "drawn": 144, "patched": 144}
    assert left_out(row) == "12 × 12 fillers make 144 pairs."
    assert left_out({**row, "drawn": 48, "patched": 48}) == "12 × 12 fillers make 144 pairs; 48 drawn."
    unlike = {**row, "of_equal_length": 100, "drawn": 48, "patched": 47}
    assert left_out(unlike) == (
        "12 × 12 fillers make 144 pairs; 44 left out, as the two texts have different numbers of tokens; 48 of the other 100 drawn; "
        "1 not patched, as the answer does not move."
    )
