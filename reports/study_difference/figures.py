"""Figures of two studies: how far the neurons moved, in which layers, and the curves of both laid over each other."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from reports.figures.extent import highest
from reports.figures.figure import SERIES, Figure, Json, View, axis, horizontal, layout, legend_on_top, line
from reports.figures.neurons_by_layer import neurons_view
from reports.figures.proportion import shown_bins
from reports.numbers import count, edge, fixed, plural, rounded
from reports.text import plot_text, quoted

STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)  # widths of a bar; the narrowest that needs no more than MOST_BARS
MOST_BARS = 40
Row = Mapping[str, Any]


def distances_figure(neurons: pl.DataFrame) -> Figure:
    """How many neurons moved how far. `neurons` is study_difference_neurons."""
    known = neurons.drop_nulls("distance")
    return Figure(
        name="distances",
        title="How far the neurons moved",
        note="Neurons by the distance of their two distributions of activation: the largest difference, over all levels, of the shares of "
        "positions below the level; and by how far they lie apart in the two halves of one study's own documents, in the study where that is more. "
        "Neurons on a logarithmic axis.",
        summary=f"How many of {plural(known.height, 'neuron')} moved how far.",
        height=320,
        views=(_distances(known),),
    )


def layers_figure(neurons: pl.DataFrame) -> Figure:
    """Every neuron's distance, by layer."""
    known = neurons.drop_nulls("distance")
    return Figure(
        name="layers",
        title="Where they are",
        note="Each neuron by its layer and, inside the layer, by its number.",
        summary="Each neuron's distance, by layer.",
        height=380,
        views=(neurons_view("", known, "distance", "", {}, ()),),
    )


def curves_figure(curves: pl.DataFrame, pairs: Sequence[Row], names: tuple[str, str]) -> Figure:
    """The curves of both studies, one view a pair. `curves` is study_difference_curves, `pairs` rows of study_difference_pairs."""
    return Figure(
        name="curves",
        title="Activation against proportion, in both studies",
        note="Share of the positions in each bin at which the token is the model's top prediction, over bins that both studies can tell. Hollow "
        "grey points rest on too few positions in one of the two.",
        summary="How often the token is the top prediction against the neuron's activation, in both studies.",
        height=420,
        views=tuple(_curves(_of_pair(curves, pair), pair, names) for pair in pairs),
        legend_label="Token and neuron",
    )


def _distances(known: pl.DataFrame) -> View:
    if known.is_empty():
        return View("", (), layout(axis("distance"), axis("neurons")), "No neuron could be compared.")
    halves = known["halves_distance"].drop_nulls()
    farthest = max([highest(known["distance"]), *([highest(halves)] if len(halves) else [])])
    step = next((step for step in STEPS if farthest / step < MOST_BARS), STEPS[-1])
    between_studies = _bars(known["distance"], step)
    between_halves = [_outlined(_bars(halves, step))] if len(halves) else []
    most = max(max(trace["y"]) for trace in (between_studies, *between_halves))
    shape = layout(
        axis("distance", range=rounded([0, (farthest // step + 1) * step])),
        axis("neurons", type="log", dtick=1, tickformat="~s", exponentformat="SI", range=[-0.3, math.log10(most) + 0.2]),
        bargap=0,
        showlegend=True,
        legend=legend_on_top(),
    )
    same = known.filter(pl.col("distance") == 0).height
    note = f"{plural(same, 'neuron')} with distance 0: the same shares at every level." if same else ""
    return View("", (between_studies, *between_halves), shape, note)


def _bars(distances: pl.Series, step: float) -> Json:
    """How many neurons there are in each bar that holds one."""
    bars = (distances / step).floor().cast(pl.Int64).alias("bar").value_counts().sort("bar")
    ends = [(bar * step, (bar + 1) * step) for bar in bars["bar"]]
    return {
        "type": "bar",
        "name": "between the studies",
        "x": rounded((low + high) / 2 for low, high in ends),
        "y": bars["count"].to_list(),
        "width": rounded([step * 0.9] * bars.height),
        "marker": {"color": SERIES[0], "line": {"width": 0}},
        "hovertext": [
            f"distance from {edge(low)} to {edge(high)}<br>{plural(amount, 'neuron')}"
            for (low, high), amount in zip(ends, bars["count"], strict=True)
        ],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _outlined(bars: Json) -> Json:
    """The same counts as points and a line, so that they are seen over the bars."""
    shown = {name: bars[name] for name in ("x", "y", "hovertext", "hovertemplate")}
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "between a study's halves",
        **shown,
        "line": line(2, SERIES[1], shape="hvh"),
        "marker": {"size": 6, "color": SERIES[1]},
    }


def _of_pair(curves: pl.DataFrame, pair: Row) -> pl.DataFrame:
    return curves.filter(token_id=pair["token_id"], layer=pair["layer"], neuron=pair["neuron"])


def _curves(curve: pl.DataFrame, pair: Row, names: tuple[str, str]) -> View:
    label = f"{quoted(pair['token'])}, L{pair['layer']} N{pair['neuron']}"
    shape = layout(
        axis("activation"),
        axis("proportion", range=[-0.02, 1.04], tickvals=[0, 0.25, 0.5, 0.75, 1], ticktext=["0", "¼", "½", "¾", "1"]),
        shapes=[horizontal(0.5)],
        hovermode="x",  # both studies at once: their points often lie on each other
        showlegend=True,
        legend=legend_on_top(),
    )
    rows = shown_bins(curve.with_columns(count=pl.col("count_a") + pl.col("count_b")))
    if rows.is_empty():
        return View(label, (), shape, "No position was counted for this neuron.")
    hollow = [_points(rows, pair["token"], side, name, place, False) for place, (side, name) in enumerate(zip("ab", names, strict=True))]
    whole = [_points(rows, pair["token"], side, name, place, True) for place, (side, name) in enumerate(zip("ab", names, strict=True))]
    apart = pair["largest_difference"]
    note = (
        "No bin is reliable in both studies."
        if apart is None
        else f"At most {fixed(apart)} apart over {plural(pair['reliable_bins'], 'reliable bin')}."
    )
    return View(label, (*hollow, *whole), shape, note)


def _points(rows: pl.DataFrame, token: str, side: str, name: str, place: int, reliable: bool) -> Json:
    """The points of one study that are reliable, or that are not; the others are gaps."""
    color = SERIES[place] if reliable else "$unreliable"
    return {
        "type": "scatter",
        "mode": "lines+markers" if reliable else "markers",
        "name": name,
        "showlegend": reliable,
        "legendgroup": name,
        "x": rounded(rows["centre"], 7),
        "y": rounded(rows.select(pl.when(pl.col("reliable") == reliable).then(pl.col(f"proportion_{side}")))[f"proportion_{side}"]),
        "line": line(2, color, dash=("solid", "dash")[place]),
        "connectgaps": False,
        "cliponaxis": False,
        "marker": {"size": 7, "symbol": ("circle", "square")[place], "color": color if reliable else "$surface", "line": line(1.5, color)},
        "hovertext": [_hover(row, token, side, name) for row in rows.iter_rows(named=True)],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _hover(row: Row, token: str, side: str, name: str) -> str:
    return (
        f"{name}<br>activation {edge(row['bin_left'])} to {edge(row['bin_right'])}<br>{plot_text(token)} is predicted at "
        f"{count(row[f'top_prediction_count_{side}'])} of {count(row[f'count_{side}'])} positions<br>proportion {fixed(row[f'proportion_{side}'])}"
    )
