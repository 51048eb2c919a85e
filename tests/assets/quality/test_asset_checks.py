"""How the outcomes of a suite look as a check in Dagster's UI."""

from typing import Any

import dagster as dg

from assets.quality.asset_checks import check_result
from assets.quality.expectations import Outcome
from assets.quality.published import checks_of, unwarned
from assets.quality.suites import PROMISES, promise_of
from assets.stages import STAGES

KEY = dg.AssetKey(["demo", "merged_histograms"])


def outcome(expectation: str, passed: bool) -> Outcome:
    """One outcome of the check bin_counts."""
    return Outcome("merged_histograms", "bin_counts", expectation, "blocking", passed, "178,823", "178,823" if passed else "178,824")


def shown(result: dg.AssetCheckResult) -> dict[str, Any]:
    """Metadata as plain values; of the table its rows' expectations."""
    metadata: dict[str, Any] = dict(result.metadata)
    rows = metadata.pop("expectations").records
    return {name: value.value for name, value in metadata.items()} | {"expectations": [row.data["expectation"] for row in rows]}


def test_a_failed_check_tells_first_what_fails_and_what_can_be_done() -> None:
    result = check_result(KEY, "bin_counts", True, [outcome("sound", True), outcome("counts add up", False)], "/data/demo")
    assert not result.passed
    assert result.description == "1 of 2 expectations hold; counts add up: expected 178,823, observed 178,824"
    told = shown(result)
    assert told["expectations"] == ["counts add up", "sound"]
    assert told["expected"] == "counts add up: 178,823"
    assert told["observed"] == "178,824"
    assert "remove /data/demo and run the study again" in told["to mend it"]


def test_a_check_that_holds_says_so_and_repeats_nothing() -> None:
    result = check_result(KEY, "bin_counts", True, [outcome("sound", True), outcome("counts add up", True)], "/data/demo")
    assert result.passed
    assert result.description == "2 of 2 expectations hold"
    assert shown(result) == {"expectations": ["sound", "counts add up"]}


def test_a_warning_asks_nobody_to_remove_anything() -> None:
    result = check_result(KEY, "bin_counts_warnings", False, [outcome("few lie above", False)], "/data/demo")
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert "to mend it" not in shown(result)


def test_every_check_says_what_it_promises_and_what_its_failure_does() -> None:
    names = {(unwarned(name), blocking) for asset in STAGES for name, blocking in checks_of(asset)}
    assert {name for name, _ in names if not name.endswith("_contract")} == set(PROMISES)
    assert promise_of("merge", True) == "Every shard is in the sum, once. If it fails, nothing downstream is made."
    assert promise_of("documents", False).endswith("If it fails, it warns and nothing stops.")
