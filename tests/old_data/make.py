"""Keeps what this version of the product writes, for the tests of later versions: python -m tests.old_data.make <file.tar.xz>

Runs the planted study on one shard, with its model and corpus beside the study file, and packs all but the report's files, of
which the drawing library would be most.
"""

import sys
import tarfile
import tempfile
from pathlib import Path

import dagster as dg
import yaml

from assets.study import read_study
from orchestration.run import run_study
from orchestration.settings import Settings
from tests.planted import planted_corpus, planted_model


def make(file: Path, fields: dict) -> None:
    """Run the study and write the archive: old.yaml, model/, corpus.jsonl and data/."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planted_model(folder / "model")
        planted_corpus(folder)
        (folder / "old.yaml").write_text(yaml.safe_dump({**fields, "model": {"id": "model", "device": "cpu"}, "shards": 1}))
        settings = Settings(data=folder / "data", studies=folder, site_url="")
        with dg.DagsterInstance.ephemeral() as instance:
            assert run_study(read_study(folder / "old.yaml"), settings, instance).success
        with tarfile.open(file, "w:xz") as archive:
            for part in ("old.yaml", "corpus.jsonl", "model", "data/old"):
                archive.add(folder / part, part, filter=lambda entry: None if "report_site" in entry.name else entry)


if __name__ == "__main__":
    from tests.pipeline.conftest import planted_fields

    with tempfile.TemporaryDirectory() as corpus:
        planted_corpus(Path(corpus))
        fields = planted_fields(Path(corpus))
    fields["corpus"]["files"] = ["corpus.jsonl"]
    make(Path(sys.argv[1]), fields)
