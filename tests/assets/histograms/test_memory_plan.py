"""The plan of memory, worked out by hand; what is cut, what is refused; and the peaks of real runs under a budget."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from assets.contracts import TABLES
from assets.counting.document_blocks import fold_of
from assets.counting.histograms import FURTHER_OUTCOMES, HistogramError
from assets.histograms import memory_plan
from assets.histograms.histogram_store import read_histograms
from assets.histograms.memory_plan import KEPT_FREE, MIB, PROGRAM, PlannedModel, PlannedPass, plan_memory, size
from assets.histograms.planned_sizes import planned_model, planned_pass, weight_bytes
from assets.study import ModelChoice, Study
from assets.tables import read_table
from tests.planted import WORDS, planted_corpus, planted_model, planted_tokenizer

MODEL = PlannedModel(layers=4, neurons=1000, width=100, heads=2, vocabulary=5000, weights=3 * MIB)
COUNTED = PlannedPass(bins=97, tokens=3, screened=9, examples=5, rows=2, length=50, shard_tokens=1000)
PLENTY = 2**40


def test_every_row_is_the_one_worked_out_by_hand() -> None:
    # 8 blocks of 100 counters of 4 bytes a neuron; 4,000 neurons; 100 positions; 9 tokens and the group of all others.
    plan = plan_memory(MODEL, COUNTED, PLENTY)
    assert plan.rows == {
        "program and libraries": PROGRAM,
        "model": 3 * MIB,
        "unembedding in bfloat16": 0,
        # attention 4 x 2 rows x 2 heads x 50^2, a block 100 x (5 x 1000 + 10 x 100), logits 100 x 2 x 2048; 4 bytes each
        "forward of a batch": 4 * (40_000 + 600_000 + 409_600) + KEPT_FREE,
        "a batch's slots and activations": 100 * 4000 * (1 + 4),
        "histograms": 4000 * 8 * 400,
        "histograms of tracked tokens": 3 * 4000 * (8 + 1) * (400 + 8),  # of 8 blocks and null labels; and sums over the scale
        "slots waiting to be counted": 4000 * 2 * 1000,  # of all the shard's 1,000 positions, of top predictions and null labels
        "moments and examples": 4000 * (48 + 2 * 5 * 138 + 2 * 4 * 146 + 2 * 2 * 110) + 3 * 8 * 5000,
        "sums by predicted and current token": 4000 * (10 * 40 + 8 * 8),
        "activations of kept positions": 0,
        "positions waiting to be sampled": 32 * 1000,
        "predictions of the shard": 8_000,
        "token ids of the shard": 12_000,
    }
    assert (plan.passes, plan.peak) == (1, sum(plan.rows.values()))


def test_without_a_screen_no_activation_is_kept_and_many_bins_need_wider_slots() -> None:
    plan = plan_memory(MODEL, PlannedPass(bins=4096, tokens=3, screened=0, examples=5, rows=2, length=50, shard_tokens=1000), PLENTY)
    assert plan.rows["a batch's slots and activations"] == 100 * 4000 * 2
    assert plan.rows["sums by predicted and current token"] == 0
    assert plan.rows["histograms of tracked tokens"] == 3 * 4000 * (8 + 1) * (4096 + 3) * 4


def test_slots_of_each_kind_of_counter_wait_and_no_more_than_a_batch_has() -> None:
    every = replace(COUNTED, embedding_predictions=True, outcomes=("next_token", "probability"), shard_tokens=10**6)
    assert plan_memory(MODEL, every, PLENTY).rows["slots waiting to be counted"] == 4000 * 5 * 1024
    wide = replace(COUNTED, bins=4096, shard_tokens=10**6)
    assert plan_memory(MODEL, wide, PLENTY).rows["slots waiting to be counted"] == 4000 * 2 * 1024 * 2


def test_a_gpu_holds_a_batch_on_and_looks_up_the_places_of_examples_all_at_once() -> None:
    planned = plan_memory(MODEL, replace(COUNTED, is_on_device=True), PLENTY).rows
    assert planned["a batch's slots and activations"] == 100 * 4000 * (1 + 5)
    assert planned["slots waiting to be counted"] == 0
    assert planned["moments and examples"] == 4000 * (48 + 2 * 5 * 166 + 2 * 4 * 174 + 2 * 2 * 110) + 3 * 8 * 5000


def test_small_blocks_take_half_and_each_domain_takes_eight_blocks_more() -> None:
    small = plan_memory(MODEL, replace(COUNTED, counter=2, null_counter=2), PLENTY).rows
    assert (small["histograms"], small["histograms of tracked tokens"]) == (4000 * 8 * 200, 3 * 4000 * (8 + 1) * (200 + 8))
    domains = plan_memory(MODEL, replace(COUNTED, counter=2, blocks=24), PLENTY).rows
    assert domains["histograms"] == 4000 * 24 * 200
    assert domains["histograms of tracked tokens"] == 3 * 4000 * (24 * (200 + 8) + 400 + 8)
    assert domains["sums by predicted and current token"] == 4000 * (10 * 40 + 24 * 8)


def test_the_plan_knows_the_counters_that_the_shard_needs() -> None:
    study = Study.model_validate(
        {"name": "s", "folder": Path(), "model": {"id": "m"}, "corpus": {"files": ["c.jsonl"], "context_length": 64}, "tokens": ["a"]}
    )
    of_one_block = np.flatnonzero(fold_of(np.arange(60_000)) == 5)  # a window of each has 63 counted positions: 1,040 are 65,520 positions

    def planned(number: int) -> tuple[int, int, int]:
        windows = pl.DataFrame({"document": of_one_block[:number], "length": np.full(number, 64, np.int32)})
        found = planned_pass(study, MODEL, 64, windows)
        return found.blocks, found.counter, found.null_counter

    assert planned(1040) == (8, 2, 2)
    assert planned(1041) == (8, 4, 4)  # 65,583
    assert planned_pass(study, MODEL, 64).counter == 4


def test_predictions_by_the_embedding_take_the_counters_of_tracked_tokens_once_more() -> None:
    own, both = plan_memory(MODEL, COUNTED, PLENTY), plan_memory(MODEL, replace(COUNTED, embedding_predictions=True), PLENTY)
    more = {name: both.rows[name] - own.rows[name] for name in own.rows if both.rows[name] != own.rows[name]}
    assert more == {
        "histograms of tracked tokens": 3 * 4000 * 100 * 8,
        "slots waiting to be counted": 4000 * 1000,
        "moments and examples": 8 * 5000,
    }


def test_each_further_outcome_takes_the_counters_of_tracked_tokens_once_more_and_sums_over_the_scale() -> None:
    plans = [plan_memory(MODEL, replace(COUNTED, outcomes=outcomes), PLENTY) for outcomes in ((), ("next_token",), FURTHER_OUTCOMES)]
    tracked = [plan.rows["histograms of tracked tokens"] for plan in plans]
    of_next = 4000 * (8 * (3 + 1) + 3) * (400 + 8)  # with windows' last positions in every block, and null labels
    assert (tracked[1] - tracked[0], tracked[2] - tracked[1]) == (of_next, 4000 * 8 * 3 * (800 + 8))
    assert plans[2].rows["moments and examples"] - plans[0].rows["moments and examples"] == 2 * 8 * 5000


@pytest.fixture
def merge_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One layer is merged at once, so that the pass decides what is needed."""
    monkeypatch.setattr(memory_plan, "LAYERS_AT_ONCE", 1)


