"""A run that was launched and whose worker is gone before its first event: it is failed at once, and only it."""

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock, patch

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import WILL_RETRY_TAG
from dagster._core.test_utils import create_run_for_test

from orchestration.cluster.lost_runs import NAME, fail_lost_runs, lost_runs_sensor
from orchestration.definitions import build_definitions
from orchestration.settings import Settings


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    retries = {"enabled": True, "max_retries": 3, "retry_on_asset_or_op_failure": False}
    with dg.instance_for_test(overrides={"run_retries": retries}) as found:
        yield found


def asked(instance: dg.DagsterInstance, status: WorkerStatus, supported: bool = True) -> list[str]:
    """What is failed where the launcher says this of every run."""
    launcher = Mock(supports_check_run_worker_health=supported)
    launcher.check_run_worker_health.return_value = CheckRunHealthResult(status, "the node is gone")
    with patch.object(type(instance), "run_launcher", launcher):
        return fail_lost_runs(instance)


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_a_launched_run_without_its_worker_fails_and_is_marked_to_be_started_again(instance: dg.DagsterInstance) -> None:
    launched = create_run_for_test(instance, status=DagsterRunStatus.STARTING)
    others = [create_run_for_test(instance, status=one) for one in (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTED)]
    assert asked(instance, WorkerStatus.FAILED) == [launched.run_id]
    failed = instance.get_run_by_id(launched.run_id)
    assert failed is not None
    assert failed.status == DagsterRunStatus.FAILURE
    assert failed.tags[WILL_RETRY_TAG] == "true"
    assert [status(instance, run) for run in others] == [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTED]
    (event,) = instance.all_logs(launched.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert event.message == "The run's worker was lost before the run's first event: the node is gone"


@pytest.mark.parametrize("health", [WorkerStatus.RUNNING, WorkerStatus.SUCCESS, WorkerStatus.UNKNOWN, WorkerStatus.NOT_FOUND])
def test_a_launched_run_whose_worker_is_not_known_to_be_lost_is_left(instance: dg.DagsterInstance, health: WorkerStatus) -> None:
    launched = create_run_for_test(instance, status=DagsterRunStatus.STARTING)
    assert asked(instance, health) == []
    assert status(instance, launched) == DagsterRunStatus.STARTING


def test_a_launcher_that_cannot_tell_is_not_asked(instance: dg.DagsterInstance) -> None:
    create_run_for_test(instance, status=DagsterRunStatus.STARTING)
    assert asked(instance, WorkerStatus.FAILED, supported=False) == []


def test_a_run_that_began_while_its_launcher_was_asked_is_left(instance: dg.DagsterInstance) -> None:
    launched = create_run_for_test(instance, status=DagsterRunStatus.STARTING)

    def begins(run: dg.DagsterRun) -> CheckRunHealthResult:
        instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=run.job_name), run_id=run.run_id)
        return CheckRunHealthResult(WorkerStatus.FAILED)

    with patch.object(type(instance), "run_launcher", Mock(check_run_worker_health=begins)):
        assert fail_lost_runs(instance) == []
    assert status(instance, launched) == DagsterRunStatus.STARTED


def test_the_sensor_runs_by_itself_where_each_shard_is_a_run_and_nowhere_else(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    here, per_shard = (Settings(tmp_path, tmp_path, "", runs=runs) for runs in ("one", "per-shard"))
    found = {sensor.name: sensor for sensor in build_definitions([], per_shard).sensors or ()}
    assert found[NAME].default_status == dg.DefaultSensorStatus.RUNNING  # type: ignore[union-attr]
    assert NAME not in {sensor.name for sensor in build_definitions([], here).sensors or ()}
    told = lost_runs_sensor()(dg.build_sensor_context(instance=instance))
    assert isinstance(told, dg.SkipReason)
    assert told.skip_message == "No launched run has lost its worker"
