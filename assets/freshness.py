"""Whether an output is still what the study asks for: fingerprints over all that its stage can read, and over its code.

A fingerprint hashes the values of the fields and the content of the reads that a stage declares (assets/stages.py), the files from
outside that it reads, its contracts, and the code behind it (assets/sources.py). A stage can read nothing else. Left out are where
files lie and which device an output is made on. Reads records and local source files; never what is inside an output.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assets.contracts import TABLES, histogram_tensors
from assets.reads import Read
from assets.source_files import local_files, remote_files
from assets.sources import code_of
from assets.stages import STAGES, Input, Stage
from assets.store import Place, Record, Store, StoreError, sha256_of
from assets.store.sources import source_marks
from assets.study import MODEL_SUFFIXES, Study, claims_file
from assets.study_view import EVERY_FIELD
from assets.upstream import branches, noted_commit
from assets.urls import is_url


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
                raise StoreError(f"{place}: not there yet; materialize it first, or everything with: make study STUDY={place.study}")
            if record.fingerprint != self.fingerprint(STAGES[asset], shard):
                maker = record.provenance.get("study", self.study.name)
                stale = "made from another version of the study, its inputs or the code"
                made = stale if maker == self.study.name else f"made by study {maker}"
                raise StoreError(f"{place}: {made}; materialize it again, or everything that is stale with: make study STUDY={place.study}")
            self._current[place] = record
        return self._current[place]

    def fresh(self, asset: str, shard: str | None = None) -> Record | None:
        """The published output if it is current and undamaged, else None: then it has to be made."""
        try:
            record = self.current(asset, shard)
            self.store.verify(record)
        except StoreError:
            self._current.pop(self.place(asset, shard), None)  # what is made in its place has a record of its own
            return None
        return record

    def inputs(self, stage: Stage, shard: str | None) -> dict[str, Record]:
        """The current records that the stage reads, by "asset" or "asset/shard"."""
        return {_label(entry.asset, key): self.current(entry.asset, key) for entry in stage.inputs for key in self._keys(entry, shard)}

    def found(self, stage: Stage, shard: str | None) -> dict[str, str]:
        """A hash of what the stage reads of each record, by "asset" or "asset/shard"."""
        return {label: found_in(record, stage.reads) for label, record in self.inputs(stage, shard).items()}

    def fingerprint(self, stage: Stage, shard: str | None = None) -> str:
        """SHA-256 (hex) over everything that decides what the output holds."""
        return hash_of({**self._own(stage), "shard": shard, "inputs": self.found(stage, shard)})

    def asked(self) -> str:
        """SHA-256 (hex) over all that people and the world outside decide: the study, its sources, the code. No record is read."""
        return hash_of([{**self._own(stage), "shards": self.study.shard_names} for stage in STAGES.values()])

    def stale(self) -> list[Place]:
        """Every output that is missing or not made from what stands now, in the order of the work. File contents are not verified.

        What comes after a stale output is stale as well; some of it may turn out unchanged, and is then kept by the run.
        """
        found = []
        for stage in STAGES.values():
            for shard in self.study.shard_names if stage.is_sharded else [None]:
                try:
                    self.current(stage.name, shard)
                except StoreError:
                    found.append(self.place(stage.name, shard))
        return found

    def _own(self, stage: Stage) -> dict[str, Any]:
        """What decides an output beside its inputs."""
        return {
            "asset": stage.name,
            "code": code_of(stage.name),
            "contract": contract_of(stage.tables) + _tensors(stage, self.study),
            "fields": values_of(self.study, stage.fields),
            "source": self._source(stage),
        }

    def _keys(self, entry: Input, shard: str | None) -> Sequence[str | None]:
        names = self.study.shard_names
        return {"none": (None,), "same": (shard,), "first": names[:1], "all": names}[entry.shards]

    def _source(self, stage: Stage) -> dict[str, str]:
        """Hashes of local source files, so that an edited corpus or model is noticed though its path stays the same, and the
        commits that followed branches of the hub were last seen at."""
        if stage.source is None:
            return {}
        study = self.study
        if stage.source == "model" and is_url(study.model.id):
            return source_marks(study.model.id, MODEL_SUFFIXES)
        followed = [branch for branch in branches(study) if branch.asset == stage.name]
        commits = {str(branch): commit for branch in followed if (commit := noted_commit(self.store, study, branch))}
        if stage.source == "claims":
            return _hashes([claims_file(study)])
        if stage.source == "model":
            folder = study.path(study.model.id)
            files = sorted(folder.iterdir()) if folder.is_dir() else []
            return _hashes([file for file in files if file.suffix in MODEL_SUFFIXES]) | commits
        marks = [source_marks(url) for url in remote_files(study)]
        return {**_hashes(local_files(study)), **{name: mark for found in marks for name, mark in found.items()}, **commits}


def found_in(record: Record, reads: Sequence[Read]) -> str:
    """SHA-256 (hex) of what the reads find in a record: all that a reader can know of it."""
    return hash_of({str(read): read.found_in(record) for read in reads if read.asset == record.place.asset})


def contract_of(tables: Sequence[str]) -> list[str]:
    """What the named tables promise of their columns, as texts."""
    return [f"{name}.{column.name}:{column.dtype}:{column.nullable}" for name in tables for column in TABLES[name].columns]


def values_of(study: Study, fields: Sequence[str]) -> dict[str, Any]:
    """The values of dotted fields, or of the whole study, as plain JSON values. Where a study file lies is no value."""
    whole = study.model_dump(mode="json", exclude={"folder"})
    return whole if EVERY_FIELD in fields else {path: _value(whole, path) for path in fields}


def _value(fields: Any, path: str) -> Any:
    for part in path.split("."):
        fields = fields[part]
    return fields


def _tensors(stage: Stage, study: Study) -> list[str]:
    has_tensors = stage.name in ("activation_histograms", "merged_histograms")
    tensors = histogram_tensors(study.embedding_predictions, study.further_outcomes) if has_tensors else ()
    return [f"{tensor.name}:{tensor.dtype}:{tensor.dimensions}" for tensor in tensors]


def hash_of(parts: Any) -> str:
    """SHA-256 (hex) of plain JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _hashes(files: Sequence[Path]) -> dict[str, str]:
    """SHA-256 by file name: where the files lie does not matter. Equal names of several folders are told apart by their order."""
    hashes: dict[str, str] = {}
    for position, file in enumerate(files):
        if file.is_file():
            hashes[file.name if file.name not in hashes else f"{file.name} ({position})"] = sha256_of(file)
    return hashes


def _label(asset: str, shard: str | None) -> str:
    return f"{asset}/{shard}" if shard else asset
