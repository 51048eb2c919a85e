"""Whether an output is still what the study asks for: fingerprints over settings, code versions and the content of inputs.

Reads records and local source files; never what is inside an output. A fingerprint leaves out where files lie and on which
device they were made.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from assets.contracts import HISTOGRAM_TENSORS, TABLES
from assets.stages import STAGES, Input, Stage
from assets.store import Place, Record, Store, StoreError, sha256_of
from assets.study import Study, claims_file


class Freshness:
    """Fingerprints of one study's outputs. Records are read once: make a new one for each asset that is materialized."""

    def __init__(self, study: Study, store: Store) -> None:
        self.study, self.store = study, store
        self._current: dict[Place, Record] = {}

    def place(self, asset: str, shard: str | None = None) -> Place:
        """Where the study's output lies."""
        return Place(self.study.name, asset, shard)

    def current(self, asset: str, shard: str | None = None) -> Record:
        """The published output, known to be made from the study as it is now. Raises StoreError if missing or stale."""
        place = self.place(asset, shard)
        if place not in self._current:
            record = self.store.find(place)
            if record is None:
                raise StoreError(f"{place}: not there yet; materialize it first")
            if record.fingerprint != self.fingerprint(STAGES[asset], shard):
                maker = record.provenance.get("study", self.study.name)
                made = (
                    "made from another version of the study, its inputs or the code"
                    if maker == self.study.name
                    else f"made by study {maker}"
                )
                raise StoreError(f"{place}: {made}; materialize it again")
            self._current[place] = record
        return self._current[place]

    def fresh(self, asset: str, shard: str | None = None) -> Record | None:
        """The published output if it is current and undamaged, else None: then it has to be made."""
        try:
            record = self.current(asset, shard)
            self.store.verify(record)
        except StoreError:
            return None
        return record

    def inputs(self, stage: Stage, shard: str | None) -> dict[str, Record]:
        """The current records that the stage reads, by "asset" or "asset/shard"."""
        return {_label(entry.asset, key): self.current(entry.asset, key) for entry in stage.inputs for key in self._keys(entry, shard)}

    def fingerprint(self, stage: Stage, shard: str | None = None) -> str:
        """SHA-256 (hex) over everything that decides what the output holds."""
        parts = {
            "asset": stage.name,
            "shard": shard,
            "code_version": stage.code_version,
            "contract": _contract(stage),
            "settings": {path: _field(self.study, path) for path in stage.fields},
            "source": self._source(stage),
            "inputs": {label: record.content for label, record in self.inputs(stage, shard).items()},
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _keys(self, entry: Input, shard: str | None) -> Sequence[str | None]:
        names = self.study.shard_names
        return {"none": (None,), "same": (shard,), "first": names[:1], "all": names}[entry.shards]

    def _source(self, stage: Stage) -> dict[str, str]:
        """Hashes of local source files, so that an edited corpus or model is noticed though its path stays the same."""
        study = self.study
        if stage.name == "model_snapshot" and (folder := study.path(study.model.id)).is_dir():
            files = [file for file in sorted(folder.iterdir()) if file.suffix in (".json", ".safetensors", ".model", ".txt")]
        elif stage.name == "corpus_documents":
            files = [study.path(file) for file in study.corpus.files]
        elif stage.name == "replication_scorecard":
            files = [claims_file(study)]
        else:
            files = []
        return {file.name: sha256_of(file) for file in files if file.is_file()}


def _label(asset: str, shard: str | None) -> str:
    return f"{asset}/{shard}" if shard else asset


def _field(study: Study, path: str) -> Any:
    value: Any = study.model_dump(mode="json")
    for part in path.split("."):
        value = value[part]
    return value


def _contract(stage: Stage) -> list[str]:
    columns = [f"{name}.{column.name}:{column.dtype}" for name in stage.tables for column in TABLES[name].columns]
    has_tensors = stage.name in ("activation_histograms", "merged_histograms")
    return columns + [f"{tensor.name}:{tensor.dtype}:{tensor.dimensions}" for tensor in HISTOGRAM_TENSORS if has_tensors]
