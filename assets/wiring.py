"""One way from a stage and its computation to a Dagster asset; how an output is kept or made is in publication.

Holds no computation. `from __future__ import annotations` must not be added: Dagster reads the annotation of `context`.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from assets.contracts import TABLES, Table
from assets.deployment import Deployment
from assets.errors import InputError
from assets.preview import preview, view_of
from assets.publication import SHOWN_CODE, Compute, Tell, materialize
from assets.sources import code_of
from assets.stages import STAGES, Input, Stage, ancestors
from assets.store import Place, Record
from assets.study import Study

MODEL_POOL = "model"  # one device runs one model at a time: limit this pool in the instance's dagster.yaml
DOWNLOADS = ("model_snapshot", "corpus_documents")
DOWNLOAD_RETRIES = dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL)


def asset_key(study: Study, asset: str) -> dg.AssetKey:
    """Key of a study's asset."""
    return dg.AssetKey([study.group, asset])


def shard_partitions(study: Study) -> dg.PartitionsDefinition:
    """The shards of the study's corpus."""
    return dg.StaticPartitionsDefinition(list(study.shard_names))


def study_asset(
    study: Study, name: str, compute: Compute, page: str = "data.html", then: Callable[[Study, Deployment, Tell], None] | None = None
) -> dg.AssetsDefinition:
    """The Dagster asset of a stage. `page` is the report page that its metadata links to; `then` is called whenever its outputs stand."""
    stage = STAGES[name]

    @dg.asset(
        key=asset_key(study, name),
        group_name=study.group,
        description=stage.description,
        deps=[_dependency(study, entry.asset, entry.shards) for entry in shown_inputs(stage)],
        partitions_def=shard_partitions(study) if stage.is_sharded else None,
        backfill_policy=dg.BackfillPolicy.single_run(),
        kinds=set(stage.kinds),
        code_version=code_of(name)[:SHOWN_CODE],
        metadata=_definition_metadata(stage),
        tags={"neuron_atlas/stage": stage.group},
        pool=MODEL_POOL if stage.runs_model else None,
        retry_policy=DOWNLOAD_RETRIES if name in DOWNLOADS else None,
    )
    def asset(context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
        records = []
        shards = context.partition_keys if stage.is_sharded else [None]
        if stage.runs_model:
            await_place_in_pool(context.instance, context.run.run_id, context.get_step_execution_context().step.key)
        with faults_as_failures():
            for shard in shards:
                with stop_told(Place(study.name, name, shard), context.log.info):
                    records.append(materialize(study, stage, shard, deployment, compute, context.log.info))
            if then:
                then(study, deployment, context.log.info)
        for shard, record in zip(shards, records, strict=True):
            if shard is not None:
                context.add_asset_metadata(_shown(stage, record), partition_key=shard)
        report = {"report": dg.MetadataValue.url(deployment.page_url(study.name, page))}
        return dg.MaterializeResult(
            metadata=report if stage.is_sharded else {**report, **_shown(stage, records[0])}, data_version=_data_version(records)
        )

    return asset


def await_place_in_pool(instance: dg.DagsterInstance, run_id: str, step_key: str, pause: float = 1.0) -> None:
    """Return once the place that a step was given in the model's pool stands under its own name; at once where no pool is limited.

    A history in SQLite looks for a free place and takes it in two statements, so two runs that ask within a millisecond are both given
    the last one (45 of 100 pairs that did, Dagster 1.13.27); the row then names the later, and the earlier asks again until that is done.
    """
    places = instance.event_log_storage
    if not places.supports_global_concurrency_limits:
        return
    claim = places.check_concurrency_claim(MODEL_POOL, run_id, step_key)
    while claim.enqueued_timestamp is not None and not claim.is_claimed:  # never enqueued: no limit
        time.sleep(pause)
        claim = places.claim_concurrency_slot(MODEL_POOL, run_id, step_key)


@contextmanager
def faults_as_failures() -> Iterator[None]:
    """Show a fault that the user can mend as its message alone; a lost connection is worth a retry, the others are not."""
    try:
        yield
    except ConnectionError as error:
        raise dg.Failure(description=str(error)) from None
    except InputError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None


@contextmanager
def stop_told(place: Place, tell: Callable[[str], None]) -> Iterator[None]:
    """Say what a person's stop (Terminate, Ctrl-C) leaves behind: Dagster itself shows the traceback of the interruption alone."""
    try:
        yield
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        tell(f"{place}: stopped; nothing half-written stays, and what was published before is kept. Run the study again to go on")
        raise


def shown_inputs(stage: Stage) -> list[Input]:
    """What the graph draws an arrow from: all that must stand before, less what another of it builds on already.

    The order of work and what a failed check stops are the same; with every input drawn, the model's files alone would send
    out fifteen arrows. What is read, whole, is metadata of the asset and is in every fingerprint.
    """
    before = [*stage.inputs, *(Input(other, "first" if STAGES[other].is_sharded else "none") for other in stage.after)]
    built_on = {below for entry in before for below in ancestors(entry.asset)}
    return [entry for entry in before if entry.asset not in built_on or entry.shards == "same"]  # a shard waits for its own shard


def _dependency(study: Study, asset: str, shards: str) -> dg.AssetDep:
    key = asset_key(study, asset)
    if shards == "first":
        return dg.AssetDep(key, partition_mapping=dg.SpecificPartitionsPartitionMapping([study.shard_names[0]]))
    return dg.AssetDep(key)


def _definition_metadata(stage: Stage) -> dict[str, Any]:
    tables = [TABLES[name] for name in stage.tables]
    metadata: dict[str, Any] = {
        "study fields": ", ".join(stage.fields) or "none",
        "reads": ", ".join(str(read) for read in stage.reads) or "nothing that another asset makes",
    }
    if tables:
        metadata["dagster/column_schema"] = column_schema(tables[0])
    for table in tables[1:]:
        metadata[f"columns of {table.name}"] = dg.MetadataValue.table_schema(column_schema(table))
    return metadata


def column_schema(table: Table, columns: Sequence[str] = ()) -> dg.TableSchema:
    """The contract as Dagster shows it: dtype, unit and description of each column, or of the named ones in their order."""
    chosen = {column.name: column for column in table.columns}
    return dg.TableSchema(
        [
            dg.TableColumn(
                name=column.name,
                type=str(column.dtype),
                description=f"{column.description} Unit: {column.unit}." if column.unit else column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=table.key == (column.name,)),
            )
            for column in (chosen[name] for name in columns or chosen)
        ]
    )


