"""The ablation section of a neuron's page: figures, a sentence a token, and the numbers behind them."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from assets.ablation.replacements import TOLD_ABLATION
from assets.evidence_cards.evidence_lines import STANDS_OUT
from reports.evidence import OWN_POSITIONS
from reports.figures.ablation import ABLATIONS, control_figure, parts_figure
from reports.figures.extent import highest
from reports.figures.figure import Figure
from reports.numbers import count, fixed, number, percent, plural
from reports.report_data import ReportData
from reports.text import quoted

# What a reader must know of where a p-value comes from.
SOURCES = {
    "counted": "",
    "tail": "by the tail of the controls' changes, ",
    "floor": "the lowest told with so many controls, ",
}


def ablation_section(data: ReportData, neuron: tuple[int, int]) -> dict[str, Any]:
    """What the template ablation.html shows: sentences, rows of the corpus table and rows of the prompt table; empty where nothing was run."""
    every = data.table("neuron_ablation")
    pairs = every.select("token_id", "layer", "neuron").n_unique()
    effects = _effects(data, neuron)
    prompts = _of(data.table("prompt_ablation"), neuron)
    return {
        "sentences": _sentences(effects, _of(data.table("ablation_controls"), neuron), pairs),
        "pairs": pairs,
        "rows": _rows(effects),
        "prompts": prompts.filter(pl.col("variant") == "clean").to_dicts(),
    }


def ablation_figures(data: ReportData, neuron: tuple[int, int]) -> list[Figure]:
    """Its figures; none where nothing was ablated."""
    effects = _effects(data, neuron)
    if effects.is_empty():
        return []
    return [control_figure(effects, _of(data.table("ablation_controls"), neuron)), parts_figure(effects)]


def _of(frame: pl.DataFrame, neuron: tuple[int, int]) -> pl.DataFrame:
    return frame.filter((pl.col("layer") == neuron[0]) & (pl.col("neuron") == neuron[1]))


def _effects(data: ReportData, neuron: tuple[int, int]) -> pl.DataFrame:
    """The neuron's rows of neuron_ablation, those of the token first that it predicts best."""
    order = _of(data.scores, neuron).select("token_id", "separation")
    effects = _of(data.table("neuron_ablation"), neuron).join(order, on="token_id", how="left", maintain_order="left")
    return effects.sort("separation", descending=True, nulls_last=True, maintain_order=True).drop("separation")


def _rows(effects: pl.DataFrame) -> list[dict[str, Any]]:
    """One row per token, kind of positions and ablation, with every measure by name."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in effects.iter_rows(named=True):
        key = (row["token_id"], row["positions"], row["ablation"])
        shared = {name: row[name] for name in ("token_id", "token", "positions", "ablation", "position_count", "controls")}
        rows.setdefault(key, shared)[row["measure"]] = row
    return [row for row in rows.values() if row["ablation"] in ABLATIONS]


def _sentences(effects: pl.DataFrame, controls: pl.DataFrame, pairs: int) -> list[str]:
    """In plain words what the mean ablation does to each token where it is predicted; `pairs` were looked at in all."""
    return [
        _sentence(row, controls.filter(pl.col("token_id") == row["token_id"], positions=row["positions"]), pairs)
        for row in _rows(effects)
        if row["positions"] in OWN_POSITIONS and row["ablation"] == TOLD_ABLATION and "log_probability" in row
    ]


def _sentence(row: Mapping[str, Any], controls: pl.DataFrame, pairs: int) -> str:
    change, token = row["log_probability"], quoted(row["token"])
    verb = "raises" if change["effect"] > 0 else "lowers"
    where = f"Where {token} comes next" if row["positions"] == "next_token" else f"Where the model predicts {token}"
    text = f"{where}, replacing the activation by its mean {verb} the token's log-probability by "
    text += f"{fixed(abs(change['effect']))} nat{_interval(change)} and flips {percent(row['flipped']['effect'])} of the top predictions"
    extreme = _among(change, controls)
    chance = f"p = {number(change['p_value'], 2)}, {SOURCES[change['p_value_source']]}q = {number(change['q_value'], 2)}"
    if change["p_value"] > STANDS_OUT:
        return f"{text}. That is not out of the ordinary: {extreme} ({chance})."
    if change["q_value"] > STANDS_OUT:
        return f"{text}. By itself that would stand out, but not among the {count(pairs)} pairs told of: {extreme} ({chance})."
    return f"{text}. That stands out: {extreme} ({chance}){_unlike(controls)}. {_way(row)}"


def _among(change: Mapping[str, Any], controls: pl.DataFrame) -> str:
    """The change beside those of the controls: a multiple of the largest or, where some go as far, how many; and over which positions."""
    amount, times = plural(change["controls"], "control neuron"), change["times_largest_control"]
    some = change["compared_positions"] < change["position_count"]
    over = f", over {count(change['compared_positions'])} of these positions" if some else ""
    if times is None:
        return f"none of {amount} changes it at all{over}"
    if times > 1:
        return f"it is {number(times, 2)} times the largest change among {amount}{over}"
    same = controls.filter(pl.col("ablation") == change["ablation"])
    as_far = same.filter(pl.col(change["measure"]).abs() >= abs(change["compared_effect"])).height
    return f"{count(as_far)} of {amount} {'changes' if as_far == 1 else 'change'} it as much{over}"


def _unlike(controls: pl.DataFrame) -> str:
    """What weakens the comparison: that the neuron writes more, or fires more, than every control."""
    if controls.is_empty():
        return ""
    beyond = [
        words
        for words, column in (("writes more strongly", "output_norm"), ("is above zero more often", "share_above_zero"))
        if controls[f"neuron_{column}"][0] > highest(controls[column])
    ]
    return f", though it {' and '.join(beyond)} than any of them" if beyond else ""


def _way(row: Mapping[str, Any]) -> str:
    direct, mediated = abs(row["direct"]["effect"]), abs(row["mediated"]["effect"])
    if mediated <= 1e-6 * direct:  # float noise: nothing between the neuron and the unembedding changes what it writes
        return "All of it goes straight to the logit."
    return f"It works mostly {'straight to the logit' if direct >= mediated else 'through later layers'}."


def _interval(row: Mapping[str, Any]) -> str:
    """The interval of the size of the change, whichever way the change goes."""
    if row["ci_low"] is None:
        return ""
    ends = (row["ci_low"], row["ci_high"]) if row["effect"] > 0 else (-row["ci_high"], -row["ci_low"])
    return f" (95 % interval {fixed(ends[0])} to {fixed(ends[1])})"
