"""Where the time of a run went: made and kept stages told apart by when they were made, and nothing lost between them."""

from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock

from assets.store import Place, Record
from assets.time_spent import Spent, spent_lines, time_spent

BEGAN = datetime(2026, 3, 7, 4, 5, 6, 900_000, UTC)


def record(asset: str, seconds: float, created_at: str, shard: str | None = None) -> Record:
    none: dict[str, Any] = {}
    return Record(Place("study", asset, shard), "v", "f", none, none, none, none, none, f"2026-03-07T{created_at}+00:00", seconds, Mock())


def test_what_was_made_since_the_run_began_is_its_own_and_a_shard_may_be_kept() -> None:
    records = {
        "model_snapshot": [record("model_snapshot", 5.0, "04:05:05")],  # a second before
        "token_windows": [record("token_windows", 2.0, "04:05:06")],  # records state whole seconds
        "activation_histograms": [record("activation_histograms", 60.0, "01:00:00", "0000"), record("activation_histograms", 70.0, "04:06:00", "0001")],
    }  # fmt: skip
    assert time_spent(records, BEGAN, 100.0) == Spent({"token_windows": 2.0, "activation_histograms": 70.0}, ("model_snapshot",), 100.0)


def test_the_lines_add_up_to_the_whole_run() -> None:
    made = {"token_windows": 0.5, "activation_histograms": 70.0, "congruence": 8.0, "candidates": 0.25}
    assert spent_lines(Spent(made, ("model_snapshot", "tracked_tokens"), 100.0)) == [
        "Where 100 s went:",
        "  activation_histograms           70.0 s  70.0%",
        "  congruence                       8.0 s   8.0%",
        "  2 other stages                   0.8 s   0.8%",
        "  checks, loading, Dagster        21.2 s  21.2%",
        "  kept as they were: model_snapshot, tracked_tokens",
    ]


def test_a_hundredth_of_a_short_run_has_a_line_of_its_own() -> None:
    assert "  candidates                       0.2 s   2.5%" in spent_lines(Spent({"candidates": 0.25}, (), 10.0))


def test_a_run_that_kept_everything_says_so() -> None:
    assert spent_lines(Spent({}, ("one", "two"), 4.0)) == [
        "Where 4 s went:",
        "  checks, loading, Dagster         4.0 s 100.0%",
        "  kept as they were: all 2 stages",
    ]
