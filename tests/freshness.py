"""A small planted study whose every field can be changed, and whole outputs to compare: files, facts and pages, apart from when they
were made. Holds no test.
"""

import datetime
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from assets.corpus import corpus_documents
from assets.corpus.hub_rows import HubFile
from assets.corpus.source_rows import Row
from assets.store import Place, Record
from assets.store import store as store_module
from assets.study import Study, read_study
from tests.pipeline.conftest import planted_fields
from tests.planted import planted_corpus, planted_model, planted_tokenizer

NAME = "planted"


class Ground:
    """The folder of a study's files, written once: two models, corpora, and the study with any of its fields changed."""

    def __init__(self, folder: Path) -> None:
        self._write(folder)
        self._know(folder)

    @classmethod
    def of(cls, folder: Path) -> "Ground":
        """A ground whose files are there already."""
        ground = cls.__new__(cls)
        ground._know(folder)
        return ground

    @staticmethod
    def _write(folder: Path) -> None:
        planted_model(folder / "model")
        planted_model(folder / "other", has_echo=True)
        shutil.copytree(folder / "model", folder / "copied")
        corpus = planted_corpus(folder)
        texts = [json.loads(line)["text"] for line in corpus.read_text().splitlines()]
        tokenizer = planted_tokenizer()
        for name, most in (("corpus", 60), ("longer", 70)):
            rows = [
                {"text": text, "backwards": " ".join(reversed(text.split(" "))), "of": {"half": "even" if number % 2 == 0 else "odd"},
                 "entries": tokenizer(text, add_special_tokens=False)["input_ids"][:40]}
                for number, text in enumerate(texts[:most])
            ]  # fmt: skip
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def _know(self, folder: Path) -> None:
        self.folder = folder
        self.fields: dict[str, Any] = {**planted_fields(folder), "shards": 2, "ablation_positions": 4}
        self.fields["corpus"] = {"files": ["corpus.jsonl"], "context_length": 64, "windows": "all"}
        self.fields["model"] = {"id": "model", "device": "cpu"}

    def study(self, changes: dict[str, Any], name: str = NAME) -> Study:
        """The study with dotted fields changed; None takes a field away."""
        fields = yaml.safe_load(yaml.safe_dump(self.fields))
        for path, value in changes.items():
            *parents, last = path.split(".")
            place = fields
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
            if value is None:
                del place[last]
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(fields))
        return read_study(file)


def whole(records: dict[Place, Record]) -> dict[str, Any]:
    """Everything that outputs hold: facts, and every file by its hash."""
    held: dict[str, Any] = {}
    for place, record in records.items():
        held[f"{place.asset}/{place.shard} facts"] = dict(record.facts)
        held |= {f"{place.asset}/{place.shard} {name}": entry.sha256 for name, entry in record.files.items()}
    return held


@pytest.fixture
def one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every output is made at the same moment and takes no time: pages that say when can then be compared."""

    class Still(datetime.datetime):
        @classmethod
        def now(cls, zone: datetime.tzinfo | None = None) -> "Still":
            return cls(2026, 1, 1, tzinfo=zone)

    monkeypatch.setattr(store_module, "datetime", Still)
    monkeypatch.setattr(store_module.time, "monotonic", lambda: 0.0)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets of a hub come from a made-up one."""
    make_up_a_hub(monkeypatch)


def make_up_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub whose texts tell data set, commit and split apart: nothing else can be known of one that is out of reach."""

    def files(study: Study) -> tuple[str, Iterator[HubFile]]:
        corpus = study.corpus
        commit = corpus.revision or "1" * 40
        fruits = {("train", "1"): " apple", ("train", "0"): " lemon", ("test", "1"): " pear"}
        fruit = fruits[corpus.split, commit[0]] if corpus.config is None and not corpus.data_files else " cherry"
        return commit, iter([HubFile("texts.parquet", iter([Row(f"I climbed up the{fruit} tree and picked a") for _ in range(30)]))])

    monkeypatch.setattr(corpus_documents, "hub_files", files)
    monkeypatch.setattr("assets.freshness.branches", lambda study: [])
