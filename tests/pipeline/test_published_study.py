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
from tests.assets.exported_neurons.neuron_explainer_form import check_neuron_record
from tests.pipeline.conftest import Bench, WholeRun
from tests.planted import PLANTED_LAYER, PLANTED_NEURON

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


def test_a_neuron_as_json_is_what_the_tables_hold_of_it_with_the_texts_of_its_tokens(study: PublishedStudy) -> None:
    given = json.loads(json.dumps(study.neuron_with_texts(PLANTED_LAYER, PLANTED_NEURON), allow_nan=False))
    assert (given["study"], given["layer"], given["neuron"]) == ("planted", PLANTED_LAYER, PLANTED_NEURON)
    assert given["histogram"]["counts"] == np.asarray(study.histograms()["count"][PLANTED_LAYER, PLANTED_NEURON]).tolist()
    (score,) = study.table("token_neuron_scores").filter(layer=PLANTED_LAYER, neuron=PLANTED_NEURON, token=" an")["auroc"]
    (token_id,) = (int(token_id) for token_id, text in given["texts"].items() if text == " an")
    assert [one["auroc"] for one in given["scores"] if one["token_id"] == token_id] == [pytest.approx(score, rel=1e-3)]
    shown = {token_id for example in given["examples"] for token_id in (*example["token_ids"], *example["prediction_ids"])}
    assert shown
    texts = dict(study.table("token_counts").select("token_id", "token").iter_rows())
    assert shown | {one["token_id"] for one in given["writes"]} <= {int(token_id) for token_id in given["texts"]}
    assert all(texts[int(token_id)] == text for token_id, text in given["texts"].items())


def test_a_neuron_that_is_not_there_is_told_with_those_that_are(study: PublishedStudy) -> None:
    told = r"neuron: given L9 N0; the atlas of planted has none of that name \(layers 0 to 2, neurons 0 to 15 in each"
    with pytest.raises(StoreError, match=told):
        study.neuron(9, 0)


def test_the_command_prints_one_neuron(whole_run: WholeRun) -> None:
    environment = {**os.environ, "NEURON_ATLAS_DATA": str(whole_run.bench.settings.data)}
    command = [sys.executable, "-m", "orchestration.neuron", str(whole_run.bench.file)]
    asked = f"L{PLANTED_LAYER}-N{PLANTED_NEURON}"
    said = subprocess.run([*command, asked], cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert json.loads(said)["neuron"] == PLANTED_NEURON
    wrong = {
        "L1 N1, L1 N2": "neuron: given 'L1 N1, L1 N2'; name one, such as L2-N144\n",
        "x": "neurons: given 'x'; write a neuron as L1 N3",
    }
    for given, sentence in wrong.items():
        refused = subprocess.run([*command, given], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith(sentence)


def test_neurons_are_given_a_layer_at_a_time_or_those_that_are_named(study: PublishedStudy) -> None:
    every = list(study.neurons())
    facts = study.facts("model_snapshot")
    assert [(one["layer"], one["neuron"]) for one in every] == [
        (layer, neuron) for layer in range(facts["layers"]) for neuron in range(facts["neurons"])
    ]
    chosen = [(2, 3), (0, 15), (2, 1)]
    assert list(study.neurons(chosen)) == [study.neuron(*place) for place in sorted(chosen)]
    assert [one for one in every if (one["layer"], one["neuron"]) in chosen] == list(study.neurons(chosen))
    with pytest.raises(StoreError, match="neuron: given L2 N16; the atlas of planted has none of that name"):
        list(study.neurons([(2, 1), (2, 16)]))


def test_the_command_exports_neurons_and_refuses_what_it_cannot_do(whole_run: WholeRun, tmp_path: Path) -> None:
    environment = {**os.environ, "NEURON_ATLAS_DATA": str(whole_run.bench.settings.data)}

    def called(neurons: str, out: Path) -> tuple[int, str]:
        command = [sys.executable, "-m", "orchestration.export", f"--neurons={neurons}", "--", str(whole_run.bench.file), str(out)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    out = tmp_path / "some"
    assert called("L0 N1, l2-n15", out)[0] == 0
    about = json.loads((out / "export.json").read_text())
    assert (about["study"], about["neurons"], about["layers"], about["neurons_in_a_layer"]) == ("planted", 2, 3, 16)
    study = PublishedStudy(whole_run.bench.settings.data, "planted")
    for layer, neuron in ((0, 1), (2, 15)):
        for end, side, sign in (("high", "top", 1), ("low", "bottom", -1)):
            exported = json.loads((out / end / "neurons" / str(layer) / f"{neuron}.json").read_text())
            check_neuron_record(exported)
            examples = study.table("atlas_examples").filter(layer=layer, neuron=neuron, side=side).sort("rank")
            assert examples.height
            for activation, passage in zip(examples["activation"], exported["most_positive_activation_records"], strict=True):
                assert min(abs(value - sign * activation) for value in passage["activations"]) <= 1e-6 * abs(activation)
    assert called("all", tmp_path / "all")[0] == 0
    assert json.loads((tmp_path / "all" / "export.json").read_text())["neurons"] == 48
    code, said = called("", out)
    assert (code, "is not empty" in said) == (2, True)
    code, said = called("L7-N0", tmp_path / "none")
    assert (code, said.splitlines()[-1][:25]) == (2, "neuron: given L7 N0; the ")
    code, said = called(", ,", tmp_path / "none")
    assert (code, said) == (2, "NEURONS: given ', ,', which names none; give some, such as L1-N3, or all\n")
    assert not (tmp_path / "none").exists()


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
