"""A study on a cluster of separate Ray workers: shards spread over them, a worker that dies, the integers of a single process."""

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from assets.contracts import HISTOGRAM_TENSORS
from assets.histograms.histogram_store import read_histograms
from assets.stages import ancestors
from assets.store import Place, Store
from assets.wiring import asset_key
from orchestration.cluster.phases import after_shards, before_shards, spread_asset
from orchestration.cluster.webserver import ClusterError, Webserver
from orchestration.definitions import build_definitions
from orchestration.jobs import all_shards, job_name
from orchestration.settings import SettingsError
from tests.operations.processes import LOOPBACK, descendants, free_ports, kill_with_descendants
from tests.pipeline.conftest import Bench
from tests.s3_server import BucketForTests, user_environment

ROOT = Path(__file__).parents[2]
NEEDS = "needs Ray and its Dagster launcher: make setup-operations"
SHARDS = 4
LONGEST = 1200  # seconds; a busy machine takes ten times what an idle one does, and start_timeout_seconds of the instance is longer


@dataclass
class Output:
    """What a process said, line by line, read while it runs."""

    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def wait_for(self, pattern: str, times: int = 1) -> list[re.Match[str]]:
        """The matching lines, as soon as there are so many."""
        deadline = time.monotonic() + LONGEST
        while time.monotonic() < deadline:
            found = [match for line in list(self.lines) if (match := re.search(pattern, line))]
            if len(found) >= times:
                return found
            assert self.process.poll() is None, f"ended without {pattern!r}:\n" + "\n".join(self.lines[-40:])
            time.sleep(0.2)
        raise AssertionError(f"{pattern!r} never came:\n" + "\n".join(self.lines[-40:]))

    def succeeded(self) -> str:
        """All that it said, once it has ended well."""
        try:
            code = self.process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            raise AssertionError("did not end:\n" + "\n".join(self.lines)) from None
        assert code == 0, "\n".join(self.lines)
        return "\n".join(self.lines)


def start(module: str, *arguments: str, environment: dict[str, str]) -> Output:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", module, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    return Output(process)


