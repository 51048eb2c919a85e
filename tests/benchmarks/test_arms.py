"""The arms of the benchmark count the same thing: what is compared for speed is compared for its numbers first."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from benchmarks import arms
from benchmarks.machine import quartiles
from benchmarks.overhead import overhead_table
from benchmarks.page import printed, write_page
from benchmarks.setting import TINY, TINY_GATED, Setting, made_setting
from benchmarks.throughput import throughput


@pytest.fixture(scope="module", params=[TINY, TINY_GATED], ids=lambda size: size.name)
def setting(request: pytest.FixtureRequest) -> Iterator[Setting]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield made_setting(request.param, 5, windows=2, length=40)
    torch.set_num_threads(threads)


def test_the_tracked_tokens_are_the_ones_predicted_most_often(setting: Setting) -> None:
    predictions = arms.bare(setting)().reshape(-1)
    counts = torch.bincount(predictions, minlength=TINY.vocabulary)
    assert counts[setting.token_ids].tolist() == counts.topk(5).values.tolist()


def test_the_engine_and_the_published_algorithm_count_the_same_positions_of_a_pair(setting: Setting) -> None:
    engine = arms.engine(setting)().histograms()
    notebook = arms.notebook(setting, layer=1, neuron=3)()
    np.testing.assert_array_equal(engine["count"][1, 3], notebook[0])
    np.testing.assert_array_equal(engine["top_prediction_count"][0, 1, 3], notebook[1])
    assert notebook[0].sum() == 2 * 39  # 2 windows of 40, without their first position
    assert notebook[1].sum() > 0


def test_the_screen_adds_sums_and_changes_no_other_count(setting: Setting) -> None:
    alone, screened = arms.engine_without_screen(setting)().histograms(), arms.engine(setting)().histograms()
    assert screened["screen_count"].sum() == 2 * 39
    for name in ("count", "top_prediction_count", "predictions", "top_document"):
        np.testing.assert_array_equal(alone[name], screened[name])


def test_the_sweep_holds_every_pre_activation_in_the_bin_where_numpy_puts_it(setting: Setting) -> None:
    model, kept = setting.model, []
    hook = (f"blocks.{1}.mlp.hook_pre", lambda values, hook: kept.append(values))
    with model.bridge.hooks(fwd_hooks=[hook]):
        model.bridge(setting.ids, use_cache=False, output_attentions=False)
    values = kept[0].to(torch.float16).flatten(0, 1)[:, 7].float().numpy()
    expected = np.bincount(np.digitize(values, np.linspace(-10, 15, 256), right=True), minlength=257)
    np.testing.assert_array_equal(arms.sweep(setting)()[1, 7].numpy(), expected)


def test_the_table_has_a_row_for_each_arm_and_its_ratio_to_the_bare_model(setting: Setting) -> None:
    table = throughput(setting, 2, "cd", "cpu")
    assert table["arm"].to_list() == ["a", "c", "d"]
    assert table.filter(arm="a")["ratio"].to_list() == [1.0]
    assert table.filter(arm="d")["passes_for_all_pairs"].to_list() == [5 * setting.bins.per_unit.size]  # tokens x neurons


def test_quartiles_of_nine_rounds_are_the_third_fifth_and_seventh() -> None:
    assert quartiles([9, 1, 8, 2, 7, 3, 6, 4, 5]) == (3, 5, 7)


def test_overhead_is_told_as_a_share_of_ten_minutes_with_one_shard_and_with_four() -> None:
    def row(imports: float, shard: float, whole: float) -> dict[str, float]:
        return {"imports": imports, "parity": 3.0, "shard": shard, "shard's checks": 0.5, "merge": 4.0, "whole run": whole, "batches": 90.0}

    table = overhead_table([row(5.0, 1.0, 99.0), row(7.0, 2.0, 100.0), row(6.0, 1.0, 200.0)])
    assert table["seconds"].to_list() == [6.0, 3.0, 1.0, 0.5, 10.5, 15.0, 4.0, 10.0]
    assert table["share"].to_list()[4:6] == pytest.approx([10.5 / 600, 15 / 600])
    assert table["share"].to_list()[-1] == pytest.approx(10 / 100)


def test_the_page_tells_the_numbers_of_the_tables(tmp_path: Path) -> None:
    memory = pl.DataFrame({"arm": ["a", "c"], "before_mib": [100.0, 100.0], "peak_mib": [1234.4, 999.0]})
    growth = pl.DataFrame({"multiple": [1, 2, 1, 2], "positions": [10, 20, 10, 20], "seconds": [1.0, 2.2, 1.0, 2.4], "round": [0, 0, 1, 1]})
    text = printed({"memory": memory, "growth": growth})
    assert "| (a) | 100 | 1,234 |" in text
    assert "| 20 | 2.30 | 2.30 |" in text
    memory.write_parquet(tmp_path / "memory.parquet")
    write_page(tmp_path, tmp_path / "page.md")
    assert re.search(r"\| \(c\) \| 100 \| 999 \|", (tmp_path / "page.md").read_text())
