"""What a run tells before long work and after it, through the real job: what is to be made, what stands, how long it took."""

import re
import shutil
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from assets.publication import records_of
from assets.stages import STAGES
from assets.time_spent import time_spent
from assets.trial.planned_run import planned_run, tell_planned_run
from tests.pipeline.conftest import Bench


def plan_of(bench: Bench, **fields: Any) -> dict[str, str]:
    """What is said of the seconds of each stage to be made."""
    return {one.stage: one.told for one in planned_run(bench.study(**fields), bench.settings.deployment)[0]}


def test_the_plan_comes_before_long_work_and_knows_what_ran_before(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    began = datetime.now(UTC)
    assert bench.run().success
    told = capsys.readouterr().out
    assert f"Plan: {len(STAGES) - 2} of {len(STAGES)} stages to make, 2 stand." in told
    assert told.index("Plan: ") < min(
        told.index(f"planted/{stage}") for stage in ("congruence", "neuron_patching", "activation_histograms")
    )
    # What takes long with a real model tells how far it is, up to its end.
    for line in ("merge: 3 of 3 layers", "scores: 6 of 6 readings of layers", "scores of further outcomes: 6 of 6 readings of layers"):
        assert f"{line} (100%)" in told
    done = re.search(r"checks: (\d+) of (\d+) checks \(100%\)", told)
    assert done
    assert done[1] == done[2]
    assert bench.record("tracked_tokens").summary["changed_positions"] == [4]
    assert bench.record("tracked_tokens").summary["pairs_of_sets"] == 4

    lines: list[str] = []
    tell_planned_run(bench.study(), bench.settings.deployment, lines.append)
    assert lines == [f"Plan: all {len(STAGES)} stages stand; nothing is to be made."]
    records = records_of(bench.study(), bench.settings.deployment.store)
    assert set(records) == set(STAGES)
    assert time_spent(records, began, 1.0).kept == ()
    later = time_spent(records, datetime.now(UTC) + timedelta(seconds=2), 1.0)
    assert (later.made, later.kept) == ({}, tuple(STAGES))

    changed = plan_of(bench, examples=2)
    assert changed["activation_histograms"] == "as before"
    assert "congruence" not in changed
    sizes = planned_run(bench.study(examples=3), bench.settings.deployment)[2]
    assert sizes.positions == sum(record.summary["tokens"] for record in records["token_windows"])
    shutil.rmtree(bench.settings.data / "planted" / "activation_histograms" / "0001")
    assert plan_of(bench)["activation_histograms"] == "estimated, 33% of the shards"
