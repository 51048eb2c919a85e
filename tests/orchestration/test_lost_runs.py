"""Runs that the daemon overlooks: lost before their first event, or failed at the moment at which it looked. Each is started again."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock, patch

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import should_retry

from orchestration.cluster.lost_runs import NAME, SECONDS_TO_BE_STARTED_AGAIN, fail_lost_runs, lost_runs_sensor, tell_failures_again
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
    assert told.skip_message == "No run waits in vain to be started again"


def failed(instance: dg.DagsterInstance) -> dg.DagsterRun:
    run = create_run_for_test(instance, status=DagsterRunStatus.STARTED)
    instance.report_run_failed(run, "its worker died")
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def a_minute_later() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=SECONDS_TO_BE_STARTED_AGAIN + 1)


def failures(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int:
    return len(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE))


def test_a_failure_that_was_read_before_the_run_had_failed_is_told_once_more(instance: dg.DagsterInstance) -> None:
    """The daemon's own rule, asked in the moment between the event and the status, passes on; told again, it starts the run."""
    run = create_run_for_test(instance, status=DagsterRunStatus.STARTED)
    read_too_early = []
    storage = type(instance.event_log_storage)
    store = storage.store_event

    def store_and_look(self: object, event: dg.EventLogEntry) -> None:
        store(self, event)  # type: ignore[arg-type]
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        read_too_early.append(should_retry(found, instance))

    with patch.object(storage, "store_event", store_and_look):
        instance.report_run_failed(run, "its worker died")
    assert read_too_early[0] is False
    overlooked = instance.get_run_by_id(run.run_id)
    assert overlooked is not None
    assert overlooked.tags[WILL_RETRY_TAG] == "true"
    assert tell_failures_again(instance, datetime.now(UTC)) == [], "the daemon has its minute"
    assert tell_failures_again(instance, a_minute_later()) == [run.run_id]
    assert tell_failures_again(instance, a_minute_later()) == [], "told once more, not for ever"
    assert failures(instance, run) == 2
    assert should_retry(overlooked, instance)


def test_a_run_with_another_in_its_place_or_that_is_not_to_be_started_again_is_left(instance: dg.DagsterInstance) -> None:
    replaced, by_itself = failed(instance), failed(instance)
    instance.add_run_tags(replaced.run_id, {AUTO_RETRY_RUN_ID_TAG: "another"})
    instance.add_run_tags(by_itself.run_id, {WILL_RETRY_TAG: "false"})
    assert tell_failures_again(instance, a_minute_later()) == []
    assert [failures(instance, run) for run in (replaced, by_itself)] == [1, 1]
