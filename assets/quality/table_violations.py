"""Exact numbers of broken rules in published tables: the small frames that Great Expectations judges.

Holds counting only: one row per column, per table, per curve, per layer. NaN always counts as a violation, never as a value.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from assets.ablation.ablated_positions import COMPARED, OTHER
from assets.ablation.control_neurons import CONTROLS
from assets.ablation.p_values import COUNTED, FLOOR, MOST_MODELLED, TAIL_MODEL
from assets.ablation.replacements import TOLD_ABLATION
from assets.ablation.settled_pairs import SETTLED_BY, TOLD_MEASURE
from assets.contracts import NEURON_STATISTICS, Column, Table
from assets.counting.histograms import PROBABILITY
from assets.prompts.patched_neuron_sets import LARGEST_SET, LARGEST_TOLD, MOST_OF_IT, SMALLEST_ADDED
from assets.statistics.candidates import NAMED
from assets.statistics.contributions import WRITES, WRITES_AGAINST

ABSENT = "absent"
Grid = Mapping[str, Sequence[int | str]]


def of_contract(table: Table, frame: pl.DataFrame, grid: Grid | None = None) -> dict[str, pl.DataFrame]:
    """The frames `columns` and `rows` of any table; `grid`, if it must hold a whole one: all values of some or all key columns."""
    return {"columns": columns(table, frame), "rows": rows(table, frame), **({"grid": cells(frame, grid)} if grid is not None else {})}


def of_contract_in_parts(table: Table, parts: Iterable[pl.DataFrame], grid: Grid | None = None) -> dict[str, pl.DataFrame]:
    """The same of a table that need not fit into memory; its parts have the same columns, and there is one at least."""
    found, keys = [], []
    for part in parts:
        found.append(columns(table, part))
        keys.append(part.select([name for name in table.key if name in part.columns] or part.columns[:1]))
    names, sums = ("column", "promised", "found"), ("missing", "outside")
    held = pl.concat(keys)
    whole = pl.concat(found).group_by(names, maintain_order=True).agg(pl.col(sums).sum())
    return {"columns": whole, "rows": rows(table, held), **({"grid": cells(held, grid)} if grid is not None else {})}


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


def token_outcomes(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per token of token_outcomes: outcomes that lead, and those whose share is not the quotient of their counts."""
    quotient = pl.when(pl.col("positions") > 0).then(pl.col("cases") / pl.col("positions")).otherwise(0.0)
    wrong = ~((pl.col("share") - quotient).abs() <= 1e-12).fill_null(False) | (pl.col("cases") > pl.col("positions"))
    return frame.group_by("token_id", "token", maintain_order=True).agg(
        outcomes=pl.len().cast(pl.Int64),
        leading=pl.col("leads").sum().cast(pl.Int64),
        one=pl.lit(1, pl.Int64),
        wrong_share=wrong.sum().cast(pl.Int64),
    )