@pytest.fixture
def environment(bench: Bench, tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(ROOT / "deployment" / "local-cluster" / "dagster.yaml", home)
    first = free_ports(int(os.environ.get("NEURON_ATLAS_TEST_PORT", 7400)), 40)
    return {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "NEURON_ATLAS_DATA": str(tmp_path / "cluster-data"),
        "NEURON_ATLAS_STUDIES": str(bench.file.parent),
        "NEURON_ATLAS_RAY_PORT": str(first),
        "NEURON_ATLAS_UI_PORT": str(first + 38),
        "NEURON_ATLAS_SITE_PORT": str(first + 39),
        "NEURON_ATLAS_UI": f"http://{LOOPBACK}:{first + 38}",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def cluster(environment: dict[str, str]) -> Iterator[list[int]]:
    """The processes of the two workers of a running cluster, with the UI up."""
    output = start("orchestration.cluster.local", environment=environment)
    try:
        workers = output.wait_for(r"^Ray worker \d+  process (\d+)$", times=2)
        wait_for_answer(f"{environment['NEURON_ATLAS_UI']}/server_info", output)
        yield [int(match[1]) for match in workers]
    finally:
        output.process.send_signal(signal.SIGTERM)
        try:
            output.process.wait(60)
        except subprocess.TimeoutExpired:
            kill_with_descendants(output.process.pid)


def wait_for_answer(url: str, output: Output) -> None:
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except (urllib.error.URLError, ConnectionError):
            assert output.process.poll() is None, "\n".join(output.lines[-40:])
            time.sleep(0.3)
    raise AssertionError(f"{url} never answered:\n" + "\n".join(output.lines[-40:]))


def merged(data: Path) -> dict[str, np.ndarray]:
    """Every integer tensor of the merged histograms in a data folder."""
    return integers(data / "planted" / "merged_histograms" / "current")


def integers(folder: Path) -> dict[str, np.ndarray]:
    """Every integer tensor of histograms."""
    histograms = read_histograms(folder)
    found = {tensor.name: np.asarray(histograms[tensor.name][:]) for tensor in HISTOGRAM_TENSORS if tensor.dtype.startswith("int")}
    return {**found, "positions": np.array(histograms.positions)}


def merge_in_this_process(bench: Bench, **fields: object) -> dict[str, np.ndarray]:
    """The same study up to the merge, in one Dagster run in this process."""
    study = bench.study(**fields)
    job = build_definitions([study], bench.settings).resolve_job_def(job_name(study))
    wanted = [asset_key(study, name) for name in (*ancestors("merged_histograms"), "merged_histograms")]
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance, tags=all_shards(study), asset_selection=wanted).success
    return merged(bench.settings.data)


def wait_for_a_launched_run(workers: list[int], known: dict[int, int]) -> int:
    """The worker that has been given the process of a run that is not one of the known, as soon as there is one."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        for process, worker in processes_of_runs(workers).items():
            if process not in known:
                return worker
        time.sleep(0.02)
    raise AssertionError("no run came to a worker")


def processes_of_runs(workers: list[int]) -> dict[int, int]:
    """The worker of each process that executes a run."""
    found = {}
    for worker in workers:
        for process in descendants(worker):
            with contextlib.suppress(OSError):  # ended while we looked
                if b"execute_run" in Path(f"/proc/{process}/cmdline").read_bytes():
                    found[process] = worker
    return found


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["in the middle of a shard", "before the first event of a run"])
def test_a_worker_is_killed_and_the_integers_are_those_of_one_process(
    bench: Bench, environment: dict[str, str], request: pytest.FixtureRequest, moment: str
) -> None:
    pytest.importorskip("dagster_ray", reason=NEEDS)
    bench.study(shards=SHARDS)
    workers = request.getfixturevalue("cluster")

    output = start("orchestration.cluster.run", "planted", environment=environment)
    if moment == "in the middle of a shard":
        output.wait_for(r"shard \d+, run \w+ started", times=2)
        known: dict[int, int] = {}  # whichever worker is at work now
    else:
        output.wait_for(r"shards, a run for each")
        known = processes_of_runs(workers)
    kill_with_descendants(wait_for_a_launched_run(workers, known))
    told = output.succeeded()

    lost = re.findall(r"shard \d+, run (\w+) failure", told)
    assert lost, "no shard was lost with its worker"
    if moment == "before the first event of a run":
        assert any(f"{run} started" not in told for run in lost), told
    assert "in place of one whose worker died" in told
    of_cluster, of_one_process = merged(Path(environment["NEURON_ATLAS_DATA"])), merge_in_this_process(bench)
    assert of_one_process["positions"] > 0
    for name, values in of_one_process.items():
        np.testing.assert_array_equal(of_cluster[name], values, err_msg=name)
    assert (Path(environment["NEURON_ATLAS_DATA"]) / "reports" / "planted" / "index.html").is_file()
    print(told)


@pytest.mark.slow
def test_two_workers_share_nothing_but_a_bucket_and_the_integers_are_those_of_one_process(
    bench: Bench, environment: dict[str, str], bucket: BucketForTests, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("dagster_ray", reason=NEEDS)
    model, (corpus,) = Path(bench.fields["model"]["id"]), bench.fields["corpus"]["files"]
    for file in model.iterdir():
        bucket.write(f"model/{file.name}", file.read_bytes())
    bucket.write("texts/corpus.jsonl", Path(corpus).read_bytes())
    few = {"shards": 2, "prompts": [], "neurons": [], "ablation_positions": 0, "screen": "off"}
    merged_here = merge_in_this_process(bench, **few)
    bench.study(
        model={**bench.fields["model"], "id": f"s3://{bucket.name}/model"},
        corpus={**bench.fields["corpus"], "files": [f"s3://{bucket.name}/texts/corpus.jsonl"]},
    )
    shutil.rmtree(model)  # nothing can come from here
    environment |= user_environment(bucket.address) | {
        "NEURON_ATLAS_DATA": bucket.url,
        "NEURON_ATLAS_CACHE": os.environ["NEURON_ATLAS_CACHE"],
    }
    request.getfixturevalue("cluster")
    told = start("orchestration.cluster.run", "planted", environment=environment).succeeded()

    assert len(set(re.findall(r"shard (\d+), run \w+ success", told))) == 2, told
    assert f"{bucket.url}/reports/planted/index.html" in told
    store = Store(bucket.url)
    record = store.find(Place("planted", "merged_histograms"))
    assert record is not None
    store.verify(record)
    for name, values in merged_here.items():
        np.testing.assert_array_equal(integers(record.folder)[name], values, err_msg=name)
    assert b"url=" in bucket.read("data/reports/planted/index.html")
    assert not Path(environment["DAGSTER_HOME"], "data").exists()
    secret = environment["AWS_SECRET_ACCESS_KEY"]
    leaked = [file for file in Path(environment["DAGSTER_HOME"]).rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]
    assert leaked == []
    assert not any(secret.encode() in bucket.read(key) for key in bucket.keys("data"))
    print(told)


def test_on_a_cluster_each_shard_is_a_run_and_elsewhere_all_are_one(bench: Bench) -> None:
    study = bench.study(shards=SHARDS)
    for runs, wanted in (("one", None), ("per-shard", 1)):
        definitions = build_definitions([study], dataclasses.replace(bench.settings, runs=runs))
        policy = definitions.resolve_asset_graph().get(spread_asset(study)).backfill_policy
        assert policy is not None
        assert policy.max_partitions_per_run == wanted
        assert bool(definitions.schedules) == (runs == "one")  # a schedule asks for one run of all shards


def test_a_setting_that_means_nothing_is_refused(bench: Bench) -> None:
    with pytest.raises(SettingsError, match="NEURON_ATLAS_RUNS: given 'many'; give one or per-shard"):
        dataclasses.replace(bench.settings, runs="many")


def test_an_address_where_nothing_answers_is_named_with_what_to_do() -> None:
    address = f"http://{LOOPBACK}:{free_ports(7380, 1)}"
    with pytest.raises(ClusterError, match=f"no Dagster webserver answers at {address}; start one"):
        Webserver(address)


def test_the_three_parts_of_a_study_are_all_of_it_and_none_twice(bench: Bench) -> None:
    study = bench.study()
    parts = [*before_shards(study), spread_asset(study), *after_shards(study)]
    graph = build_definitions([study], bench.settings).resolve_asset_graph()
    assert sorted(parts) == sorted(key for key in graph.get_all_asset_keys() if key.path[0] == study.group)
    for key in before_shards(study):
        assert spread_asset(study) not in graph.get_ancestor_asset_keys(key)
