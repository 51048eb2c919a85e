"""What long work tells of its progress: no rate that warming up would make a hundredth of the true one, and no more lines than are read."""

from types import SimpleNamespace

import pytest

from assets import progress as module
from assets.progress import Progress, counted


def told_by(monkeypatch: pytest.MonkeyPatch, steps: list[tuple[float, int]], total: int, unit: str = "positions") -> list[str]:
    """The lines of work that starts at second 0 and has done so much at each of the seconds."""
    lines: list[str] = []
    clock = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    progress = Progress(lines.append, "shard 0000, 1 of 2", unit)
    for clock[0], done in steps:
        progress(done, total)
    return lines


def test_the_first_batch_is_not_taken_for_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told_by(monkeypatch, [(12.0, 100), (14.0, 2_100), (17.0, 5_100), (21.0, 9_100)], 9_100)
    assert lines == [
        "shard 0000, 1 of 2: 5,100 of 9,100 positions (56%), 1,000 a second, 4 s left",
        "shard 0000, 1 of 2: 9,100 of 9,100 positions (100%), 1,000 a second, 0 s left",
    ]


def test_work_of_one_step_is_told_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told_by(monkeypatch, [(2.0, 100)], 100) == ["shard 0000, 1 of 2: 100 of 100 positions (100%), 50 a second, 0 s left"]


def test_slow_units_have_a_rate_that_is_not_nought(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told_by(monkeypatch, [(0.0, 0), (8.0, 2)], 10, unit="layers")
    assert lines == ["shard 0000, 1 of 2: 2 of 10 layers (20%), 0.25 a second, 32 s left"]


def test_a_thousand_quick_steps_are_one_line_every_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told_by(monkeypatch, [(step / 50, step) for step in range(1, 1001)], 1000)  # 20 s
    assert len(lines) == 4
    assert lines[0].endswith("(25%), 50 a second, 15 s left")


def test_no_work_is_told_without_dividing_by_nought(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told_by(monkeypatch, [(1.0, 0)], 0) == ["shard 0000, 1 of 2: 0 of 0 positions (0%), 0 a second, 0 s left"]


def test_items_are_counted_after_each() -> None:
    told: list[tuple[int, int]] = []
    seen = []
    for item in counted("abc", lambda done, total: told.append((done, total))):
        seen.append((item, len(told)))
    assert seen == [("a", 0), ("b", 1), ("c", 2)]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert list(counted([1, 2], None)) == [1, 2]
