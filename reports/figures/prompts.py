"""Figures of one prompt: the logit lens, and heat maps of what patching restores, by layer and position or head."""

from typing import Any

import polars as pl

from reports.figures.extent import largest_size
from reports.figures.figure import SERIES, Figure, Json, View, axis, horizontal, layout, legend_on_top, line
from reports.numbers import fixed, rounded
from reports.text import plot_text, quoted

POINTS = {"before": 0.0, "attention": 1 / 3, "mlp": 2 / 3}  # where in its block a point is read, as a share of the layer
POINT_WORDS = {"before": "before layer", "attention": "after attention of layer", "mlp": "after MLP of layer"}
SCALES = {
    "own": ("Own scale", "The final norm is applied to each point by itself."),
    "final": ("Final scale", "Every point is divided by the norm of the last layer."),
    "published": ("As published", "As final scale, without the final norm's bias: the published figure."),
}
COMPONENTS = {
    "residual": "Residual stream, before each layer",
    "attention": "Attention output",
    "mlp": "MLP output",
}
HEAD = "head"


def logit_lens_figure(name: str, lens: pl.DataFrame, answer: str, wrong_answer: str) -> Figure:
    """Difference of the two answers' logits along the layers, clean and corrupt, one view a scale."""
    views = tuple(
        View(label, _lens_traces(lens.filter(pl.col("scale") == scale)), _lens_layout(lens), note)
        for scale, (label, note) in SCALES.items()
        if lens.filter(pl.col("scale") == scale).height
    )
    return Figure(
        name=name,
        title="Logit lens",
        note=f"Logit of {quoted(answer)} minus logit of {quoted(wrong_answer)}, read from the residual stream at the last position "
        "three times a layer: before it, after its attention, after its MLP. Above zero, the answer leads.",
        summary=f"Logit difference of {quoted(answer)} and {quoted(wrong_answer)} by layer.",
        height=400,
        views=views,
        legend_label="Scale",
    )


def _lens_traces(lens: pl.DataFrame) -> tuple[Json, ...]:
    traces = []
    for variant, color, dash in (("clean", SERIES[0], "solid"), ("corrupt", SERIES[1], "dash")):
        rows = (
            lens.filter(pl.col("variant") == variant)
            .with_columns(x=pl.col("layer") + pl.col("point").replace_strict(POINTS, return_dtype=pl.Float64))
            .sort("x")
        )
        if rows.is_empty():
            continue
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": variant,
                "x": rounded(rows["x"]),
                "y": rounded(rows["difference"]),
                "line": line(2, color, dash=dash),
                "marker": {"size": 6, "color": color},
                "customdata": [
                    [f"{POINT_WORDS[row['point']]} {row['layer']}", *rounded([row["answer_logit"], row["wrong_answer_logit"]])]
                    for row in rows.iter_rows(named=True)
                ],
                "hovertemplate": f"{variant}, %{{customdata[0]}}<br>difference %{{y:.3f}}<br>"
                "answer %{customdata[1]:.3f}, wrong answer %{customdata[2]:.3f}<extra></extra>",
            }
        )
    return tuple(traces)


