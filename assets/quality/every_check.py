"""Every check of a study's outputs, and what came of them. Used by the checks in the UI and by data_quality alike, so that both say
the same. The checks themselves are declared in `checks`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import polars as pl

from assets.contracts import TABLES
from assets.quality.check import Check
from assets.quality.checks import atlas, cards, causes, counters, halves, inputs, probes, statistics
from assets.quality.checks.contracts import contract_checks
from assets.quality.expectations import Outcome, Severity
from assets.reads import Read
from assets.stages import STAGES
from assets.store import Record
from assets.study import Study
from assets.tables import table_file

DECLARED: tuple[Check, ...] = (
    *inputs.CHECKS,
    *counters.CHECKS,
    *statistics.CHECKS,
    *halves.CHECKS,
    *causes.CHECKS,
    *probes.CHECKS,
    *atlas.CHECKS,
    *cards.CHECKS,
)
NOT_JUDGED = ("data_quality", "report_site")  # what is made of the outcomes


@cache
def checks_of(asset: str) -> tuple[Check, ...]:
    """The checks of an asset, those of its tables' contracts last."""
    stage = STAGES[asset]
    own = tuple(check for check in DECLARED if check.asset == asset)
    return own + tuple(contract_checks(stage.tables, stage.is_sharded))


def reads_of(asset: str) -> tuple[Read, ...]:
    """What the checks of an asset read, each thing once."""
    return tuple(dict.fromkeys(read for check in checks_of(asset) for read in check.reads))


def fields_of(assets: Sequence[str]) -> set[str]:
    """The study's fields that the checks of these assets read."""
    return {field for asset in assets for check in checks_of(asset) for field in check.fields}


def number_of_checks(asset: str, shards: Sequence[str]) -> int:
    """How many checks outcomes_of looks at."""
    return len(checks_of(asset)) * (len(shards) if STAGES[asset].is_sharded else 1)


def outcomes_of(study: Study, asset: str, records: Mapping[str, Record], shards: Sequence[str]) -> list[Outcome]:
    """Every outcome of one asset. `records` hold its output(s) and what its checks read; `shards` are looked at if it is partitioned."""
    if STAGES[asset].may_be_refused and "refused" in records[asset].facts:
        return outcomes_of_refused(asset, records[asset])
    looked_at = shards if STAGES[asset].is_sharded else [None]
    found = [
        _naming_shard(outcome, shard)
        for shard in looked_at
        for check in checks_of(asset)
        for outcome in check.outcomes(study, records, shard)
    ]
    return _worst_of_each(found) if len(looked_at) > 1 else found


def outcomes_of_refused(asset: str, record: Record) -> list[Outcome]:
    """Of an asset that measures nothing of this model, one outcome for each check, as it is shown: the tables are empty, and say why."""
    rows = sum(pl.read_parquet(table_file(record, TABLES[table]), glob=False).height for table in STAGES[asset].tables)
    told: dict[bool, tuple[Severity, str]] = {
        True: ("blocking", f"its tables are empty, as {record.facts['refused']}"),
        False: ("warning", f"there is nothing to warn of, as {record.facts['refused']}"),
    }
    return [
        Outcome(asset, check.name, sentence, severity, rows == 0, "0 rows", f"{rows} rows")
        for check in checks_of(asset)
        for severity, sentence in (told[blocking] for _, blocking in check.shown)
    ]


def _naming_shard(outcome: Outcome, shard: str | None) -> Outcome:
    """A failure in one of several shards says which."""
    return outcome if outcome.passed or not shard else replace(outcome, observed=f"shard {shard}: {outcome.observed}")


def _worst_of_each(outcomes: list[Outcome]) -> list[Outcome]:
    """One outcome per expectation over all shards: the first that failed, or the first of all."""
    kept: dict[tuple[str, str, str, str], Outcome] = {}
    for outcome in outcomes:
        key = (outcome.asset, outcome.check, outcome.expectation, outcome.severity)
        if key not in kept or (kept[key].passed and not outcome.passed):
            kept[key] = outcome
    return list(kept.values())
