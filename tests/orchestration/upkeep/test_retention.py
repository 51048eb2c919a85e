"""What retention lists and frees, in a folder and in a bucket, and what it never touches."""

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml

from assets.deployment import Deployment
from assets.store import RECORD, Place
from assets.store.bucket import Bucket
from assets.store.cache import Cache
from assets.study import Study, read_study
from orchestration.upkeep import retention
from orchestration.upkeep.left_outputs import Left, left_outputs
from orchestration.upkeep.old_runs import old_runs
from tests.s3_server import BucketForTests

FIELDS = {"model": {"id": "m"}, "corpus": {"files": ["c.txt"]}, "tokens": [" an"], "shards": 2}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / "studies").mkdir()
    file = tmp_path / "studies" / "kept.yaml"
    file.write_text(yaml.safe_dump(FIELDS))
    return read_study(file)


@pytest.fixture(params=["folder", "bucket"])
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Deployment:
    if request.param == "folder":
        return Deployment(tmp_path / "data")
    bucket: BucketForTests = request.getfixturevalue("bucket")
    return Deployment(tmp_path / "data", bucket=bucket.url)


def publish(deployment: Deployment, place: Place, letters: int = 10, inputs: tuple[str, ...] = ()) -> None:
    with deployment.store.publish(place, "f" * 64, dict.fromkeys(inputs, "c")) as draft:
        (draft.folder / "part.txt").write_text("x" * letters)


def leave_version(deployment: Deployment, place: Place, letters: int) -> None:
    """What a killed run leaves: a version that no record names."""
    name, storage = "aaaaaaaaaaaa-bbbbbbbb/part.txt", deployment.store.storage
    if isinstance(storage, Bucket):
        storage.objects.put(f"{place.path}/{name}", b"x" * letters)
    else:
        file = storage.home(place) / name
        file.parent.mkdir()
        file.write_text("x" * letters)


def shown(found: list[Left]) -> list[tuple[str, str, int | None, bool]]:
    return [(left.kind, left.name.partition(":")[0], left.bytes, not left.kept_because) for left in found]


def test_what_no_study_asks_for_is_listed_with_its_size_and_freed_alone(deployment: Deployment, study: Study) -> None:
    for shard in ("0000", "0001", "0002"):  # the study had three shards once
        publish(deployment, Place("kept", "token_windows", shard))
    publish(deployment, Place("kept", "an_asset_of_old"), 30)
    publish(deployment, Place("kept", "token_counts"))
    leave_version(deployment, Place("kept", "token_counts"), 20)
    found = left_outputs(deployment, [study])
    assert shown(found) == [
        ("output nothing asks for", "kept/an_asset_of_old", 30, True),
        ("version no record names", "kept/token_counts", 20, True),
        ("output nothing asks for", "kept/token_windows shard 0002", 10, True),
    ]
    assert [left.free() for left in found] == [True, True, True]
    assert left_outputs(deployment, [study]) == []
    storage = deployment.store.storage
    places = [Place("kept", "token_counts"), Place("kept", "token_windows", "0000"), Place("kept", "token_windows", "0001")]
    assert storage.places() == places
    for place in places:
        record = deployment.store.find(place)
        assert record is not None
        deployment.store.verify(record)


def test_a_shard_that_a_published_output_was_made_from_stays_until_the_study_was_run_again(deployment: Deployment, study: Study) -> None:
    publish(deployment, Place("kept", "activation_histograms", "0002"))
    publish(deployment, Place("kept", "merged_histograms"), inputs=("activation_histograms/0002",))
    (left,) = left_outputs(deployment, [study])
    assert "first run: make study STUDY=kept" in left.kept_because
    publish(deployment, Place("kept", "merged_histograms"), inputs=("activation_histograms/0000",))
    (left,) = left_outputs(deployment, [study])
    assert left.kept_because == ""


def test_an_output_that_was_not_sharded_once_is_removed_without_the_shards_beside_it(deployment: Deployment, study: Study) -> None:
    publish(deployment, Place("kept", "token_windows"))
    publish(deployment, Place("kept", "token_windows", "0000"))
    (left,) = left_outputs(deployment, [study])
    assert left.name == "kept/token_windows"
    assert left.free()
    assert deployment.store.storage.places() == [Place("kept", "token_windows", "0000")]


def test_a_study_without_a_file_is_given_up_only_when_named(deployment: Deployment, study: Study) -> None:
    publish(deployment, Place("elsewhere", "report_site"))
    deployment.link_site("elsewhere")
    publish(deployment, Place("elsewhere", "token_windows", "0000"))
    (left,) = left_outputs(deployment, [study])
    assert (left.kind, left.name, left.bytes) == ("study without a file", "elsewhere", 20)
    assert "--forget elsewhere" in left.kept_because
    (left,) = left_outputs(deployment, [study], forget=["elsewhere"])
    assert not left.kept_because
    assert left.free()
    assert deployment.store.storage.places() == []
    if not deployment.bucket:
        assert [entry.name for entry in deployment.data.iterdir() if any(entry.iterdir())] == []


