"""A study that turns off whatever can be turned off: it ends with its report, and its checks have looked at something."""

import pytest

from orchestration.run import faults_of
from tests.pipeline.conftest import Bench

OFF = {
    "prompts": [], "prompt_sets": [], "neurons": [], "screen": "off", "kept_positions": 0, "ablation_positions": 0, "outcomes": ["top_prediction"],
    "contrasts": [], "atlas": {"neurons": "none"},
}  # fmt: skip


@pytest.mark.slow
def test_a_study_that_asks_for_the_least_ends_with_its_report(bench: Bench) -> None:
    result = bench.run(**OFF)
    assert result.success, "\n".join(faults_of(result))
    assert (bench.record("report_site").folder / "index.html").is_file()
