"""Dagster asset of the quality stage: data_quality, which fails where a blocking expectation does not hold.

A blocking check in the UI holds only inside its own run; whatever is published has passed here as well.
"""

import dagster as dg

from assets.errors import InputError
from assets.progress import Progress, Tally
from assets.quality.every_check import NOT_JUDGED, fields_of, number_of_checks, outcomes_of
from assets.quality.expectations import Outcome, outcome_frame
from assets.stages import STAGES
from assets.study import Study
from assets.study_view import UndeclaredError
from assets.wiring import study_asset
from assets.work import Work


class QualityError(InputError):
    """Outputs that break a promise: nothing is published from them."""


def quality_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's assets of this stage."""
    return [study_asset(study, "data_quality", _data_quality, page="quality.html")]


def _data_quality(work: Work) -> None:
    judged = [name for name in STAGES if name not in NOT_JUDGED]
    undeclared = fields_of(judged) - set(work.fields)
    if undeclared:
        raise UndeclaredError(
            f"checks read the study's fields {sorted(undeclared)}, which data_quality does not declare; add them to its fields"
        )
    checks = {name: number_of_checks(name, work.shards_of(name)) for name in judged}
    outcomes, tally = [], Tally(Progress(work.tell, "checks", "checks"), sum(checks.values()))
    for name, number in checks.items():
        outcomes += outcomes_of(work.whole_study, name, work.records, work.shards_of(name))
        tally.add(number)
    refuse_broken_promises(work.study, outcomes)
    work.write("data_quality", outcome_frame(outcomes))
    work.show(
        checked=len(outcomes), passed=sum(outcome.passed for outcome in outcomes), warnings=sum(not outcome.passed for outcome in outcomes)
    )


def refuse_broken_promises(study: Study, outcomes: list[Outcome]) -> None:
    """Raise QualityError that names every blocking expectation that does not hold."""
    broken = [outcome for outcome in outcomes if outcome.is_blocking_failure]
    if broken:
        lines = [f"{outcome.asset}: {outcome.expectation}: expected {outcome.expected}, observed {outcome.observed}" for outcome in broken]
        raise QualityError(f"study {study.name}: {len(broken)} blocking expectations do not hold; no report is published, the last good one stays.\n"
                           + "\n".join(lines))  # fmt: skip
