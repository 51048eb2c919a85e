"""The plot that the work is known for: a neuron's activation against the proportion of positions at which a token is predicted.

Each point is a bin with its interval; below it stands how many positions the bin holds. Bins with fewer than `min_count`
positions are drawn hollow and grey, without a line through them. Where the curve is told by one half of the documents, the half by which the
neuron was found is a dashed line. Underflow and overflow stand at the edges, labelled.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from assets.counting.histograms import NEXT_TOKEN, PROBABILITY, TOP_PREDICTION
from reports.figures.extent import highest, lowest
from reports.figures.figure import SERIES, Figure, Json, View, axis, horizontal, layout, legend_on_top, line
from reports.numbers import count, edge, fixed, rounded
from reports.outcome import OUTCOMES, Outcome
from reports.text import plot_text, quoted

HEIGHT = 470
SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "x",
    "triangle-down",
    "star",
    "cross",
)  # for those who do not tell the colours apart


FOUND = "discovery_proportion"  # column of a curve that is told by the other half
SHORT = {TOP_PREDICTION: "is predicted", NEXT_TOKEN: "comes next", PROBABILITY: "is expected"}
HOVER = {TOP_PREDICTION: "is predicted at", NEXT_TOKEN: "comes next at", PROBABILITY: "is expected at"}


@dataclass(frozen=True)
class Curve:
    """A token with the rows of its curve, and where the proportion first reaches one half, read upwards or downwards."""

    token: str
    rows: pl.DataFrame
    half_activation: float | None
    is_downwards: bool = False
    outcome: Outcome = OUTCOMES[TOP_PREDICTION]


def proportion_figure(name: str, curves: Sequence[Curve], min_count: int) -> Figure:
    """One neuron with each of its tokens, one view a token."""
    views = tuple(_view(curve, min_count) for curve in curves)
    tokens = ", ".join(quoted(curve.token) for curve in curves[:4])
    return Figure(
        name=name,
        title="Activation against proportion of predictions",
        note=f"Top: share of the positions in each bin at which the token {_meant(curves)}, {_interval(curves)}; "
        f"hollow grey points rest on fewer than {min_count} positions and are unreliable. Bottom, logarithmic: positions in each "
        "bin (grey), and those of the token (coloured).",
        summary=f"How often the token {_meant(curves)}, against the activation, bin by bin, for {tokens}.",
        height=HEIGHT,
        views=views,
        legend_label="Token",
    )


def _interval(curves: Sequence[Curve]) -> str:
    """What the bars and the dashed line are."""
    if any(FOUND in curve.rows.columns for curve in curves):
        return (
            "in the half of the documents that the neuron was not found in, with its 95 % interval, documents taken whole; dashed: the half "
            "that it was found in"
        )
    return "with its 95 % Wilson interval"


def _meant(curves: Sequence[Curve]) -> str:
    """What the proportion is a proportion of, by the outcomes of the curves."""
    meant = {TOP_PREDICTION: "is the model's top prediction", NEXT_TOKEN: "comes next in the text", PROBABILITY: "is expected by the model"}
    outcomes = list(dict.fromkeys(curve.outcome.name for curve in curves))
    if len(outcomes) == 1:
        return meant[outcomes[0]]
    named = {name: ", ".join(quoted(curve.token) for curve in curves if curve.outcome.name == name) for name in outcomes}
    return "; ".join(f"{meant[name]} ({tokens})" for name, tokens in named.items())


def _view(curve: Curve, min_count: int) -> View:
    rows = shown_bins(curve.rows)
    shape = _layout(rows, curve.half_activation, curve.is_downwards)
    if rows.is_empty():
        return View(quoted(curve.token), (), shape, "No position was counted for this neuron.")
    text = [_hover(row, curve.token, min_count, curve.outcome) for row in rows.iter_rows(named=True)]
    reliable = rows["reliable"].to_list()
    data = (
        _bars(rows, "count", "$bar", text),
        _bars(rows, "cases", SERIES[0], text),
        *([_found(rows)] if FOUND in rows.columns else []),
        _points(rows, text, [not flag for flag in reliable], "$unreliable", hollow=True),
        _points(rows, text, reliable, SERIES[0], hollow=False),
    )
    outside = rows.filter(pl.col("bin_left").is_infinite() | pl.col("bin_right").is_infinite())
    beyond = "" if outside.height else "No position fell outside the bins."
    return View(quoted(curve.token), data, shape, beyond)


def shown_bins(curve: pl.DataFrame) -> pl.DataFrame:
    """The bins from the first to the last that hold a position, with `centre` and `width` to draw them at.

    Underflow and overflow are kept only if they hold a position; they are drawn one bin away from the bin beside them.
    """
    rows = curve.sort("bin_left")
    filled = rows.with_row_index("place").filter(pl.col("count") > 0)["place"]
    if filled.is_empty():
        return rows.clear().with_columns(centre=pl.lit(0.0), width=pl.lit(0.0))
    rows = rows.slice(filled[0], filled[-1] - filled[0] + 1)
    finite = pl.col("bin_left").is_finite() & pl.col("bin_right").is_finite()
    inner = curve.filter(finite)
    width = bin_width(inner)
    centre = (
        pl.when(pl.col("bin_left").is_infinite())
        .then(pl.col("bin_right") - 1.5 * width)
        .when(pl.col("bin_right").is_infinite())
        .then(pl.col("bin_left") + 1.5 * width)
        .otherwise((pl.col("bin_left") + pl.col("bin_right")) / 2)
    )
    return rows.with_columns(centre=centre, width=pl.lit(width))


def bin_width(inner: pl.DataFrame) -> float:
    """Width of the finite bins, which are all as wide; 1 where there is none."""
    return float(inner["bin_right"][0] - inner["bin_left"][0]) if inner.height else 1.0


def _hover(row: dict[str, Any], token: str, min_count: int, outcome: Outcome) -> str:
    if math.isinf(row["bin_left"]):
        where = f"activation below {edge(row['bin_right'])} (underflow)"
    elif math.isinf(row["bin_right"]):
        where = f"activation of {edge(row['bin_left'])} or more (overflow)"
    else:
        where = f"activation {edge(row['bin_left'])} to {edge(row['bin_right'])}"
    if not row["count"]:
        return f"{where}<br>no position"
    interval = "" if row["ci_low"] is None else f", 95 % interval {fixed(row['ci_low'])} to {fixed(row['ci_high'])}"
    lines = [
        where,
        f"{plot_text(token)} {HOVER[outcome.name]} {outcome.amount(row['cases'])} of {count(row['count'])} positions",
        f"proportion {fixed(row['proportion'])}{interval}",
    ]
    return "<br>".join(lines if row["reliable"] else [*lines, f"unreliable: fewer than {min_count} positions"])


def _bars(rows: pl.DataFrame, column: str, color: str, text: list[str]) -> Json:
    return {
        "type": "bar",
        "x": rounded(rows["centre"], 7),
        "y": [value or None for value in rows[column]],
        "width": rounded(rows["width"] * 0.86),
        "marker": {"color": color, "line": {"width": 0}},
        "hovertext": text,
        "hovertemplate": "%{hovertext}<extra></extra>",
        "yaxis": "y2",
    }


def _found(rows: pl.DataFrame) -> Json:
    """The curve of the half that the neuron was found in, where its bins are reliable."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": rounded(rows["centre"], 7),
        "y": rounded(rows[FOUND]),
        "line": line(1.5, "$muted", dash="dash"),
        "connectgaps": False,
        "hoverinfo": "skip",
    }