@pytest.mark.usefixtures("merge_is_small")
def test_layers_are_shared_out_first_with_as_few_passes_as_fit() -> None:
    whole = plan_memory(MODEL, COUNTED, PLENTY)
    by_layer = sum(
        whole.rows[name]
        for name in (
            "a batch's slots and activations",
            "histograms",
            "histograms of tracked tokens",
            "slots waiting to be counted",
            "sums by predicted and current token",
        )
    ) + 4000 * (48 + 2 * 5 * 138 + 2 * 4 * 146 + 2 * 2 * 110)
    fixed = whole.peak - by_layer
    assert plan_memory(MODEL, COUNTED, whole.peak).passes == 1
    assert plan_memory(MODEL, COUNTED, whole.peak - 1).layer_parts == 2
    assert plan_memory(MODEL, COUNTED, fixed + by_layer // 2).layer_parts == 2
    assert plan_memory(MODEL, COUNTED, fixed + by_layer // 2 - 1).layer_parts == 4  # three shares: one of them has two layers
    least = plan_memory(MODEL, COUNTED, fixed + by_layer // 4)
    assert (least.layer_parts, least.token_parts, least.peak) == (4, 1, fixed + by_layer // 4)


@pytest.mark.usefixtures("merge_is_small")
def test_tokens_are_shared_out_where_one_layer_is_too_much_and_what_still_does_not_fit_is_refused_with_the_numbers() -> None:
    one_layer = plan_memory(MODEL, COUNTED, plan_memory(MODEL, COUNTED, PLENTY).peak - 3 * (by_layer_of(COUNTED) // 4))
    assert (one_layer.layer_parts, one_layer.token_parts) == (4, 1)
    # Two shares: 2 of 3 tracked tokens and 5 of 10 groups.
    of_token = 1000 * (8 + 1) * (400 + 8)
    saved = of_token + 5 * 1000 * 40
    assert plan_memory(MODEL, COUNTED, one_layer.peak - 1).token_parts == 2
    assert plan_memory(MODEL, COUNTED, one_layer.peak - saved).token_parts == 2
    assert plan_memory(MODEL, COUNTED, one_layer.peak - saved - 1).token_parts == 3
    least = one_layer.peak - 2 * of_token - 9 * 1000 * 40  # one token, one group
    assert plan_memory(MODEL, COUNTED, least).token_parts == 10
    with pytest.raises(HistogramError) as refused:
        plan_memory(MODEL, COUNTED, least - 1)
    message = str(refused.value)
    for part in (
        f"at most {size(least - 1)} may be used",
        f"at least {size(least)} are needed",
        "fewer bins",
        "histograms of tracked tokens",
    ):
        assert part in message


def by_layer_of(counted: PlannedPass) -> int:
    neurons, slots = 4000, counted.bins + 3
    of_tokens = counted.tokens * (8 + 1) * (slots * 4 + 8)
    examples = 48 + 276 * counted.examples + 2 * 4 * 146 + 2 * 2 * 110
    return neurons * (8 * slots * 4 + of_tokens + examples + 40 * (counted.screened + 1) + 8 * 8 + 5 * 100 + 2 * 1000)


def choice(dtype: str, **fields: str) -> ModelChoice:
    return ModelChoice.model_validate({"id": "model", "dtype": dtype, **fields})


def test_sizes_are_read_off_the_files_without_loading_a_weight(tmp_path: Path) -> None:
    from transformers import GPT2LMHeadModel

    folder = planted_model(tmp_path / "model")
    weights = sum(parameter.numel() for parameter in GPT2LMHeadModel.from_pretrained(str(folder)).parameters())  # tied ones once
    joint = 3 * 64 * 192  # c_attn of three layers, kept once more in its three parts
    assert weight_bytes(folder, "float32") == 4 * (weights + joint)
    assert weight_bytes(folder, "bfloat16") == 2 * (weights + joint) + 4 * weights  # as stored, until it is converted
    assert planned_model(folder, choice("float32")) == PlannedModel(3, 16, 64, 2, 34, 4 * (weights + joint), 4)
    maps = 3 * (64 * 192 + 64 * 64 + 2 * 64 * 16) + 64 * 64  # of the blocks, and the position embedding, which looks like one
    assert planned_model(folder, choice("float32", linear_maps="prepacked")) == PlannedModel(
        3, 16, 64, 2, 34, 4 * (weights + joint), 4, 4 * maps
    )


def test_a_configuration_of_other_names_gives_no_plan_and_a_text_model_inside_one_is_found(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"sizes": {"layers": 3}}))
    assert planned_model(tmp_path, choice("float32")) is None
    inner = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 3, "vocab_size": 11, "intermediate_size": 24}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": inner}))
    assert planned_model(tmp_path, choice("bfloat16")) == PlannedModel(3, 24, 8, 2, 11, 0, 2)


# --- Real runs, each in a process of its own --------------------------------------------------------------------------------

BUDGET = 1728 * MIB
RUN = """
import json, sys
from pathlib import Path
import dagster as dg
from assets.histograms.machine_memory import peak_bytes
from assets.store import Place
from assets.study import read_study
from orchestration.definitions import build_definitions
from orchestration.jobs import all_shards
from orchestration.settings import Settings
file = Path(sys.argv[1])
study, settings = read_study(file), Settings(data=file.parent / "data", studies=file.parent, site_url="")
assets = [asset for asset in build_definitions([study], settings).assets if isinstance(asset, dg.AssetsDefinition)]
result = dg.materialize(
    assets, selection=dg.AssetSelection.assets(["memory", "activation_histograms"]).upstream(), tags=all_shards(study),
    resources={"deployment": settings.deployment}, instance=dg.DagsterInstance.ephemeral(), raise_on_error=False,
)
record = settings.deployment.store.find(Place("memory", "activation_histograms", "0000"))
faults = [event.step_failure_data.user_failure_data.description for event in result.all_events if event.is_step_failure]
print(json.dumps({"peak": peak_bytes(), "summary": {**record.facts, **record.summary} if record else {}, "faults": faults}))
"""


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of 2,048 neurons on a width of 16: next to no weights, but 350 MiB of counters a layer with 2,048 bins."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("wide") / "model"
    config = GPT2Config(vocab_size=34, n_positions=64, n_embd=16, n_layer=2, n_head=2, n_inner=2048, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(str(folder))
    planted_tokenizer().save_pretrained(str(folder))
    return folder


def run(folder: Path, model: Path, documents: int, **fields: Any) -> dict[str, Any]:
    """Count in a new process; its peak and the record of the pass."""
    texts = planted_corpus(folder).read_text().splitlines()
    (folder / "corpus.jsonl").write_text("\n".join((texts * documents)[:documents]))
    study = {
        "model": {"id": str(model), "device": "cpu"},
        "corpus": {"files": [str(folder / "corpus.jsonl")], "context_length": 64},
        "tokens": list(WORDS[:4]),
        "bins": {"per_unit": 128, "low": -8, "high": 8},
        "outcomes": ["top_prediction"],
        **fields,
    }
    (folder / "memory.yaml").write_text(yaml.safe_dump(study))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DAGSTER_HOME": str(folder)}
    shown = subprocess.run(
        [sys.executable, "-c", RUN, str(folder / "memory.yaml")], capture_output=True, text=True, check=False, env=environment
    )
    assert shown.returncode == 0, shown.stderr[-3000:]
    return dict(json.loads(shown.stdout.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read as Linux tells them")
def test_a_run_stays_below_its_budget_with_the_same_integers_and_the_peak_does_not_grow_with_the_corpus(
    wide_model: Path, tmp_path: Path
) -> None:
    for name in ("whole", "twice", "cut"):
        (tmp_path / name).mkdir()
    whole = run(tmp_path / "whole", wide_model, 200)
    assert whole["summary"]["passes"] == 1
    assert whole["summary"]["planned_peak_bytes"] > BUDGET
    assert whole["peak"] < whole["summary"]["planned_peak_bytes"]

    cut = run(tmp_path / "cut", wide_model, 200, memory="1728MiB")
    assert (cut["summary"]["passes"], cut["summary"]["allowed_bytes"]) == (2, BUDGET)
    assert cut["peak"] < cut["summary"]["planned_peak_bytes"] <= BUDGET
    assert cut["peak"] < whole["peak"] - 150 * MIB  # half of the counters are 350 MiB, of which the allocator keeps some
    groups = [tmp_path / name / "data" / "memory" / "activation_histograms" / "0000" / "current" for name in ("whole", "cut")]
    one, other = (read_histograms(group) for group in groups)
    assert one.positions == other.positions > 0
    for name in one.tensors:
        np.testing.assert_array_equal(one[name][:], other[name][:], err_msg=name)
    predictions = [read_table(group, TABLES["position_predictions"]) for group in groups]
    assert predictions[0].equals(predictions[1])  # of one pass, not of both

    twice = run(tmp_path / "twice", wide_model, 400)
    assert twice["summary"]["positions"] == pytest.approx(2 * whole["summary"]["positions"], rel=0.05)
    assert twice["peak"] < 1.1 * whole["peak"]  # equal runs differ by up to 7 % by what the allocator keeps


def test_a_study_that_cannot_fit_is_refused_before_the_model_is_loaded(wide_model: Path, tmp_path: Path) -> None:
    refused = run(tmp_path, wide_model, 10, memory="900MiB")
    (fault,) = refused["faults"]
    assert fault.startswith("study memory: memory: at most 900.0 MiB may be used, but at least ")
    assert "Give more memory" in fault
    assert not (tmp_path / "data" / "memory" / "model_snapshot" / "record.json").exists()
