"""Outputs that nothing asks for any more: of assets and shards that no study has, of studies without a file, of killed runs.

Whatever a record of a study names stays, also as an input of another record; so does what is being written now.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assets.across_models.comparison import NAME as ACROSS_MODELS
from assets.deployment import REPORTS, Deployment
from assets.stages import STAGES
from assets.store import Place, Record, StoreError
from assets.study import Study
from reports.study_difference.publication import NAME as STUDY_DIFFERENCE


@dataclass(frozen=True)
class Left:
    """One thing that could be freed. `kept_because` says why it is not; "" if it may be."""

    kind: str
    name: str
    bytes: int | None  # None: not known
    free: Callable[[], bool]  # False: somebody uses it
    kept_because: str = ""


def left_outputs(deployment: Deployment, studies: Sequence[Study], forget: Sequence[str] = ()) -> list[Left]:
    """What could be freed of a deployment's outputs. `studies` are all that have a file; `forget` names those given up without one."""
    storage, known = deployment.store.storage, {study.name: study for study in studies}
    left: list[Left] = []
    places = storage.places()
    for name in sorted({place.study for place in places}):
        of_study = [place for place in places if place.study == name]
        if name in known:
            left += _of_study(deployment, known[name], of_study)
        elif name not in (ACROSS_MODELS, STUDY_DIFFERENCE):  # of several studies, so of none that has a file
            left += [_study_without_file(deployment, name, of_study, name in forget)]
    return left


def _study_without_file(deployment: Deployment, name: str, places: list[Place], is_given_up: bool) -> Left:
    storage = deployment.store.storage
    size = sum(sum(storage.versions(place).values()) for place in places)

    def free() -> bool:
        storage.hide_site(f"{REPORTS}/{name}")
        removed = [_removed(deployment, place) for place in places]  # each is tried
        return all(removed)

    reason = "" if is_given_up else f"it may be run from elsewhere; to give it up: --forget {name}"
    return Left("study without a file", name, size, free, reason)


def _of_study(deployment: Deployment, study: Study, places: list[Place]) -> list[Left]:
    storage, left = deployment.store.storage, []
    records = {place: _record(deployment, place) for place in places}
    asked = [place for place in places if _is_asked_for(study, place)]
    named = {label for place in asked if (record := records[place]) for label in record.inputs}
    for place in places:
        versions = storage.versions(place)
        if place not in asked:
            label = f"{place.asset}/{place.shard}" if place.shard else place.asset
            reason = f"a published output of the study was made from it; first run: make study STUDY={study.name}" if label in named else ""
            left.append(Left("output nothing asks for", str(place), sum(versions.values()), _removing(deployment, place), reason))
            continue
        record = records[place]
        for version, size in versions.items():
            if record is not None and version != record.version:
                left.append(Left("version no record names", f"{place}: {version}", size, _removing_version(deployment, place, version)))
    return left


def _is_asked_for(study: Study, place: Place) -> bool:
    stage = STAGES.get(place.asset)
    if stage is None:
        return False
    return place.shard in study.shard_names if stage.is_sharded else place.shard is None


def _record(deployment: Deployment, place: Place) -> Record | None:
    """The record; None where there is none or it cannot be read: then nothing is known of the versions, and all stay."""
    try:
        return deployment.store.find(place)
    except StoreError:
        return None


def _removing(deployment: Deployment, place: Place) -> Callable[[], bool]:
    return lambda: _removed(deployment, place)


def _removed(deployment: Deployment, place: Place) -> bool:
    storage = deployment.store.storage
    with storage.one_writer(place, wait=False) as is_held:
        if is_held:
            storage.remove(place)
        return is_held


def _removing_version(deployment: Deployment, place: Place, version: str) -> Callable[[], bool]:
    storage = deployment.store.storage

    def free() -> bool:
        with storage.one_writer(place, wait=False) as is_held:
            record = _record(deployment, place) if is_held else None
            is_left = record is not None and record.version != version  # looked at again: it may have been published meanwhile
            if is_left:
                storage.remove_version(place, version)
            return is_left

    return free
