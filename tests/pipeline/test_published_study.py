"""A published study read from a script: what the files hold, verified; and the notebook of the documentation, run as it stands."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from assets.contracts import TABLES
from assets.published_study import PublishedStudy
from assets.store import StoreError
from assets.tables import read_table
from tests.pipeline.conftest import Bench, WholeRun

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "reading.ipynb"


@pytest.fixture
def study(whole_run: WholeRun) -> PublishedStudy:
    return PublishedStudy(whole_run.bench.settings.data, "planted")


def test_every_table_that_is_told_of_is_read_as_it_was_published(study: PublishedStudy, whole_run: WholeRun) -> None:
    assert {"token_neuron_scores", "neuron_statistics", "evidence_cards"} <= set(study.tables)
    assert "token_windows" not in study.tables  # it lies in shards
    for name, description in study.tables.items():
        assert description == TABLES[name].description
        assert study.table(name).equals(read_table(whole_run.bench.record(TABLES[name].asset).folder, TABLES[name]))
    assert study.columns("neuron_statistics")["column"].to_list() == [column.name for column in TABLES["neuron_statistics"].columns]


def test_counters_and_shards_are_read(study: PublishedStudy) -> None:
    statistics, histograms = study.table("neuron_statistics"), study.histograms()
    binned = statistics.select((pl.col("count") - pl.col("underflow") - pl.col("overflow")).sum()).item()
    assert int(np.asarray(histograms["count"][...]).sum()) == binned
    assert histograms.positions == study.facts("merged_histograms")["positions"]
    windows = [study.table("token_windows", shard) for shard in ("0000", "0001", "0002")]
    assert pl.concat(windows)["document"].n_unique() == study.table("corpus_documents").height


def test_what_is_not_there_is_named_with_what_to_do(study: PublishedStudy, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="table 'scores': there is none of this name; give one of model_snapshot, "):
        study.table("scores")
    with pytest.raises(StoreError, match=r"table token_windows: it lies in shards; say which, table\('token_windows', shard='0000'\)"):
        study.table("token_windows")
    with pytest.raises(StoreError, match="planted/token_windows shard 0009 was not made there; run the study, or correct folder and name"):
        study.table("token_windows", "0009")
    assert PublishedStudy(tmp_path, "planted").tables == {}
    with pytest.raises(StoreError, match=f"{tmp_path}/none/neuron_statistics: none/neuron_statistics was not made there"):
        PublishedStudy(tmp_path, "none").table("neuron_statistics")


def test_a_damaged_table_is_named_and_not_read(published: Bench) -> None:
    study = PublishedStudy(published.settings.data, "planted")
    (file,) = published.record("neuron_statistics").folder.glob("*.parquet")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=file.name):
        study.table("neuron_statistics")
    assert study.table("token_counts").height  # what is whole is read


def cells(kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


def test_the_notebook_answers_its_questions_in_ten_lines_each_without_dagster_or_torch(whole_run: WholeRun, tmp_path: Path) -> None:
    """On another study than the one whose answers stand in it."""
    (tmp_path / "data").mkdir()
    shutil.copytree(whole_run.bench.settings.data / "planted", tmp_path / "data" / "demo", symlinks=True)
    sources = ["".join(cell["source"]) for cell in cells("code")]
    assert max(source.count("\n") + 1 for source in sources) <= 10
    script = "\n".join([*sources, "import sys", "assert not {'dagster', 'torch'} & set(sys.modules), 'not needed'"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)


def test_the_notebook_shows_what_its_cells_gave() -> None:
    assert all(cell["outputs"] for cell in cells("code"))
    assert len([cell for cell in cells("markdown") if "".join(cell["source"]).startswith("## ")]) == 3
