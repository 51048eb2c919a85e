"""One value for every neuron, drawn by layer: congruence of a token with every neuron, improvement of every patched neuron.

Inside a layer, neurons stand from left to right by their number, so that the place of a point means something.
"""

from collections.abc import Collection, Mapping

import polars as pl

from reports.figures.density import MOST_POINTS, density, note_of
from reports.figures.extent import highest, lowest, reach
from reports.figures.figure import SERIES, Json, View, axis, horizontal, layout, line, points
from reports.figures.thinning import labels, uncrowded
from reports.numbers import rounded

EXTREMES = 8  # points at either end of a layer, where not all neurons are drawn
SPREAD = 0.8  # of the distance between two layers


def neurons_view(
    label: str, frame: pl.DataFrame, value: str, unit: str, pages: Mapping[tuple[int, int], str], marked: Collection[tuple[int, int]]
) -> View:
    """A view of `frame` (layer, neuron and the column `value`). `pages` gives the page of a neuron; `marked` ones stand out.

    Of more than MOST_POINTS neurons the extremes of each layer and the marked ones are points, and all are counted by shades behind them.
    """
    if frame.is_empty():
        return View(label, (), layout(axis("layer"), axis(value)), "Nothing was measured here.")
    per_layer = highest(frame["neuron"]) + 1
    known = frame.drop_nulls(value)
    known = known.with_columns(
        is_marked=pl.Series([row in marked for row in known.select("layer", "neuron").iter_rows()], dtype=pl.Boolean)
    )
    x = known.with_columns(x=pl.col("layer") + SPREAD * ((pl.col("neuron") + 0.5) / per_layer - 0.5))
    data: list[Json] = []
    note = ""
    if x.height > MOST_POINTS:
        layers = range(int(lowest(x["layer"])), int(highest(x["layer"])) + 1)
        data.append(density(x["layer"], x[value], layers))
        note = note_of(x.height, f"the {EXTREMES} highest and lowest of each layer" + (", and those that stand out" if marked else ""))
        x = x.filter(_extreme(value) | pl.col("is_marked"))
    ordinary, special = x.filter(~pl.col("is_marked")), x.filter(pl.col("is_marked"))
    data.append(_trace(ordinary, value, unit, pages, "$dot_strong" if note else "$dot", 4, 0.6))
    if special.height:
        data.append(_trace(special, value, unit, pages, SERIES[0], 9, 1.0))
    return View(label, tuple(data), _layout(x, value, unit), note)


def _extreme(value: str) -> pl.Expr:
    place = pl.col(value).rank("ordinal").over("layer").cast(pl.Int64)
    return (place <= EXTREMES) | (place > pl.len().over("layer").cast(pl.Int64) - EXTREMES)


def _trace(frame: pl.DataFrame, value: str, unit: str, pages: Mapping[tuple[int, int], str], color: str, size: int, opacity: float) -> Json:
    rows = list(frame.select("layer", "neuron").iter_rows())
    return {
        "type": points(frame.height),
        "mode": "markers",
        "x": rounded(frame["x"]),
        "y": rounded(frame[value]),
        "customdata": [[*row, pages[row]] if row in pages else list(row) for row in rows],
        "marker": {"size": size, "color": color, "opacity": opacity, "line": line(0 if size < 6 else 1, "$surface")},
        "hovertemplate": f"layer %{{customdata[0]}} neuron %{{customdata[1]}}<br>{value} %{{y:.4f}} {unit}<extra></extra>",
    }


def _layout(frame: pl.DataFrame, value: str, unit: str) -> Json:
    layers = sorted(frame["layer"].unique().to_list())
    ranked = frame.sort(value, "layer", "neuron", descending=[True, False, False]).head(12)
    far = 0.5 * highest(frame[value])  # a label inside the cloud would single out noise
    candidates = [(row["x"], row[value], f"L{row['layer']} N{row['neuron']}") for row in ranked.iter_rows(named=True) if row[value] >= far]
    named = uncrowded(candidates, width=max(1.0, len(layers) * 0.12), height=reach(frame[value]) * 0.06, most=3)
    step = -(-len(layers) // 18)
    return layout(
        axis("layer", tickvals=layers[::step], range=[layers[0] - 0.6, layers[-1] + 0.6], showgrid=False),
        axis(f"{value} ({unit})" if unit else value),
        shapes=[horizontal(0, "solid")],
        margin={"l": 56, "r": 20, "t": 30, "b": 48},
        annotations=labels(named),
    )
