"""The job of a study, which makes its whole group in one run, the schedule that starts it again, and the job over all studies."""

from typing import Any

import dagster as dg

from assets.across_models.comparison import NAME
from assets.study import Study, StudyError

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def job_name(study: Study) -> str:
    """Name of the study's job."""
    return f"{study.group}_study"


def all_shards(study: Study) -> dict[str, str]:
    """Run tags that ask for every shard in one run."""
    return {RANGE_START: study.shard_names[0], RANGE_END: study.shard_names[-1]}


def study_job(study: Study) -> Any:  # Dagster does not export the type of a job that is not resolved yet
    """Everything of the study, checks included. Outputs that are still true are kept, so a second run is quick."""
    return dg.define_asset_job(
        job_name(study),
        selection=dg.AssetSelection.groups(study.group),
        description=f"The whole study {study.name}: {study.description or study.question}".rstrip(": "),
        tags={"neuron_atlas/study": study.name, **all_shards(study)},
        executor_def=dg.in_process_executor,
    )


def across_models_job() -> Any:
    """The comparison of all models, from whatever was run before."""
    return dg.define_asset_job(
        NAME,
        selection=dg.AssetSelection.groups(NAME),
        description="For every tracked token, each model's best neurons by congruence, AUROC, contribution and causal effect, side by side.",
        executor_def=dg.in_process_executor,
    )


def study_schedule(study: Study) -> dg.ScheduleDefinition:
    """The study's cron line in UTC, off until switched on in the UI. Raises StudyError for a line that Dagster refuses."""

    def request(_: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(tags=all_shards(study))

    try:
        return dg.ScheduleDefinition(
            name=f"{study.group}_schedule",
            job_name=job_name(study),
            cron_schedule=study.schedule,
            execution_timezone="UTC",
            execution_fn=request,
            description=f"Runs the study {study.name} again; only what has changed is computed.",
            default_status=dg.DefaultScheduleStatus.STOPPED,
        )
    except dg.DagsterInvalidDefinitionError as error:
        raise StudyError(f"{study.folder / study.name}.yaml: field schedule: given {study.schedule!r}; {error}") from None
