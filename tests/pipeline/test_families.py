"""Whole studies of models that do more than GPT-2 does behind a neuron: everything is made, or what means nothing is left empty and says so."""

from pathlib import Path

import polars as pl
import pytest

from assets.stages import STAGES
from orchestration.run import faults_of
from tests.hostile.tiny_models import OPT, tiny_model
from tests.model_families import FAMILIES
from tests.pipeline.conftest import Bench

REFUSABLE = [stage.name for stage in STAGES.values() if stage.may_be_refused]


def refused_in(bench: Bench) -> dict[str, str]:
    """Of the published outputs that were left empty, why."""
    return {name: bench.record(name).facts["refused"] for name in REFUSABLE if "refused" in bench.record(name).facts}


@pytest.mark.slow
def test_a_whole_study_of_a_model_with_norms_behind_windows_and_a_cap_measures_everything(bench: Bench, tmp_path: Path) -> None:
    family = FAMILIES["Gemma 2"]
    folder = tiny_model(tmp_path / "model", family.kind, **{**family.fields, "max_position_embeddings": 64})
    tokens = list(range(2, 34))  # any that random weights may predict
    result = bench.run(model={"id": str(folder), "device": "cpu"}, neurons=[[1, 3]], tokens=tokens)
    assert result.success, "\n".join(faults_of(result))
    assert refused_in(bench) == {}
    for table in ("contributions", "congruence_tracked_tokens", "neuron_patching", "activation_patching", "logit_lens", "neuron_inputs"):
        assert pl.read_parquet(bench.record(STAGE_OF[table]).folder / f"{table}.parquet").height > 0
    assert "Of this model:" not in (bench.record("report_site").folder / "index.html").read_text()


STAGE_OF = {table: stage.name for stage in STAGES.values() for table in stage.tables}


@pytest.mark.slow
def test_what_means_nothing_of_a_model_is_left_empty_with_the_reason_on_its_pages_and_the_rest_is_made(
    bench: Bench, tmp_path: Path
) -> None:
    """OPT-350m's build: norms behind both parts of a block, a projection before the unembedding, and no norm in front of that."""
    folder = tiny_model(
        tmp_path / "model", "opt", **{**OPT, "max_position_embeddings": 64, "word_embed_proj_dim": 16, "do_layer_norm_before": False}
    )
    result = bench.run(model={"id": str(folder), "device": "cpu"}, neurons=[[1, 3]], contrasts=[[" an", " a"]])
    assert result.success, "\n".join(faults_of(result))
    reasons = refused_in(bench)
    assert set(reasons) == {
        "contributions", "contrasts", "congruence", "logit_lens", "activation_patching", "neuron_patching", "prompt_set_patching", "neuron_ablation",
        "prompt_ablation", "neuron_inputs",
    }  # fmt: skip
    for name in reasons:
        assert [bench.record(name).summary[f"{table}_rows"] for table in STAGES[name].tables] == [0] * len(STAGES[name].tables)
    assert all(reason.startswith("model OPTForCausalLM: ") for reason in reasons.values())
    for table in ("token_counts", "neuron_statistics", "token_neuron_scores", "half_scores", "candidates"):
        assert bench.record(STAGE_OF[table]).summary[f"{table}_rows"] > 0
    site = bench.record("report_site").folder
    for page, told in (("index.html", "contributions"), ("screen.html", "contributions"), ("congruence.html", "congruence"),
                       ("neuron-1-3.html", "what feeds a neuron"), ("prompt-fruit.html", "activation patching")):  # fmt: skip
        text = (site / page).read_text()
        assert "Of this model:" in text, page
        assert any(told in notice.split(". ")[0] for notice in text.split("Of this model:")[1:]), page
        assert "OPTForCausalLM" in text


@pytest.mark.slow
def test_a_whole_study_of_a_model_that_the_bridge_does_not_know_counts_and_says_what_it_leaves_out(bench: Bench, tmp_path: Path) -> None:
    family = FAMILIES["Helium"]
    folder = tiny_model(tmp_path / "model", family.kind, **{**family.fields, "max_position_embeddings": 64})
    result = bench.run(model={"id": str(folder), "device": "cpu"}, neurons=[[1, 3]], tokens=list(range(2, 34)))
    assert result.success, "\n".join(faults_of(result))
    reasons = refused_in(bench)
    assert set(reasons) == {
        "logit_lens", "activation_patching", "neuron_patching", "prompt_set_patching", "neuron_ablation", "prompt_ablation",
        "neuron_inputs",
    }  # fmt: skip
    assert set(reasons.values()) == {
        "model HeliumForCausalLM: TransformerLens, through which this would be run, does not know this class of models; all that is counted stands "
        "without it, and another model can be chosen for the rest"
    }
    for table in ("token_neuron_scores", "proportion_curves", "token_neuron_screen", "neuron_contexts", "contributions", "half_scores",
                  "congruence_tracked_tokens", "prompt_predictions", "prompt_activations", "evidence_cards"):  # fmt: skip
        assert pl.read_parquet(bench.record(STAGE_OF[table]).folder / f"{table}.parquet").height > 0, table
    site = bench.record("report_site").folder
    for page in ("index.html", "neuron-1-3.html", "prompt-fruit.html"):
        assert "does not know this class of models" in (site / page).read_text(), page
    assert "Of this model:" not in (site / "congruence.html").read_text()
