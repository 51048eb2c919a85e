"""Proportion curves as a few numbers for SVG that stands in the page itself: small ones in tables, a large one on the index.

They need no script and print as text does. The full figure, with hover, is in `proportion`.
"""

from dataclasses import dataclass

import polars as pl

from reports.figures.extent import highest, lowest
from reports.figures.proportion import shown_bins
from reports.numbers import edge


@dataclass(frozen=True)
class SmallCurve:
    """SVG coordinates inside `width` x `height`: y runs from the top (proportion 1) to the bottom (0)."""

    width: float
    height: float
    path: str  # through the reliable bins
    band: str  # their Wilson intervals, a closed path
    dots: tuple[tuple[float, float], ...]  # reliable bins
    faint: tuple[tuple[float, float], ...]  # unreliable bins
    ticks: tuple[tuple[float, str], ...]  # (x, label) of the activation
    half: float  # y of the proportion 1/2


def small_curve(curve: pl.DataFrame, width: float, height: float, margin: float = 3.0) -> SmallCurve | None:
    """The curve, or None where no bin holds a position."""
    rows = shown_bins(curve).filter(pl.col("count") > 0)
    if rows.is_empty():
        return None
    low = lowest(rows["centre"] - rows["width"] / 2)
    high = highest(rows["centre"] + rows["width"] / 2)
    across, down = (width - 2 * margin) / max(high - low, 1e-12), height - 2 * margin

    def x(value: float) -> float:
        return round(margin + (value - low) * across, 1)

    def y(share: float) -> float:
        return round(margin + (1 - share) * down, 1)

    ends = [pl.col(end).fill_null(pl.col("proportion")) for end in ("ci_low", "ci_high")]  # under probability there is no interval
    sure = list(rows.filter("reliable").select("centre", "proportion", *ends).iter_rows())
    unsure = rows.filter(~pl.col("reliable")).select("centre", "proportion").iter_rows()
    upper = [(x(centre), y(top)) for centre, _, _, top in sure]
    lower = [(x(centre), y(bottom)) for centre, _, bottom, _ in reversed(sure)]
    dots = tuple((x(centre), y(share)) for centre, share, _, _ in sure)
    return SmallCurve(
        width=width,
        height=height,
        path=_path(dots),
        band=_path([*upper, *lower]) + ("Z" if len(sure) > 1 else ""),
        dots=dots,
        faint=tuple((x(centre), y(share)) for centre, share in unsure),
        ticks=tuple((x(value), edge(value)) for value in _round_values(low, high)),
        half=y(0.5),
    )


def _path(points: list[tuple[float, float]] | tuple[tuple[float, float], ...]) -> str:
    return "".join(f"{'L' if place else 'M'}{x:g} {y:g}" for place, (x, y) in enumerate(points)) if len(points) > 1 else ""


def _round_values(low: float, high: float, most: int = 7) -> list[float]:
    """At most `most` multiples of 1, 2 or 5 times a power of ten between the two."""
    for power in range(-6, 12):
        for factor in (1, 2, 5):
            step = factor * 10.0**power
            first, last = -(-low // step), high // step
            if last - first + 1 <= most:
                return [round(place * step, 8) for place in range(int(first), int(last) + 1)]
    return []
