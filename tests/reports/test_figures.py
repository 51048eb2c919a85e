"""Frames to figures: what is drawn, what is left out, and that plotly accepts it."""

import json
import math
import re
from typing import Any

import plotly.graph_objects as go
import polars as pl
import pytest

from reports.figures.density import density
from reports.figures.neuron_pairs import FARTHEST, Measure, pairs_view
from reports.figures.neurons_by_layer import EXTREMES, neurons_view
from reports.figures.proportion import Curve, proportion_figure, shown_bins
from reports.figures.small_curve import small_curve
from reports.figures.thinning import thinned, uncrowded
from reports.figures.tokens_of_neuron import tokens_view
from reports.pages.neurons import neuron_pages
from reports.pages.prompts import prompt_pages
from reports.pages.tokens import token_pages
from reports.report_data import ReportData

INFINITY = float("inf")


def curve(*bins: tuple[float, float, int, int]) -> pl.DataFrame:
    """Rows of proportion_curves from (left, right, count, top predictions); reliable from 20 positions on."""
    rows = [
        {
            "bin_left": left,
            "bin_right": right,
            "count": count,
            "cases": top,
            "proportion": top / count if count else None,
            "ci_low": max(0.0, top / count - 0.1) if count else None,
            "ci_high": min(1.0, top / count + 0.1) if count else None,
            "reliable": count >= 20,
        }
        for left, right, count, top in bins
    ]
    return pl.DataFrame(rows, schema_overrides={"proportion": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64})


CURVE = curve((-INFINITY, 0, 5, 0), (0, 1, 100, 10), (1, 2, 40, 30), (2, 3, 4, 4), (3, 4, 0, 0), (4, INFINITY, 0, 0))


def traces(figure_data: tuple[dict[str, Any], ...]) -> dict[str, dict[str, Any]]:
    return dict(zip(("count", "top", "unreliable", "reliable"), figure_data, strict=True))


def test_bins_beyond_the_last_position_are_not_drawn_and_outside_bins_stand_one_bin_away() -> None:
    assert shown_bins(CURVE)["centre"].to_list() == [-1.5, 0.5, 1.5, 2.5]


def test_bins_below_min_count_are_hollow_and_break_the_line() -> None:
    drawn = traces(proportion_figure("p", [Curve(" an", CURVE, 1.0)], 20).views[0].data)
    assert drawn["reliable"]["y"] == [None, 0.1, 0.75, None]
    assert drawn["unreliable"]["y"] == [0.0, None, None, 1.0]
    assert drawn["unreliable"]["marker"]["color"] == "$surface"
    assert drawn["reliable"]["connectgaps"] is False


def test_every_bin_shows_its_count_and_its_interval() -> None:
    drawn = traces(proportion_figure("p", [Curve(" an", CURVE, 1.0)], 20).views[0].data)
    assert drawn["count"]["y"] == [5, 100, 40, 4]
    assert drawn["top"]["y"] == [None, 10, 30, 4]  # 0 has no place on a logarithmic axis
    assert drawn["reliable"]["error_y"]["array"] == [0.1, 0.1, 0.1, 0.0]
    assert drawn["reliable"]["hovertext"][2] == (
        "activation 1 to 2<br>␣an is predicted at 30 of 40 positions<br>proportion 0.750, 95 % interval 0.650 to 0.850"
    )
    assert drawn["unreliable"]["hovertext"][3].endswith("<br>unreliable: fewer than 20 positions")
    for text in zip(drawn["reliable"]["hovertext"], drawn["unreliable"]["hovertext"], strict=True):
        assert sum(told is not None for told in text) == 1, "a point tells its own, once"


def test_underflow_and_overflow_are_labelled_where_they_hold_a_position() -> None:
    layout = proportion_figure("p", [Curve(" an", CURVE, None)], 20).views[0].layout
    assert [note["text"] for note in layout["annotations"]] == ["&lt; 0"]


