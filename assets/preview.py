"""What the UI shows of a published output beside its numbers: a few rows of its first table, and a small picture of two of them.

Reads only as much of a table as it shows. Knows no Dagster; the report draws its own, larger figures in `reports/`.
"""

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from assets.contracts import TABLES, Table
from assets.tables import scan_table

ROWS, COLUMNS = 5, 6  # as many as the UI shows without scrolling
LONGEST_TEXT = 60
WIDTH, HEIGHT, MARGIN, LEGEND = 560, 250, 36, 30  # of a picture, in pixels; the legend stands below the axes
PICTURED = ("proportion_curves", "logit_lens")
COLOURS = ("#1f5fa8", "#c2571a", "#3a7d44", "#7b4b94")


@dataclass(frozen=True)
class View:
    """Which columns of a table are worth a look, and the column that ranks its rows, highest first; "" keeps the stored order."""

    columns: tuple[str, ...]
    ranked: str = ""


_NEURON = ("layer", "neuron")

# Tables whose first rows and columns would say little; of every other table the first five rows of six columns are shown.
VIEWS = {
    "model_parity": View(("document", "positions", "largest_logit_difference", "prediction_disagreements"), "largest_logit_difference"),
    "corpus_documents": View(("document", "text", "characters", "is_duplicate")),
    "token_counts": View(("token", "occurrences", "predictions", "correct_predictions"), "predictions"),
    "neuron_statistics": View((*_NEURON, "mean", "variance", "maximum", "share_above_zero"), "maximum"),
    "token_neuron_scores": View(("token", *_NEURON, "auroc", "average_precision", "highest_proportion"), "auroc"),
    "proportion_curves": View(("token", *_NEURON, "bin_left", "count", "proportion"), "top_prediction_count"),
    "embedding_predictions": View(("token", "predictions"), "predictions"),
    "neuron_contexts": View((*_NEURON, "side", "rank", "token", "activation")),
    "congruence_tokens": View(("convention", "token", "rank", *_NEURON, "congruence")),
    "prompt_predictions": View(("prompt", "variant", "rank", "token", "probability")),
    "logit_lens": View(("prompt", "variant", "scale", "layer", "point", "difference")),
    "activation_patching": View(("prompt", "component", "layer", "token", "improvement"), "improvement"),
    "neuron_patching": View(("prompt", "positions", *_NEURON, "improvement"), "improvement"),
    "neuron_inputs": View((*_NEURON, "component", "source_layer", "head", "contribution"), "contribution"),
    "neuron_ablation": View(("token", *_NEURON, "ablation", "measure", "effect")),
    "prompt_ablation": View(("prompt", *_NEURON, "ablation", "token", "before", "after")),
    "replication_scorecard": View(("claim", "expected", "observed_correct", "verdict")),
    "data_quality": View(("asset", "expectation", "passed", "observed")),
}


