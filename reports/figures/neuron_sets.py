"""The figure of neurons patched together: what the growing set restores, and beside it what each of its neurons restores alone."""

import polars as pl

from reports.figures.figure import SERIES, Figure, Json, View, axis, horizontal, layout, legend_on_top, line
from reports.numbers import rounded


def neuron_sets_figure(sets: pl.DataFrame) -> Figure:
    """One view of the rows of patched_neuron_sets of one prompt, of which there is at least one, smallest set first."""
    sizes = sets["size"].to_list()
    neurons = [f"layer {row['layer']} neuron {row['neuron']}" for row in sets.iter_rows(named=True)]
    shape = layout(
        axis("neurons patched together", tickvals=sizes, range=[0.6, max(2, sizes[-1]) + 0.4], showgrid=False),
        axis("share of the logit difference restored", rangemode="tozero"),
        shapes=[horizontal(1), horizontal(0, "solid")],
        showlegend=True,
        legend=legend_on_top(),
    )
    together = {
        **_points("together", sizes, sets["restored"], neurons, "with %{customdata}"),
        "mode": "lines+markers",
        "line": line(2, SERIES[0]),
        "marker": {"size": 8, "color": SERIES[0]},
    }
    alone = {
        **_points("the neuron alone", sizes, sets["alone"], neurons, "%{customdata} alone"),
        "mode": "markers",
        "marker": {"size": 9, "color": SERIES[1], "symbol": "circle-open", "line": line(2, SERIES[1])},
    }
    return Figure(
        name="neuron-sets",
        title="Neurons patched together",
        note="Line: the share of the logit difference that comes back when neurons have their clean activation at the last position of the "
        "corrupt prompt, one neuron more at each step; rings: what each of them brings back alone.",
        summary="Share of the logit difference restored by growing sets of neurons, and by each of their neurons alone.",
        height=340,
        views=(View("", (together, alone), shape),),
    )


def _points(name: str, sizes: list[int], shares: pl.Series, neurons: list[str], said: str) -> Json:
    return {
        "type": "scatter",
        "name": name,
        "x": sizes,
        "y": rounded(shares, 4),
        "customdata": neurons,
        "hovertemplate": f"{said}<br>%{{y:.1%}} restored<extra></extra>",
    }
