"""Neurons patched together on a prompt's page: the line of the growing set, the rings of its neurons alone, and the table below."""

import dataclasses
import re
from pathlib import Path

import pytest

from assets.contracts import TABLES
from reports.figures.neuron_sets import neuron_sets_figure
from reports.pages.prompts import prompt_pages
from reports.report_data import ReportData


def test_the_figure_draws_what_the_set_restores_and_beside_it_what_each_restores_alone(data: ReportData) -> None:
    sets = data.tables["patched_neuron_sets"]
    (view,) = neuron_sets_figure(sets).views
    together, alone = view.data
    assert (together["x"], alone["x"]) == ([1, 2, 3], [1, 2, 3])
    assert together["y"] == [0.5032, 0.7532, 0.8132]
    assert alone["y"] == pytest.approx(sets["alone"].to_list(), abs=1e-4)
    assert alone["y"] != together["y"]
    assert together["customdata"] == ["layer 1 neuron 17", "layer 2 neuron 9", "layer 0 neuron 5"]


def test_the_page_lists_each_neuron_with_what_it_adds_and_marks_those_that_are_told(site: Path) -> None:
    html = (site / "prompt-apple.html").read_text(encoding="utf-8")
    part = html[html.index('id="neuron-sets"') :]
    rows = re.findall(r"<tr(?: class=\"(answer)\")?><td class=\"n\">(\d+)</td><td>(.*?)</td>(.*?)</tr>", part[: part.index("</table>")])
    shown = [(bool(told), size, re.sub("<[^>]+>", "", neuron)) for told, size, neuron, _ in rows]
    assert shown == [(True, "1", "L1 N17"), (True, "2", "L2 N9"), (False, "3", "L0 N5")]
    assert re.findall(r">([^<]+)</td>", rows[1][-1])[1:] == ["25.0\u202f%", "75.3\u202f%"]


def test_a_prompt_of_which_no_neuron_restores_anything_has_no_such_section(data: ReportData) -> None:
    nothing = {**data.tables, "patched_neuron_sets": TABLES["patched_neuron_sets"].schema.to_frame()}
    page = prompt_pages(dataclasses.replace(data, tables=nothing))[0]
    assert "neuron-sets" not in [figure.name for figure in page.figures]
    assert page.context["sets"] == []
