"""Two planted studies side by side through the command: fewer documents and finer bins, one run under two names, and what is refused."""

import shutil
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets.contracts import STUDY_DIFFERENCE_TABLES
from assets.deployment import Deployment
from assets.publication import materialize
from assets.stages import STAGES, ancestors
from assets.store import Place, StoreError
from assets.study import Study
from assets.study_difference.studies import READ, DifferenceError
from assets.tables import read_table
from orchestration import study_difference as command
from reports.study_difference.publication import NAME, SITE, publish_study_difference
from tests.assets.congruence.tiny_models import tiny_model
from tests.freshness import Ground
from tests.stage_runs import compute_of

pytestmark = pytest.mark.slow

CHANGES: dict[str, dict[str, Any]] = {
    "one": {},
    "again": {},
    "shorter": {"corpus.documents": 9, "bins": {"per_unit": 8, "low": -1, "high": 15}},
}


def run(study: Study, data: Path) -> None:
    """Only the stages that the difference reads, and those before them."""
    needed = {*READ, *(name for asset in READ for name in ancestors(asset))}
    for stage in (stage for stage in STAGES.values() if stage.name in needed):
        for shard in study.shard_names if stage.is_sharded else [None]:
            materialize(study, stage, shard, Deployment(data), compute_of(stage), lambda text: None)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of study files, and that of their outputs."""
    folder = tmp_path_factory.mktemp("difference")
    ground = Ground(folder / "ground")
    for name, changes in CHANGES.items():
        study = ground.study(changes, name)
        if changes == CHANGES["one"] and name != "one":
            shutil.copytree(folder / "data" / "one", folder / "data" / name, symlinks=True)  # the same run: no name is in what was made
        else:
            run(study, folder / "data")
    return folder / "ground", folder / "data"


class Bench:
    """The two folders, which a test may change, and the command called on them."""

    def __init__(self, ground: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.ground, self.deployment, self._capsys, self._monkeypatch = Ground.of(ground), Deployment(data), capsys, monkeypatch
        monkeypatch.setenv("NEURON_ATLAS_DATA", str(data))
        monkeypatch.setenv("NEURON_ATLAS_STUDIES", str(ground))

    def study(self, name: str, **changes: Any) -> Study:
        return self.ground.study({**CHANGES[name], **changes}, name)

    def call(self, one: str, other: str) -> tuple[int, str]:
        """What the command returns, and all that it says."""
        self._monkeypatch.setattr(sys, "argv", ["study_difference", one, other])
        code = command.main()
        said = self._capsys.readouterr()
        return code, said.out + said.err

    def tables(self, pair: str) -> dict[str, pl.DataFrame]:
        record = self.deployment.store.find(Place(NAME, SITE, pair))
        assert record is not None
        return {name: read_table(record.folder / "data", table) for name, table in STUDY_DIFFERENCE_TABLES.items()}

    def page(self, pair: str) -> str:
        return (self.deployment.site_folder(pair) / "index.html").read_text(encoding="utf-8")


@pytest.fixture
def bench(ran: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    for folder, name in zip(ran, ("ground", "data"), strict=True):
        shutil.copytree(folder, tmp_path / name, symlinks=True)
    return Bench(tmp_path / "ground", tmp_path / "data", monkeypatch, capsys)


def test_the_same_study_under_two_names_shows_that_nothing_changed(bench: Bench) -> None:
    code, said = bench.call("one", "again")
    assert code == 0, said
    assert said.rstrip().endswith(str(bench.deployment.site_folder("one_and_again") / "index.html"))
    tables = bench.tables("one_and_again")
    neurons = tables["study_difference_neurons"]
    assert neurons["distance"].to_list() == [0.0] * neurons.height
    assert neurons["likeness"].drop_nulls().unique().to_list() == [1.0]  # missing of those that write nothing
    assert tables["study_difference_facts"]["is_equal"].all()
    assert tables["study_difference_pairs"].height >= 2
    assert "Nothing changed: all" in bench.page("one_and_again")


def test_another_corpus_and_other_bins_move_neurons_and_the_planted_one_stays_first(bench: Bench) -> None:
    code, said = bench.call("one", "shorter")
    assert code == 0, said
    tables = bench.tables("one_and_shorter")
    neurons = tables["study_difference_neurons"]
    assert neurons["shared_edges"].unique().to_list() == [17]  # fifths and eighths meet at whole numbers, from -1 to 15
    assert 0 < neurons["distance"].max() < 1  # type: ignore[operator]
    assert neurons["likeness"].drop_nulls().unique().to_list() == [1.0]  # missing of those that write nothing
    differing = tables["study_difference_facts"].filter(~pl.col("is_equal"))["fact"].to_list()
    assert differing == ["corpus.documents", "bins.per_unit", "corpus_documents.documents", "merged_histograms.positions"]
    writer = tables["study_difference_tokens"].filter(measure="contribution", token=" an").row(0, named=True)
    assert (writer["layer_a"], writer["neuron_a"]) == (writer["layer_b"], writer["neuron_b"])
    assert tables["study_difference_curves"].height == 18 * tables["study_difference_pairs"].height
    assert "moved by more than 0.1" in bench.page("one_and_shorter")


def test_a_page_is_kept_while_nothing_changed_and_a_fault_leaves_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.call("one", "shorter")[0] == 0
    home = bench.deployment.store.home(Place(NAME, SITE, "one_and_shorter"))
    first = (home / "record.json").read_bytes()
    code, said = bench.call("one", "shorter")
    assert (code, (home / "record.json").read_bytes()) == (0, first)
    assert "nothing changed, kept as it is" in said

    def fail(*given: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr("reports.study_difference.publication.build_study_difference_site", fail)
    monkeypatch.setattr("reports.study_difference.publication.PRODUCT_VERSION", "another")
    assert bench.call("one", "shorter") == (2, "the disk is full\n")
    assert (home / "record.json").read_bytes() == first
    assert len([entry for entry in home.iterdir() if entry.is_dir() and not entry.is_symlink()]) == 1


def test_what_cannot_be_compared_is_refused_and_nothing_is_written(bench: Bench) -> None:
    other_model = tiny_model(bench.ground.folder / "tiny", "gpt2")
    bench.ground.study({"model.id": str(other_model), "tokens": [" an"], "neurons": []}, "other")
    refused = {
        ("one", "one"): "given one twice",
        ("one", "absent"): "no such study",
        ("one", "other"): "other: nothing of it was run; run it first: make study STUDY=other",
    }
    for pair, sentence in refused.items():
        code, said = bench.call(*pair)
        assert code == 2
        assert sentence in said
    (bench.deployment.store.home(Place("shorter", "contributions")) / "record.json").unlink()
    assert "shorter: not there yet: contributions" in bench.call("one", "shorter")[1]
    assert not (bench.deployment.data / NAME).exists()


def test_models_of_another_shape_are_refused(bench: Bench) -> None:
    tiny_model(bench.ground.folder / "tiny", "gpt2")
    study = bench.ground.study({"model.id": "tiny", "corpus.context_length": 32, "neurons": [], "prompts": [], "prompt_sets": []}, "tiny")
    run(study, bench.deployment.data)
    with pytest.raises(DifferenceError, match=r"one and tiny: neurons is 16 of one model and 12 of the other; .* make across"):
        publish_study_difference(bench.study("one"), study, bench.deployment, print)


def test_a_stale_or_damaged_output_is_refused_by_name(bench: Bench) -> None:
    with pytest.raises(StoreError, match="one/contributions: made from another version of the study"):
        publish_study_difference(bench.study("one", min_count=3), bench.study("again"), bench.deployment, print)
    record = bench.deployment.store.find(Place("again", "contributions"))
    assert record is not None
    file = record.folder / "contributions.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    bench.study("one")
    code, said = bench.call("one", "again")
    assert code == 2
    assert "again/contributions: the content of file contributions.parquet is not what was published" in said
