"""A short part of `python -m tests.faults.kills`: a few kills, and the run that ends by itself after them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from orchestration.headless import close_dead_runs, headless_tags, only_run

ROOT = Path(__file__).parents[2]
SEED = 2026


def test_a_run_that_is_killed_again_and_again_ends_with_what_an_undisturbed_run_publishes() -> None:
    """In a process of its own: it forks, which a process with torch's threads must not."""
    command = [sys.executable, "-m", "tests.faults.kills", "--kills", "5", "--seed", str(SEED)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"5 kills with seed {SEED}" in done.stdout
    assert "Faults: 0." in done.stdout


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def started(instance: dg.DagsterInstance, **tags: str) -> str:
    @dg.op
    def wait() -> None: ...

    @dg.job
    def waits() -> None:
        wait()

    return instance.create_run_for_job(waits, status=dg.DagsterRunStatus.STARTED, tags=tags).run_id


def test_the_runs_of_dead_processes_are_closed_and_those_of_living_ones_and_of_others_are_not(instance: dg.DagsterInstance) -> None:
    elsewhere = started(instance, **{**headless_tags("mine", instance), "neuron_atlas/headless": "elsewhere:/home"})
    of_the_ui = started(instance, **{"neuron_atlas/study": "mine"})
    with only_run("alive", instance, print):
        alive = started(instance, **headless_tags("alive", instance))
        dead = {started(instance, **headless_tags(study, instance)) for study in ("mine", "another")}
        assert set(close_dead_runs("mine", instance)) == dead
    status = {run.run_id: run.status.value for run in instance.get_runs()}
    assert {status[run] for run in dead} == {"FAILURE"}
    assert {status[alive], status[elsewhere], status[of_the_ui]} == {"STARTED"}
    with only_run("mine", instance, print):  # the lock of "alive" is free now
        pass
    assert instance.get_run_by_id(alive).status.value == "FAILURE"  # type: ignore[union-attr]
