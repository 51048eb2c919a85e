"""The suites as Dagster asset checks: one group of checks per asset, with every sentence, what was expected and what was observed.

`from __future__ import annotations` must not be added: Dagster reads the annotation of `context`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from assets.deployment import Deployment
from assets.freshness import Freshness
from assets.quality.check import Check
from assets.quality.every_check import checks_of, outcomes_of, reads_of
from assets.quality.expectations import Outcome
from assets.stages import STAGES
from assets.store import Place, Record
from assets.study import Study
from assets.wiring import asset_key, faults_as_failures

TO_MEND = (
    "runs keep this output until the study, the files or the code that it is made from have changed; if these are right and the "
    "output is not, remove {folder} and run the study again"
)


def study_checks(study: Study) -> list[dg.AssetChecksDefinition]:
    """All checks of a study."""
    return [_checks(study, asset) for asset in STAGES if checks_of(asset)]


def check_specs(key: dg.AssetKey, checks: Sequence[Check]) -> list[dg.AssetCheckSpec]:
    """What the UI knows of checks before they are run."""
    return [
        dg.AssetCheckSpec(name, asset=key, blocking=blocking, description=check.promise_of(blocking))
        for check in checks
        for name, blocking in check.shown
    ]


def check_results(
    key: dg.AssetKey, checks: Sequence[Check], outcomes: Sequence[Outcome], folder: str = ""
) -> Iterator[dg.AssetCheckResult]:
    """What came of checks, as the UI shows it. `folder` says in words where the output lies."""
    for check in checks:
        for name, blocking in check.shown:
            shown = [outcome for outcome in outcomes if outcome.check == check.name and check.shown_as(outcome) == name]
            yield check_result(key, name, blocking, shown, folder)


def _checks(study: Study, asset: str) -> dg.AssetChecksDefinition:
    key = asset_key(study, asset)

    @dg.multi_asset_check(specs=check_specs(key, checks_of(asset)), name=f"{study.group}__{asset}_checks")
    def checks(context: dg.AssetCheckExecutionContext, deployment: dg.ResourceParam[Deployment]) -> Iterator[dg.AssetCheckResult]:
        shards = context.partition_keys if STAGES[asset].is_sharded else []
        with faults_as_failures(), deployment.store.reading():
            outcomes = outcomes_of(study, asset, _records(study, asset, shards, deployment), shards)
        address = deployment.store.address(Place(study.name, asset))
        folder = f"the shard's folder in {address}" if STAGES[asset].is_sharded else address
        yield from check_results(key, checks_of(asset), outcomes, folder)

    return checks


def _records(study: Study, asset: str, shards: Sequence[str], deployment: Deployment) -> dict[str, Record]:
    """The asset's own outputs and all that its checks read beside them."""
    freshness = Freshness(study, deployment.store)
    records = {}
    for name in dict.fromkeys((asset, *(read.asset for read in reads_of(asset)))):
        looked_at = shards if name == asset else study.shard_names
        for shard in looked_at if STAGES[name].is_sharded else [None]:
            records[f"{name}/{shard}" if shard else name] = freshness.current(name, shard)
    return records


def check_result(key: dg.AssetKey, name: str, blocking: bool, outcomes: Sequence[Outcome], folder: str = "") -> dg.AssetCheckResult:
    """The outcomes of one check as Dagster shows them: what fails first. `folder` says in words where the output lies."""
    failed = [outcome for outcome in outcomes if not outcome.passed]
    rows = [
        dg.TableRecord(
            {"holds": outcome.passed, "expectation": outcome.expectation, "expected": outcome.expected, "observed": outcome.observed}
        )
        for outcome in sorted(outcomes, key=lambda outcome: outcome.passed)
    ]
    metadata: dict[str, Any] = {"expectations": dg.MetadataValue.table(rows) if rows else "none"}
    if failed:
        metadata["expected"] = "; ".join(f"{outcome.expectation}: {outcome.expected}" for outcome in failed)
        metadata["observed"] = "; ".join(outcome.observed for outcome in failed)
    if failed and blocking and folder:
        metadata["to mend it"] = TO_MEND.format(folder=folder)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=bool(outcomes) and not failed,  # a check that looked at nothing has not passed
        severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
        metadata=metadata,
        description=_in_words(failed, len(outcomes)),
    )


def _in_words(failed: Sequence[Outcome], looked_at: int) -> str:
    """How many expectations hold; of the first that does not, what was expected and what was observed."""
    counted = f"{looked_at - len(failed)} of {looked_at} expectations hold"
    if not failed:
        return counted
    first = failed[0]
    return f"{counted}; {first.expectation}: expected {first.expected}, observed {first.observed}"
