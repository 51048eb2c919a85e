"""A score in words: its AUROC and, where the token is predicted at low activations, what it is read downwards.

Holds words alone. A row is one of token_neuron_scores.
"""

from collections.abc import Mapping
from typing import Any

from reports.numbers import edge, fixed


def auroc(row: Mapping[str, Any]) -> str:
    """The AUROC; with the separation where it is read downwards."""
    return _area(row["auroc"]) + (f", read downwards {_area(row['separation'])}" if row["direction"] == -1 else "")


def beyond(level: float | None, direction: int | None) -> str:
    """The activations from a level on: the edge of a bin belongs to the bin above it."""
    if level is None:
        return edge(level)
    return f"{'below' if direction == -1 else 'from'} {edge(level)}"


def _area(value: float) -> str:
    """Three decimals, but never 1.000 for a value below 1, nor 0.000 for one above 0."""
    if 0 < value < 0.0005:
        return f"< {fixed(0.001)}"
    return f"> {fixed(0.999)}" if 0.9995 <= value < 1 else fixed(value)
