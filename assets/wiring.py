"""One way from a stage and its computation to a Dagster asset: fresh outputs are kept, others are made and published.

Holds no computation. `from __future__ import annotations` must not be added: Dagster reads the annotation of `context`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from assets.contracts import TABLES, Table
from assets.deployment import Deployment
from assets.errors import InputError
from assets.freshness import Freshness
from assets.product import PRODUCT_VERSION
from assets.stages import STAGES, Input, Stage, ancestors
from assets.store import Record
from assets.study import Study
from assets.work import Work

Compute = Callable[[Work], None]

MODEL_POOL = "model"  # one device runs one model at a time: limit this pool in the instance's dagster.yaml
DOWNLOADS = ("model_snapshot", "corpus_documents")


def asset_key(study: Study, asset: str) -> dg.AssetKey:
    """Key of a study's asset."""
    return dg.AssetKey([study.group, asset])


def shard_partitions(study: Study) -> dg.PartitionsDefinition:
    """The shards of the study's corpus."""
    return dg.StaticPartitionsDefinition(list(study.shard_names))


def study_asset(study: Study, name: str, compute: Compute, page: str = "data.html") -> dg.AssetsDefinition:
    """The Dagster asset of a stage. `page` is the report page that its metadata links to."""
    stage = STAGES[name]

    @dg.asset(
        key=asset_key(study, name),
        group_name=study.group,
        description=stage.description,
        deps=[_dependency(study, entry.asset, entry.shards) for entry in _shown_inputs(stage)]
        + [_dependency(study, other, "first" if STAGES[other].is_sharded else "none") for other in stage.after],
        partitions_def=shard_partitions(study) if stage.is_sharded else None,
        backfill_policy=dg.BackfillPolicy.single_run(),
        kinds=set(stage.kinds),
        code_version=stage.code_version,
        metadata=_definition_metadata(stage),
        tags={"neuron_atlas/stage": stage.group},
        pool=MODEL_POOL if stage.uses_model else None,
        retry_policy=dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL) if name in DOWNLOADS else None,
    )
    def asset(context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
        records = []
        shards = context.partition_keys if stage.is_sharded else [None]
        with faults_as_failures():
            for shard in shards:
                records.append(materialize(study, stage, shard, deployment, compute, context.log.info))
        for shard, record in zip(shards, records, strict=True):
            if shard is not None:
                context.add_asset_metadata(_numbers(record), partition_key=shard)
        return dg.MaterializeResult(
            metadata={**_run_metadata(stage, records), "report": dg.MetadataValue.url(deployment.page_url(study.name, page))},
            data_version=dg.DataVersion("+".join(record.content[:16] for record in records)[:200]),
        )

    return asset


def materialize(
    study: Study, stage: Stage, shard: str | None, deployment: Deployment, compute: Compute, tell: Callable[[str], None]
) -> Record:
    """Keep the output if it is current and undamaged, else make and publish it. Inputs are verified file by file first."""
    store = deployment.store
    freshness = Freshness(study, store)
    place = freshness.place(stage.name, shard)
    with store.one_writer(place):
        kept = freshness.fresh(stage.name, shard)
        if kept is not None:
            store.point_current(place)  # a kill between record and link would have left the link behind,
            store.clear_remains(place)  # and one between link and clearing the version before it
            _link(study, stage, deployment)
            tell(f"{place}: nothing changed, kept as it is (made {kept.created_at}, fingerprint {kept.fingerprint[:12]})")
            return kept
        inputs = freshness.inputs(stage, shard)
        for record in inputs.values():
            store.verify(record)
        contents = {label: record.content for label, record in inputs.items()}
        with store.publish(place, freshness.fingerprint(stage, shard), contents) as draft:
            draft.provenance.update(_provenance(study, stage, list(inputs.values())))
            compute(Work(study, shard, inputs, draft, tell))
            for record in inputs.values():  # another run may have replaced one while it was read: Zarr reads a missing chunk as zeros
                store.verify(record)
        published = freshness.current(stage.name, shard)
        _link(study, stage, deployment)
    tell(f"{place}: published in {published.seconds:.1f} s")
    return published


def _link(study: Study, stage: Stage, deployment: Deployment) -> None:
    if stage.group == "report":
        deployment.link_site(study.name)


@contextmanager
def faults_as_failures() -> Iterator[None]:
    """Show a fault that the user can mend as its message alone; a lost connection is worth a retry, the others are not."""
    try:
        yield
    except ConnectionError as error:
        raise dg.Failure(description=str(error)) from None
    except InputError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None


def _provenance(study: Study, stage: Stage, inputs: list[Record]) -> dict[str, Any]:
    """What an output was made from, inherited along its inputs: model and corpus with their commits."""
    inherited = {key: value for record in inputs for key, value in record.provenance.items() if key in ("model", "corpus")}
    return {"study": study.name, "study_hash": study.hash, "code_version": stage.code_version, "product": PRODUCT_VERSION, **inherited}


def _shown_inputs(stage: Stage) -> list[Input]:
    """The inputs as the graph shows them: what reads almost everything shows only what nothing else of it builds on."""
    if stage.group not in ("quality", "report"):
        return list(stage.inputs)
    built_on = {below for entry in stage.inputs for below in ancestors(entry.asset)}
    return [entry for entry in stage.inputs if entry.asset not in built_on]


def _dependency(study: Study, asset: str, shards: str) -> dg.AssetDep:
    key = asset_key(study, asset)
    if shards == "first":
        return dg.AssetDep(key, partition_mapping=dg.SpecificPartitionsPartitionMapping([study.shard_names[0]]))
    return dg.AssetDep(key)


def _definition_metadata(stage: Stage) -> dict[str, Any]:
    tables = [TABLES[name] for name in stage.tables]
    metadata: dict[str, Any] = {"study fields": ", ".join(stage.fields) or "none"}
    if tables:
        metadata["dagster/column_schema"] = column_schema(tables[0])
    for table in tables[1:]:
        metadata[f"columns of {table.name}"] = dg.MetadataValue.table_schema(column_schema(table))
    return metadata


def column_schema(table: Table) -> dg.TableSchema:
    """The contract as Dagster shows it: dtype, unit and description of each column."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                name=column.name,
                type=str(column.dtype),
                description=f"{column.description} Unit: {column.unit}." if column.unit else column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=table.key == (column.name,)),
            )
            for column in table.columns
        ]
    )


def _numbers(record: Record) -> dict[str, Any]:
    """A record's summary as metadata: numbers stay numbers, so that the UI plots them over runs."""
    shown: dict[str, Any] = {"seconds": record.seconds, "bytes": record.bytes, "made at": record.created_at}
    for name, value in record.summary.items():
        shown[name.replace("_", " ")] = value if isinstance(value, bool | int | float | str) else dg.MetadataValue.json(value)
    return shown


def _run_metadata(stage: Stage, records: list[Record]) -> dict[str, Any]:
    if len(records) == 1:
        metadata = _numbers(records[0])
    else:
        metadata = {"shards": len(records), "seconds": round(sum(r.seconds for r in records), 3), "bytes": sum(r.bytes for r in records)}
        for name, value in records[0].summary.items():
            if isinstance(value, int) and not isinstance(value, bool):
                metadata[name.replace("_", " ")] = sum(record.summary[name] for record in records)
    rows = [record.summary.get(f"{stage.tables[0]}_rows") for record in records] if stage.tables else []
    if rows and all(isinstance(row, int) for row in rows):
        metadata["dagster/row_count"] = sum(rows)  # type: ignore[arg-type]
    metadata["fingerprint"] = records[0].fingerprint if len(records) == 1 else [record.fingerprint[:12] for record in records]
    metadata["folder"] = dg.MetadataValue.path(str(records[0].folder.parent))
    return metadata
