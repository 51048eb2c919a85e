"""The output across_models: from the records of all studies to its three published tables, and back from the store to frames.

Holds what is read and written; what is computed stands in across_models, how it is published in assets/publication.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from assets.across_models.across_models import (
    COMPARED,
    TABLES_READ,
    StudyTables,
    best_neurons,
    compared_tokens,
    ranked_neurons,
    tokens_in_order,
)
from assets.across_models.studies import FACTS, READS, Entry, entries
from assets.contracts import ACROSS_MODELS_TABLES, conform
from assets.deployment import Deployment
from assets.freshness import found_in, hash_of
from assets.product import PRODUCT_VERSION
from assets.publication import Asked, publish
from assets.reading import Reading
from assets.sources import ALWAYS, code_behind
from assets.store import Draft, Place, Record, Store, StoreError
from assets.study import Study
from assets.tables import read_table, write_table

NAME = "across_models"  # the group, the asset, and in the store the folder that a study would have; no study's name holds a "_"
PLACE = Place(NAME, NAME)


def code() -> str:
    """SHA-256 (hex) of the code behind the tables."""
    return code_behind((("assets.across_models.comparison", "_make"), *ALWAYS))


def publish_across_models(studies: Sequence[Study], deployment: Deployment, tell: Callable[[str], None]) -> Record:
    """Keep or make the three tables. Raises StoreError naming a damaged record, file or table of a study that would be compared."""
    store = deployment.store

    def make(_: Mapping[str, Record], draft: Draft) -> None:
        _make(entries(studies, store), draft)

    def ask() -> Asked:
        asked = _asked(entries(studies, store))
        for record in asked.inputs.values():  # no run makes them again before this one: a damaged one is told though nothing else changed
            store.verify(record)
        return asked

    return publish(store, PLACE, ask, make, tell)


def _asked(looked_at: Sequence[Entry]) -> Asked:
    inputs = {f"{entry.name}/{asset}": record for entry in looked_at for asset, record in entry.records.items()}
    found = {label: found_in(record, READS) for label, record in inputs.items()}
    parts = {
        "asset": NAME,
        "code": code(),
        "contract": [f"{table.name}.{column.name}:{column.dtype}" for table in ACROSS_MODELS_TABLES.values() for column in table.columns],
        "studies": [_shown(entry) for entry in looked_at],
        "inputs": found,
    }
    return Asked(PLACE, hash_of(parts), inputs, found, {"product": PRODUCT_VERSION, "code_version": code()[:12]})


@dataclass(frozen=True)
class Compared:
    """One study's part of the tables."""

    tokens: pl.DataFrame
    neurons: pl.DataFrame


def _make(looked_at: Sequence[Entry], draft: Draft) -> None:
    compared = [entry for entry in looked_at if entry.state == COMPARED]
    order = tokens_in_order({entry.name: _reading(entry).read("tracked_tokens").sort("row")["token"].to_list() for entry in compared})
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
    reading = _reading(entry)
    tables = {name: reading.read(name) for name in TABLES_READ}
    found = StudyTables(entry.name, tables, reading.fact("model_snapshot", "is_gated"))
    ranked = ranked_neurons(found)
    return Compared(compared_tokens(found, ranked, order), best_neurons(ranked))


def _reading(entry: Entry) -> Reading:
    assert entry.reading is not None, entry.name
    return entry.reading


def _shown(entry: Entry) -> dict[str, Any]:
    """The study's row of across_models_studies."""
    row: dict[str, Any] = dict.fromkeys(_schema("across_models_studies"))
    row |= {"study": entry.name, "question": "", "state": entry.state, "reason": entry.reason, "has_report": entry.has_report}
    if entry.reading is not None:
        study = entry.reading.study
        row |= {"question": study.question, "model": study.model.id, "corpus": study.corpus.id or ", ".join(study.corpus.files)}
        if entry.state == COMPARED:
            row |= {name: entry.reading.fact("model_snapshot", name) for name in FACTS}
            row["positions"] = entry.reading.fact("merged_histograms", "positions")
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
