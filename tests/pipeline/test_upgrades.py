"""Data of earlier versions of the product: read rightly, or refused with the command that rebuilds it, and then rebuilt."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets.contracts import TABLES
from assets.freshness import Freshness
from assets.stages import STAGES
from assets.store import RECORD, Place, Store, StoreError
from assets.store.files import entries_of
from assets.store.records import encode_record
from assets.study import Study, read_study
from assets.tables import read_table
from assets.wiring import materialize
from orchestration.run import faults_of, run_study
from orchestration.settings import Settings
from tests.planted import PREDICTIONS_OF_A, PREDICTIONS_OF_AN

ARCHIVES = sorted((Path(__file__).parents[1] / "old_data").glob("*.tar.xz"))


class OldData:
    """A study with the outputs of an earlier version, unpacked."""

    def __init__(self, archive: Path, folder: Path) -> None:
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        self.settings = Settings(data=folder / "data", studies=folder, site_url="")
        self.study: Study = read_study(folder / "old.yaml")
        self.store: Store = self.settings.deployment.store

    def places(self) -> list[Place]:
        return [Place("old", stage.name, shard) for stage in STAGES.values() for shard in (["0000"] if stage.is_sharded else [None])]

    def fresh(self) -> set[Place]:
        """The outputs that the present code would keep."""
        freshness = Freshness(self.study, self.store)
        return {place for place in self.places() if freshness.fresh(place.asset, place.shard)}

    def frames(self) -> dict[str, pl.DataFrame]:
        """Every table, by what lies in its file."""
        root = self.settings.data / "old"
        return {file.stem: pl.read_parquet(file) for record in root.rglob(RECORD) for file in record.parent.glob("*-????????/*.parquet")}

    def rewrite(self, table: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """Let a table be as an older version wrote it: other columns, a code version of old, and a record that agrees with the files."""
        place = Place("old", TABLES[table].asset)
        record = self.store.find(place)
        assert record is not None
        file = record.folder / f"{table}.parquet"
        change(pl.read_parquet(file)).write_parquet(file)
        fields = {
            "fingerprint": "0" * 64,
            "inputs": record.inputs,
            "provenance": {**record.provenance, "code_version": "0"},
            "summary": record.summary,
            "created_at": record.created_at,
            "seconds": record.seconds,
        }
        (self.store.home(place) / RECORD).write_bytes(encode_record(place, record.version, entries_of(record.folder), fields))


@pytest.fixture(params=ARCHIVES, ids=lambda file: file.name)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> OldData:
    return OldData(request.param, tmp_path)


def test_each_output_is_read_rightly_or_refused_with_the_command_that_rebuilds_it(old: OldData) -> None:
    fresh = old.fresh()
    assert Place("old", "model_snapshot") in fresh
    for place in old.places():
        stage = STAGES[place.asset]
        if place in fresh:
            record = old.store.find(place)
            assert record is not None
            assert record.provenance["code_version"] == stage.code_version
            for table in stage.tables:
                read_table(record.folder, TABLES[table])
        else:
            with pytest.raises(StoreError, match="make study STUDY=old"):
                Freshness(old.study, old.store).current(place.asset, place.shard)
    counts = old.frames()["token_counts"]
    predicted = dict(counts.select("token", "predictions").rows())
    assert (predicted[" an"], predicted[" a"]) == (PREDICTIONS_OF_AN, PREDICTIONS_OF_A)


def test_older_layouts_columns_and_dtypes_are_refused_by_the_report_and_rebuilt_by_a_run(old: OldData) -> None:
    before, kept = old.frames(), old.fresh()
    old.rewrite("neuron_statistics", lambda frame: frame.drop("is_dead"))
    old.rewrite("proportion_curves", lambda frame: frame.with_columns(pl.col("count").cast(pl.Int32)))
    layout = old.store.home(Place("old", "token_counts")) / RECORD
    layout.write_text(json.dumps({**json.loads(layout.read_text()), "record_version": 0}))
    with pytest.raises(StoreError, match=r"record version 0, this one reads \d+.*make study STUDY=old"):
        old.store.find(Place("old", "token_counts"))

    def never(_: object) -> None:
        raise AssertionError("a report was made from data of another version")

    with pytest.raises(StoreError, match=r"^old/.*make study STUDY=old"):
        materialize(old.study, STAGES["report_site"], None, old.settings.deployment, never, print)
    records = {place: (old.store.home(place) / RECORD).read_text() for place in old.places() if place in kept}

    with dg.DagsterInstance.ephemeral() as instance:
        result = run_study(old.study, old.settings, instance)
    assert result.success, faults_of(result)
    assert old.fresh() == set(old.places())
    for place in old.places():
        record = old.store.find(place)
        assert record is not None
        assert record.provenance["code_version"] == STAGES[place.asset].code_version
        for table in STAGES[place.asset].tables:
            frame = read_table(record.folder, TABLES[table])
            if place in kept and place.asset != "data_quality":
                assert frame.equals(before[table]), table  # made again or kept, the numbers are those of old
    untouched = {
        Place("old", "token_windows", "0000"),
        Place("old", "activation_histograms", "0000"),
        Place("old", "merged_histograms"),
    } & kept
    assert all((old.store.home(place) / RECORD).read_text() == records[place] for place in untouched)
    assert (old.settings.deployment.site_folder("old") / "index.html").is_file()
