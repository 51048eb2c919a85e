"""The suites as Dagster asset checks: one group of checks per asset, with every sentence, what was expected and what was observed.

`from __future__ import annotations` must not be added: Dagster reads the annotation of `context`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from assets.deployment import Deployment
from assets.freshness import Freshness
from assets.quality.expectations import Outcome
from assets.quality.published import BESIDE, Records, checks_of, outcomes_of, unwarned, warning_name
from assets.quality.suites import promise_of
from assets.stages import STAGES
from assets.store import Place
from assets.study import Study
from assets.wiring import asset_key, faults_as_failures

TO_MEND = (
    "runs keep this output until the study, the files or the code that it is made from have changed; if these are right and the "
    "output is not, remove {folder} and run the study again"
)


def study_checks(study: Study) -> list[dg.AssetChecksDefinition]:
    """All checks of a study."""
    return [_checks(study, asset) for asset in STAGES if checks_of(asset)]


def _checks(study: Study, asset: str) -> dg.AssetChecksDefinition:
    key = asset_key(study, asset)
    specs = [
        dg.AssetCheckSpec(name, asset=key, blocking=blocking, description=promise_of(unwarned(name), blocking))
        for name, blocking in checks_of(asset)
    ]

    @dg.multi_asset_check(specs=specs, name=f"{study.group}__{asset}_checks")
    def checks(context: dg.AssetCheckExecutionContext, deployment: dg.ResourceParam[Deployment]) -> Iterator[dg.AssetCheckResult]:
        shards = context.partition_keys if STAGES[asset].is_sharded else []
        with faults_as_failures(), deployment.store.reading():
            outcomes = outcomes_of(study, asset, _records(study, asset, shards, deployment), shards)
        address = deployment.store.address(Place(study.name, asset))
        folder = f"the shard's folder in {address}" if STAGES[asset].is_sharded else address
        for name, blocking in checks_of(asset):
            shown = [outcome for outcome in outcomes if _shown_as(outcome) == name]
            yield check_result(key, name, blocking, shown, folder)

    return checks


def _records(study: Study, asset: str, shards: Sequence[str], deployment: Deployment) -> Records:
    freshness = Freshness(study, deployment.store)
    records = {}
    for name in (asset, *BESIDE.get(asset, ())):
        looked_at = shards if name == asset else study.shard_names
        for shard in looked_at if STAGES[name].is_sharded else [None]:
            records[f"{name}/{shard}" if shard else name] = freshness.current(name, shard)
    return records


def _shown_as(outcome: Outcome) -> str:
    return outcome.check if outcome.severity == "blocking" else warning_name(outcome.check)


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
