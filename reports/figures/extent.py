"""How far the values of a column reach, as plain floats: what axes, colour scales and label distances are measured in."""

from typing import cast

import polars as pl


def lowest(values: pl.Series) -> float:
    """The smallest value; the series must hold one."""
    return float(cast(float, values.min()))


def highest(values: pl.Series) -> float:
    """The largest value; the series must hold one."""
    return float(cast(float, values.max()))


def middle(values: pl.Series) -> float:
    """The median; the series must hold a value."""
    return float(cast(float, values.median()))


def reach(values: pl.Series) -> float:
    """From the smallest to the largest value; 1 where all are equal, so that it can be divided by."""
    return highest(values) - lowest(values) or 1.0


def largest_size(values: pl.Series) -> float:
    """The largest absolute value, never 0, so that it can be divided by."""
    return max(1e-9, highest(values.abs()))
