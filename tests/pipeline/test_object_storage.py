"""A whole study with its model, its corpus and its data behind URLs, against a run with a local data folder."""

import os
import re
import shutil
import urllib.request
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import numpy as np
import pytest

from assets.contracts import TABLES
from assets.freshness import Freshness
from assets.histograms.histogram_store import read_histograms
from assets.histograms.merged_histograms import merge_histograms
from assets.stages import STAGES
from assets.store import Place, StoreError
from assets.tables import read_table
from orchestration.bucket_reports import serve_bucket_reports
from orchestration.run import faults_of
from orchestration.serve import LOOPBACK, free_port
from tests.pipeline.conftest import Bench
from tests.pipeline.test_study import assert_equal, merged_integers
from tests.s3_server import BucketForTests, user_environment

pytestmark = pytest.mark.slow

TIMES = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d( UTC)?|[\d.]+(\s\d+)*\s(?:s|min|h|positions a second)\b")  # \s is also the narrow space


@pytest.fixture(scope="module")
def remote(s3_address: str, planted_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, BucketForTests]]:
    """The planted study, run once with everything in a bucket."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in user_environment(s3_address).items():
            patch.setenv(name, value)
        patch.setenv("NEURON_ATLAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        bucket = BucketForTests(s3_address)
        for file in (planted_files / "model").iterdir():
            bucket.write(f"model/{file.name}", file.read_bytes())
        bucket.write("texts/corpus.jsonl", (planted_files / "corpus.jsonl").read_bytes())
        bench = Bench(planted_files, tmp_path_factory.mktemp("remote"), bucket.url)
        bench.fields |= sources(bench, bucket)
        result = bench.run()
        assert result.success, faults_of(result)
        yield bench, bucket


def sources(bench: Bench, bucket: BucketForTests) -> dict[str, dict[str, object]]:
    """Model and corpus of the study as URLs."""
    return {
        "model": {"id": f"s3://{bucket.name}/model", "device": "cpu"},
        "corpus": {**bench.fields["corpus"], "files": [f"s3://{bucket.name}/texts/corpus.jsonl"]},
    }


def without_copies(bench: Bench) -> None:
    """Free what this machine has fetched."""
    with bench.settings.deployment.store.reading():
        pass
    shutil.rmtree(os.environ["NEURON_ATLAS_CACHE"], ignore_errors=True)


def records(bench: Bench) -> dict[str, str]:
    """The version of every published output."""
    store = bench.settings.deployment.store
    return {str(place): record.version for place in store.storage.places() if (record := store.find(place))}


def test_integers_tables_and_report_are_those_of_a_run_with_a_local_folder(
    remote: tuple[Bench, BucketForTests], planted_files: Path, tmp_path: Path
) -> None:
    bench, bucket = remote
    local = Bench(planted_files, tmp_path)
    local.fields |= sources(local, bucket)
    assert local.run().success
    assert_equal(merged_integers(local), merged_integers(bench))
    compared = 0
    for stage in STAGES.values():
        for shard in bench.study().shard_names if stage.is_sharded else [None]:
            here, there = local.record(stage.name, shard), bench.record(stage.name, shard)
            # The report says when each output was made, so that it alone is another one for each run.
            assert (here.fingerprint == there.fingerprint) == (stage.name != "report_site"), stage.name
            for table in stage.tables:
                assert read_table(here.folder, TABLES[table]).equals(read_table(there.folder, TABLES[table])), table
                compared += 1
    assert compared > 25
    one, other = local.record("report_site"), bench.record("report_site")
    assert set(one.files) == set(other.files)
    for name in one.files:
        contents = [(record.folder / name).read_bytes() for record in (one, other)]
        if name.endswith(".html"):
            contents = [TIMES.sub("", content.decode()).encode() for content in contents]
        assert contents[0] == contents[1], name


def test_a_second_run_makes_nothing_again(remote: tuple[Bench, BucketForTests]) -> None:
    bench, bucket = remote
    made, stored = records(bench), set(bucket.keys())
    result = bench.run()
    assert result.success
    assert records(bench) == made
    assert set(bucket.keys()) == stored  # and no lock or half of a version is left


def chunk_of_a_shard(bench: Bench) -> str:
    """Name of the largest file of shard 0001."""
    record = bench.record("activation_histograms", "0001")
    return max(record.files, key=lambda file: record.files[file].bytes)


@pytest.mark.parametrize(("damage", "message"), [("altered", "is not what was published"), ("deleted", "is missing")])
def test_a_damaged_shard_is_named_never_merged_and_the_next_run_makes_it_again(
    remote: tuple[Bench, BucketForTests], tmp_path: Path, damage: str, message: str
) -> None:
    bench, bucket = remote
    store, whole = bench.settings.deployment.store, merged_integers(bench)
    record, name = bench.record("activation_histograms", "0001"), chunk_of_a_shard(bench)
    key = f"data/{record.place.path}/{record.version}/{name}"
    whole_file = bucket.read(key)
    content = bytearray(whole_file)
    content[len(content) // 2] ^= 1  # one bit
    bucket.write(key, bytes(content)) if damage == "altered" else bucket.remove(key)
    without_copies(bench)

    named = rf"planted/activation_histograms shard 0001: .*{re.escape(name)} {message}"
    inputs = Freshness(bench.study(), store).inputs(STAGES["merged_histograms"], None)
    with pytest.raises(StoreError, match=named):
        store.verify(inputs["activation_histograms/0001"])
    with pytest.raises(StoreError, match=named):  # nor by a merge that was told nothing
        merge_histograms([read_histograms(part) for part in inputs.values()], tmp_path / "merged")

    if damage == "deleted":
        bucket.write(key, whole_file)
        store.verify(inputs["activation_histograms/0001"])
        return
    before = records(bench)
    assert bench.run().success
    changed = {name for name, version in records(bench).items() if version != before[name]}
    # It comes out the same, so nothing that is made from it is made again; the report says when it was made.
    assert changed == {"planted/activation_histograms shard 0001", "planted/report_site"}
    assert_equal(whole, merged_integers(bench))


def test_shards_are_merged_chunk_by_chunk_without_copies(remote: tuple[Bench, BucketForTests], tmp_path: Path) -> None:
    bench, _ = remote
    inputs = Freshness(bench.study(), bench.settings.deployment.store).inputs(STAGES["merged_histograms"], None)
    without_copies(bench)
    merge_histograms([read_histograms(part) for part in inputs.values()], tmp_path / "merged")
    merged = read_histograms(tmp_path / "merged")
    for name, values in merged_integers(bench).items():
        if name != "positions":
            np.testing.assert_array_equal(np.asarray(merged[name][:]), values)
    assert all(part.here is None for part in inputs.values())


def test_the_report_has_a_stable_address_that_leads_to_the_published_version(remote: tuple[Bench, BucketForTests]) -> None:
    bench, bucket = remote
    record = bench.record("report_site")
    pages = [name for name in record.files if name.endswith(".html")]
    assert {key.removeprefix("data/reports/planted/") for key in bucket.keys("data/reports/")} == set(pages)
    for page in pages:
        (target,) = re.findall(r'url=([^"]+)"', bucket.read(f"data/reports/planted/{page}").decode())
        address = urljoin(f"data/reports/planted/{page}", unescape(target))
        assert bucket.read(address) == bucket.read(f"data/planted/report_site/{record.version}/{page}")
    assert bench.settings.deployment.site_address("planted") == f"{bucket.url}/reports/planted/index.html"


def test_make_dev_serves_the_reports_of_a_bucket(remote: tuple[Bench, BucketForTests]) -> None:
    bench, bucket = remote
    record, port = bench.record("report_site"), free_port(4200)
    server = serve_bucket_reports(bench.settings.deployment.store, port)
    try:

        def answer(path: str) -> bytes:
            return bytes(urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}").read())

        for page, path in (("index.html", "/planted/"), ("quality.html", "/planted/quality.html")):
            assert answer(path) == bucket.read(f"data/planted/report_site/{record.version}/{page}")
        assert re.findall('href="([^"]+)"', answer("/").decode()) == ["planted/"]
        store = bench.settings.deployment.store
        with store.publish(Place("across_models", "across_models_site"), "a" * 64, {}) as draft:
            (draft.folder / "index.html").write_text("all models")
        bench.settings.deployment.link_site("across_models", "across_models_site")
        bench.settings.deployment.open_with("across_models")
        assert answer("/across_models/") == b"all models"
        pair = Place("study_difference", "study_difference_site", "other_and_planted")
        with store.publish(pair, "b" * 64, {}) as draft:
            (draft.folder / "index.html").write_text("two studies")
        store.show_site(pair, "reports/other_and_planted")
        assert answer("/other_and_planted/") == b"two studies"
        assert re.findall('href="([^"]+)"', answer("/").decode()) == ["across_models/", "other_and_planted/", "planted/"]
        for path in ("/unknown/", "/../planted/record.json", "/planted/../../record.json", "/planted/nothing.html"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                answer(path)
    finally:
        server.shutdown()
        server.server_close()
