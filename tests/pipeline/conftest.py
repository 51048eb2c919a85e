"""A planted study as files, and ways to run it: in this process against a throw-away Dagster instance."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import pytest
import yaml

from assets.store import Place, Record
from assets.study import Study, read_study
from orchestration.run import run_study
from orchestration.settings import Settings
from tests.planted import ANSWER, CLEAN_PROMPT, CORRUPT_PROMPT, PLANTED_LAYER, PLANTED_NEURON, WRONG_ANSWER, planted_corpus, planted_model


@pytest.fixture(scope="session")
def planted_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the planted model and corpus."""
    folder = tmp_path_factory.mktemp("planted")
    planted_model(folder / "model")
    planted_corpus(folder)
    return folder


def planted_fields(files: Path) -> dict[str, Any]:
    """The fields of the planted study."""
    return {
        "question": 'Which neuron of the planted model predicts " an"?',
        "model": {"id": str(files / "model"), "device": "cpu"},
        "corpus": {"files": [str(next(files.glob("*.jsonl")))], "context_length": 64, "windows": "all"},
        "tokens": [" an", " a"],
        "neurons": [[PLANTED_LAYER, PLANTED_NEURON]],
        "prompts": [{"name": "fruit", "text": CLEAN_PROMPT, "corrupt": CORRUPT_PROMPT, "answer": ANSWER, "wrong_answer": WRONG_ANSWER}],
        "prompt_sets": [
            {
                "name": "fruits",
                "text": "I climbed up the {fruit} tree and picked",
                "answer": ANSWER,
                "fillers": ["apple", "orange"],
                "wrong_answer": WRONG_ANSWER,
                "corrupt_fillers": ["lemon", "pear"],
            }
        ],
        "min_count": 1,
        "best_neurons": 2,
        "examples": 3,
        "ablation_positions": 8,
        "shards": 3,
    }


class Bench:
    """One study file with its own data folder: change fields, run, look at what was published."""

    def __init__(self, files: Path, folder: Path, bucket: str = "") -> None:
        self.file = folder / "planted.yaml"
        self.settings = Settings(data=folder / "data", studies=folder, site_url="", bucket=bucket)
        self.fields = planted_fields(files)

    def study(self, **fields: Any) -> Study:
        """Write the study file with these fields changed and read it."""
        self.fields |= fields
        self.file.write_text(yaml.safe_dump(self.fields))
        return read_study(self.file)

    def run(self, **fields: Any) -> dg.ExecuteInProcessResult:
        """Run the study in this process."""
        with dg.DagsterInstance.ephemeral() as instance:
            return run_study(self.study(**fields), self.settings, instance)

    def record(self, asset: str, shard: str | None = None) -> Record:
        """A published record; it must be there."""
        record = self.settings.deployment.store.find(Place("planted", asset, shard))
        assert record is not None, f"{asset} {shard} is not published"
        return record

    def made(self) -> dict[str, str]:
        """Version folder of every published output: changes exactly when something is made again."""
        root = self.settings.data / "planted"
        return {str(file.parent.relative_to(root)): file.read_text() for file in sorted(root.rglob("record.json"))}


class WholeRun(NamedTuple):
    """The planted study after its first run."""

    bench: Bench
    result: dg.ExecuteInProcessResult


@pytest.fixture(scope="session")
def whole_run(planted_files: Path, tmp_path_factory: pytest.TempPathFactory) -> WholeRun:
    """One whole run for all tests that only need one to have been. Read it, never change it: `published` is a copy to change."""
    bench = Bench(planted_files, tmp_path_factory.mktemp("whole"))
    return WholeRun(bench, bench.run())


@pytest.fixture
def published(planted_files: Path, whole_run: WholeRun, tmp_path: Path) -> Bench:
    """A planted study that has been run, with data of its own."""
    copied = Bench(planted_files, tmp_path)
    assert whole_run.result.success
    shutil.copytree(whole_run.bench.settings.data, copied.settings.data, symlinks=True)
    return copied


@pytest.fixture
def bench(planted_files: Path, tmp_path: Path) -> Bench:
    """A planted study that has not been run."""
    return Bench(planted_files, tmp_path)


@pytest.fixture
def run(bench: Bench) -> Callable[..., dg.ExecuteInProcessResult]:
    """Run the planted study."""
    return bench.run
