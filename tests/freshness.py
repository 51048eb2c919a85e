"""A small planted study whose every field can be changed, and whole outputs to compare: files, facts and pages, apart from when they
were made. Holds no test.
"""

import datetime
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from assets.quality import expectations
from assets.store import Place, Record
from assets.store import store as store_module
from assets.study import Study, read_study
from tests.pipeline.conftest import planted_fields
from tests.planted import planted_corpus, planted_model

NAME = "planted"
CLAIMS = "source: the planted weights\nclaims:\n- claim: it is predicted\n  quantity: predictions\n  token: ' an'\n  expected: 60\n  tolerance: 40\n"


class Ground:
    """The folder of a study's files, written once: two models, corpora, and the study with any of its fields changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        planted_model(folder / "model")
        planted_model(folder / "other", has_echo=True)
        shutil.copytree(folder / "model", folder / "copied")
        corpus = planted_corpus(folder)
        texts = [json.loads(line)["text"] for line in corpus.read_text().splitlines()]
        for name, most in (("corpus", 60), ("longer", 70)):
            rows = [{"text": text, "backwards": " ".join(reversed(text.split(" ")))} for text in texts[:most]]
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
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


@pytest.fixture(scope="session")
def judged_once() -> Iterator[None]:
    """Great Expectations judges equal frames by equal sentences once: it takes most of a small study's time."""
    judge, known = expectations.judge, {}

    def remembered(asset: str, check: str, frame: pl.DataFrame, given: list[expectations.Expectation]) -> list[expectations.Outcome]:
        sentences = [(one.sentence, one.severity, one.kind, one.arguments, one.expected) for one in given]
        key = repr((asset, check, frame.schema, frame.rows(), sentences))
        if key not in known:
            known[key] = judge(asset, check, frame, given)
        return known[key]

    users = [module for name, module in list(sys.modules.items()) if name.startswith("assets.") and getattr(module, "judge", None) is judge]
    users = []
    with pytest.MonkeyPatch.context() as patch:
        for module in users:
            patch.setattr(module, "judge", remembered)
        yield