def test_pages_over_several_studies_are_of_none_and_stay(deployment: Deployment, study: Study) -> None:
    for place in (Place("across_models", "across_models_site"), Place("study_difference", "study_difference_site", "elsewhere_and_kept")):
        publish(deployment, place)
    assert left_outputs(deployment, [study]) == []


def test_what_is_being_written_stays(deployment: Deployment, study: Study) -> None:
    place = Place("kept", "token_counts")
    publish(deployment, place)
    with deployment.store.one_writer(place):
        with deployment.store.publish(place, "e" * 64, {}) as draft:
            (draft.folder / "part.txt").write_text("new")
            for left in left_outputs(deployment, [study]):
                assert not left.free()
        record = deployment.store.find(place)
        assert record is not None
        deployment.store.verify(record)


def test_a_damaged_record_keeps_every_version_beside_it(tmp_path: Path, study: Study) -> None:
    deployment, place = Deployment(tmp_path / "data"), Place("kept", "token_counts")
    publish(deployment, place)
    (deployment.store.home(place) / RECORD).write_text("{")
    assert left_outputs(deployment, [study]) == []


@dg.asset(key=["kept", "token_counts"])
def token_counts() -> None: ...


@dg.asset
def something_else() -> None: ...


@dg.asset(key=["across_models", "across_models_site"])
def across_models_site() -> None: ...


def test_the_run_that_compared_all_models_last_stays_like_any_other_that_made_what_there_is(tmp_path: Path, study: Study) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        first, _, _ = (
            dg.materialize([asset], instance=instance).run_id for asset in (across_models_site, across_models_site, something_else)
        )
        found = old_runs(instance, [study], days=30, keep=1, now=datetime.now().timestamp() + 31 * 86_400)
        assert [left.name.split()[1] for left in found] == [first]  # the second made what there is, the third is the last of its job


def test_old_runs_go_with_their_events_except_the_last_of_a_job_and_those_that_made_what_there_is(tmp_path: Path, study: Study) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:

        def run(*assets: dg.AssetsDefinition) -> str:
            return dg.materialize(list(assets), instance=instance).run_id

        runs = [run(token_counts), run(token_counts), run(something_else), run(something_else), run(something_else)]
        # all are runs of one job; runs[1] made the last version of the study's asset
        later = datetime.now().timestamp() + 31 * 86_400
        assert old_runs(instance, [study], days=32, keep=1, now=later) == []
        found = old_runs(instance, [study], days=30, keep=1, now=later)
        assert {left.name.split()[1] for left in found} == {runs[0], runs[2], runs[3]}
        assert all(left.bytes and left.bytes > 0 for left in found)
        files = sorted(tmp_path.rglob(f"*{runs[0]}*"))
        assert files
        assert all(left.free() for left in found)
        assert {record.dagster_run.run_id for record in instance.get_run_records()} == {runs[1], runs[4]}
        assert sorted(tmp_path.rglob(f"*{runs[0]}*")) == []
        # the history of an asset is the events of its runs
        made = instance.fetch_materializations(dg.AssetKey(["kept", "token_counts"]), limit=10).records
        assert [record.run_id for record in made] == [runs[1]]


def test_the_command_lists_and_frees_only_when_told(
    tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    deployment = Deployment(tmp_path / "data")
    publish(deployment, Place("kept", "token_windows", "0007"), 1500)
    (tmp_path / "home").mkdir()
    for name in ("DATA", "STUDIES", "CACHE"):
        monkeypatch.setenv(f"NEURON_ATLAS_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    cache = Cache(tmp_path / "cache", 0)
    (cache.scratch() / "file").write_bytes(b"x" * 500)  # another writer's

    command = [sys.executable, "-m", "orchestration.upkeep.retention"]
    listed = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True).stdout
    assert "1.5 kB  output nothing asks for: kept/token_windows shard 0007  (could be freed)" in listed
    assert "1.5 kB could be freed; nothing was touched. To free it: make retention ARGS=--delete" in listed
    assert deployment.store.find(Place("kept", "token_windows", "0007")) is not None
    assert retention.main(["--delete"]) == 0
    assert "kept/token_windows shard 0007  (freed)" in capsys.readouterr().out
    assert deployment.store.find(Place("kept", "token_windows", "0007")) is None
    assert len(cache.copies()) == 1
    assert retention.main([]) == 0
    assert capsys.readouterr().out.strip() == "0 B could be freed; nothing was touched. To free it: make retention ARGS=--delete"


def test_a_study_file_with_a_fault_stops_it(
    tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "studies" / "kept.yaml").write_text("tokens: 3\n")
    publish(Deployment(tmp_path / "data"), Place("kept", "token_counts"))
    monkeypatch.setenv("NEURON_ATLAS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NEURON_ATLAS_STUDIES", str(tmp_path / "studies"))
    assert retention.main(["--delete"]) == 2
    assert "kept.yaml: field model: missing" in capsys.readouterr().err
    assert Deployment(tmp_path / "data").store.find(Place("kept", "token_counts")) is not None
