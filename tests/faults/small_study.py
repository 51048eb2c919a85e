"""The planted study as files, and a folder of its own for its data and its Dagster history. Holds no test."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.pipeline.conftest import planted_fields
from tests.planted import planted_corpus, planted_model

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Place:
    """Where one series of runs reads its study and keeps data and history; the instance is set up as the product ships it."""

    study: Path
    data: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a run of the product here."""
        return {
            **os.environ,
            "NEURON_ATLAS_DATA": str(self.data),
            "DAGSTER_HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }


def write_study(folder: Path, name: str = "planted", **fields: Any) -> Path:
    """Write model, corpus and <name>.yaml into `folder`; returns the study file."""
    if not (folder / "model").is_dir():
        planted_model(folder / "model")
        planted_corpus(folder)
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**planted_fields(folder), **fields}))
    return file


def new_place(study: Path, folder: Path) -> Place:
    """An empty data folder and an instance of the product's own settings, below `folder`."""
    home = folder / "home"
    home.mkdir(parents=True)
    shutil.copy(ROOT / "orchestration" / "instance" / "dagster.yaml", home)
    return Place(study, folder / "data", home)
