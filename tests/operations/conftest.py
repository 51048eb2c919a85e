"""A planted study for whole deployments."""

from pathlib import Path

import pytest

from tests.pipeline.conftest import Bench
from tests.planted import planted_corpus, planted_model


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A planted study that has not been run, in a folder of studies of its own."""
    planted_model(tmp_path / "model")
    planted_corpus(tmp_path)
    studies = tmp_path / "studies"
    studies.mkdir()
    return Bench(tmp_path, studies)
