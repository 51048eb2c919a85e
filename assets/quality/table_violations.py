"""Exact numbers of broken rules in published tables: the small frames that Great Expectations judges.

Holds counting only: one row per column, per table, per curve, per layer. NaN always counts as a violation, never as a value.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from assets.ablation.p_values import COUNTED, FLOOR, MOST_MODELLED, TAIL_MODEL
from assets.contracts import NEURON_STATISTICS, Column, Table
from assets.statistics.candidates import NAMED
from assets.statistics.contributions import WRITES, WRITES_AGAINST

ABSENT = "absent"
Grid = Mapping[str, Sequence[int | str]]


def of_contract(table: Table, frame: pl.DataFrame, grid: Grid | None = None) -> dict[str, pl.DataFrame]:
    """The frames `columns` and `rows` of any table; `grid`, if it must hold a whole one: all values of some or all key columns."""
    return {"columns": columns(table, frame), "rows": rows(table, frame), **({"grid": cells(frame, grid)} if grid is not None else {})}


def columns(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """One row per column, promised ones first: what was promised and found (dtype and place), forbidden missing values, and numbers
    outside the column's limits."""
    found = {name: f"{place}: {name} {dtype}" for place, (name, dtype) in enumerate(frame.schema.items())}
    promised = {name: f"{place}: {name} {dtype}" for place, (name, dtype) in enumerate(table.schema.items())}
    contracts = {column.name: column for column in table.columns}
    names = [*promised, *(name for name in found if name not in promised)]
    is_judged = {name: name in found and name in promised for name in names}
    nullable = {name for name, column in contracts.items() if column.nullable}
    missing = [_missing(frame[name]) if is_judged[name] and name not in nullable else 0 for name in names]
    return pl.DataFrame(
        {
            "column": names,
            "promised": [promised.get(name, ABSENT) for name in names],
            "found": [found.get(name, ABSENT) for name in names],
            "missing": missing,
            "outside": [_outside(frame[name], contracts[name]) if is_judged[name] else 0 for name in names],
        },
        schema={"column": pl.String, "promised": pl.String, "found": pl.String, "missing": pl.Int64, "outside": pl.Int64},
    )


def _missing(values: pl.Series) -> int:
    return values.null_count() + (int(values.is_nan().sum()) if values.dtype.is_float() else 0)


def _outside(values: pl.Series, column: Column) -> int:
    """Numbers beyond the column's limits. NaN lies between nothing; where it counts as missing already, it is not counted twice."""
    if column.limits is None or not values.dtype.is_numeric():
        return 0
    outside = int((~values.cast(pl.Float64).is_between(*column.limits)).sum())  # in float32 the largest limit would be infinity
    return outside if column.nullable or not values.dtype.is_float() else outside - int(values.is_nan().sum())


