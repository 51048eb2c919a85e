"""The figure of a prompt set: the first neurons with the median and the quartiles of what each restores, and beside them single prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from reports.figures.figure import SERIES, Figure, Json, View, axis, horizontal, layout, legend_on_top, line
from reports.numbers import percent, rounded


@dataclass(frozen=True)
class OnPrompt:
    """What a prompt of the study says of the neurons that are drawn, in their order; missing where their layer was not patched."""

    prompt: str
    improvements: pl.Series


def prompt_set_figure(neurons: pl.DataFrame, prompts: Sequence[OnPrompt], pages: Mapping[tuple[int, int], str]) -> Figure:
    """One view of rows of prompt_set_patching, of which there is at least one, in the order in which they are drawn. `pages`: of neurons."""
    places = list(range(neurons.height))
    names = [f"L{row['layer']} N{row['neuron']}" for row in neurons.iter_rows(named=True)]
    shape = layout(
        axis(
            "neurons, largest median first", tickvals=places, ticktext=names, tickangle=-45, range=[-0.6, len(places) - 0.4], showgrid=False
        ),
        axis("share of the logit difference restored"),
        shapes=[horizontal(1), horizontal(0, "solid")],
        showlegend=True,
        legend=legend_on_top(),
    )
    rings = [_on_prompt(one, places, names, SERIES[1 + number]) for number, one in enumerate(prompts)]
    return Figure(
        name="prompt-set",
        title="What each neuron restores over the set",
        note="Each neuron's clean activation at the last position is put into the corrupt run, alone, on every pair. Dot: the median of the pairs; "
        f"bar: from the lower to the upper quartile{'; ring: the number of a single prompt of the study' if rings else ''}.",
        summary="Median and quartiles of the share of the logit difference that each of the first neurons restores alone over the pairs of the set.",
        height=420,
        views=(View("", (_medians(neurons, places, names, pages), *rings), shape),),
    )


def _medians(neurons: pl.DataFrame, places: list[int], names: list[str], pages: Mapping[tuple[int, int], str]) -> Json:
    rows = list(neurons.iter_rows(named=True))
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"median of {rows[0]['pairs']} pairs, and quartiles" if rows[0]["pairs"] > 1 else "the one pair",
        "x": places,
        "y": rounded(neurons["median"], 4),
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": rounded(neurons["upper_quartile"] - neurons["median"], 4),
            "arrayminus": rounded(neurons["median"] - neurons["lower_quartile"], 4),
            "color": SERIES[0],
            "thickness": 2,
            "width": 5,
        },
        "customdata": [
            [
                name,
                f"{percent(row['lower_quartile'])} to {percent(row['upper_quartile'])}",
                pages.get((row["layer"], row["neuron"]), ""),  # in the place at which a click looks for it
                percent(row["first_ten_share"], 0),
            ]
            for name, row in zip(names, rows, strict=True)
        ],
        "marker": {"size": 10, "color": SERIES[0]},
        "hovertemplate": "%{customdata[0]}<br>median %{y:.1%}, quartiles %{customdata[1]}<br>among the first ten in %{customdata[3]} of the "
        "pairs<extra></extra>",
    }


def _on_prompt(one: OnPrompt, places: list[int], names: list[str], color: str) -> Json:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"on the prompt {one.prompt}",
        "x": places,
        "y": rounded(one.improvements, 4),
        "customdata": names,
        "marker": {"size": 10, "color": color, "symbol": "circle-open", "line": line(2, color)},
        "hovertemplate": f"%{{customdata}} on the prompt {one.prompt}<br>%{{y:.1%}} restored<extra></extra>",
    }
