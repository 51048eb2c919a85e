"""What has changed around a study since it was last run: its file, its sources, the code, the branches that it follows on the hub.

Reads the study file anew and says which outputs are stale; starts nothing. Knows no Dagster: `sensors` makes run requests of it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from assets.claims.claims import read_claims
from assets.errors import InputError
from assets.freshness import Freshness
from assets.store import Place, Store, StoreError
from assets.study import Study, read_study
from assets.upstream import Branch, branches, latest_commit, note_commit, noted_commit


@dataclass(frozen=True)
class Change:
    """What stands now. `asked` names the state of everything outside, `key` the step to it from what is published."""

    asked: str
    key: str
    stale: tuple[Place, ...]
    unreachable: str  # why a followed branch could not be asked for; "" if all were


class NotNow(Exception):
    """Nothing can be asked for at this moment; the message says why and what to do."""


def change(loaded: Study, store: Store) -> Change:
    """Look at a study as its file is now. `loaded` is the study as the code location loaded it. Raises NotNow."""
    try:
        study = read_study(loaded.folder / f"{loaded.name}.yaml")
        read_claims(study)  # a run with a fault in them could not even be loaded
    except InputError as error:
        raise NotNow(f"The study's file cannot be used; nothing is asked for until it is mended. {error}") from None
    if study.shard_names != loaded.shard_names:
        raise NotNow(
            f"The study file now asks for {study.shards} shards, the loaded definitions have {loaded.shards}: reload the code "
            "location (Deployment, Reload), so that runs are cut as the file says"
        )
    try:
        return _look(study, store)
    except InputError as error:  # a bucket that does not answer, a file that may not be read: nothing is known to be stale
        raise NotNow(f"Nothing is known of the study's outputs or sources at this moment. {error}") from None


def _look(study: Study, store: Store) -> Change:
    try:
        finished = store.find(Place(study.name, "report_site")) is not None
    except StoreError:  # damaged: it was published once, and is stale now
        finished = True
    if not finished:
        raise NotNow("The study has not been finished once. Materialize it; from then on this sensor keeps it up to date")
    unreachable = "; ".join(filter(None, [_follow(study, store, branch) for branch in branches(study)]))
    freshness = Freshness(study, store)
    asked, stale = freshness.asked(), tuple(freshness.stale())
    return Change(asked, _key(asked, stale, store), stale, unreachable)


def _follow(study: Study, store: Store, branch: Branch) -> str:
    """Ask what the branch names now and note it if it has moved. Returns why that was not possible, or ""."""
    try:
        commit = latest_commit(branch)
    except (OSError, ValueError) as error:
        return f"whether {branch} has moved is not known ({error})"
    try:
        made_from = Freshness(study, store).current(branch.asset).facts["commit"]
    except StoreError:  # stale already: its run asks the hub itself, unless this commit was noted and then withdrawn
        made_from = None
    if commit not in (made_from, noted_commit(store, study, branch)):
        note_commit(store, study, branch, commit)
    return ""


def _key(asked: str, stale: Sequence[Place], store: Store) -> str:
    """Names this change of what is published now: the same one is asked for once, and again if it comes back after another."""
    return hashlib.sha256("\n".join([asked, *(f"{place} {_version(store, place)}" for place in stale)]).encode()).hexdigest()[:16]


def _version(store: Store, place: Place) -> str:
    try:
        record = store.find(place)
    except StoreError:
        return "damaged"
    return record.version if record else "missing"