@dataclass(frozen=True)
class Series:
    """One line of a picture: its name, and where it goes."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def view_of(table: Table) -> View:
    """What is shown of a table."""
    return VIEWS.get(table.name, View(tuple(table.schema.names()[:COLUMNS])))


def preview(table: Table, folder: Path) -> list[dict[str, Any]]:
    """A few rows of a published table as plain values, as its view says."""
    frame, view = scan_table(folder, table), view_of(table)
    if view.ranked:
        finite = frame.filter(
            pl.col(view.ranked).is_finite() if table.schema[view.ranked].is_float() else pl.col(view.ranked).is_not_null()
        )
        others = [name for name in table.key if name != view.ranked]  # ties are always shown in the same order
        frame = finite.sort(view.ranked, *others, descending=[True] + [False] * len(others))
    texts = {column.name for column in table.columns if column.unit == "text" and column.name.endswith(("token", "prediction"))}
    rows = frame.select(view.columns).head(ROWS).collect()
    return [{name: _plain(value, name in texts) for name, value in row.items()} for row in rows.iter_rows(named=True)]


def _plain(value: Any, quoted: bool) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else str(value)
    if value is None or isinstance(value, bool | int):
        return value
    text = json.dumps(value, ensure_ascii=False) if quoted and isinstance(value, str) else str(value)  # " an" shows its space
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


def picture(asset: str, folder: Path) -> str | None:
    """Markdown with a small line picture of the output, or None where there is nothing to draw."""
    if asset == "proportion_curves":
        title, series = "Share of positions where the token is the top prediction, by activation", _best_curves(folder)
    elif asset == "logit_lens":
        title, series = (
            "Logit of the answer minus the wrong answer after each layer (first prompt, final scale)",
            _first_lens(folder),
        )
    else:
        return None
    if not series:
        return None
    image = base64.b64encode(drawing(title, series).encode()).decode()
    return f"![{title}](data:image/svg+xml;base64,{image})"


def _best_curves(folder: Path) -> list[Series]:
    """For each tracked token the curve that rises highest in a reliable bin; as many as there are colours."""
    reliable = scan_table(folder, TABLES["proportion_curves"]).filter(
        "reliable", pl.col("bin_left").is_finite(), pl.col("bin_right").is_finite()
    )
    curves = reliable.sort("bin_left").collect()  # without what lies outside the bins
    best = curves.sort("proportion", "count", "layer", "neuron", descending=[True, True, False, False])
    best = best.unique("token_id", keep="first", maintain_order=True).head(len(COLOURS))
    drawn = []
    for row in best.iter_rows(named=True):
        curve = curves.filter(layer=row["layer"], neuron=row["neuron"], token_id=row["token_id"])
        name = f"{json.dumps(row['token'], ensure_ascii=False)}: layer {row['layer']} neuron {row['neuron']}"
        drawn.append(Series(name, ((curve["bin_left"] + curve["bin_right"]) / 2).to_list(), curve["proportion"].to_list()))
    return drawn


def _first_lens(folder: Path) -> list[Series]:
    lens = scan_table(folder, TABLES["logit_lens"]).filter(scale="final", point="mlp").sort("layer").collect()
    if lens.is_empty():
        return []
    first = lens.filter(prompt=lens["prompt"][0])
    return [
        Series(str(variant), rows["layer"].to_list(), rows["difference"].to_list())
        for (variant,), rows in first.group_by("variant", maintain_order=True)
    ]


def drawing(title: str, series: Sequence[Series]) -> str:
    """An SVG of the lines over common axes, with the range of each axis at its ends and the names in the lines' colours."""
    xs, ys = _range([series_.x for series_ in series]), _range([series_.y for series_ in series])
    width, height = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN - LEGEND
    bottom = MARGIN + height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<title>{escape(title)}</title><rect width="100%" height="100%" fill="#ffffff"/>',
        f'<rect x="{MARGIN}" y="{MARGIN}" width="{width}" height="{height}" fill="none" stroke="#b8bcc4"/>',
        *(
            f'<text x="{x}" y="{y}" text-anchor="{anchor}">{value:.3g}</text>'
            for x, y, anchor, value in (
                (MARGIN, bottom + 14, "start", xs[0]), (WIDTH - MARGIN, bottom + 14, "end", xs[1]),
                (MARGIN - 4, bottom, "end", ys[0]), (MARGIN - 4, MARGIN + 8, "end", ys[1]),
            )
        ),
    ]  # fmt: skip
    for place, (line, colour) in enumerate(zip(series, COLOURS, strict=False)):
        points = " ".join(
            f"{MARGIN + width * (x - xs[0]) / (xs[1] - xs[0]):.1f},{MARGIN + height * (ys[1] - y) / (ys[1] - ys[0]):.1f}"
            for x, y in zip(line.x, line.y, strict=True)
        )
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
        x, y = MARGIN + place % 2 * width // 2, bottom + 34 + 15 * (place // 2)
        parts.append(f'<text x="{x}" y="{y}" fill="{colour}">{escape(line.name)}</text>')
    parts.append(f'<text x="{MARGIN}" y="{MARGIN - 12}" font-weight="bold">{escape(title)}</text></svg>')
    return "".join(parts)


def _range(values: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Smallest and largest of all lines' values, widened where they are one."""
    low, high = min(map(min, values)), max(map(max, values))
    return (low, high) if high > low else (low - 0.5, high + 0.5)
