"""A short part of `python -m tests.faults.kills`: a few kills, and the run that ends by itself after them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from assets.wiring import MODEL_POOL
from orchestration.headless import close_dead_runs, free_places_of_ended_runs, headless_tags, only_run

ROOT = Path(__file__).parents[2]
SEED = 2026


@pytest.mark.slow
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


def test_a_place_in_the_pool_is_taken_from_an_ended_run_and_left_to_one_under_way(tmp_path: Path) -> None:
    shutil.copy(ROOT / "orchestration" / "instance" / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        pools = instance.event_log_storage
        pools.set_concurrency_slots(MODEL_POOL, 2)
        ended, under_way = started(instance), started(instance)
        for run in (ended, under_way):
            assert pools.claim_concurrency_slot(MODEL_POOL, run, "count").is_claimed
        instance.report_run_canceled(instance.get_run_by_id(ended))  # type: ignore[arg-type]
        told: list[str] = []
        free_places_of_ended_runs(instance, told.append)
        assert {place.run_id for place in pools.get_concurrency_info(MODEL_POOL).claimed_slots} == {under_way}
        assert len(told) == 1
        assert told[0].startswith(f"Run {under_way[:8]} of waits uses the model or waits for it")