def rows(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """One row: rows, and those that repeat a key. Without its key columns every row counts as repeated."""
    has_key = all(name in frame.columns for name in table.key)
    distinct = frame.select(table.key).n_unique() if has_key else 0
    return pl.DataFrame({"rows": [frame.height], "repeated": [frame.height - distinct]})


def cells(frame: pl.DataFrame, grid: Grid) -> pl.DataFrame:
    """One row: rows, those beside the grid, cells that the grid asks for and those that are absent, and the grid in words."""
    has_axes = all(name in frame.columns for name in grid)
    held = frame.select(list(grid)) if has_axes else frame.clear().select()
    inside = held.filter(pl.all_horizontal(pl.col(name).is_in(list(values)) for name, values in grid.items())) if held.width else held
    asked = math.prod(len(values) for values in grid.values())
    return pl.DataFrame(
        {
            "rows": [frame.height],
            "beside": [held.height - inside.height],
            "cells": [asked],
            "incomplete": [asked - (inside.n_unique() if inside.width else 0)],
            "grid": [" x ".join(f"{len(values):,} {name}" for name, values in grid.items())],
        }
    )


def parity(frame: pl.DataFrame, tolerance: float) -> pl.DataFrame:
    """One row per compared window of model_parity: positions, disagreements, relative difference, and whether it is too large."""
    difference, largest = frame["largest_logit_difference"].to_numpy(), frame["largest_logit"].to_numpy()
    # Compared so that NaN on either side, and an infinite logit, counts as too large.
    within = (difference <= tolerance * largest) & np.isfinite(largest)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(difference == 0, 0.0, difference / largest)
    columns = ("positions", "prediction_disagreements", "float32_prediction_disagreements", "activations", "float32_bin_disagreements")
    return frame.select(columns).with_columns(
        relative_difference=np.where(np.isfinite(relative), relative, -1.0),  # -1: no number could be formed
        too_large=(~within).astype(np.int64),
        tolerance=pl.lit(tolerance),
    )


def curves(frame: pl.DataFrame, positions: int) -> pl.DataFrame:
    """One row per curve: filled bins, unreliable ones, rows with a wrong proportion or interval, and whether the counts add up."""
    count, proportion, low, high = (pl.col(name) for name in ("count", "proportion", "ci_low", "ci_high"))
    filled = count > 0
    is_share = proportion.is_between(0, 1) & (proportion == pl.col("top_prediction_count") / count)
    encloses = (low <= proportion) & (proportion <= high) & low.is_between(0, 1) & high.is_between(0, 1)
    absent = proportion.is_null() & low.is_null() & high.is_null()
    return frame.group_by("layer", "neuron", "token_id", maintain_order=True).agg(
        filled=filled.sum().cast(pl.Int64),
        unreliable=(filled & ~pl.col("reliable")).sum().cast(pl.Int64),
        wrong_proportion=(~pl.when(filled).then(is_share.fill_null(False)).otherwise(proportion.is_null())).sum().cast(pl.Int64),
        wrong_interval=(~pl.when(filled).then(encloses.fill_null(False)).otherwise(absent)).sum().cast(pl.Int64),
        unbalanced=(count.sum() != positions).cast(pl.Int64),
        positions=pl.lit(positions, pl.Int64),
    )


def embedding_curves(frame: pl.DataFrame, positions: int) -> pl.DataFrame:
    """One row per curve: whether the counts add up, levels with more predictions than positions, and whether its predictions are another
    number than those of the token's first curve."""
    by_curve = frame.group_by("layer", "neuron", "token_id", maintain_order=True).agg(
        unbalanced=(pl.col("count").sum() != positions).cast(pl.Int64),
        positions=pl.lit(positions, pl.Int64),
        above_count=(pl.col("embedding_prediction_count") > pl.col("count")).sum().cast(pl.Int64),
        predictions=pl.col("embedding_prediction_count").sum(),
    )
    predictions = pl.col("predictions")
    return by_curve.with_columns(differing=(predictions != predictions.first().over("token_id")).cast(pl.Int64)).drop("predictions")


def neurons(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per layer of neuron_statistics: neurons, dead ones, and those with a statistic that is not a finite number."""
    statistics = [column.name for column in NEURON_STATISTICS.columns if column.dtype.is_float()]
    # Missing is allowed where the contract says so; NaN and infinity never are.
    strange = pl.any_horizontal(pl.col(name).is_finite().fill_null(True).not_() for name in statistics)
    return frame.group_by("layer", maintain_order=True).agg(
        neurons=pl.len().cast(pl.Int64), dead=pl.col("is_dead").sum().cast(pl.Int64), not_finite=strange.sum().cast(pl.Int64)
    )


def scores(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per token of token_neuron_scores: neurons, unscored ones, those whose scores contradict each other, those whose direction or
    separation is not that of their AUROC, and whether none is scored."""
    has_half = pl.col("half_activation").is_not_null()
    sign = pl.col("direction").fill_null(1)
    torn = (
        (has_half != (pl.col("highest_proportion") >= 0.5).fill_null(False))
        | (has_half != pl.col("recall_beyond_half").is_not_null())
        | (pl.col("highest_proportion").is_null() != pl.col("highest_proportion_at").is_null())
        | (has_half & (sign * pl.col("half_activation") > sign * pl.col("highest_proportion_at"))).fill_null(False)
    )
    auroc = pl.col("auroc")
    astray = pl.col("separation").ne_missing(pl.max_horizontal(auroc, 1 - auroc)) | pl.col("direction").ne_missing(
        pl.when(auroc < 0.5).then(-1).when(auroc >= 0.5).then(1)
    )
    unscored = auroc.is_null().sum().cast(pl.Int64)
    return frame.group_by("token_id", "token", maintain_order=True).agg(
        neurons=pl.len().cast(pl.Int64),
        unscored=unscored,
        partly_scored=pl.when(unscored < pl.len()).then(unscored).otherwise(0),
        unpredicted=(unscored == pl.len()).cast(pl.Int64),
        contradicting=torn.sum().cast(pl.Int64),
        astray=astray.sum().cast(pl.Int64),
    )


def ablation(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per pair of neuron_ablation: effects, those that contradict what they mean, whether the parts of the logit miss the whole."""
    wide = frame.filter(pl.col("measure").is_in(["logit", "direct", "mediated"])).pivot(
        "measure", index=["token_id", "layer", "neuron", "positions", "ablation"], values="effect"
    )
    pair = ["token_id", "layer", "neuron"]
    parts = [pl.col(name) if name in wide.columns else pl.lit(None, pl.Float64) for name in ("logit", "direct", "mediated")]
    # Not compared exactly: the whole is their sum before the mean is taken, and a mean over 10^4 positions rounds by some 1e-12.
    apart = ((parts[0] - parts[1] - parts[2]).abs() > 1e-9 * (1 + parts[0].abs())).fill_null(True)
    torn = wide.group_by(pair, maintain_order=True).agg(torn=apart.sum().cast(pl.Int64))
    effect, p_value, q_value, controls = (pl.col(name) for name in ("effect", "p_value", "q_value", "controls"))
    source, times = pl.col("p_value_source"), pl.col("times_largest_control")
    counted_least = pl.when(times <= 1).then(2).otherwise(1) / (1 + controls)  # the largest control goes as far: so one does
    modelled_least, modelled_most = (1 + controls) ** -2.0, (1 + MOST_MODELLED) / (1 + controls)
    fits_its_source = (
        pl.when(source == COUNTED)
        .then(p_value.is_between(counted_least - 1e-12, 1))
        .when(source == TAIL_MODEL)
        .then(p_value.is_between(modelled_least - 1e-12, modelled_most + 1e-12))
        .when(source == FLOOR)
        .then((p_value - modelled_least).abs() <= 1e-12)
    )
    wrong_p = ~fits_its_source.fill_null(False)
    wrong_q = ~((q_value >= p_value - 1e-12) & (q_value <= 1)).fill_null(False)
    wrong_share = (pl.col("measure") == "flipped") & ~effect.is_between(0, 1).fill_null(False)
    crossed = (pl.col("ci_low") > pl.col("ci_high")).fill_null(False) | (pl.col("ci_low").is_null() != pl.col("ci_high").is_null())
    counted = frame.group_by(pair, maintain_order=True).agg(
        effects=pl.len().cast(pl.Int64),
        contradicting=(wrong_p | wrong_q | wrong_share | crossed).sum().cast(pl.Int64),
        few_controls=(controls.min() < 100).cast(pl.Int64),
        pairs=pl.lit(1, pl.Int64),
    )
    return counted.join(torn, on=pair, how="left", maintain_order="left").with_columns(pl.col("torn").fill_null(1))


def controls(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per pair of ablation_controls: rows, and those whose control is the neuron itself."""
    itself = (pl.col("control") == pl.col("neuron")).fill_null(True)
    return frame.group_by("token_id", "layer", "neuron", maintain_order=True).agg(
        rows=pl.len().cast(pl.Int64), itself=itself.sum().cast(pl.Int64)
    )


def patching(frame: pl.DataFrame, layers: int) -> pl.DataFrame:
    """One row per prompt of activation_patching: cells, those that are wrongly named, or missing from the whole grid.

    The grid is every component, and every head that any layer has, at every one of `layers` and every position.
    """
    is_head = pl.col("component") == "head"
    misnamed = (is_head != pl.col("head").is_not_null()) | ~pl.col("component").is_in(["residual", "attention", "mlp", "head"])
    outputs = 3 + pl.col("head").max().fill_null(-1) + 1
    cells = outputs * layers * (pl.col("position").max() + 1)
    return frame.group_by("prompt", maintain_order=True).agg(
        cells=pl.len().cast(pl.Int64),
        misnamed=misnamed.sum().cast(pl.Int64),
        absent=cells.cast(pl.Int64) - pl.len().cast(pl.Int64),
    )


def contexts(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per neuron of neuron_contexts: contexts, and those of an unknown side, without their place, or at odds with its activation."""
    at_peak = pl.col("activation").filter(pl.col("position") == pl.col("peak_position"))
    one = frame.group_by("layer", "neuron", "side", "rank", maintain_order=True).agg(
        there=at_peak.len() == 1,
        # The one pass runs padded batches, a context its text alone: sums in another order, and in another dtype's rounding.
        agrees=((at_peak.first() - pl.col("peak_activation").first()).abs() <= 0.05 * (1 + pl.col("peak_activation").first().abs())),
        finite=pl.col("activation").is_finite().all(),
    )
    wrong = ~(pl.col("there") & pl.col("agrees") & pl.col("finite") & pl.col("side").is_in(["top", "bottom", "random"])).fill_null(False)
    return one.group_by("layer", "neuron", maintain_order=True).agg(contexts=pl.len().cast(pl.Int64), wrong=wrong.sum().cast(pl.Int64))


def contributions(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per token of contributions: neurons, and those whose contribution is not the difference of its two parts."""
    there, elsewhere = pl.col("contribution_where_predicted"), pl.col("contribution_elsewhere")
    size = there.abs() + elsewhere.abs()
    agrees = ((pl.col("contribution") - (there - elsewhere)).abs() <= 1e-12 * size) & size.is_finite()  # polars takes NaN for equal to NaN
    return frame.group_by("token_id", maintain_order=True).agg(
        neurons=pl.len().cast(pl.Int64), contradicting=(~agrees).fill_null(True).sum().cast(pl.Int64)
    )


def contribution_ends(screen: pl.DataFrame, contributions: pl.DataFrame) -> pl.DataFrame:
    """One row per token and end of contribution_screen: rows, those at the wrong end, out of order, and unlike the tracked token's own."""
    key, value = ["token_id", "layer", "neuron"], pl.col("contribution")
    joined = screen.join(contributions.select(*key, own="contribution"), on=key, how="left", maintain_order="left")
    is_tracked = pl.col("token_id").is_in(contributions["token_id"].unique().to_list())
    sign = pl.when(pl.col("end") == WRITES).then(1).when(pl.col("end") == WRITES_AGAINST).then(-1).otherwise(0)
    misplaced = ~((value * sign > 0) & value.is_finite()).fill_null(False)
    other = is_tracked & (value != pl.col("own")).fill_null(True)
    return joined.group_by("token_id", "end", maintain_order=True).agg(
        rows=pl.len().cast(pl.Int64),
        misplaced=misplaced.sum().cast(pl.Int64),
        disordered=out_of_order(value.abs()).sum().cast(pl.Int64),
        other=other.sum().cast(pl.Int64),
    )


def candidates(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per token and line of candidates: rows, those out of order, and those that are named and ranked, or neither."""
    is_named = pl.col("line") == NAMED
    disordered = ~is_named & out_of_order(pl.col("value").abs())
    misnamed = (is_named != pl.col("rank").is_null()) | (is_named != pl.col("value").is_null())
    return frame.group_by("token_id", "line", maintain_order=True).agg(
        rows=pl.len().cast(pl.Int64), disordered=disordered.sum().cast(pl.Int64), misnamed=misnamed.sum().cast(pl.Int64)
    )


def out_of_order(size: pl.Expr) -> pl.Expr:
    """Within a group of ranked rows: whether a row's rank is not its place, or its size is missing or above that of the row before."""
    falls = size <= size.shift(1).fill_null(float("inf"))
    return ~((pl.col("rank") == pl.int_range(1, pl.len() + 1)) & falls).fill_null(False)
