"""The ablation section of a neuron's page: figures, a sentence a token, and the numbers behind them."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from reports.figures.ablation import ABLATIONS, control_figure, parts_figure
from reports.figures.figure import Figure
from reports.numbers import count, fixed, number, percent, plural
from reports.report_data import ReportData
from reports.text import quoted

SHOWN = "mean"  # the ablation that sentences tell: it leaves the neuron's average contribution in place
NOTABLE = 0.05


def ablation_section(data: ReportData, neuron: tuple[int, int]) -> dict[str, Any]:
    """What the template ablation.html shows: sentences, rows of the corpus table and rows of the prompt table; empty where nothing was run."""
    every = data.table("neuron_ablation")
    pairs = every.select("token_id", "layer", "neuron").n_unique()
    effects = _of(every, neuron)
    prompts = _of(data.table("prompt_ablation"), neuron)
    return {
        "sentences": _sentences(effects, pairs),
        "pairs": pairs,
        "rows": _rows(effects),
        "prompts": prompts.filter(pl.col("variant") == "clean").to_dicts(),
    }


def ablation_figures(data: ReportData, neuron: tuple[int, int]) -> list[Figure]:
    """Its figures; none where nothing was ablated."""
    effects = _of(data.table("neuron_ablation"), neuron)
    if effects.is_empty():
        return []
    return [control_figure(effects, _of(data.table("ablation_controls"), neuron)), parts_figure(effects)]


def _of(frame: pl.DataFrame, neuron: tuple[int, int]) -> pl.DataFrame:
    return frame.filter((pl.col("layer") == neuron[0]) & (pl.col("neuron") == neuron[1]))


def _rows(effects: pl.DataFrame) -> list[dict[str, Any]]:
    """One row per token, kind of positions and ablation, with every measure by name."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in effects.iter_rows(named=True):
        key = (row["token_id"], row["positions"], row["ablation"])
        shared = {name: row[name] for name in ("token_id", "token", "positions", "ablation", "position_count", "controls")}
        rows.setdefault(key, shared)[row["measure"]] = row
    return [row for row in rows.values() if row["ablation"] in ABLATIONS]


def _sentences(effects: pl.DataFrame, pairs: int) -> list[str]:
    """In plain words what the mean ablation does to each token where it is predicted; `pairs` were looked at in all."""
    return [
        _sentence(row, pairs)
        for row in _rows(effects)
        if row["positions"] == "predicted" and row["ablation"] == SHOWN and "log_probability" in row
    ]


def _sentence(row: Mapping[str, Any], pairs: int) -> str:
    change, token = row["log_probability"], quoted(row["token"])
    text = f"Where the model predicts {token}, replacing the activation by its mean changes the token's log-probability by "
    text += f"{fixed(change['effect'])}{_interval(change)} and flips {percent(row['flipped']['effect'])} of the top predictions"
    controls = plural(row["controls"], "control neuron")
    as_far = round(change["p_value"] * (1 + row["controls"])) - 1  # controls whose effect is at least as far from 0
    extreme = f"{as_far or 'none'} of {controls} {'changes' if as_far < 2 else 'change'} it as much"
    chance = f"p = {number(change['p_value'], 2)}, q = {number(change['q_value'], 2)}"
    if change["p_value"] > NOTABLE:
        return f"{text}. That is not out of the ordinary: {extreme} ({chance})."
    if change["q_value"] > NOTABLE:
        return f"{text}. Of its own kind it would stand out alone, but not among the {count(pairs)} pairs looked at: {extreme} ({chance})."
    direct, whole = abs(row["direct"]["effect"]), abs(row["direct"]["effect"]) + abs(row["mediated"]["effect"])
    way = "mostly straight to the logit" if direct >= whole / 2 else "mostly through later layers"
    return f"{text}. Of its own kind it stands out: {extreme} ({chance}). It works {way}."


def _interval(row: Mapping[str, Any]) -> str:
    return "" if row["ci_low"] is None else f" ({fixed(row['ci_low'])} to {fixed(row['ci_high'])})"