def contrasts(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per pair of tokens and outcome of contrasts: neurons, those whose direction or separation is not that of their AUROC, and
    whether the pair has an AUROC for some neurons alone."""
    unscored = pl.col("auroc").is_null().sum().cast(pl.Int64)
    return frame.group_by("token_id", "other_id", "outcome", maintain_order=True).agg(
        neurons=pl.len().cast(pl.Int64),
        astray=_astray().sum().cast(pl.Int64),
        partly_scored=pl.when(unscored < pl.len()).then(unscored).otherwise(0),
    )


def outcome_curves(frame: pl.DataFrame, positions: Mapping[str, int]) -> pl.DataFrame:
    """As curves, one row per outcome and curve. `positions`: those that each outcome is read over. Under probability there is no interval."""
    parts = []
    for (outcome,), part in frame.partition_by("outcome", as_dict=True, maintain_order=True).items():
        named = part.rename({"cases": "top_prediction_count"})
        if outcome == PROBABILITY:  # judged as if the interval were the proportion alone: it must be missing everywhere
            present = (pl.col("ci_low").is_not_null() | pl.col("ci_high").is_not_null()).any()
            named = named.with_columns(
                ci_low=pl.when(present).then(pl.lit(None, pl.Float64)).otherwise("proportion"),
                ci_high=pl.when(present).then(pl.lit(None, pl.Float64)).otherwise("proportion"),
            )
        parts.append(curves(named, positions[str(outcome)]).with_columns(outcome=pl.lit(outcome)))
    return pl.concat(parts) if parts else curves(frame.rename({"cases": "top_prediction_count"}), 0).with_columns(outcome=pl.lit(""))


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


def _astray() -> pl.Expr:
    """Whether a row's direction or separation is not that of its AUROC."""
    auroc = pl.col("auroc")
    direction = pl.when(auroc < 0.5).then(-1).when(auroc >= 0.5).then(1)
    return pl.col("separation").ne_missing(pl.max_horizontal(auroc, 1 - auroc)) | pl.col("direction").ne_missing(direction)


def scores(frame: pl.DataFrame, by: Sequence[str] = ("token_id", "token")) -> pl.DataFrame:
    """One row per token of token_neuron_scores, or as told `by`: neurons, unscored ones, those whose scores contradict each other, those whose direction or
    separation is not that of their AUROC, and whether none is scored."""
    has_half = pl.col("half_activation").is_not_null()
    sign = pl.col("direction").fill_null(1)
    torn = (
        (has_half != (pl.col("highest_proportion") >= 0.5).fill_null(False))
        | (has_half != pl.col("recall_beyond_half").is_not_null())
        | (pl.col("highest_proportion").is_null() != pl.col("highest_proportion_at").is_null())
        | (has_half & (sign * pl.col("half_activation") > sign * pl.col("highest_proportion_at"))).fill_null(False)
    )
    unscored = pl.col("auroc").is_null().sum().cast(pl.Int64)
    return frame.group_by(by, maintain_order=True).agg(
        neurons=pl.len().cast(pl.Int64),
        unscored=unscored,
        partly_scored=pl.when(unscored < pl.len()).then(unscored).otherwise(0),
        unpredicted=(unscored == pl.len()).cast(pl.Int64),
        contradicting=torn.sum().cast(pl.Int64),
        astray=_astray().sum().cast(pl.Int64),
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
    positions, compared = pl.col("position_count"), pl.col("compared_positions")
    miscompared = ~compared.is_between(1, pl.min_horizontal(positions, COMPARED)).fill_null(False) | (
        (compared == positions) & ((pl.col("compared_effect") - effect).abs() > 1e-9 * (1 + effect.abs())).fill_null(False)
    )
    is_told = (pl.col("measure") == TOLD_MEASURE) & (pl.col("ablation") == TOLD_ABLATION) & (pl.col("positions") != OTHER)
    is_settled = ~is_told | (p_value >= (1 + SETTLED_BY) / (1 + controls) - 1e-12)
    crossed = (pl.col("ci_low") > pl.col("ci_high")).fill_null(False) | (pl.col("ci_low").is_null() != pl.col("ci_high").is_null())
    counted = frame.group_by(pair, maintain_order=True).agg(
        effects=pl.len().cast(pl.Int64),
        contradicting=(wrong_p | wrong_q | wrong_share | crossed | miscompared).sum().cast(pl.Int64),
        few_controls=((controls.min() < CONTROLS) & ~is_settled.all()).cast(pl.Int64),
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


def neuron_sets(frame: pl.DataFrame, neuron_patching: pl.DataFrame) -> pl.DataFrame:
    """One row per prompt of either table: rows of patched_neuron_sets, and whether or how many of them break a rule.

    `misnumbered`: sizes that are not 1, 2, 3, ...; none though a neuron restores enough by itself. `shrinking`: rows that restore another
    share than the set before and their neuron added, or add too little. `repeated`: neurons that were there before. `unlike`: single
    shares that are not those of neuron_patching, and a first neuron that is not the best there. `mistold`: rows that are told, or not told,
    against the rule.
    """
    alone = neuron_patching.filter(pl.col("positions") == "last").select(
        "prompt", "layer", "neuron", single=pl.col("improvement").cast(pl.Float64)
    )
    best = alone.sort("single", "layer", "neuron", descending=[True, False, False]).group_by("prompt", maintain_order=True).first()
    best = best.select("prompt", best_layer="layer", best_neuron="neuron", most="single")
    rows = frame.join(alone, on=["prompt", "layer", "neuron"], how="left", maintain_order="left").join(
        best, on="prompt", how="left", maintain_order="left"
    )
    size, restored, added = pl.col("size"), pl.col("restored"), pl.col("added")
    place = pl.int_range(1, pl.len() + 1)
    before = restored.shift(1, fill_value=0.0)
    grows = ((restored - before - added).abs() <= 1e-12 * (1 + restored.abs())) & (added >= SMALLEST_ADDED) & restored.is_finite()
    is_best = (pl.col("layer") == pl.col("best_layer")) & (pl.col("neuron") == pl.col("best_neuron")) & (restored == pl.col("most"))
    is_told = (size <= LARGEST_TOLD) & (before < MOST_OF_IT * restored.last())
    counted = rows.group_by("prompt", maintain_order=True).agg(
        rows=pl.len().cast(pl.Int64),
        misnumbered=((size != place) | (size > LARGEST_SET)).fill_null(True).sum().cast(pl.Int64),
        shrinking=(~grows).fill_null(True).sum().cast(pl.Int64),
        repeated=(pl.len() - pl.struct("layer", "neuron").n_unique()).cast(pl.Int64),
        unlike=(~((pl.col("alone") == pl.col("single")) & ((place > 1) | is_best))).fill_null(True).sum().cast(pl.Int64),
        mistold=(pl.col("is_told") != is_told).fill_null(True).sum().cast(pl.Int64),
    )
    without = best.join(frame, on="prompt", how="anti", maintain_order="left").select(
        "prompt", misnumbered=(pl.col("most") >= SMALLEST_ADDED).cast(pl.Int64)
    )  # fmt: skip
    return pl.concat([counted, without], how="diagonal").fill_null(0)


def contexts(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per neuron of neuron_contexts: contexts, and those of an unknown side, without their place, or at odds with its activation."""
    at_peak = pl.col("activation").filter(pl.col("position") == pl.col("peak_position"))
    one = frame.group_by("layer", "neuron", "side", "rank", maintain_order=True).agg(
        there=at_peak.len() == 1,
        agrees=at_peak.first() == pl.col("peak_activation").first(),
        finite=pl.col("activation").is_finite().all(),
    )
    wrong = ~(pl.col("there") & pl.col("agrees") & pl.col("finite") & pl.col("side").is_in(["top", "bottom", "random"])).fill_null(False)
    return one.group_by("layer", "neuron", maintain_order=True).agg(contexts=pl.len().cast(pl.Int64), wrong=wrong.sum().cast(pl.Int64))


def contributions(frame: pl.DataFrame, by: Sequence[str] = ("token_id",)) -> pl.DataFrame:
    """One row per token of contributions, or as told `by`: neurons, and those whose contribution is not the difference of its two parts."""
    there, elsewhere = pl.col("contribution_where_predicted"), pl.col("contribution_elsewhere")
    size = there.abs() + elsewhere.abs()
    agrees = ((pl.col("contribution") - (there - elsewhere)).abs() <= 1e-12 * size) & size.is_finite()  # polars takes NaN for equal to NaN
    return frame.group_by(by, maintain_order=True).agg(
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


def proposals(pairs: pl.DataFrame, screen: pl.DataFrame, contributions: pl.DataFrame) -> pl.DataFrame:
    """One row: proposed pairs, those that do not choose each other or are tracked, those out of order, and those of another direction."""
    key, value = ["token_id", "layer", "neuron"], pl.col("contribution")
    writers = screen.filter(pl.col("end") == WRITES)
    first = writers.filter(pl.col("rank") == 1).select(*key, own="contribution")
    most = writers.group_by("layer", "neuron").agg(most=value.max())  # of the tokens whose first writers it is among
    joined = pairs.join(first, on=key, how="left", maintain_order="left").join(
        most, on=["layer", "neuron"], how="left", maintain_order="left"
    )
    is_tracked = pl.col("token_id").is_in(contributions["token_id"].unique().to_list())
    unchosen = is_tracked | (value != pl.col("own")).fill_null(True) | (value < pl.col("most")).fill_null(True)
    turned = (pl.col("standardized_difference").sign() != pl.col("direction")).fill_null(False)
    wrong = {"unchosen": unchosen, "disordered": out_of_order(value), "turned": turned}
    return joined.select(pairs=pl.len().cast(pl.Int64), **{name: rule.sum().cast(pl.Int64) for name, rule in wrong.items()})


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
