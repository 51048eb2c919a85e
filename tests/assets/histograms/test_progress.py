"""What a pass tells of its progress: no rate that the warming up of the first batch would make a hundredth of the true one."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from assets.histograms import asset
from assets.histograms.asset import Progress


def told_by(monkeypatch: pytest.MonkeyPatch, steps: list[tuple[float, int]], total: int) -> list[str]:
    """The lines of a shard that starts at second 0 and has counted so many positions at each of the seconds."""
    lines: list[str] = []
    clock = [0.0]
    monkeypatch.setattr(asset, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    work = SimpleNamespace(shard="0000", tell=lines.append, whole_study=SimpleNamespace(shard_names=["0000", "0001"]))
    progress = Progress(cast(Any, work), 0.0)
    for clock[0], done in steps:
        progress(done, total)
    return lines


def test_the_first_batch_is_not_taken_for_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told_by(monkeypatch, [(12.0, 100), (14.0, 2_100), (17.0, 5_100), (21.0, 9_100)], 9_100)
    assert lines == [
        "shard 0000, 1 of 2: 5,100 of 9,100 positions (56%), 1,000 a second, 4 s left",
        "shard 0000, 1 of 2: 9,100 of 9,100 positions (100%), 1,000 a second, 0 s left",
    ]


def test_a_shard_of_one_batch_is_told_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told_by(monkeypatch, [(2.0, 100)], 100) == ["shard 0000, 1 of 2: 100 of 100 positions (100%), 50 a second, 0 s left"]
