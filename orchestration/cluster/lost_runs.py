"""A sensor for runs that Dagster's own daemon overlooks: lost before their first event, or failed while the daemon looked elsewhere.

Dagster's run monitoring asks the launcher for the health of runs that have started; one that has only been launched it lets wait
for `start_timeout_seconds`, which must be longer than a shard takes. A process needs seconds to its first event, and a worker that dies
in them would hold up its backfill for as long. Such a run is failed here, so that Dagster starts it again.

A failure is stored before the run's status and its mark `will_retry`. The daemon that starts failed runs again reads each failure once:
where it reads one in between, it finds a run that has not failed, passes on, and the backfill waits for ever for a run that nobody
starts (seen with SQLite on two busy cores). Such a failure is told once more.

Where a run takes place is asked of the instance's launcher: nothing here knows an engine.

`from __future__ import annotations` must not be added: Dagster reads the annotation of `context`.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import WILL_RETRY_TAG

NAME = "runs_to_start_again"
SECONDS_BETWEEN_LOOKS = 15  # as often as run monitoring looks at the others in deployment/cluster
SECONDS_TO_BE_STARTED_AGAIN = 60  # the daemon looks every 5 seconds; with this many runs before it, it has had its turn
LONGEST_WAIT = timedelta(days=2)  # what failed before is over: its backfill was ended by hand
TOLD_AGAIN = "neuron_atlas/failure_told_again"


def lost_runs_sensor() -> dg.SensorDefinition:
    """On from the start: it only completes what run monitoring and run retries do."""

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Fails a run whose worker died before the run's first event, and tells a failure again that nobody took up, "
        "so that each is started again.",
    )
    def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        lost = fail_lost_runs(context.instance) + tell_failures_again(context.instance, datetime.now(UTC))
        return dg.SkipReason(f"Failed, to be started again: {', '.join(lost)}" if lost else "No run waits in vain to be started again")

    return lost_runs


def fail_lost_runs(instance: DagsterInstance) -> list[str]:
    """Mark as failed every launched run whose worker is gone; their ids. A launcher that cannot tell leaves all as they are."""
    if not instance.run_launcher.supports_check_run_worker_health:
        return []
    launched = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTING]))
    return [run.run_id for run in launched if _is_failed(instance, run)]


def tell_failures_again(instance: DagsterInstance, now: datetime) -> list[str]:
    """Report once more the failure of each run that is to be started again and was not for a minute; their ids.

    A second report does no harm: where a run in its place exists already, the daemon makes no other.
    """
    waiting = RunsFilter(statuses=[DagsterRunStatus.FAILURE], tags={WILL_RETRY_TAG: "true"}, created_after=now - LONGEST_WAIT)
    found = []
    for record in instance.get_run_records(waiting):
        run, ended = record.dagster_run, record.end_time or now.timestamp()
        is_overlooked = now.timestamp() - ended > SECONDS_TO_BE_STARTED_AGAIN
        if run.is_complete_and_waiting_to_retry and is_overlooked and TOLD_AGAIN not in run.tags:
            instance.add_run_tags(run.run_id, {TOLD_AGAIN: "true"})
            instance.report_run_failed(run, "Told again: the run is marked to be started again, and was not.")
            found.append(run.run_id)
    return found


def _is_failed(instance: DagsterInstance, run: DagsterRun) -> bool:
    health: CheckRunHealthResult = instance.run_launcher.check_run_worker_health(run)
    # UNKNOWN is also what a launcher says of a run that it is just handing over
    if health.status != WorkerStatus.FAILED or _status(instance, run) != DagsterRunStatus.STARTING:
        return False
    instance.report_run_failed(run, f"The run's worker was lost before the run's first event: {health.msg}")
    return True


def _status(instance: DagsterInstance, run: DagsterRun) -> DagsterRunStatus | None:
    """Status as it is now: the process may have begun or ended while its launcher was asked."""
    found = instance.get_run_by_id(run.run_id)
    return found.status if found else None
