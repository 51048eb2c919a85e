"""What the benchmark of start-up adds up: every part once, medians over rounds, shards as often as there are shards."""

import pytest

from benchmarks.overhead import overhead_table


def test_start_up_and_shards_are_added_up_and_batches_and_merge_are_told_apart() -> None:
    rounds = [
        {"model_snapshot": 4.0, "imports": 1.0, "shard": 2.0, "shard's checks": 1.0, "merge": 50.0, "whole run": 110.0, "batches": 100.0},
        {"model_snapshot": 6.0, "imports": 3.0, "shard": 2.0, "shard's checks": 1.0, "merge": 50.0, "whole run": 110.0, "batches": 100.0},
        {"model_snapshot": 5.0, "imports": 9.0, "shard": 2.0, "shard's checks": 1.0, "merge": 50.0, "whole run": 110.0, "batches": 100.0},
    ]
    table = overhead_table(rounds)
    seconds = dict(table.select("part", "seconds").iter_rows())
    assert table["part"].to_list()[:2] == ["start-up: model_snapshot", "start-up: imports"]  # the largest first
    assert (seconds["start-up: model_snapshot"], seconds["start-up: imports"]) == (5.0, 3.0)
    assert seconds["together, 1 shard"] == 5 + 3 + 2 + 1
    assert seconds["together, 4 shards"] == 5 + 3 + 4 * (2 + 1)
    shares = dict(table.select("part", "share").iter_rows())
    assert shares["together, 1 shard"] == pytest.approx(11 / 600)
    assert table["seconds"].to_list()[-1] == 10.0  # of the run of 110 s, all but its batches
    assert table["share"].to_list()[-1] == pytest.approx(10 / 110)
