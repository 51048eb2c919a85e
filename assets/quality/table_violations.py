"""Exact numbers of broken rules in published tables: the small frames that Great Expectations judges.

Holds counting only: one row per column, per table, per curve, per layer. NaN always counts as a violation, never as a value.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from assets.contracts import Table

ABSENT = "absent"


def columns(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """One row per column, promised ones first: what was promised and found (dtype and place), and forbidden missing values."""
    found = {name: f"{place}: {name} {dtype}" for place, (name, dtype) in enumerate(frame.schema.items())}
    promised = {name: f"{place}: {name} {dtype}" for place, (name, dtype) in enumerate(table.schema.items())}
    nullable = {column.name for column in table.columns if column.nullable}
    names = [*promised, *(name for name in found if name not in promised)]
    missing = [_missing(frame[name]) if name in found and name in promised and name not in nullable else 0 for name in names]
    return pl.DataFrame(
        {
            "column": names,
            "promised": [promised.get(name, ABSENT) for name in names],
            "found": [found.get(name, ABSENT) for name in names],
            "missing": missing,
        },
        schema={"column": pl.String, "promised": pl.String, "found": pl.String, "missing": pl.Int64},
    )


def _missing(values: pl.Series) -> int:
    return values.null_count() + (int(values.is_nan().sum()) if values.dtype.is_float() else 0)


def rows(table: Table, frame: pl.DataFrame, grid: Mapping[str, Sequence[int | str]]) -> pl.DataFrame:
    """One row: rows, distinct keys, cells that the grid asks for, cells of it that are there, and rows beside the grid.

    `grid` gives the allowed values of some or all key columns; every combination must be there. Key columns that the frame lacks
    leave no distinct key and no cell.
    """
    key_is_there = all(name in frame.columns for name in table.key)
    axes_are_there = all(name in frame.columns for name in grid)
    cells = frame.select(list(grid)) if axes_are_there else frame.clear().select()
    inside = cells.filter(pl.all_horizontal(pl.col(name).is_in(list(values)) for name, values in grid.items())) if cells.width else cells
    return pl.DataFrame(
        {
            "rows": [frame.height],
            "distinct_keys": [frame.select(table.key).n_unique() if key_is_there else 0],
            "cells": [math.prod(len(values) for values in grid.values()) if grid else 0],
            "cells_there": [inside.n_unique() if inside.width else 0],
            "beside": [cells.height - inside.height],
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
    )


def embedding_curves(frame: pl.DataFrame, positions: int) -> pl.DataFrame:
    """One row per curve: whether the counts add up, levels with more predictions than positions, and whether its predictions are another
    number than those of the token's first curve."""
    by_curve = frame.group_by("layer", "neuron", "token_id", maintain_order=True).agg(
        unbalanced=(pl.col("count").sum() != positions).cast(pl.Int64),
        above_count=(pl.col("embedding_prediction_count") > pl.col("count")).sum().cast(pl.Int64),
        predictions=pl.col("embedding_prediction_count").sum(),
    )
    predictions = pl.col("predictions")
    return by_curve.with_columns(differing=(predictions != predictions.first().over("token_id")).cast(pl.Int64)).drop("predictions")


