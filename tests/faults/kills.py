"""Kills a study's run at seeded moments until it has been killed often enough, and compares what it made with an undisturbed run.

    python -m tests.faults.kills --kills 100 --seed 1

Every kill is SIGKILL: after a random time of computing, or just before a random change to the data folder (a folder made, a file opened for
writing, renamed or removed, a link made). After each, every published record must still be whole. Then the study is started
again, killed again, and so on until a run ends by itself: what is published must then be that of the undisturbed run, with
nothing left over and no run that Dagster's history takes for alive. Then everything begins anew in an empty folder.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assets.stages import STAGES
from tests.faults.evidence import damage, differences, evidence, leftovers
from tests.faults.small_study import Place, new_place, write_study
from tests.faults.victim import End, Moment, import_all, run_until

FEW_STEPS = 25  # publishing an output takes six: so a resumed run comes at most four outputs further, and a series meets many moments
MANY_FILES = 500  # a shard of the small study makes about 350 changes while it is filled


@dataclass
class Tally:
    """What was done and found."""

    kills: Counter[str] = field(default_factory=Counter)  # by stage
    calls: Counter[str] = field(default_factory=Counter)  # by the call that a kill came before
    at_times: int = 0
    series: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Kills so far."""
        return sum(self.kills.values())


def kill_until(kills: int, seed: int, folder: Path) -> Tally:
    """Kill runs of the planted study at least `kills` times; prints every moment. Faults are collected, not raised."""
    import_all()
    chance, tally = random.Random(seed), Tally()
    study = write_study_in_child(folder / "study")
    undisturbed = new_place(study, folder / "undisturbed")
    whole = run_until(undisturbed, Moment())
    if whole.code != 0:
        tally.faults.append(f"the undisturbed run ended with {whole.code}:\n{whole.output}")
        return tally
    print(f"an undisturbed run computes for {whole.seconds:.1f} s", flush=True)
    expected = evidence(undisturbed.data)
    while tally.total < kills and not tally.faults:
        tally.series += 1
        place = new_place(study, folder / f"series-{tally.series}")
        killed_series(place, expected, chance, whole.seconds, kills, tally)
        shutil.rmtree(place.home.parent)
    return tally


def write_study_in_child(folder: Path) -> Path:
    """Write the study in a fork: making the model computes, which the parent must not do before it forks."""
    import os

    folder.mkdir(parents=True)
    child = os.fork()
    if child == 0:
        write_study(folder)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    return folder / "planted.yaml"


def killed_series(place: Place, expected: dict[str, Any], chance: random.Random, seconds: float, kills: int, tally: Tally) -> None:
    """Run the study in an empty folder again and again until it ends by itself; judge every state it leaves."""
    while True:
        moment = next_moment(chance, seconds) if tally.total < kills else Moment()
        end = run_until(place, moment)
        if end.code is not None:
            break
        count(tally, moment, end)
        tally.faults += [f"after kill {tally.total}: {fault}" for fault in damage(place.data)]
    if end.code != 0:
        tally.faults.append(f"series {tally.series}: a run that was not killed ended with {end.code}:\n{end.output[-3000:]}")
        return
    tally.faults += [f"series {tally.series}: {line}" for line in differences(expected, evidence(place.data))]
    tally.faults += [f"series {tally.series}: left over: {path}" for path in leftovers(place.data)]
    tally.faults += [f"series {tally.series}: {line}" for line in unfinished_runs(place.home)]


def next_moment(chance: random.Random, seconds: float) -> Moment:
    """Three in ten at a time within what an undisturbed run computes, five at a step of publishing, two while a folder is filled."""
    kind = chance.random()
    if kind < 0.3:
        return Moment(seconds=chance.uniform(0, seconds))
    return Moment(change=chance.randint(1, FEW_STEPS)) if kind < 0.8 else Moment(change=chance.randint(1, MANY_FILES), inside=True)


def count(tally: Tally, moment: Moment, end: End) -> None:
    """Note a kill and print its moment."""
    tally.kills[end.stage] += 1
    if moment.seconds is None:
        tally.calls[end.call] += 1
        when = f"before {'file' if moment.inside else 'step'} {moment.change}: {end.call}"
    else:
        tally.at_times += 1
        when = f"after {moment.seconds:.2f} s of computing"
    print(f"kill {tally.total}: series {tally.series}, {end.stage}, {when}", flush=True)


def unfinished_runs(home: Path) -> list[str]:
    """Runs that the history takes for alive, and places in a pool that nobody lives to give back, in a home without a live run."""
    import sqlite3

    with sqlite3.connect(home / "history" / "runs.db") as runs, sqlite3.connect(home / "history" / "runs" / "index.db") as pools:
        alive = runs.execute("select run_id, status from runs where status in ('STARTING', 'STARTED', 'CANCELING')").fetchall()
        held = pools.execute("select concurrency_key, run_id from concurrency_slots where run_id is not null").fetchall()
    return [f"run {run} is {status} for ever" for run, status in alive] + [f"pool {pool} is held by dead run {run}" for pool, run in held]


def table(tally: Tally, seed: int) -> str:
    """The figures as Markdown."""
    stages = [name for name in tally.kills if name not in STAGES] + list(STAGES)
    rows = [f"| {name} | {tally.kills[name]} |" for name in stages]
    return "\n".join(
        [
            f"{tally.total} kills with seed {seed} in {tally.series} series: {tally.at_times} at random times, {sum(tally.calls.values())} before "
            f"a change to the data folder. Faults: {len(tally.faults)}.",
            "",
            "| Killed in | Kills |",
            "|---|---|",
            *rows,
        ]
    )


def main() -> int:
    """Kill as often as asked; 1 if anything was found that must not be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(f"seed {given.seed}")
    with tempfile.TemporaryDirectory(prefix="neuron-atlas-kills-") as folder:
        tally = kill_until(given.kills, given.seed, Path(folder))
    print("\n" + table(tally, given.seed))
    print("\nBefore which changes: " + ", ".join(f"{call} {times}" for call, times in tally.calls.most_common()))
    for fault in tally.faults:
        print(f"\nFAULT {fault}", file=sys.stderr)
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
