"""Where the time of a run went, read off the records that it left: stages that were made, stages that were kept, and what lies between.

Reads nothing and publishes nothing. A record's `seconds` are those of making and writing the output; checks, loading libraries and
Dagster's own work are what is left of the whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from assets.store import Record

SHOWN_SECONDS, SHOWN_SHARE = 1.0, 0.01  # a stage has a line if it took this long, or this much of the run


@dataclass(frozen=True)
class Spent:
    """Seconds of each stage that was made in a run, in the order of the work; stages that were kept whole; seconds of the whole run."""

    made: Mapping[str, float]
    kept: tuple[str, ...]
    seconds: float


def time_spent(records: Mapping[str, Sequence[Record]], began: datetime, seconds: float) -> Spent:
    """`records` of each stage, of all its shards; those from `began` on were made in the run, which took `seconds`. A shard may be kept."""
    since = began.replace(microsecond=0)  # records state whole seconds
    new = {name: [record for record in held if datetime.fromisoformat(record.created_at) >= since] for name, held in records.items()}
    made = {name: sum(record.seconds for record in held) for name, held in new.items() if held}
    return Spent(made, tuple(name for name in records if name not in made), seconds)


def spent_lines(spent: Spent) -> list[str]:
    """For a person: the stages that took long, longest first, then all others, what was kept, and what was no stage's."""
    whole = max(spent.seconds, 1e-9)
    long = {name: took for name, took in spent.made.items() if took >= SHOWN_SECONDS or took / whole >= SHOWN_SHARE}
    others = {name: took for name, took in spent.made.items() if name not in long}
    ranked = sorted(long.items(), key=lambda one: -one[1])
    rows = [*ranked, (f"{len(others)} other stages", sum(others.values()))] if others else ranked
    rows.append(("checks, loading, Dagster", spent.seconds - sum(spent.made.values())))
    lines = [f"Where {spent.seconds:,.0f} s went:", *(f"  {name:<26}{took:>10,.1f} s{took / whole:>7.1%}" for name, took in rows)]
    if spent.kept:
        lines.append(f"  kept as they were: {', '.join(spent.kept) if spent.made else f'all {len(spent.kept)} stages'}")
    return lines
