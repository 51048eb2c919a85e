"""What the UI shows of a published output beside its numbers: a few rows of its first table. Figures are the report's.

Reads only as much of a table as it shows. Knows no Dagster.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from assets.contracts import Table
from assets.store import Record
from assets.tables import scan_table

ROWS, COLUMNS = 5, 6  # as many as the UI shows without scrolling
LONGEST_TEXT = 60


@dataclass(frozen=True)
class View:
    """Which columns of a table are worth a look, and the column that ranks its rows, highest first; "" keeps the stored order."""

    columns: tuple[str, ...]
    ranked: str = ""


_NEURON = ("layer", "neuron")

# Tables whose first rows and columns would say little; of every other table the first five rows of six columns are shown.
VIEWS = {
    "model_parity": View(("document", "positions", "largest_logit_difference", "prediction_disagreements"), "largest_logit_difference"),
    "corpus_documents": View(("document", "text", "characters", "is_duplicate")),
    "token_counts": View(("token", "occurrences", "predictions", "correct_predictions"), "predictions"),
    "neuron_statistics": View((*_NEURON, "mean", "variance", "maximum", "share_above_zero"), "maximum"),
    "token_neuron_scores": View(("token", *_NEURON, "auroc", "direction", "highest_proportion"), "separation"),
    "proportion_curves": View(("token", *_NEURON, "bin_left", "count", "proportion"), "top_prediction_count"),
    "embedding_predictions": View(("token", "predictions"), "predictions"),
    "neuron_contexts": View((*_NEURON, "side", "rank", "token", "activation")),
    "congruence_tokens": View(("convention", "token", "rank", *_NEURON, "congruence")),
    "strongest_neurons": View(("measure", "token", *_NEURON, "corrected", "is_mutual")),
    "corrected_mutual_pairs": View(("token", *_NEURON, "corrected", "congruence", "score")),
    "congruence_hubs": View((*_NEURON, "plain_share", "corrected_share")),
    "prompt_predictions": View(("prompt", "variant", "rank", "token", "probability")),
    "logit_lens": View(("prompt", "variant", "scale", "layer", "point", "difference")),
    "activation_patching": View(("prompt", "component", "layer", "token", "improvement"), "improvement"),
    "neuron_patching": View(("prompt", "positions", *_NEURON, "improvement"), "improvement"),
    "patched_neuron_sets": View(("prompt", "size", *_NEURON, "alone", "restored")),
    "prompt_sets": View(("prompt_set", "text", "answer", "of_equal_length", "drawn", "patched")),
    "prompt_set_pairs": View(("prompt_set", "filler", "corrupt_filler", *_NEURON, "improvement")),
    "prompt_set_patching": View(("prompt_set", *_NEURON, "median", "lower_quartile", "first_ten_share"), "median"),
    "neuron_inputs": View((*_NEURON, "component", "source_layer", "head", "contribution"), "contribution"),
    "neuron_ablation": View(("token", *_NEURON, "ablation", "measure", "effect")),
    "prompt_ablation": View(("prompt", *_NEURON, "ablation", "token", "before", "after")),
    "replication_scorecard": View(("claim", "expected", "observed_correct", "verdict")),
    "data_quality": View(("asset", "expectation", "passed", "observed")),
}


def view_of(table: Table) -> View:
    """What is shown of a table."""
    return VIEWS.get(table.name, View(tuple(table.schema.names()[:COLUMNS])))


def preview(table: Table, source: Path | Record) -> list[dict[str, Any]]:
    """A few rows of a published table as plain values, as its view says."""
    frame, view = scan_table(source, table), view_of(table)
    if view.ranked:
        finite = frame.filter(
            pl.col(view.ranked).is_finite() if table.schema[view.ranked].is_float() else pl.col(view.ranked).is_not_null()
        )
        others = [name for name in table.key if name != view.ranked]  # ties are always shown in the same order
        frame = finite.sort(view.ranked, *others, descending=[True] + [False] * len(others))
    texts = {column.name for column in table.columns if column.unit == "text" and column.name.endswith(("token", "prediction"))}
    rows = frame.select(view.columns).head(ROWS).collect()
    return [{name: _plain(value, name in texts) for name, value in row.items()} for row in rows.iter_rows(named=True)]


def _plain(value: Any, quoted: bool) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else str(value)
    if value is None or isinstance(value, bool | int):
        return value
    text = json.dumps(value, ensure_ascii=False) if quoted and isinstance(value, str) else str(value)  # " an" shows its space
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
