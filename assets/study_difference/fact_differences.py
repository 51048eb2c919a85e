"""The table `study_difference_facts`: what each study asks and was made from, side by side. Holds texts; nothing is computed of them."""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from assets.contracts import STUDY_DIFFERENCE_FACTS, conform


def fact_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> pl.DataFrame:
    """One row for each field or fact that either has; both are mappings of plain JSON values, nested ones as dotted paths."""
    ours, theirs = _flat(one), _flat(other)
    names = list(dict.fromkeys([*ours, *theirs]))
    values = {"value_a": [ours.get(name) for name in names], "value_b": [theirs.get(name) for name in names]}
    frame = pl.DataFrame({"fact": names, **values}, schema={"fact": pl.String, "value_a": pl.String, "value_b": pl.String})
    return conform(STUDY_DIFFERENCE_FACTS, frame.with_columns(is_equal=pl.col("value_a").eq_missing(pl.col("value_b"))))


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, str | None]:
    flat: dict[str, str | None] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{path}{name}.")
        else:
            flat[f"{path}{name}"] = value if isinstance(value, str) or value is None else json.dumps(value, ensure_ascii=False)
    return flat
