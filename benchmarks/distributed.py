"""What a run for each shard costs: a study on the local two-worker cluster against the same study in one process, turn by turn.

    make setup-operations && .venv/bin/python -m benchmarks.distributed --rounds 3

Prints the seconds of both, their ratio in each round, and where the cluster's time goes: waiting for Dagster's backfill tick and for
workers, and starting a process that imports everything and loads the model for each shard. Measures what is around the counting;
the counting itself is benchmarks/throughput.py.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from orchestration.serve import free_port
from orchestration.settings import LOOPBACK, REPOSITORY

RUNS = """
query { runsOrError { ... on Runs { results { creationTime startTime endTime tags { key } } } } }
"""


@dataclass(frozen=True)
class Round:
    """Seconds of one study in one process and on the cluster; of the cluster's shards, how long a run waited and how long it ran."""

    one_process: float
    cluster: float
    waited: float
    ran: float


def timed(module: str, study: str, environment: dict[str, str]) -> float:
    """Seconds of one command that makes the whole study."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", module, study], cwd=REPOSITORY, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def shard_runs(ui: str) -> list[dict[str, Any]]:
    """The runs of shards that have ended, oldest first."""
    runs = requests.post(f"{ui}/graphql", json={"query": RUNS}, timeout=60).json()["data"]["runsOrError"]["results"]
    shards = [run for run in runs if run["endTime"] and "dagster/backfill" in {tag["key"] for tag in run["tags"]}]
    return sorted(shards, key=lambda run: run["creationTime"])


def one_round(study: str, folder: Path, environment: dict[str, str]) -> Round:
    """Both, each from nothing."""
    alone = {
        **environment,
        "NEURON_ATLAS_DATA": str(folder / "alone"),
        "DAGSTER_HOME": str(folder / "alone-home"),
        "NEURON_ATLAS_RUNS": "one",
    }
    for name in ("alone", "alone-home"):
        shutil.rmtree(folder / name, ignore_errors=True)
    shutil.rmtree(environment["NEURON_ATLAS_DATA"], ignore_errors=True)
    (folder / "alone-home").mkdir()
    shutil.copy(REPOSITORY / "orchestration" / "instance" / "dagster.yaml", folder / "alone-home")
    one_process = timed("orchestration.run", study, alone)
    before = len(shard_runs(environment["NEURON_ATLAS_UI"]))
    cluster = timed("orchestration.cluster.run", study, environment)
    runs = shard_runs(environment["NEURON_ATLAS_UI"])[before:]
    waited = statistics.median(run["startTime"] - run["creationTime"] for run in runs)
    return Round(one_process, cluster, waited, statistics.median(run["endTime"] - run["startTime"] for run in runs))


def main() -> None:
    """Start a cluster, take turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="demo")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="distributed-") as name:
        folder = Path(name)
        (folder / "home").mkdir()
        shutil.copy(REPOSITORY / "deployment" / "local-cluster" / "dagster.yaml", folder / "home")
        port = free_port(int(os.environ.get("NEURON_ATLAS_UI_PORT", 3600)))
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(folder / "home"),
            "NEURON_ATLAS_DATA": str(folder / "cluster"),
            "NEURON_ATLAS_UI_PORT": str(port),
            "NEURON_ATLAS_UI": f"http://{LOOPBACK}:{port}",
            "OMP_NUM_THREADS": "1",  # one core for the one process and for each worker
        }
        cluster = subprocess.Popen(
            [sys.executable, "-m", "orchestration.cluster.local"],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until_up(environment["NEURON_ATLAS_UI"])
            for _ in range(given.rounds):
                measured = one_round(given.study, folder, environment)
                print(
                    f"one process {measured.one_process:6.1f} s   cluster {measured.cluster:6.1f} s   ratio {measured.cluster / measured.one_process:4.2f}   "
                    f"a shard's run: waited {measured.waited:5.1f} s, ran {measured.ran:5.1f} s (medians)",
                    flush=True,
                )
        finally:
            cluster.terminate()
            cluster.wait(60)


def wait_until_up(ui: str) -> None:
    """Until the webserver answers; five minutes at most."""
    for _ in range(300):
        try:
            requests.get(f"{ui}/server_info", timeout=5).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(1)
    raise TimeoutError(f"{ui} did not answer within five minutes")


if __name__ == "__main__":
    main()
