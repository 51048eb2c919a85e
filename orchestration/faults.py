"""What went wrong in a run, a sentence a fault: at a terminal and in alerts alike."""

from collections.abc import Iterable

import dagster as dg


def faults_in(events: Iterable[dg.DagsterEvent]) -> list[str]:
    """One sentence for each failed step, then one for each failed check that stopped the run."""
    steps, checks = [], []
    for event in events:
        if event.is_step_failure:
            failure = event.step_failure_data
            shown = failure.user_failure_data.description if failure.user_failure_data else None
            steps.append(shown or (failure.error.to_string() if failure.error else f"{event.step_key} failed"))
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR:
                observed = {name: value.value for name, value in check.metadata.items() if name in ("observed", "expected")}
                checks.append(f"{check.asset_key.to_user_string()}: check {check.check_name} failed: {observed or check.description}")
    return steps + checks
