"""All stages of a study one after the other in this process, without Dagster: as they run in a job, but seconds faster to start."""

import importlib
from collections.abc import Callable
from pathlib import Path

from assets.deployment import Deployment
from assets.publication import Compute, materialize
from assets.sources import function_of
from assets.stages import STAGES, Stage
from assets.store import Place, Record
from assets.study import Study
from assets.work import Work


def compute_of(stage: Stage) -> Compute:
    """The function that makes a stage's output."""
    module, name = function_of(stage.name)
    return getattr(importlib.import_module(module), name)


def run_stages(study: Study, data: Path, watch: Callable[[Stage, Work], None] | None = None) -> dict[Place, Record]:
    """Make what is stale of every output, in the order of the work. `watch` is called after each computation that was done."""
    deployment, records = Deployment(data), {}
    for stage in STAGES.values():
        compute = compute_of(stage)

        def watched(work: Work, stage: Stage = stage, compute: Compute = compute) -> None:
            compute(work)
            if watch is not None:
                watch(stage, work)

        for shard in study.shard_names if stage.is_sharded else [None]:
            records[Place(study.name, stage.name, shard)] = materialize(study, stage, shard, deployment, watched, lambda text: None)
    return records
