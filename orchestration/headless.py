"""One headless run of a study at a time, and what is to be done about headless runs whose process has died.

A killed process cannot say that it has ended: in Dagster's history its run goes on for ever, and keeps its place in the pool of
the model, so that every later run would wait for it without a word. Each headless run therefore holds a lock file while it
lives, which the system frees however the process ends; a run that is said to go on but whose lock is free is dead. Runs that
the UI launches are Dagster's own to watch.
"""

import fcntl
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

STUDY_TAG, HOME_TAG = "neuron_atlas/study", "neuron_atlas/headless"
UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def headless_tags(study: str, instance: dg.DagsterInstance) -> dict[str, str]:
    """Tags of a headless run: whose process holds which lock. Other machines on the same database cannot judge it."""
    return {STUDY_TAG: study, HOME_TAG: f"{socket.gethostname()}:{instance.root_directory}"}


@contextmanager
def only_run(study: str, instance: dg.DagsterInstance, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the study's lock: a second headless run of it waits here, asleep. Dead runs are closed first, whatever their study."""
    with _lock_file(study, instance).open("a") as lock:
        if not _take(lock):
            tell(f"Another run of {study} is at work; this one waits for it to end, then keeps what it made.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        close_dead_runs(study, instance)
        free_places_of_ended_runs(instance, tell)
        yield


def close_dead_runs(mine: str, instance: dg.DagsterInstance) -> list[str]:
    """Mark this home's headless runs whose lock is free as failed and give back their places in pools. Returns their ids.

    `mine` is the study whose lock this process holds: any unfinished run of it is dead.
    """
    tags = {HOME_TAG: headless_tags(mine, instance)[HOME_TAG]}
    dead = []
    for run in instance.get_runs(dg.RunsFilter(tags=tags, statuses=UNFINISHED)):
        study = run.tags.get(STUDY_TAG, mine)
        if study == mine or _is_free(_lock_file(study, instance)):
            instance.report_run_failed(run, "The process of this run ended without finishing it; what it had published stays.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            dead.append(run.run_id)
    return dead


def free_places_of_ended_runs(instance: dg.DagsterInstance, tell: Callable[[str], None]) -> None:
    """Give back what ended runs still hold of the pools, and say which runs under way hold or await a place.

    A run of the UI whose process was killed, or which was terminated by force, is marked as ended and keeps its place; the daemon
    frees it after a while, but only where one is at work.
    """
    for run_id in sorted(instance.event_log_storage.get_concurrency_run_ids()):
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)
        else:
            tell(f"Run {run_id[:8]} of {run.job_name} uses the model or waits for it; this one waits for its turn. "
                 "If the process of that run is gone, terminate it in the UI, by force, and start this one again.")  # fmt: skip


def _lock_file(study: str, instance: dg.DagsterInstance) -> Path:
    folder = Path(instance.root_directory) / "headless"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{study}.lock"


def _is_free(file: Path) -> bool:
    with file.open("a") as lock:  # closing it gives the lock back
        return _take(lock)


def _take(lock) -> bool:  # type: ignore[no-untyped-def]
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
