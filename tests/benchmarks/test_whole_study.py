"""What the benchmark of a whole study adds up, and how it sees which stages told their progress. No timing."""

from pathlib import Path

import polars as pl
import pytest
import yaml

from assets.study import read_study
from benchmarks import whole_study
from benchmarks.machine import instructions_and_cores
from benchmarks.page import printed
from benchmarks.setting import TINY_GATED
from benchmarks.whole_study import BETWEEN, Run, made_study, rows, stages_that_told

LINES = [
    "    9.1 s  demo/tracked_tokens: published in 0.2 s",
    "    9.2 s  congruence: 500 of 1,000 neurons (50%), 100 a second, 5 s left",
    "   10.2 s  congruence: 1,000 of 1,000 neurons (100%), 100 a second, 0 s left",
    "   10.3 s  demo/congruence: published in 1.2 s",
    "   11.0 s  demo/token_windows shard 0000: published in 0.4 s",
    "   12.0 s  shard 0000, 1 of 2: 100 of 100 positions (100%), 50 a second, 0 s left",
    "   12.1 s  demo/activation_histograms shard 0000: published in 1.0 s",
    "   13.1 s  demo/candidates: nothing changed, kept as it is (made 2026, fingerprint abc)",
]


def test_a_stage_told_its_progress_if_seconds_left_stand_before_its_end() -> None:
    assert stages_that_told(LINES) == {"congruence", "activation_histograms"}


def test_stages_and_what_lies_between_are_the_whole_run() -> None:
    table = rows("demo", 1000, {"activation_histograms": 6.0, "congruence": 3.0}, Run(10.0, LINES), rate=500.0, load=1.0)
    assert dict(table.select("part", "seconds").iter_rows()) == {"activation_histograms": 6.0, "congruence": 3.0, BETWEEN: 1.0}
    assert table.filter("told")["part"].to_list() == ["activation_histograms", "congruence"]
    assert table["bare_seconds"].unique().to_list() == [2.0]
    text = printed({"whole_study": table})
    assert f"demo: 1,000 positions in 10 s, 5.0 times the bare forward (2 s); load 1.0. {instructions_and_cores()}." in text
    assert "| activation_histograms | 6.0 | 60.0% | 3.00 | yes |" in text
    assert "| 0 others | 0.0 | 0.0% | 0.00 | |" in text


def test_short_stages_are_added_up_on_the_page() -> None:
    table = rows("demo", 1000, {"activation_histograms": 99.0, "candidates": 0.4, "logit_lens": 0.6}, Run(100.0, []), rate=10.0, load=1.0)
    assert "| 3 others | 1.0 | 1.0% | 0.01 | |" in printed({"whole_study": table})


def test_a_made_study_is_one_that_the_runner_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["whole_study", "--words", "500"])
    study = read_study(made_study(tmp_path, TINY_GATED, whole_study._arguments()))
    assert study.name == "whole-tiny-gated"
    assert pl.read_ndjson(study.path(study.corpus.files[0])).height > 1
    assert (study.path(study.model.id) / "model.safetensors").is_file()
    assert yaml.safe_load((tmp_path / "whole-tiny-gated.yaml").read_text())["prompts"]


def test_a_model_that_would_have_to_be_downloaded_is_refused(tmp_path: Path) -> None:
    study = {"question": "?", "model": {"id": "someone/model"}, "corpus": {"files": ["a.jsonl"]}, "tokens": [" an"]}
    (tmp_path / "hub.yaml").write_text(yaml.safe_dump(study))
    with pytest.raises(SystemExit, match="model someone/model is not a folder of this machine"):
        whole_study.measured(tmp_path / "hub.yaml", tmp_path / "run", 1)