def test_the_level_at_which_one_half_is_reached_is_marked_with_the_way_it_is_read() -> None:
    def mark(is_downwards: bool) -> dict[str, Any]:
        layout = proportion_figure("p", [Curve(" an", CURVE, 1.0, is_downwards)], 20).views[0].layout
        return layout["annotations"][-1]

    assert (mark(False)["text"], mark(False)["xanchor"]) == ("first reaches ½ at 1", "left")
    assert (mark(True)["text"], mark(True)["xanchor"]) == ("downwards first reaches ½ at 1", "right")


def test_a_curve_without_a_position_says_so() -> None:
    figure = proportion_figure("p", [Curve(" an", curve((0, 1, 0, 0)), None)], 20)
    assert (figure.views[0].data, figure.views[0].note) == ((), "No position was counted for this neuron.")


def test_hover_texts_of_a_curve_neutralise_tags_in_the_token() -> None:
    drawn = traces(proportion_figure("p", [Curve("<b>x</b>", CURVE, None)], 20).views[0].data)
    assert "&lt;b&gt;x&lt;/b&gt; is predicted" in drawn["reliable"]["hovertext"][1]


def test_a_small_curve_puts_proportion_one_on_top_and_zero_at_the_bottom() -> None:
    small = small_curve(curve((0, 1, 100, 0), (1, 2, 100, 100)), width=106, height=26)
    assert small is not None
    assert small.dots == ((28.0, 23.0), (78.0, 3.0))
    assert small_curve(curve((0, 1, 0, 0)), width=106, height=26) is None


def test_thinning_keeps_every_extreme_draws_ever_fewer_inwards_and_says_so() -> None:
    frame = pl.DataFrame({"layer": [0] * 1000 + [1] * 1000, "value": [*range(1000), *range(0, 5000, 5)]})
    kept = thinned(frame, "value", ["layer"], extremes=3, most=120, things="neurons")
    low = kept.frame.filter((pl.col("layer") == 0) & (pl.col("value") < 500))["value"].to_list()
    high = kept.frame.filter((pl.col("layer") == 1) & (pl.col("value") >= 2500))["value"].to_list()
    assert low[:4] == [0, 1, 2, 3]
    assert high[-4:] == [4980, 4985, 4990, 4995]
    gaps = [after - before for before, after in zip(low, low[1:], strict=False)]
    assert max(gaps[:8]) <= 2  # no edge where the extremes end
    assert gaps[-1] > 20
    assert 110 <= kept.frame.height <= 130
    assert (
        kept.note
        == f"Of 2\u202f000 neurons, {kept.frame.height} are drawn: the 3 highest and lowest of each layer, then ever fewer towards the middle."
    )


def test_a_small_frame_is_drawn_whole_and_says_nothing() -> None:
    frame = pl.DataFrame({"layer": [0, 0, 1], "value": [3.0, 1.0, 2.0]})
    kept = thinned(frame, "value", ["layer"], extremes=1, most=60, things="neurons")
    assert (kept.frame["value"].to_list(), kept.note) == ([3.0, 1.0, 2.0], "")


def test_labels_keep_their_distance() -> None:
    assert uncrowded([(0, 0, "a"), (0.5, 0, "b"), (0.5, 9, "c"), (9, 0, "d")], width=1, height=1, most=2) == [(0, 0, "a"), (0.5, 9, "c")]


def test_a_layer_plot_of_a_large_model_stays_light_and_names_every_neuron() -> None:
    layers, neurons = 36, 5120
    frame = pl.DataFrame(
        {"layer": [layer for layer in range(layers) for _ in range(neurons)], "neuron": list(range(neurons)) * layers}
    ).with_columns(congruence=((pl.col("neuron") * 7919 + pl.col("layer") * 104729) % 10007) / 10007)
    view = neurons_view("logits", frame, "congruence", "", {(31, 892): "neuron-31-892.html"}, {(31, 892)})
    shades, *drawn = view.data
    assert [len(trace["x"]) for trace in drawn] in ([2 * EXTREMES * layers, 1], [2 * EXTREMES * layers - 1, 1])
    assert sum(held or 0 for row in shades["text"] for held in row) == layers * neurons
    assert "of 184\u202f320 neurons the 8 highest and lowest of each layer" in view.note
    assert all(len(trace["customdata"]) == len(trace["x"]) for trace in drawn)
    assert len(json.dumps(view.data, separators=(",", ":"))) < 60_000


