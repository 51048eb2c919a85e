"""What a run tells before long work and after it, through the real job: what is to be made, what stands, how long it took."""

from datetime import UTC, datetime, timedelta

import pytest

from assets.publication import records_of
from assets.stages import STAGES
from assets.time_spent import time_spent
from assets.trial.planned_run import tell_planned_run
from tests.pipeline.conftest import Bench


def plan_of(bench: Bench) -> str:
    told: list[str] = []
    tell_planned_run(bench.study(), bench.settings.deployment, told.append)
    return "\n".join(told)


def test_the_plan_comes_before_long_work_and_knows_what_ran_before(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    began = datetime.now(UTC)
    assert bench.run().success
    told = capsys.readouterr().out
    assert f"Plan: {len(STAGES) - 2} of {len(STAGES)} stages to make, 2 stand." in told
    assert told.index("Plan: ") < min(
        told.index(f"planted/{stage}") for stage in ("congruence", "neuron_patching", "activation_histograms")
    )
    assert bench.record("tracked_tokens").summary["changed_positions"] == [4]

    assert plan_of(bench) == f"Plan: all {len(STAGES)} stages stand; nothing is to be made."
    records = records_of(bench.study(), bench.settings.deployment.store)
    assert set(records) == set(STAGES)
    assert time_spent(records, began, 1.0).kept == ()
    later = time_spent(records, datetime.now(UTC) + timedelta(seconds=2), 1.0)
    assert (later.made, later.kept) == ({}, tuple(STAGES))

    bench.study(examples=2)
    assert "activation_histograms" in plan_of(bench)
    assert "as before" in plan_of(bench)
    assert "congruence" not in plan_of(bench)