def _points(rows: pl.DataFrame, text: list[str], drawn: list[bool], color: str, hollow: bool) -> Json:
    """Points of the chosen bins; the others are gaps, so that no line runs through them."""
    chosen = pl.Series(drawn)
    y = rows.select(pl.when(chosen).then(pl.col("proportion")))["proportion"]
    up = (rows["ci_high"] - rows["proportion"]).clip(lower_bound=0)
    down = (rows["proportion"] - rows["ci_low"]).clip(lower_bound=0)
    error = {"type": "data", "symmetric": False, "array": rounded(up), "arrayminus": rounded(down), "color": color, "width": 0}
    return {
        "type": "scatter",
        "mode": "markers" if hollow else "lines+markers",
        "x": rounded(rows["centre"], 7),
        "y": rounded(y),
        "error_y": {**error, "thickness": 1 if hollow else 1.5},
        "line": line(1.5, color),
        "connectgaps": False,
        "cliponaxis": False,
        "marker": {"size": 7, "color": "$surface" if hollow else color, "line": line(1.5, color)},
        "hovertext": [told if is_drawn else None for told, is_drawn in zip(text, drawn, strict=True)],  # half of a token's page else
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _layout(rows: pl.DataFrame, half: float | None, is_downwards: bool) -> Json:
    annotations = [
        {
            "x": row["centre"],
            "y": 0.285,
            "xref": "x",
            "yref": "paper",
            "showarrow": False,
            "font": {"size": 12, "color": "$muted"},
            "text": f"&lt; {edge(row['bin_right'])}" if math.isinf(row["bin_left"]) else f"≥ {edge(row['bin_left'])}",
        }
        for row in rows.iter_rows(named=True)
        if math.isinf(row["bin_left"]) or math.isinf(row["bin_right"])
    ]
    # Given, because plotly would widen the axis until the annotation fits.
    span = rounded([lowest(rows["centre"] - rows["width"]), highest(rows["centre"] + rows["width"])]) if rows.height else [0, 1]
    shapes = [horizontal(0.5)]
    if half is not None and math.isfinite(half):
        shapes.append(
            {
                "type": "line",
                "xref": "x",
                "yref": "y",
                "x0": half,
                "x1": half,
                "y0": 0,
                "y1": 1,
                "line": line(1, "$muted", dash="dot"),
                "layer": "below",
            }
        )
        annotations.append(
            {
                "x": half,
                "y": 0.06,
                "xref": "x",
                "yref": "y",
                "xanchor": "right" if is_downwards else "left",
                "xshift": -6 if is_downwards else 6,
                "showarrow": False,
                "text": f"{'downwards ' if is_downwards else ''}first reaches ½ at {edge(half)}",
                "font": {"size": 12, "color": "$muted"},
            }
        )
    return layout(
        axis("activation", anchor="y2", range=span),
        axis(
            "proportion",
            domain=[0.34, 1],
            range=[-0.02, 1.04],
            tickformat=".1f",
            dtick=0.25,
            tickvals=[0, 0.25, 0.5, 0.75, 1],
            ticktext=["0", "¼", "½", "¾", "1"],
        ),
        yaxis2=axis("positions", domain=[0, 0.24], type="log", dtick=2, tickformat="~s", rangemode="tozero", exponentformat="SI"),
        barmode="overlay",
        bargap=0,
        shapes=shapes,
        annotations=annotations,
    )


def overlay_figure(name: str, token: str, curves: list[tuple[str, pl.DataFrame]], min_count: int, outcome: Outcome) -> Figure:
    """One token with its studied neurons, a line each: (label of the neuron, the rows of its curve), best first."""
    data: list[Json] = []
    for place, (label, curve) in enumerate(curves):
        rows, color = shown_bins(curve), SERIES[place % len(SERIES)]
        if rows.is_empty():
            continue
        text = [f"{label}<br>{_hover(row, token, min_count, outcome)}" for row in rows.iter_rows(named=True)]
        reliable = rows["reliable"].to_list()
        shown: bool | str = True if place < len(SERIES) else "legendonly"
        common = {"legendgroup": label, "visible": shown}
        lines = {**_points(rows, text, reliable, color, hollow=False), **common, "name": label, "showlegend": True}
        hollow = {**_points(rows, text, [not flag for flag in reliable], "$unreliable", hollow=True), **common, "showlegend": False}
        for trace in (hollow, lines):
            trace.pop("error_y")
            trace["marker"] = {**trace["marker"], "size": 6, "symbol": SYMBOLS[place % len(SYMBOLS)]}
            data.append(trace)
    shape = layout(
        axis("activation"),
        axis("proportion", range=[-0.02, 1.04], tickvals=[0, 0.25, 0.5, 0.75, 1], ticktext=["0", "¼", "½", "¾", "1"]),
        shapes=[horizontal(0.5)],
        showlegend=True,
        legend=legend_on_top(),
    )
    return Figure(
        name=name,
        title=f"How often {quoted(token)} {SHORT[outcome.name]} at each level of activation",
        note=f"One line for each studied neuron. Hollow grey points rest on fewer than {min_count} positions. Intervals and counts: on the "
        "neurons' own pages and on hover.",
        summary=f"How often {quoted(token)} {SHORT[outcome.name]} against activation for {len(curves)} neurons.",
        height=420,
        views=(View("", tuple(data), shape),),
    )
