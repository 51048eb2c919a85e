"""A whole study through the real job: what is published, what a second run keeps, what stops it, what a kill costs."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from assets.contracts import HISTOGRAM_TENSORS, TABLES
from assets.freshness import Freshness
from assets.histograms.histogram_store import read_histograms
from assets.stages import STAGES
from assets.store import StoreError
from assets.tables import read_table
from orchestration.run import faults_of
from tests.pipeline.conftest import Bench, WholeRun
from tests.planted import DOCUMENTS, PLANTED_LAYER, PLANTED_NEURON, PREDICTIONS_OF_A, PREDICTIONS_OF_AN, planted_token_id

ROOT = Path(__file__).parents[2]
INTEGERS = [tensor.name for tensor in HISTOGRAM_TENSORS if tensor.dtype.startswith("int")]


def merged_integers(bench: Bench) -> dict[str, np.ndarray]:
    histograms = read_histograms(bench.record("merged_histograms").folder)
    return {name: np.asarray(histograms[name][:]) for name in INTEGERS} | {"positions": np.array(histograms.positions)}


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def test_the_planted_study_publishes_every_asset_and_finds_the_planted_neuron(whole_run: WholeRun) -> None:
    bench, result = whole_run
    assert result.success, faults_of(result)
    checks = result.get_asset_check_evaluations()
    assert {check.check_name for check in checks if not check.passed and not check.check_name.endswith("_warnings")} == set()
    assert len(checks) >= 25
    for stage in STAGES.values():
        for shard in bench.study().shard_names if stage.is_sharded else [None]:
            record = bench.record(stage.name, shard)
            bench.settings.deployment.store.verify(record)
            for table in stage.tables:
                read_table(record.folder, TABLES[table])

    counts = read_table(bench.record("token_counts").folder, TABLES["token_counts"])
    predicted = dict(counts.select("token", "predictions").rows())
    assert predicted[" an"] == PREDICTIONS_OF_AN  # worked out by hand in tests/planted.py
    assert predicted[" a"] == PREDICTIONS_OF_A
    assert bench.record("corpus_documents").facts["documents"] == DOCUMENTS

    scores = read_table(bench.record("token_neuron_scores").folder, TABLES["token_neuron_scores"])
    best = scores.filter(pl.col("token") == " an").sort("auroc", descending=True).row(0, named=True)
    assert (best["layer"], best["neuron"], best["auroc"]) == (PLANTED_LAYER, PLANTED_NEURON, 1.0)
    patched = read_table(bench.record("neuron_patching").folder, TABLES["neuron_patching"])
    strongest = patched.sort("improvement", descending=True).row(0, named=True)
    assert (strongest["layer"], strongest["neuron"]) == (PLANTED_LAYER, PLANTED_NEURON)

    over_set = read_table(bench.record("prompt_set_patching").folder, TABLES["prompt_set_patching"])
    held = over_set.sort("median", descending=True).row(0, named=True)
    assert (held["layer"], held["neuron"], held["pairs"], held["first_ten_share"]) == (PLANTED_LAYER, PLANTED_NEURON, 4, 1.0)

    sent = read_table(bench.record("candidates").folder, TABLES["candidates"]).filter(line="prompt_set", rank=1)
    assert sent.select("token", "layer", "neuron", "value").rows() == [(" an", PLANTED_LAYER, PLANTED_NEURON, held["median"])]

    ablated = read_table(bench.record("neuron_ablation").folder, TABLES["neuron_ablation"])
    effect = ablated.filter(
        layer=PLANTED_LAYER, neuron=PLANTED_NEURON, token=" an", ablation="mean", positions="predicted", measure="flipped"
    )
    assert effect["effect"].to_list() == [1.0]

    kept = [
        read_table(bench.record("activation_histograms", shard).folder, TABLES["position_predictions"])
        for shard in bench.study().shard_names
    ]
    assert pl.concat(kept).select("document").unique().height == DOCUMENTS
    assert pl.concat(kept)["predictions"].list.slice(1).explode().is_in([planted_token_id(" an")]).sum() == PREDICTIONS_OF_AN

    index = bench.settings.deployment.site_folder("planted") / "index.html"
    assert f"layer {PLANTED_LAYER}" in index.read_text().lower()
    assert "of 4 pairs" in (index.parent / "set-fruits.html").read_text()


def test_a_second_run_makes_nothing_again_and_a_changed_field_only_what_depends_on_it(published: Bench) -> None:
    bench, first = published, published.made()
    assert bench.run().success
    assert bench.made() == first

    assert bench.run(min_count=15).success
    changed = {name for name, record in bench.made().items() if record != first[name]}
    # neuron_contexts, prompt_activations and the ablations read only which neurons have curves, and these stay the same; nothing that the model made depends on min_count
    assert {"token_neuron_scores", "proportion_curves", "report_site"} <= changed
    may_change = {
        "token_neuron_scores",
        "outcome_scores",
        "token_neuron_screen",
        "contributions",
        "half_scores",
        "corpus_growth",
        "congruence_agreement",
        "candidates",
        "domain_scores",
        "proportion_curves",
        "embedding_predictions",
        "neuron_contexts",
        "neuron_inputs",
        "prompt_activations",
        "neuron_behaviour",
        "atlas",
        "evidence_cards",
        "replication_scorecard",
    }
    assert changed <= may_change | {"neuron_ablation", "prompt_ablation", "data_quality", "report_site"}

    assert bench.run(tokens=[" an"]).success
    assert bench.record("activation_histograms", "0000").fingerprint != json.loads(first["activation_histograms/0000"])["fingerprint"]


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 2, 7])
def test_any_sharding_gives_the_same_integers(published: Bench, shards: int) -> None:
    assert published.study().shards == 3
    three = merged_integers(published)
    assert published.run(shards=shards).success
    assert len(published.study().shard_names) == shards
    assert_equal(three, merged_integers(published))
    assert three["predictions"][planted_token_id(" an")] == PREDICTIONS_OF_AN


@pytest.mark.slow
def test_killed_in_the_middle_and_run_again_finished_shards_are_kept_and_the_integers_are_those_of_an_undisturbed_run(
    bench: Bench, whole_run: WholeRun, tmp_path: Path
) -> None:
    bench.study()
    environment = {
        **os.environ,
        "NEURON_ATLAS_DATA": str(bench.settings.data),
        "DAGSTER_HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
    }
    (tmp_path / "home").mkdir()
    command = [sys.executable, "-m", "orchestration.run", str(bench.file)]
    victim = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first_shard = bench.settings.data / "planted" / "activation_histograms" / "0000" / "record.json"
    while not first_shard.exists():
        assert victim.poll() is None, "the run ended before its first shard"
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert not (bench.settings.data / "planted" / "merged_histograms" / "record.json").exists()
    kept = first_shard.read_text()

    assert bench.run().success
    assert first_shard.read_text() == kept
    assert whole_run.result.success
    assert_equal(merged_integers(whole_run.bench), merged_integers(bench))


def test_a_damaged_shard_is_never_merged_and_is_made_again_by_the_next_run(published: Bench) -> None:
    bench = published
    whole = merged_integers(bench)
    record = bench.record("activation_histograms", "0001")
    name = max(record.files, key=lambda file: record.files[file].bytes)
    damaged = bytearray((record.folder / name).read_bytes())
    damaged[len(damaged) // 2] ^= 1  # one bit
    (record.folder / name).write_bytes(damaged)

    freshness = Freshness(bench.study(), bench.settings.deployment.store)
    inputs = freshness.inputs(STAGES["merged_histograms"], None)
    with pytest.raises(StoreError, match=r"planted/activation_histograms shard 0001: the content of file .* is not what was published"):
        bench.settings.deployment.store.verify(inputs["activation_histograms/0001"])

    assert bench.run().success
    assert bench.record("activation_histograms", "0001").folder != record.folder
    assert_equal(whole, merged_integers(bench))


def test_a_shard_of_another_version_of_the_study_is_never_reused(published: Bench) -> None:
    bench = published
    study = bench.study(corpus={**bench.fields["corpus"], "windows": "first"})
    freshness = Freshness(study, bench.settings.deployment.store)
    with pytest.raises(StoreError, match=r"planted/token_windows shard 0000: made from another version of the study"):
        freshness.inputs(STAGES["activation_histograms"], "0000")


def test_counts_that_do_not_add_up_stop_everything_downstream_and_the_last_good_report_stays(
    published: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = published
    report = bench.record("report_site")

    import assets.histograms.asset as wiring

    honest = wiring.count_windows

    def dishonest(*arguments, **options):
        histograms = honest(*arguments, **options)
        count = np.asarray(histograms["count"][...])
        count[PLANTED_LAYER, PLANTED_NEURON, 7] += 1
        return dataclasses.replace(histograms, tensors={**histograms.tensors, "count": count})

    monkeypatch.setattr(wiring, "count_windows", dishonest)
    result = bench.run(count_bos=True)
    assert not result.success
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert [check.check_name for check in failed if check.blocking] == ["bin_counts", "blocks"]
    assert "1 of " in str(failed[0].metadata["observed"].value)
    assert any("bin_counts" in fault for fault in faults_of(result))
    assert bench.record("report_site").folder == report.folder
    bench.settings.deployment.store.verify(bench.record("report_site"))
    made = [event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key]
    assert "merged_histograms" not in made


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": [" apples"]}, "study planted: tokens: token ' apples': not one token of this tokenizer; inside running text it splits into"),
        ({"tokens": [999]}, "token 999: the vocabulary has entries 0 to"),
        ({"neurons": [[9, 0]]}, "neurons: layer 9 neuron 0 does not exist; the model has layers 0 to 2"),
        ({"patching_layers": [3]}, "patching_layers: layer 3 does not exist; the model has layers 0 to 2"),
        ({"corpus": {"files": ["none.txt"], "context_length": 65}}, "corpus.context_length 65 is more than the model's 64; choose at most that"),
        ({"corpus": {"files": ["none.txt"], "context_length": 64}}, "none.txt: no such file"),
        ({"shards": 500}, "shards 500 is more than the corpus's 28 documents; choose at most that"),
        ({"model": {"id": "nowhere"}}, "model.id 'nowhere': no such folder"),
        (
            {"prompts": [{"name": "p", "text": "I picked", "corrupt": "I climbed up", "answer": " an", "wrong_answer": " a"}]},
            "prompt p",
        ),
    ],
)  # fmt: skip
def test_what_the_model_or_corpus_cannot_give_is_told_in_one_message_and_nothing_is_left_half_written(
    bench: Bench, fields: dict, message: str
) -> None:
    result = bench.run(**fields)
    assert not result.success
    (fault,) = faults_of(result)
    assert message in fault
    assert "Traceback" not in fault
    leftovers = [path for path in bench.settings.data.rglob("*-????????") if path.is_dir() and not (path.parent / "record.json").exists()]
    assert leftovers == []


def test_the_command_line_prints_a_message_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("tokens: []\n")
    for given, message in ((str(tmp_path / "bad.yaml"), "field model: missing"), ("no-such-study", "there are: an-neuron-gpt2-large")):
        shown = subprocess.run([sys.executable, "-m", "orchestration.run", given], cwd=ROOT, capture_output=True, text=True, check=False)
        assert shown.returncode == 2
        assert message in shown.stderr
        assert "Traceback" not in shown.stderr + shown.stdout