def neurons(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per layer of neuron_statistics: neurons, dead ones, and those with a statistic that is not a finite number."""
    statistics = ("mean", "variance", "skewness", "kurtosis", "minimum", "maximum", "share_above_zero")
    # Missing is allowed where the contract says so; NaN and infinity never are.
    strange = pl.any_horizontal(pl.col(name).is_finite().fill_null(True).not_() for name in statistics)
    return frame.group_by("layer", maintain_order=True).agg(
        neurons=pl.len().cast(pl.Int64), dead=pl.col("is_dead").sum().cast(pl.Int64), not_finite=strange.sum().cast(pl.Int64)
    )


def scores(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per token of token_neuron_scores: neurons, unscored ones, and those whose scores contradict what they mean."""
    shares = ("auroc", "auroc_standard_error", "average_precision", "highest_proportion", "recall_above_half")
    outside = pl.any_horizontal((~pl.col(name).is_between(0, 1)).fill_null(False) for name in shares)  # NaN is between nothing
    has_half = pl.col("half_activation").is_not_null()
    torn = (
        (has_half != (pl.col("highest_proportion") >= 0.5).fill_null(False))
        | (has_half != pl.col("recall_above_half").is_not_null())
        | (pl.col("highest_proportion").is_null() != pl.col("highest_proportion_at").is_null())
        | (has_half & (pl.col("half_activation") > pl.col("highest_proportion_at"))).fill_null(False)
    )
    unscored = pl.col("auroc").is_null().sum().cast(pl.Int64)
    return frame.group_by("token_id", "token", maintain_order=True).agg(
        neurons=pl.len().cast(pl.Int64),
        unscored=unscored,
        partly_scored=pl.when(unscored < pl.len()).then(unscored).otherwise(0),
        out_of_range=outside.sum().cast(pl.Int64),
        contradicting=torn.sum().cast(pl.Int64),
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
    not_finite = ~pl.col("effect").is_finite().fill_null(False)
    wrong_p = ~((p_value >= 1 / (1 + controls) - 1e-12) & (p_value <= 1)).fill_null(False)
    wrong_q = ~((q_value >= p_value - 1e-12) & (q_value <= 1)).fill_null(False)
    wrong_share = (pl.col("measure") == "flipped") & ~effect.is_between(0, 1).fill_null(False)
    crossed = (pl.col("ci_low") > pl.col("ci_high")).fill_null(False) | (pl.col("ci_low").is_null() != pl.col("ci_high").is_null())
    counted = frame.group_by(pair, maintain_order=True).agg(
        effects=pl.len().cast(pl.Int64),
        contradicting=(not_finite | wrong_p | wrong_q | wrong_share | crossed).sum().cast(pl.Int64),
        few_controls=(controls.min() < 100).cast(pl.Int64),
        pairs=pl.lit(1, pl.Int64),
    )
    return counted.join(torn, on=pair, how="left", maintain_order="left").with_columns(pl.col("torn").fill_null(1))


def controls(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per pair of ablation_controls: rows, and those whose norms or shares above zero are none, or that are the neuron itself."""
    norms, shares = ("output_norm", "neuron_output_norm"), ("share_above_zero", "neuron_share_above_zero")
    wrong = [*(~(pl.col(name).is_finite() & (pl.col(name) >= 0)) for name in norms), *(~pl.col(name).is_between(0, 1) for name in shares)]
    unlike = pl.any_horizontal(expression.fill_null(True) for expression in wrong) | (pl.col("control") == pl.col("neuron"))
    return frame.group_by("token_id", "layer", "neuron", maintain_order=True).agg(
        rows=pl.len().cast(pl.Int64), wrong=unlike.sum().cast(pl.Int64)
    )


def patching(frame: pl.DataFrame, layers: int) -> pl.DataFrame:
    """One row per prompt of activation_patching: cells, those that are no number, wrongly named, or missing from the whole grid.

    The grid is every component, and every head that any layer has, at every one of `layers` and every position.
    """
    is_head = pl.col("component") == "head"
    not_finite = ~(pl.col("difference").is_finite() & pl.col("improvement").is_finite()).fill_null(False)
    misnamed = (is_head != pl.col("head").is_not_null()) | ~pl.col("component").is_in(["residual", "attention", "mlp", "head"])
    outputs = 3 + pl.col("head").max().fill_null(-1) + 1
    cells = outputs * layers * (pl.col("position").max() + 1)
    return frame.group_by("prompt", maintain_order=True).agg(
        cells=pl.len().cast(pl.Int64),
        not_finite=not_finite.sum().cast(pl.Int64),
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


def probabilities(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per prompt of prompt_ablation: rows, and those with a probability that is none."""
    outside = pl.any_horizontal(~pl.col(name).is_between(0, 1).fill_null(False) for name in ("before", "after"))
    return frame.group_by("prompt", maintain_order=True).agg(rows=pl.len().cast(pl.Int64), outside=outside.sum().cast(pl.Int64))
