"""Single heads on a prompt's page: the map at the last position, the map at each head's strongest position, and the list."""

import dataclasses

import polars as pl
import pytest

from reports.figures.extent import highest
from reports.figures.prompts import best_heads, patching_figures
from reports.numbers import number
from reports.pages.prompts import prompt_pages
from reports.report_data import ReportData
from tests.reports.sample_data import BEST_HEAD, HEADS, LAYERS


def patching(data: ReportData, *rows: tuple[int, int, int, float]) -> pl.DataFrame:
    """The rows of single heads, with these (layer, head, position, improvement) put in."""
    frame = data.tables["activation_patching"].filter(component="head")
    for layer, head, position, value in rows:
        here = (pl.col("layer") == layer) & (pl.col("head") == head) & (pl.col("position") == position)
        frame = frame.with_columns(improvement=pl.when(here).then(pl.lit(value, pl.Float32)).otherwise("improvement"))
    return frame


def test_the_map_shows_every_head_at_the_last_position_and_at_its_strongest(data: ReportData) -> None:
    *_, heads = patching_figures("patching", patching(data, (0, 3, 5, -2.0)))
    last, strongest = heads.views
    layer, head, position = BEST_HEAD
    for view in (last, strongest):
        (trace,) = view.data
        assert (trace["x"], trace["y"]) == (list(range(HEADS)), list(range(LAYERS)))
        assert (trace["zmin"], trace["zmax"]) == (-2, 2)
    rows = patching(data).filter(position=8).sort("layer", "head")
    assert [value for row in last.data[0]["z"] for value in row] == pytest.approx(rows["improvement"].to_list(), abs=1e-3)
    assert last.data[0]["customdata"][layer][head] == f"␣picked (position {position})"
    assert strongest.data[0]["z"][0][3] == -2
    assert strongest.data[0]["customdata"][0][3] == "␣apple (position 5)"
    assert last.note.startswith(f"Most restoring: layer {layer} head {head}, {number(highest(rows['improvement']))}, ")
    assert last.note.endswith("at “␣picked” (position 8).")


def test_the_list_names_the_heads_that_change_most_either_way_and_none_that_changes_nothing(data: ReportData) -> None:
    changed = patching(data, (0, 3, 5, -2.0), (2, 1, 4, 0.0))
    first, second = best_heads(changed, 2)
    assert (first["layer"], first["head"], first["position"], first["improvement"]) == (0, 3, 5, -2)
    assert (second["layer"], second["head"], second["position"]) == BEST_HEAD
    every = best_heads(changed, 1000)
    assert len(every) == LAYERS * HEADS * 9 - 1
    assert 0.0 not in [row["improvement"] for row in every]


def test_a_prompt_without_single_heads_shows_the_other_maps_alone(data: ReportData) -> None:
    whole = data.tables["activation_patching"].filter(pl.col("component") != "head")
    page = prompt_pages(dataclasses.replace(data, tables={**data.tables, "activation_patching": whole}))[0]
    assert [figure.name for figure in page.context["maps"]] == ["patching-residual", "patching-attention", "patching-mlp"]
    assert page.context["heads"] == []
