"""A small study that has been run once, and a copy of its data for each test to damage."""

import shutil
from pathlib import Path

import pytest

from assets.histograms.asset import _activation_bins, _activation_histograms, _merged_histograms, _screened_tokens
from assets.publication import materialize
from assets.stages import STAGES
from assets.store import Record, Store
from assets.study import Study
from tests.pipeline.conftest import Bench
from tests.planted import planted_corpus, planted_model

COMPUTE = {
    "activation_bins": _activation_bins,
    "screened_tokens": _screened_tokens,
    "activation_histograms": _activation_histograms,
    "merged_histograms": _merged_histograms,
}


@pytest.fixture(scope="session")
def study_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the planted model and corpus."""
    folder = tmp_path_factory.mktemp("faults")
    planted_model(folder / "model")
    planted_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def undisturbed(study_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The planted study after one whole run. Copy its data, never change it."""
    bench = Bench(study_files, tmp_path_factory.mktemp("undisturbed"))
    assert bench.run().success
    return bench


@pytest.fixture
def bench(study_files: Path, undisturbed: Bench, tmp_path: Path) -> Bench:
    """The planted study with a copy of the undisturbed run's data."""
    copied = Bench(study_files, tmp_path)
    shutil.copytree(undisturbed.settings.data, copied.settings.data, symlinks=True)
    return copied


class Workshop:
    """Makes single outputs of a bench's study, as a run does, without Dagster around them."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.study = bench, bench.study()

    @property
    def store(self) -> Store:
        return self.bench.settings.deployment.store

    def home(self, asset: str, shard: str | None = None, study: Study | None = None) -> Path:
        """Folder of an output's record and versions."""
        return self.bench.settings.data / (study or self.study).name / asset / (shard or "")

    def make(self, asset: str, shard: str | None = None, study: Study | None = None) -> Record:
        """Keep the output or make it anew, exactly as its Dagster asset does."""
        deployment = self.bench.settings.deployment
        return materialize(study or self.study, STAGES[asset], shard, deployment, COMPUTE[asset], lambda text: None)


@pytest.fixture
def workshop(bench: Bench) -> Workshop:
    """A workshop on the copied data."""
    return Workshop(bench)