def test_marked_neurons_are_drawn_wherever_they_stand() -> None:
    frame = pl.DataFrame({"layer": [0] * 9000, "neuron": range(9000), "congruence": [entry / 9000 - 0.5 for entry in range(9000)]})
    by_layer = neurons_view("logits", frame, "congruence", "", {}, {(0, 4501)})
    assert by_layer.data[2]["customdata"] == [[0, 4501]]
    assert len(by_layer.data[1]["x"]) == 2 * EXTREMES
    both = frame.with_columns(auroc=pl.lit(0.5) + pl.col("congruence") / 2)
    pairs = pairs_view("logits", both, Measure("congruence", "congruence", 0), Measure("auroc", "AUROC", 0.5), {}, {(0, 4501)})
    assert pairs.data[2]["customdata"] == [[0, 4501]]
    assert len(pairs.data[1]["x"]) == FARTHEST
    assert {1, 9000} <= {neuron + 1 for _, neuron in pairs.data[1]["customdata"]}


def test_shades_count_every_neuron_once_where_it_lies() -> None:
    x, y = [0, 0, 0, 2, 2], [-1.0, -1.0, 3.0, 1.04, 0.96]
    trace = density(pl.Series(x), pl.Series(y), range(3))
    counts: dict[int, int] = {}
    for row, (texts, shades) in enumerate(zip(trace["text"], trace["z"], strict=True)):
        for column, (held, shade) in enumerate(zip(texts, shades, strict=True)):
            assert (held == 0) == (shade is None)
            if held:
                low = trace["y0"] + (row - 0.5) * trace["dy"]
                inside = [
                    one
                    for one in range(5)
                    if x[one] == trace["x0"] + column * trace["dx"] and low - 1e-6 <= y[one] <= low + trace["dy"] + 1e-6
                ]
                assert held == len(inside)
                assert shade == round(math.log10(held), 1)
                counts[column] = counts.get(column, 0) + held
    assert counts == {0: 3, 2: 2}
    assert trace["zmin"] < 0 <= trace["zmax"]


def test_shades_of_equal_values_are_drawn() -> None:
    trace = density(pl.Series([1.0] * 9), pl.Series([0.0] * 9))
    assert [held for row in trace["text"] for held in row if held] == [9]


def test_tracked_tokens_are_drawn_even_where_others_are_thinned_out() -> None:
    frame = pl.DataFrame(
        {
            "token_id": range(9000),
            "token": [f"t{entry}" for entry in range(9000)],
            "congruence": [0.0] * 4000 + [entry / 9000 for entry in range(5000)],
        }
    )
    view = tokens_view("logits", frame, {4001}, "dot product")
    assert 4001 in [entry for trace in view.data for entry in trace["x"]]


@pytest.mark.parametrize("pages", [token_pages, neuron_pages, prompt_pages])
def test_plotly_accepts_every_figure_once_its_colours_are_put_in(data: ReportData, pages: Any) -> None:
    figures = [figure for page in pages(data) for figure in page.figures]
    assert figures
    for figure in figures:
        for view in figure.views:
            assert go.Figure(data=[with_colours(trace) for trace in view.data], layout=with_colours(view.layout)).to_dict()


def with_colours(value: Any) -> Any:
    """The figure with #123456 in place of every colour name, as the page's script does."""
    if isinstance(value, dict):
        return {key: item if key in ("customdata", "text", "hovertext") else with_colours(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_colours(item) for item in value]
    return "#123456" if isinstance(value, str) and re.fullmatch(r"\$[a-z_0-9]+", value) else value