def _lens_layout(lens: pl.DataFrame) -> Json:
    layers = sorted(lens["layer"].unique().to_list())
    return layout(
        axis("layer", tickvals=layers[:: -(-len(layers) // 18)]),
        axis("logit difference"),
        shapes=[horizontal(0, "solid")],
        showlegend=True,
        legend=legend_on_top(),
    )


def patching_figures(name: str, patching: pl.DataFrame) -> list[Figure]:
    """One heat map for each component, layer by position, and one of single heads, on one shared colour scale, symmetric about 0."""
    if patching.is_empty():
        return []
    limit = max(0.05, largest_size(patching["improvement"]))
    figures = []
    heads = patching.filter(pl.col("component") == HEAD)
    for component, title in COMPONENTS.items():
        rows = patching.filter(pl.col("component") == component)
        if rows.height:
            figures.append(_heat_map(f"{name}-{component}", title, rows, limit))
    return [*figures, _head_map(f"{name}-heads", heads, limit)] if heads.height else figures


def best_heads(patching: pl.DataFrame, shown: int) -> list[dict[str, Any]]:
    """The rows of single heads in activation_patching that move the logit difference most, either way; of equals the lower comes first."""
    heads = patching.filter((pl.col("component") == HEAD) & (pl.col("improvement") != 0))
    size = pl.col("improvement").abs()
    return heads.sort(size, "layer", "head", "position", descending=[True, False, False, False]).head(shown).to_dicts()


def _head_map(name: str, heads: pl.DataFrame, limit: float) -> Figure:
    """Single heads, layer by head: at the last position, and at whichever position moves the difference most."""
    last = heads.filter(pl.col("position") == pl.col("position").max())
    strongest = heads.sort(pl.col("improvement").abs(), descending=True, maintain_order=True).unique(["layer", "head"], keep="first")
    views = []
    for label, rows in (("Last position", last), ("Strongest position", strongest)):
        cells = rows.sort("layer", "head")
        best = cells.sort("improvement", "layer", "head", descending=[True, False, False]).row(0, named=True)
        note = f"Most restoring: layer {best['layer']} head {best['head']}, {fixed(best['improvement'])}"
        note += f", at {quoted(best['token'])} (position {best['position']})."
        views.append(View(label, (_head_trace(cells, limit),), _head_layout(cells), note))
    layers = heads["layer"].n_unique()
    return Figure(
        name=name,
        title="Single attention heads",
        note="What one head adds to the attention output: its slice of the output projection's input comes from the clean run, the other "
        "heads keep theirs. Strongest position: for each head, the position at which that changes the logit difference most.",
        summary="Improvement by layer and head when a single attention head is patched.",
        height=min(720, 190 + 22 * max(6, layers)),
        views=tuple(views),
        legend_label="Patched at",
    )


def _head_trace(cells: pl.DataFrame, limit: float) -> Json:
    grid = cells.group_by("layer", maintain_order=True).agg("improvement", "token", "position")
    return {
        **_heat(limit),
        "x": cells["head"].unique().sort().to_list(),
        "y": grid["layer"].to_list(),
        "z": [rounded(row, 4) for row in grid["improvement"].to_list()],
        "customdata": [
            [f"{plot_text(token)} (position {position})" for token, position in zip(row["token"], row["position"], strict=True)]
            for row in grid.iter_rows(named=True)
        ],
        "hovertemplate": "layer %{y} head %{x}, at %{customdata}<br>improvement %{z:.3f}<extra></extra>",
    }


def _head_layout(cells: pl.DataFrame) -> Json:
    layers, heads = (cells[name].unique().sort().to_list() for name in ("layer", "head"))
    return layout(
        axis("head", tickvals=heads[:: -(-len(heads) // 16)], showgrid=False, ticks=""),
        axis("layer", tickvals=layers[:: -(-len(layers) // 12)], showgrid=False, ticks=""),
        margin={"l": 48, "r": 8, "t": 12, "b": 40},
    )


def _heat(limit: float) -> Json:
    """What all heat maps share: the colours, symmetric about 0, and their scale."""
    return {
        "type": "heatmap",
        "zmin": -limit,
        "zmax": limit,
        "colorscale": [[0, "$low"], [0.5, "$mid"], [1, "$high"]],
        "xgap": 1,
        "ygap": 1,
        "colorbar": {
            "title": {"text": "improvement", "side": "right", "font": {"size": 12, "color": "$muted"}},
            "thickness": 10,
            "outlinewidth": 0,
            "tickfont": {"size": 12, "color": "$muted"},
            "len": 1,
            "x": 1.02,
            "nticks": 5,
        },
    }


def _heat_map(name: str, title: str, rows: pl.DataFrame, limit: float) -> Figure:
    layers = sorted(rows["layer"].unique().to_list())
    positions = rows.select("position", "token").unique(subset="position").sort("position")
    grid = rows.sort("layer", "position").group_by("layer", maintain_order=True).agg("improvement")
    ticks = [plot_text(token, 14) for token in positions["token"]]
    trace = {
        **_heat(limit),
        "x": positions["position"].to_list(),
        "y": layers,
        "z": [rounded(row, 4) for row in grid["improvement"].to_list()],
        "customdata": [[plot_text(token) for token in positions["token"]]] * len(layers),
        "hovertemplate": "layer %{y}, position %{x}: %{customdata}<br>improvement %{z:.3f}<extra></extra>",
    }
    best = rows.sort("improvement", "layer", "position", descending=[True, False, False]).row(0, named=True)
    shape = layout(
        axis("", tickvals=positions["position"].to_list(), ticktext=ticks, tickangle=-90, showgrid=False, ticks=""),
        axis("layer", tickvals=layers[:: -(-len(layers) // 12)], showgrid=False, ticks=""),
        margin={"l": 48, "r": 8, "t": 12, "b": 30},
    )
    return Figure(
        name=name,
        title=title,
        note=f"Strongest: layer {best['layer']} at {quoted(best['token'])} (position {best['position']}), {fixed(best['improvement'])}.",
        summary=f"Improvement by layer and position when the {title.lower()} is patched.",
        height=min(720, 190 + 22 * max(6, len(layers))),
        views=(View("", (trace,), shape),),
    )
