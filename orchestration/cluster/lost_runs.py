"""A sensor that notices a run whose worker died before the run's first event, and fails it, so that Dagster starts it again.

Dagster's own run monitoring asks the launcher for the health of runs that have started; one that has only been launched it lets wait
for `start_timeout_seconds`, which must be longer than a shard takes. A process needs seconds to its first event, and a worker that dies
in them would hold up its backfill for as long. Where a run takes place is asked of the instance's launcher: nothing here knows an engine.

`from __future__ import annotations` must not be added: Dagster reads the annotation of `context`.
"""

import dagster as dg
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus

NAME = "runs_lost_at_their_start"
SECONDS_BETWEEN_LOOKS = 15  # as often as run monitoring looks at the others in deployment/cluster


def lost_runs_sensor() -> dg.SensorDefinition:
    """On from the start: it only does for launched runs what run monitoring does for started ones."""

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Fails a run whose worker died before the run's first event, so that it is started again at once.",
    )
    def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        lost = fail_lost_runs(context.instance)
        return dg.SkipReason(f"Failed, to be started again: {', '.join(lost)}" if lost else "No launched run has lost its worker")

    return lost_runs


def fail_lost_runs(instance: DagsterInstance) -> list[str]:
    """Mark as failed every launched run whose worker is gone; their ids. A launcher that cannot tell leaves all as they are."""
    if not instance.run_launcher.supports_check_run_worker_health:
        return []
    launched = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTING]))
    return [run.run_id for run in launched if _is_failed(instance, run)]


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
