"""Runs of the Dagster instance that are old enough to go, with their events and logs.

The history of an asset is the events of its runs: what a run materialized goes with it. So the run that materialized an asset
or shard last stays, whatever its age; otherwise the UI would call an output missing that is there.
"""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from assets.across_models.comparison import NAME as ACROSS_MODELS
from assets.stages import STAGES
from assets.store.files import size_of
from assets.study import Study
from orchestration.upkeep.left_outputs import Left
from reports.across_models.asset import SITE as ACROSS_MODELS_SITE

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
SECONDS_A_DAY = 86_400


def old_runs(instance: dg.DagsterInstance, studies: Sequence[Study], days: float, keep: int, now: float | None = None) -> list[Left]:
    """Finished runs that ended more than `days` days ago and are not among the last `keep` of their job. `now`: seconds since 1970."""
    oldest = (time.time() if now is None else now) - days * SECONDS_A_DAY
    latest = last_materializations(instance, studies)
    seen: Counter[str] = Counter()
    left = []
    for record in instance.get_run_records(filters=dg.RunsFilter(statuses=FINISHED)):  # newest first
        run = record.dagster_run
        seen[run.job_name] += 1
        ended = record.end_time or record.create_timestamp.timestamp()
        if seen[run.job_name] > keep and ended < oldest and run.run_id not in latest:
            name = f"{run.job_name} {run.run_id} ({run.status.value.lower()}, {time.strftime('%Y-%m-%d', time.gmtime(ended))})"
            left.append(Left("run", name, _bytes(instance, run.run_id), _deleting(instance, run.run_id)))
    return left


def last_materializations(instance: dg.DagsterInstance, studies: Sequence[Study]) -> set[str]:
    """Ids of the runs that materialized an asset or shard of the studies last, and the comparison of all of them."""
    wanted = [dg.AssetRecordsFilter(asset_key=dg.AssetKey([ACROSS_MODELS, name])) for name in (ACROSS_MODELS, ACROSS_MODELS_SITE)]
    for study in studies:
        for stage in STAGES.values():
            key = dg.AssetKey([study.group, stage.name])
            for shard in study.shard_names if stage.is_sharded else [None]:
                wanted.append(dg.AssetRecordsFilter(asset_key=key, asset_partitions=[shard] if shard else None))
    return {record.run_id for one in wanted for record in instance.fetch_materializations(one, limit=1).records}


def _deleting(instance: dg.DagsterInstance, run_id: str) -> Any:
    def free() -> bool:
        instance.delete_run(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        for file in _files(instance, run_id):  # emptied by Dagster, but left
            file.unlink(missing_ok=True)
        return True

    return free


def _files(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    """The database file of a run's events, where each run has its own (SQLite)."""
    path_of = getattr(instance.event_log_storage, "path_for_shard", None)
    file = Path(path_of(run_id)) if path_of else None
    return sorted(file.parent.glob(f"{file.name}*")) if file else []


def _bytes(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """Size of a run's events and logs on this machine; None where both lie in a database or elsewhere."""
    files = _files(instance, run_id)
    logs = Path(instance.storage_directory()) / run_id
    return sum(file.stat().st_size for file in files) + (size_of(logs) if logs.is_dir() else 0) if files or logs.is_dir() else None
