"""How an output is published, of a study or of the comparison of all: kept while it is what is asked for, else made in one step.

Knows no Dagster. What is computed is the caller's; what the fingerprint hashes is freshness's or, for a comparison, its own.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from assets.deployment import Deployment
from assets.errors import NotMeasuredError
from assets.freshness import Freshness
from assets.product import PRODUCT_VERSION
from assets.sources import code_of
from assets.stages import MODEL_FIELDS, STAGES, Stage
from assets.store import Draft, Place, Record, Store, StoreError
from assets.study import Study
from assets.work import Work

Compute = Callable[[Work], None]
Tell = Callable[[str], None]

SHOWN_CODE = 12  # digits of a code's hash that people are shown
LIBRARIES = ("torch", "transformers", "transformer_lens")


@dataclass(frozen=True)
class Asked:
    """What is asked for at a place: its fingerprint, the records that it is made from, and a hash of what is read of each."""

    place: Place
    fingerprint: str
    inputs: Mapping[str, Record]
    found: Mapping[str, str]
    provenance: Mapping[str, Any]


def materialize(study: Study, stage: Stage, shard: str | None, deployment: Deployment, compute: Compute, tell: Tell) -> Record:
    """One output of a study: kept if it is current and undamaged, else made and published."""

    def asked() -> Asked:
        freshness = Freshness(study, deployment.store)
        inputs, found = freshness.inputs(stage, shard), freshness.found(stage, shard)
        fingerprint = freshness.fingerprint(stage, shard)
        return Asked(freshness.place(stage.name, shard), fingerprint, inputs, found, _provenance(study, stage, inputs))

    def make(inputs: Mapping[str, Record], draft: Draft) -> None:
        work = Work(study, inputs, stage.reads, stage.fields, f"stage {stage.name}", shard, draft, tell)
        try:
            compute(work)
        except NotMeasuredError as error:
            if not stage.may_be_refused:
                raise
            work.refuse(stage.tables, str(error))

    record = publish(deployment.store, Place(study.name, stage.name, shard), asked, make, tell)
    if stage.group == "report":
        deployment.link_site(study.name)
    return record


def publish(
    store: Store, place: Place, ask: Callable[[], Asked], make: Callable[[Mapping[str, Record], Draft], None], tell: Tell
) -> Record:
    """The output of `place`, kept or made. `ask` is called when no other run writes there; it may raise StoreError.

    Inputs are verified file by file before and after: another run may have replaced one while it was read, and Zarr reads a missing
    chunk as zeros. Raises StoreError naming the first damaged one; the last good output then stays.
    """
    with store.one_writer(place), store.reading():
        asked = ask()
        kept = _kept(store, asked)
        if kept is not None:
            store.point_current(place)  # a kill between record and link would have left the link behind,
            store.clear_remains(place)  # and one between link and clearing the version before it
            tell(f"{place}: nothing changed, kept as it is (made {kept.created_at}, fingerprint {kept.fingerprint[:12]})")
            return kept
        for record in asked.inputs.values():
            store.verify(record)
        with store.publish(place, asked.fingerprint, asked.found) as draft:
            draft.provenance.update(asked.provenance)
            make(asked.inputs, draft)
            for record in asked.inputs.values():
                store.verify(record)
            if ask().fingerprint != asked.fingerprint:
                raise StoreError(f"{place}: what it is made from changed while it was made; the last good version stays. Run again")
        published = store.find(place)
    assert published is not None
    tell(f"{place}: published in {published.seconds:.1f} s")
    return published


def records_of(study: Study, store: Store) -> dict[str, list[Record]]:
    """By stage, in the order of the work, the records of all its shards, whatever they were made from; only stages that have every one."""
    found: dict[str, list[Record]] = {}
    for stage in STAGES.values():
        try:
            held = [store.find(Place(study.name, stage.name, shard)) for shard in (study.shard_names if stage.is_sharded else [None])]
        except StoreError:  # damaged, or of another version
            continue
        if None not in held:
            found[stage.name] = [record for record in held if record is not None]
    return found


def _kept(store: Store, asked: Asked) -> Record | None:
    """The published output if it is what is asked for and whole."""
    try:
        record = store.find(asked.place)
        if record is None or record.fingerprint != asked.fingerprint:
            return None
        store.verify(record)
    except StoreError:  # damaged: it is made again
        return None
    return record


def _provenance(study: Study, stage: Stage, inputs: Mapping[str, Record]) -> dict[str, Any]:
    """What an output was made by, for people: nothing is made from it. Model and corpus are inherited along the inputs."""
    inherited = {key: value for record in inputs.values() for key, value in record.provenance.items() if key in ("model", "corpus")}
    made_with = _versions() if set(MODEL_FIELDS) <= set(stage.fields) else {}
    return {
        "study": study.name,
        "study_hash": study.hash,
        "code_version": code_of(stage.name)[:SHOWN_CODE],
        "product": PRODUCT_VERSION,
        **made_with,
        **inherited,
    }


@functools.cache  # 13 ms a call, and every output of a run asks twice
def _versions() -> dict[str, str]:
    """The version of every library that the numbers come from."""
    return {name: version(name) for name in LIBRARIES}
