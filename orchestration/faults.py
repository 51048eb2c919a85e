"""What went wrong in a run, a sentence a fault: at a terminal and in alerts alike."""

from collections.abc import Iterable

import dagster as dg

CHECK_FAILED = "DagsterAssetCheckFailedError"  # what stops a run behind a blocking check


def faults_in(events: Iterable[dg.DagsterEvent]) -> list[str]:
    """One sentence for each failed step, then one for each failed check that stopped the run."""
    steps, checks = [], []
    for event in events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.error and failure.error.cls_name == CHECK_FAILED:
                continue  # the check says it better
            shown = failure.user_failure_data.description if failure.user_failure_data else None
            steps.append(shown or (failure.error.to_string() if failure.error else f"{event.step_key} failed"))
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR:
                checks.append(f"{check.asset_key.to_user_string()}: check {check.check_name} failed. {_values(check)}")
    return steps + checks


def _values(check: dg.AssetCheckEvaluation) -> str:
    """What was expected and observed and how it is mended, or the check's own words."""
    told = {name: check.metadata[name].value for name in ("expected", "observed", "to mend it") if name in check.metadata}
    return " ".join(f"{name.capitalize()}: {value}." for name, value in told.items()) or str(check.description)
