"""Two values of every neuron against each other: what it predicts against what it writes, what a gradient estimates against what is so."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

from reports.figures.density import MOST_POINTS, density, note_of
from reports.figures.extent import highest, largest_size, lowest, reach
from reports.figures.figure import SERIES, Json, View, axis, horizontal, layout, line, points
from reports.figures.thinning import labels, uncrowded
from reports.numbers import count, rounded

FARTHEST = 400  # points by the distance from where nothing is said, where not all neurons are drawn


@dataclass(frozen=True)
class Measure:
    """One axis: the column, how it is called, and the value that says nothing."""

    column: str
    title: str
    neutral: float


def pairs_view(
    label: str,
    frame: pl.DataFrame,
    x: Measure,
    y: Measure,
    pages: Mapping[tuple[int, int], str],
    marked: Collection[tuple[int, int]],
    diagonal: bool = False,
) -> View:
    """A point a neuron: `frame` has layer, neuron and both columns. `marked` neurons stand out; `diagonal` draws x = y.

    Of more than MOST_POINTS neurons the farthest and the marked ones are points, and all are counted by shades behind them.
    """
    known = frame.drop_nulls([x.column, y.column])
    if known.is_empty():
        return View(label, (), layout(axis(x.title), axis(y.title)), f"No neuron has both: {x.title} and {y.title}.")
    distances = [(pl.col(one.column) - one.neutral).abs() / largest_size(known[one.column] - one.neutral) for one in (x, y)]
    known = known.with_columns(
        distance=distances[0] + distances[1],
        is_marked=pl.Series([row in marked for row in known.select("layer", "neuron").iter_rows()], dtype=pl.Boolean),
    )
    drawn, note = known, ""
    data: list[Json] = []
    if known.height > MOST_POINTS:
        data.append(density(known[x.column], known[y.column]))
        note = note_of(
            known.height, f"the {count(FARTHEST)} farthest from the neutral point" + (", and those that stand out" if marked else "")
        )
        drawn = known.filter((pl.col("distance").rank("ordinal", descending=True) <= FARTHEST) | pl.col("is_marked"))
    data.append(_trace(drawn.filter(~pl.col("is_marked")), x, y, pages, "$dot_strong" if note else "$dot", 5, 0.6))
    special = drawn.filter("is_marked")
    if special.height:
        data.append(_trace(special, x, y, pages, SERIES[0], 9, 1.0))
    shapes = [horizontal(y.neutral)]
    if diagonal:
        ends = max(lowest(known[x.column]), lowest(known[y.column])), min(highest(known[x.column]), highest(known[y.column]))
        shapes.append(
            {
                "type": "line",
                "x0": ends[0],
                "y0": ends[0],
                "x1": ends[1],
                "y1": ends[1],
                "line": line(1, "$muted", dash="dot"),
                "layer": "below",
            }
        )
    return View(label, tuple(data), _layout(special if special.height else drawn, known, x, y, shapes), note)


def _trace(
    frame: pl.DataFrame, x: Measure, y: Measure, pages: Mapping[tuple[int, int], str], color: str, size: int, opacity: float
) -> Json:
    rows = list(frame.select("layer", "neuron").iter_rows())
    return {
        "type": points(frame.height),
        "mode": "markers",
        "x": rounded(frame[x.column]),
        "y": rounded(frame[y.column]),
        "customdata": [[*row, pages[row]] if row in pages else list(row) for row in rows],
        "marker": {"size": size, "color": color, "opacity": opacity, "line": line(0 if size < 6 else 1, "$surface")},
        "hovertemplate": f"layer %{{customdata[0]}} neuron %{{customdata[1]}}<br>{y.title} %{{y:.4f}}<br>{x.title} %{{x:.4f}}<extra></extra>",
    }


def _layout(named: pl.DataFrame, known: pl.DataFrame, x: Measure, y: Measure, shapes: list[Json]) -> Json:
    distance = (pl.col(y.column) - y.neutral).abs()
    best = named.sort(distance, "layer", "neuron", descending=[True, False, False]).head(12)
    far = 0.3 * largest_size(known[y.column] - y.neutral)  # a label inside the cloud would single out noise
    best = best.filter(distance >= far)
    candidates = [(row[x.column], row[y.column], f"L{row['layer']} N{row['neuron']}") for row in best.iter_rows(named=True)]
    return layout(
        axis(x.title),
        axis(y.title),
        shapes=shapes,
        annotations=labels(uncrowded(candidates, reach(known[x.column]) * 0.14, reach(known[y.column]) * 0.07, 5)),
        margin={"l": 56, "r": 20, "t": 30, "b": 48},
    )
