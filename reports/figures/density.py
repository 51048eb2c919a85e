"""How many neurons lie where, as shades: what stands behind the outlying points of a scatter with more points than a page should hold.

A point takes some forty bytes of a page, and thousands of them hide each other; a cell takes ten, and says how many it holds.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from reports.figures.figure import Json
from reports.numbers import count

MOST_POINTS = 1500  # of a frame that is drawn whole
ROWS, COLUMNS = 40, 40
BELOW = 0.6  # of a power of ten, between no neuron and one: a single neuron is seen


def density(x: pl.Series, y: pl.Series, centres: Sequence[float] | None = None) -> Json:
    """A trace of shades by powers of ten: ROWS of equal height from the lowest to the highest y, and as many columns as there are centres.

    Without `centres` there are COLUMNS of equal width over x; with them each x counts where it is nearest, and they must ascend by 1.
    """
    edges = np.linspace(*_ends(x), COLUMNS + 1) if centres is None else np.append(np.asarray(centres, float) - 0.5, centres[-1] + 0.5)
    heights = np.linspace(*_ends(y), ROWS + 1)
    counts = np.histogram2d(y.to_numpy(), x.to_numpy(), bins=(heights, edges))[0].astype(np.int64)  # [row, column]
    return {
        "type": "heatmap",
        "x0": _told((edges[0] + edges[1]) / 2),
        "dx": _told(edges[1] - edges[0]),
        "y0": _told((heights[0] + heights[1]) / 2),
        "dy": _told(heights[1] - heights[0]),
        "z": [[round(float(np.log10(held)), 1) if held else None for held in row] for row in counts],
        "text": counts.tolist(),  # 0 is shorter than null, and not shown: nothing is told of a gap
        "zmin": -BELOW,
        "zmax": _told(np.log10(counts.max())),
        "colorscale": [[0, "$surface"], [1, "$dot"]],
        "showscale": False,
        "hoverongaps": False,
        "hovertemplate": "neurons here: %{text}<extra></extra>",
        **({} if centres is None else {"xgap": 4}),
    }


def note_of(neurons: int, points: str) -> str:
    """What a reader must know of a figure with shades. `points`: which neurons are points."""
    return f"Points: of {count(neurons)} neurons {points}. Shades: how many neurons lie there, by powers of ten."


def _ends(values: pl.Series) -> tuple[float, float]:
    low, high = float(np.min(values.to_numpy())), float(np.max(values.to_numpy()))
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _told(value: float) -> float:
    return float(f"{value:.7g}")
