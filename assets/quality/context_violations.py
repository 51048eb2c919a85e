"""Exact numbers of broken rules in the contexts of examples: a frame that is then judged. Holds counting only, a layer at a time."""

import numpy as np
import polars as pl

from assets.counting.histograms import BEFORE, CONTEXT, SIDES, Histograms
from assets.counting.number_formats import halves


def context_violations(histograms: Histograms) -> pl.DataFrame:
    """One row per layer: `examples`; `unlike`: those whose context has another activation in its middle than their own, or any before their
    window begins; `empty`: places without an example that have a context."""
    rows = []
    for layer in range(histograms.layers):
        examples = unlike = empty = 0
        for side in SIDES:
            value, document, position, context = (
                np.asarray(histograms[f"{side}_{part}"][layer]) for part in ("value", "document", "position", "context")
            )
            is_example = document >= 0
            differs = context[..., BEFORE] != halves(np.ascontiguousarray(value))
            is_before = np.arange(CONTEXT) < BEFORE - position[..., None]
            examples += int(is_example.sum())
            unlike += int((is_example & (differs | (is_before & (context != 0)).any(-1))).sum())
            empty += int((~is_example & (context != 0).any(-1)).sum())
        rows.append((layer, examples, unlike, empty))
    return pl.DataFrame(rows, schema=["layer", "examples", "unlike", "empty"], orient="row")