def _data_version(records: Sequence[Record]) -> dg.DataVersion:
    """Equal content, equal version, whenever it was made; of several shards the content of all, in their order."""
    if len(records) == 1:
        return dg.DataVersion(records[0].content[:16])
    return dg.DataVersion(hashlib.sha256("\n".join(record.content for record in records).encode()).hexdigest()[:16])


def _shown(stage: Stage, record: Record) -> dict[str, Any]:
    """A record as metadata: numbers stay numbers, so that the UI plots them over runs or shards; then a look inside."""
    metadata: dict[str, Any] = {}
    rows = f"{stage.tables[0]}_rows" if stage.tables else ""
    for name, value in {**record.facts, **record.summary}.items():
        if name == rows:
            metadata["dagster/row_count"] = value
            continue
        metadata[name.replace("_", " ")] = _value(name, value)
    if stage.tables:
        metadata["preview"] = _table(TABLES[stage.tables[0]], record)
    return metadata | {
        "seconds": record.seconds,
        "bytes": record.bytes,
        "made at": record.created_at,
        "fingerprint": record.fingerprint[:12],
        "folder": dg.MetadataValue.path(record.address),
    }


def _value(name: str, value: Any) -> Any:
    """A number or a text as it is; the parts of a sum as a table, largest first; anything else as JSON."""
    if isinstance(value, bool | int | float | str):
        return value
    if name == "memory_plan":
        parts = sorted(value.items(), key=lambda part: -part[1])
        return dg.MetadataValue.table([dg.TableRecord({"part": part, "MiB": round(amount / 2**20, 1)}) for part, amount in parts])
    return dg.MetadataValue.json(value)


def _table(table: Table, record: Record) -> dg.MetadataValue | str:
    rows = preview(table, record)
    return (
        dg.MetadataValue.table([dg.TableRecord(row) for row in rows], column_schema(table, view_of(table).columns)) if rows else "no rows"
    )
