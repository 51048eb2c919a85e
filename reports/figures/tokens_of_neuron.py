"""Congruence of one neuron with every token of the vocabulary, a point a token, in the vocabulary's order."""

import polars as pl

from reports.figures.extent import highest, largest_size, lowest, reach
from reports.figures.figure import SERIES, Json, View, axis, horizontal, layout, points
from reports.figures.thinning import labels, thinned, uncrowded
from reports.numbers import rounded
from reports.text import plot_text

EXTREMES, MOST = 80, 2600  # names are the weight of this plot: 2,600 of them are about 60 kB a view


def tokens_view(label: str, frame: pl.DataFrame, tracked: set[int], unit: str) -> View:
    """A view of `frame` (token_id, token, congruence in `unit`). Tracked tokens and extremes stand out; the hover names each token."""
    if frame.is_empty():
        return View(label, (), layout(axis("vocabulary entry"), axis("congruence")), "Nothing was computed here.")
    extremes = max(5, min(EXTREMES, frame.height // 100))
    followed = pl.col("token_id").is_in(sorted(tracked))
    kept = thinned(
        frame.sort("token_id").with_columns(is_tracked=followed), "congruence", [], extremes, MOST, "tokens", always="is_tracked"
    )
    drawn = kept.frame
    data = [
        _trace(drawn.filter(~followed & ~pl.col("is_extreme")), "$dot", 4, 0.55),
        _trace(drawn.filter(~followed & pl.col("is_extreme")), "$dot_strong", 5, 0.9),
        _trace(drawn.filter(followed), SERIES[0], 9, 1.0),
    ]
    return View(label, tuple(trace for trace in data if trace["x"]), _layout(frame, unit), kept.note)


def _trace(frame: pl.DataFrame, color: str, size: int, opacity: float) -> Json:
    return {
        "type": points(frame.height),
        "mode": "markers",
        "x": frame["token_id"].to_list(),
        "y": rounded(frame["congruence"]),
        "customdata": [plot_text(token) for token in frame["token"]],
        "marker": {"size": size, "color": color, "opacity": opacity},
        "hovertemplate": "%{customdata}<br>entry %{x}, congruence %{y:.4f}<extra></extra>",
    }


def _layout(frame: pl.DataFrame, unit: str) -> Json:
    ends = pl.concat([frame.sort("congruence", "token_id", descending=[True, False]).head(8), frame.sort("congruence", "token_id").head(3)])
    margin = 0.02 * reach(frame["token_id"])
    far = 0.5 * largest_size(frame["congruence"])  # a label inside the cloud would single out noise
    candidates = [
        (row["token_id"], row["congruence"], plot_text(row["token"], 16))
        for row in ends.iter_rows(named=True)
        if abs(row["congruence"]) >= far
    ]
    named = uncrowded(candidates, width=reach(frame["token_id"]) * 0.12, height=reach(frame["congruence"]) * 0.06, most=9)
    return layout(
        axis(
            "vocabulary entry (token id)", showgrid=False, range=[lowest(frame["token_id"]) - margin, highest(frame["token_id"]) + margin]
        ),
        axis(f"congruence ({unit})"),
        shapes=[horizontal(0, "solid")],
        margin={"l": 56, "r": 20, "t": 30, "b": 48},
        annotations=labels(named),
    )
