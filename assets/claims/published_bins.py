"""The bins of the published proportion curve, regrouped from exact ones where these are fine enough.

The post rounded an activation to one decimal (a float32), multiplied by 5 and cut off the decimals. So a level of the post is
about [level - 0.05, level + 0.15); the bin at 0 is 0.3 wide; and where the float32 of a tenth lies below it (1.4, 1.8, 2.6,
4.6, ...) that tenth falls into the level below. Exact bins can be regrouped if none holds two tenths: bins.per_unit a multiple
of 20. Activations exactly half-way between two tenths (x.25, x.75) are counted with the upper one.
"""

import numpy as np
import polars as pl

from assets.claims.claim_tables import NotRunError

PUBLISHED_WIDTH = 0.2


def published_levels(curve: pl.DataFrame) -> pl.DataFrame:
    """Columns level, count, proportion: filled levels of the post, ascending. `curve` holds one pair's rows of proportion_curves.

    Raises NotRunError where positions lie outside the bins or a filled bin is too wide.
    """
    filled = curve.filter(pl.col("count") > 0)
    outside = filled.filter(pl.col("bin_left").is_infinite() | pl.col("bin_right").is_infinite())["count"].sum()
    if outside:
        raise NotRunError(f"{outside} positions lie outside the study's bins: widen bins.low and bins.high")
    left, right = filled["bin_left"].to_numpy(), filled["bin_right"].to_numpy()
    lowest, highest = np.floor(np.round(left * 10 + 0.5, 6)), np.ceil(np.round(right * 10 - 0.5, 6))  # tenths at either end
    if (lowest != highest).any():
        width = float((right - left)[lowest != highest][0])
        raise NotRunError(f"the post's bins cannot be made of bins {width:.4g} wide: bins.per_unit must be a multiple of 20")
    tenths = (lowest / 10).astype(np.float32).astype(np.float64)
    return (
        filled.with_columns(level=pl.Series(np.trunc(tenths * 5) / 5 + 0.0))
        .group_by("level")
        .agg(pl.col("count").sum(), pl.col("top_prediction_count").sum())
        .sort("level")
        .select("level", "count", proportion=pl.col("top_prediction_count") / pl.col("count"))
    )


def exact_levels(curve: pl.DataFrame, min_count: int) -> pl.DataFrame:
    """The same columns and the level's end: exact bins with at least `min_count` positions, of the published width where they can be.

    The study's own bins if they are as wide as the post's or wider, or do not add up to its width; narrower ones are added up to
    it, from one multiple of the width to the next, so that as few positions as possible stand in bins too small to tell anything.
    """
    inside = curve.filter(pl.col("bin_left").is_finite() & pl.col("bin_right").is_finite())
    per_level = PUBLISHED_WIDTH / (pl.col("bin_right") - pl.col("bin_left"))
    adds_up = inside.select(((per_level > 1.5) & ((per_level - per_level.round()).abs() < 1e-6)).all()).item()
    if inside.height and adds_up:
        level = (pl.col("bin_left") / PUBLISHED_WIDTH + 1e-6).floor() * PUBLISHED_WIDTH
        ends = {"level": level, "end": level + PUBLISHED_WIDTH}
    else:
        inside = curve
        ends = {"level": pl.col("bin_left"), "end": pl.col("bin_right")}
    return (
        inside.select("count", "top_prediction_count", **ends)
        .group_by("level", "end")
        .agg(pl.col("count", "top_prediction_count").sum())
        .filter(pl.col("count") >= min_count)
        .sort("level")
        .select("count", "level", "end", proportion=pl.col("top_prediction_count") / pl.col("count"))
    )
