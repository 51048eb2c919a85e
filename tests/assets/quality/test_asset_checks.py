"""How the outcomes of a suite look as a check in Dagster's UI."""

from typing import Any

import dagster as dg

from assets.quality.asset_checks import check_result
from assets.quality.every_check import DECLARED, NOT_JUDGED, checks_of, fields_of
from assets.quality.expectations import Outcome
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
    every = [check for asset in STAGES for check in checks_of(asset)]
    assert {check.name for check in DECLARED} < {check.name for check in every}
    assert all(check.promise.endswith(".") and check.shown for check in every)
    (merge,) = (check for check in every if check.name == "merge")
    assert merge.promise_of(True) == "Every shard is in the sum, once. If it fails, nothing downstream is made."
    assert merge.promise_of(False).endswith("If it fails, it warns and nothing stops.")


def test_a_check_is_shown_by_the_severities_of_its_sentences() -> None:
    shown = {(check.asset, check.name): check.shown for asset in STAGES for check in checks_of(asset)}
    assert shown["merged_histograms", "merge"] == [("merge", True)]
    assert shown["neuron_statistics", "neuron_activity"] == [("neuron_activity_warnings", False)]
    assert shown["merged_histograms", "bin_counts"] == [("bin_counts", True), ("bin_counts_warnings", False)]


def test_no_two_checks_of_an_asset_share_a_name() -> None:
    for asset in STAGES:
        names = [name for check in checks_of(asset) for name, _ in check.shown]
        assert len(names) == len(set(names))


def test_data_quality_declares_exactly_the_fields_that_checks_read() -> None:
    judged = [asset for asset in STAGES if asset not in NOT_JUDGED]
    assert fields_of(judged) == set(STAGES["data_quality"].fields)
