"""The output across_models: from the records of all studies to its three published tables, and back from the store to frames.

Holds what is read and written; what is computed stands in across_models, how it is published in publication.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from assets.across_models.across_models import (
    COMPARED,
    TABLES_READ,
    Evidence,
    best_neurons,
    compared_tokens,
    ranked_neurons,
    tokens_in_order,
)
from assets.across_models.publication import publish
from assets.across_models.studies import Entry, entries
from assets.contracts import ACROSS_MODELS_TABLES, TABLES, conform
from assets.deployment import Deployment
from assets.store import Draft, Place, Record, Store, StoreError
from assets.study import Study
from assets.tables import read_table, write_table

NAME = "across_models"  # the group, the asset, and in the store the folder that a study would have; no study's name holds a "_"
PLACE = Place(NAME, NAME)
CODE_VERSION = "1"


def publish_across_models(studies: Sequence[Study], deployment: Deployment, tell: Callable[[str], None]) -> Record:
    """Keep or make the three tables. Raises StoreError naming a damaged record, file or table of a study that would be compared."""
    looked_at = entries(studies, deployment.store)
    parts = {
        "asset": NAME,
        "code_version": CODE_VERSION,
        "contract": [f"{table.name}.{column.name}:{column.dtype}" for table in ACROSS_MODELS_TABLES.values() for column in table.columns],
        "studies": [_shown(entry) for entry in looked_at],
    }
    inputs = {f"{entry.name}/{asset}": record for entry in looked_at for asset, record in entry.records.items()}
    return publish(deployment.store, PLACE, parts, inputs, lambda draft: _make(looked_at, draft), tell)


@dataclass(frozen=True)
class Compared:
    """One study's part of the tables."""

    tokens: pl.DataFrame
    neurons: pl.DataFrame


def _make(looked_at: Sequence[Entry], draft: Draft) -> None:
    compared = [entry for entry in looked_at if entry.state == COMPARED]
    order = tokens_in_order({entry.name: _table(entry, "tracked_tokens").sort("row")["token"].to_list() for entry in compared})
    parts = [_compare(entry, order) for entry in compared]  # one study's tables in memory at a time
    frames = {
        "across_models_studies": [pl.DataFrame([_shown(entry) for entry in looked_at], schema=_schema("across_models_studies"))],
        "across_models_tokens": [part.tokens for part in parts],
        "across_models_neurons": [part.neurons for part in parts],
    }
    for name, found in frames.items():
        table = ACROSS_MODELS_TABLES[name]
        frame = pl.concat(found) if found else pl.DataFrame(schema=table.schema)
        if name == "across_models_tokens":
            frame = frame.sort(pl.col("token").replace_strict(order, range(len(order)), return_dtype=pl.Int32), maintain_order=True)
        write_table(draft.folder, table, conform(table, frame))
        draft.summary[f"{name}_rows"] = frame.height
    draft.summary.update(studies=len(looked_at), compared=len(compared), tokens=len(order))


def _compare(entry: Entry, order: Sequence[str]) -> Compared:
    evidence = Evidence(entry.name, {name: _table(entry, name) for name in TABLES_READ})
    ranked = ranked_neurons(evidence)
    return Compared(compared_tokens(evidence, ranked, order), best_neurons(ranked))


def _table(entry: Entry, name: str) -> pl.DataFrame:
    return read_table(entry.records[TABLES[name].asset].folder, TABLES[name])


def _shown(entry: Entry) -> dict[str, Any]:
    """The study's row of across_models_studies."""
    row: dict[str, Any] = dict.fromkeys(_schema("across_models_studies"))
    row |= {"study": entry.name, "question": "", "state": entry.state, "reason": entry.reason, "has_report": entry.has_report}
    if entry.study is not None:
        corpus = entry.study.corpus
        row |= {"question": entry.study.question, "model": entry.study.model.id, "corpus": corpus.id or ", ".join(corpus.files)}
    if entry.state == COMPARED:
        facts = entry.records["model_snapshot"].summary
        row |= {name: facts[name] for name in ("commit", "architecture", "layers", "neurons")}
        row["positions"] = entry.records["merged_histograms"].summary["positions"]
    return row


def _schema(name: str) -> pl.Schema:
    return ACROSS_MODELS_TABLES[name].schema


def published(store: Store) -> tuple[Record, Mapping[str, pl.DataFrame]]:
    """The published record and its tables by contract name. Raises StoreError where they are missing or damaged."""
    record = store.find(PLACE)
    if record is None:
        raise StoreError(f"{PLACE}: not there yet; materialize it first")
    store.verify(record)
    return record, {name: read_table(record.folder, table) for name, table in ACROSS_MODELS_TABLES.items()}
