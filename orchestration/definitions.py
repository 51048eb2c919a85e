"""Everything that Dagster loads: for each study file a group of assets with checks, a job and a schedule.

Holds no asset, check or setting of its own. Building it imports neither torch nor transformer_lens nor great_expectations:
they take about ten seconds and are imported by the steps that need them.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg

warnings.filterwarnings("ignore", category=dg.BetaWarning)  # backfill_policy: one run for all shards is what `make study` needs

from assets.ablation.asset import ablation_assets  # noqa: E402
from assets.across_models.asset import across_models_assets  # noqa: E402
from assets.across_models.asset_checks import across_models_checks  # noqa: E402
from assets.atlas.asset import atlas_assets  # noqa: E402
from assets.claims.asset import claims_assets  # noqa: E402
from assets.congruence.asset import congruence_assets  # noqa: E402
from assets.corpus.asset import corpus_assets  # noqa: E402
from assets.evidence_cards.asset import evidence_assets  # noqa: E402
from assets.histograms.asset import histogram_assets  # noqa: E402
from assets.probes.asset import probe_assets  # noqa: E402
from assets.prompts.asset import prompt_assets  # noqa: E402
from assets.quality.asset import quality_assets  # noqa: E402
from assets.quality.asset_checks import study_checks  # noqa: E402
from assets.statistics.asset import statistics_assets  # noqa: E402
from assets.study import Study  # noqa: E402
from assets.trial.asset import model_assets  # noqa: E402
from orchestration.alerts import alert_sensors  # noqa: E402
from orchestration.cluster.lost_runs import lost_runs_sensor  # noqa: E402
from orchestration.cluster.phases import one_run_per_shard  # noqa: E402
from orchestration.jobs import across_models_job, study_job, study_schedule  # noqa: E402
from orchestration.sensors import across_models_sensor, study_sensor  # noqa: E402
from orchestration.settings import ONE_RUN, RUN_PER_SHARD, Settings  # noqa: E402
from orchestration.terminal import TERMINAL, terminal_logger  # noqa: E402
from orchestration.unusable import fault_assets, usable_studies  # noqa: E402
from reports.across_models.asset import across_models_site_assets  # noqa: E402
from reports.asset import report_assets  # noqa: E402

STAGE_BUILDERS = (
    model_assets, corpus_assets, histogram_assets, statistics_assets, probe_assets, atlas_assets, congruence_assets, prompt_assets, ablation_assets,
    evidence_assets, claims_assets, quality_assets, report_assets,
)  # fmt: skip
ACROSS_BUILDERS = (across_models_assets, across_models_site_assets)


def build_definitions(studies: Sequence[Study], settings: Settings, faults: Mapping[Path, str] | None = None) -> dg.Definitions:
    """The definitions of the given studies in the given deployment. `faults` are study files that cannot be used, and why."""
    assets = [asset for study in studies for build in STAGE_BUILDERS for asset in build(study)]
    if settings.runs == RUN_PER_SHARD:
        assets = [one_run_per_shard(asset) for asset in assets]
    return dg.Definitions(
        assets=[*assets, *(asset for build in ACROSS_BUILDERS for asset in build(studies)), *fault_assets(faults or {})],
        asset_checks=[*(check for study in studies for check in study_checks(study)), *across_models_checks(studies)],
        jobs=[*(study_job(study) for study in studies), across_models_job()],
        # schedules and sensors ask for one run of all shards; where each has its own, `make cluster` is what a timer calls
        schedules=[study_schedule(study) for study in studies] if settings.runs == ONE_RUN else [],
        sensors=[
            *(study_sensor(study, settings) for study in studies if settings.runs == ONE_RUN),
            across_models_sensor(),
            *([lost_runs_sensor()] if settings.runs == RUN_PER_SHARD else []),
            *alert_sensors(settings.alerts),
        ],
        resources={"deployment": settings.deployment},
        loggers={"console": dg.colored_console_logger, TERMINAL: terminal_logger},
        executor=dg.in_process_executor,  # one process and one loaded model for all steps of a run
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The code location of `workspace.yaml`: the studies of this deployment's folder."""
    settings = Settings.from_environment()
    studies, faults = usable_studies(settings.studies)
    return build_definitions(studies, settings, faults)
