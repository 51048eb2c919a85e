"""Top predictions by the embedding through the real job: the published convention has counts of its own, and costs only those who ask."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from assets.contracts import EMBEDDING_TENSORS, TABLES
from assets.freshness import Freshness
from assets.histograms.histogram_store import read_histograms
from assets.stages import STAGES
from assets.study_view import EVERY_FIELD
from assets.tables import read_table
from orchestration.run import faults_of
from tests.gained import gained_model
from tests.pipeline.conftest import Bench
from tests.planted import PLANTED_LAYER, PLANTED_NEURON, planted_corpus, planted_token_id

PAIR = {"token": " an", "neuron": [PLANTED_LAYER, PLANTED_NEURON]}
CLAIMS = [
    {"claim": "count", "quantity": "token_predictions", "of": {"token": " an"}, "expected": 0, "tolerance": 1e6, "convention": "published"},
    {"claim": "half", "quantity": "first_level_at_half", "of": PAIR, "expected": 0, "tolerance": 1e6, "convention": "published"},
    {"claim": "highest", "quantity": "highest_proportion", "of": PAIR, "expected": 0, "tolerance": 1e6, "convention": "published"},
    {"claim": "last", "quantity": "last_level", "of": PAIR, "expected": 0, "tolerance": 1e6, "convention": "published"},
]
NOT_COUNTED = "this study does not count these (embedding_predictions: false)"


@pytest.fixture
def gained(tmp_path: Path) -> Bench:
    """A planted study whose final norm tells the two conventions apart, counted as the post counted."""
    files = tmp_path / "files"
    gained_model(files / "model")
    planted_corpus(files)
    bench = Bench(files, tmp_path)
    bench.study(count_bos=True, bins={"per_unit": 20, "low": -15, "high": 15}, prompts=[], tokens=[" an", " a", " apple"])
    (tmp_path / "planted.claims.yaml").write_text(yaml.safe_dump({"source": "this test", "claims": CLAIMS}))
    return bench


def scorecard(bench: Bench) -> dict[str, dict]:
    frame = read_table(bench.record("replication_scorecard").folder, TABLES["replication_scorecard"])
    return {row["claim"]: row for row in frame.iter_rows(named=True)}


def table(bench: Bench, name: str) -> pl.DataFrame:
    return read_table(bench.record(TABLES[name].asset).folder, TABLES[name])


@pytest.mark.slow
def test_the_published_convention_takes_counts_by_the_embedding_and_without_them_is_not_run(gained: Bench) -> None:
    result = gained.run()
    assert result.success, faults_of(result)
    off = scorecard(gained)
    for claim in ("count", "half", "highest"):
        assert (off[claim]["verdict"], off[claim]["observed_published"]) == ("not run", None)
        assert NOT_COUNTED in off[claim]["reason_published"]
    assert off["last"]["verdict"] == "replicated"
    assert table(gained, "embedding_predictions").is_empty()
    first, ablated = gained.made(), {name: table(gained, name) for name in ("neuron_ablation", "prompt_ablation")}

    result = gained.run(embedding_predictions=True)
    assert result.success, faults_of(result)
    on, an = scorecard(gained), planted_token_id(" an")
    merged = read_histograms(gained.record("merged_histograms").folder)
    by_embedding, own = int(merged["embedding_predictions"][an]), int(merged["predictions"][an])
    assert by_embedding != own
    assert (on["count"]["observed_published"], on["count"]["observed_correct"]) == (by_embedding, own)
    assert {row["verdict"] for row in on.values()} == {"replicated"}
    assert on["highest"]["observed_published"] != pytest.approx(off["highest"]["observed_correct"])
    for claim, row in on.items():
        assert row["observed_correct"] == off[claim]["observed_correct"]  # the right convention never was another
    assert all(table(gained, name).equals(before) for name, before in ablated.items())
    counts, curves = table(gained, "embedding_predictions"), table(gained, "embedding_curves")
    assert counts["predictions"].sum() == merged.positions
    assert curves.filter(layer=PLANTED_LAYER, neuron=PLANTED_NEURON, token_id=an)["embedding_prediction_count"].sum() == by_embedding

    # What was counted before is counted again, with more beside it; nothing long that reads other things is made again. Ablation reads
    # the sampled positions out of the counters, and the kept ones: it is made again, with the same numbers.
    changed = {name.partition("/")[0] for name, record in gained.made().items() if record != first[name]}
    assert {"activation_histograms", "merged_histograms", "embedding_predictions", "replication_scorecard"} <= changed
    assert changed.isdisjoint({"congruence", "prompt_activations", "neuron_inputs"})
    token_page = (gained.settings.deployment.site_folder("planted") / f"token-{an}.html").read_text()
    assert f"By the embedding</abbr></dt><dd>{by_embedding}</dd>" in token_page


@pytest.mark.slow
def test_shards_and_batches_give_the_same_integers(gained: Bench) -> None:
    def counted(**fields: object) -> dict[str, np.ndarray]:
        result = gained.run(**fields)
        assert result.success, faults_of(result)
        merged = read_histograms(gained.record("merged_histograms").folder)
        return {tensor.name: np.asarray(merged[tensor.name][:]) for tensor in EMBEDDING_TENSORS}

    whole = counted(embedding_predictions=True, shards=1)
    other = counted(shards=5, batch_positions=64)
    for name, values in whole.items():
        np.testing.assert_array_equal(other[name], values, err_msg=name)


def test_the_field_stands_in_the_fingerprints_of_those_that_read_it_and_its_tensors_only_where_it_is_on(gained: Bench) -> None:
    store = gained.settings.deployment.store
    off, on = (Freshness(gained.study(embedding_predictions=is_on), store) for is_on in (False, True))
    counters = ("activation_histograms", "merged_histograms")
    for name, stage in STAGES.items():
        without, with_it = off._own(stage), on._own(stage)
        is_reader = not {"embedding_predictions", EVERY_FIELD}.isdisjoint(stage.fields)
        assert (without["fields"] != with_it["fields"]) == is_reader, name
        if name in counters:
            assert "embedding" not in json.dumps(without["contract"])
            assert [line.partition(":")[0] for line in with_it["contract"] if line not in without["contract"]] == [
                tensor.name for tensor in EMBEDDING_TENSORS
            ]
        else:
            assert without["contract"] == with_it["contract"], name
