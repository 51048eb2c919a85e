"""The sensor of a study: when something around it has changed, it asks for one run of what is stale, and of nothing else.

`from __future__ import annotations` must not be added: Dagster reads the annotation of `context`.
"""

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from assets.across_models.comparison import NAME as ACROSS_MODELS
from assets.study import Study
from assets.wiring import asset_key
from orchestration.changes import Change, NotNow, change
from orchestration.jobs import RANGE_END, RANGE_START, job_name
from orchestration.settings import Settings

SECONDS_BETWEEN_LOOKS = 120  # a look hashes what has changed on disk and asks the hub once per followed branch
UNDER_WAY = [
    DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING,
]  # fmt: skip


def across_models_sensor() -> dg.AutomationConditionSensorDefinition:
    """Makes the comparison of all models again when an output that it reads has other content; off until switched on."""
    return dg.AutomationConditionSensorDefinition(
        f"{ACROSS_MODELS}_refresh",
        target=dg.AssetSelection.groups(ACROSS_MODELS),
        description="Makes the comparison of all models again when an output of a study that it reads has other content.",
    )


def sensor_name(study: Study) -> str:
    """Name of the study's sensor."""
    return f"{study.group}_changes"


def study_sensor(study: Study, settings: Settings) -> dg.SensorDefinition:
    """Notices a changed study, claims, corpus or model file, new code, and a branch of the hub that has moved; off until switched on."""

    @dg.sensor(
        name=sensor_name(study),
        job_name=job_name(study),
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Asks for a run of what is stale when the study {study.name}, its files, the code or a followed branch has changed.",
    )
    def changes(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        try:
            found = change(study, settings.deployment.store)
        except NotNow as not_now:
            return dg.SensorResult(skip_reason=str(not_now), cursor=context.cursor)
        unreachable = f". {found.unreachable}" if found.unreachable else ""
        if found.asked == context.cursor:
            return dg.SensorResult(skip_reason=f"Nothing has changed since the last look{unreachable}", cursor=context.cursor)
        if not found.stale:
            return dg.SensorResult(skip_reason=f"Every output is what the study asks for{unreachable}", cursor=found.asked)
        if run := _under_way(context.instance, study):
            reason = f"Run {run} of this study is under way; what is then still stale is asked for when it has ended"
            return dg.SensorResult(skip_reason=reason, cursor=context.cursor)
        return dg.SensorResult(run_requests=[_request(study, found)], cursor=found.asked)

    return changes


def _request(study: Study, found: Change) -> dg.RunRequest:
    """One run of exactly the stale assets, over the smallest range of shards that holds the stale ones."""
    shards = sorted({place.shard for place in found.stale if place.shard is not None})
    return dg.RunRequest(
        run_key=found.key,
        asset_selection=[asset_key(study, name) for name in dict.fromkeys(place.asset for place in found.stale)],
        tags={RANGE_START: shards[0], RANGE_END: shards[-1]} if shards else {},
    )


def _under_way(instance: dg.DagsterInstance, study: Study) -> str | None:
    """A run of the study's job, or of any of its assets, that has not ended."""
    for run in instance.get_runs(RunsFilter(statuses=UNDER_WAY)):
        assets = run.asset_selection or ()
        if run.job_name == job_name(study) or any(key.path[0] == study.group for key in assets):
            return run.run_id[:8]
    return None
