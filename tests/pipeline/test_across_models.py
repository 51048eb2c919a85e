"""All models on one page, through the real job: two planted models, one study that was not run, one that has changed, one damaged."""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml

from assets.across_models.comparison import NAME, PLACE, published
from assets.contracts import TABLES
from assets.store import Place
from assets.study import read_studies
from assets.tables import read_table
from orchestration.across import run_across
from orchestration.run import faults_of, run_study
from orchestration.settings import Settings
from tests.pipeline.conftest import planted_fields
from tests.planted import PLANTED, SILENT

LOUD = 3  # how much louder the silent neuron of the second model would write


def louder_silent_neuron(model: Path, folder: Path) -> Path:
    """The planted model, except that SILENT, which never fires, writes " an" more strongly than PLANTED."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    name = f"transformer.h.{SILENT.layer}.mlp.c_proj.weight"
    weights[name][SILENT.neuron] *= LOUD
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def two_models(planted_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Studies `clear` and `loud` were run, `absent` was not."""
    folder = tmp_path_factory.mktemp("across")
    fields = {**planted_fields(planted_files), "shards": 1, "best_neurons": 1}
    loud = louder_silent_neuron(planted_files / "model", folder / "loud-model")
    changes: dict[str, dict[str, Any]] = {
        "clear": {},
        "loud": {"model": {"id": str(loud), "device": "cpu"}, "tokens": [" an", " up"], "ablation_positions": 0},
        "absent": {"tokens": [" the"]},
    }
    for name, changed in changes.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**fields, **changed}))
    settings = Settings(data=folder / "data", studies=folder, site_url="")
    for study in read_studies(folder):
        if study.name != "absent":
            with dg.DagsterInstance.ephemeral() as instance:
                result = run_study(study, settings, instance)
            assert result.success, faults_of(result)
    return settings


@pytest.fixture
def settings(two_models: Settings, tmp_path: Path) -> Settings:
    """A copy of the deployment that a test may change."""
    shutil.copytree(two_models.studies, tmp_path / "copy", symlinks=True)
    return Settings(data=tmp_path / "copy" / "data", studies=tmp_path / "copy", site_url="")


def across(settings: Settings) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return run_across(read_studies(settings.studies), settings, instance)


def states(settings: Settings) -> dict[str, tuple[str, str | None]]:
    _, tables = published(settings.deployment.store)
    return {row["study"]: (row["state"], row["reason"]) for row in tables["across_models_studies"].iter_rows(named=True)}


def test_the_planted_neuron_is_best_by_all_four_in_one_model_and_the_other_one_reports_a_disagreement(settings: Settings) -> None:
    result = across(settings)
    assert result.success, faults_of(result)
    checks = result.get_asset_check_evaluations()
    assert len(checks) == 4
    assert all(check.passed for check in checks)

    record, tables = published(settings.deployment.store)
    assert states(settings) == {
        "absent": ("not materialized", "nothing of it was run"), "clear": ("compared", None), "loud": ("compared", None)
    }  # fmt: skip
    tokens = {(row["study"], row["token"]): row for row in tables["across_models_tokens"].iter_rows(named=True)}
    planted = (PLANTED.layer, PLANTED.neuron)
    clear, loud = tokens["clear", " an"], tokens["loud", " an"]
    assert (clear["measures"], clear["agreeing"], (clear["layer"], clear["neuron"])) == (4, 4, planted)
    assert (loud["measures"], loud["agreeing"], (loud["layer"], loud["neuron"])) == (4, 3, planted)
    assert tokens["clear", " up"]["state"] == "not tracked"
    assert list(dict.fromkeys(tables["across_models_tokens"]["token"])) == [" an", " a", " up"]

    neurons = tables["across_models_neurons"]
    silent = neurons.filter(study="loud", token=" an", layer=SILENT.layer, neuron=SILENT.neuron).row(0, named=True)
    assert silent["congruence_rank"] == 1
    assert silent["separation_rank"] > 1
    assert silent["improvement_rank"] > 1
    ablated = neurons.filter(study="clear", token=" an", layer=planted[0], neuron=planted[1]).row(0, named=True)
    assert ablated["ablation_rank"] == 1
    store = settings.deployment.store
    source = store.find(Place("clear", "neuron_ablation"))
    assert source is not None
    effect = read_table(source.folder, TABLES["neuron_ablation"]).filter(
        pl.col("token") == " an", layer=planted[0], neuron=planted[1], positions="predicted", ablation="mean", measure="log_probability"
    )
    assert ablated["ablation_effect"] == effect["effect"][0] < -1
    assert ablated["ablation_p_value"] == effect["p_value"][0]
    snapshot, merged = (store.find(Place("clear", asset)) for asset in ("model_snapshot", "merged_histograms"))
    assert snapshot is not None
    assert merged is not None
    shown = tables["across_models_studies"].filter(study="clear").row(0, named=True)
    assert (shown["model"], shown["commit"]) == (str(read_studies(settings.studies)[1].model.id), "local folder")
    assert shown["positions"] == merged.facts["positions"] > 0
    assert shown["architecture"] == snapshot.facts["architecture"]
    assert {"clear/model_snapshot", "clear/neuron_ablation"} <= set(record.inputs)

    page = (settings.deployment.site_folder(NAME) / "index.html").read_text()
    for text in (
        "all four agree",
        "three of four agree",
        "writes it most",
        "not materialized",
        "nothing of it was run",
        '<a href="../clear/index.html">',
    ):
        assert text in page
    assert (settings.data / "reports" / "clear" / "index.html").is_file()
    assert "url=across_models/index.html" in (settings.data / "reports" / "index.html").read_text()


def test_nothing_is_made_again_until_a_study_changes_and_a_changed_study_is_told_to_be_stale(settings: Settings) -> None:
    store = settings.deployment.store
    assert across(settings).success
    homes = [store.home(place) / "record.json" for place in (PLACE, Place(NAME, "across_models_site"))]
    first = [home.read_text() for home in homes]
    assert across(settings).success
    assert [home.read_text() for home in homes] == first

    file = settings.studies / "loud.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "min_count": 2}))
    assert across(settings).success
    state, reason = states(settings)["loud"]
    assert state == "stale"
    assert "made from another version of the study" in str(reason)
    assert published(store)[1]["across_models_tokens"]["study"].unique().to_list() == ["clear"]

    file.unlink()
    assert across(settings).success
    state, reason = states(settings)["loud"]
    assert state == "no study file"
    assert "its study file is not among those of this deployment" in str(reason)


def test_a_damaged_table_is_refused_by_name_and_the_last_good_page_stays(settings: Settings) -> None:
    assert across(settings).success
    page = settings.deployment.site_folder(NAME) / "index.html"
    good = page.read_bytes()
    store = settings.deployment.store
    record = store.find(Place("clear", "token_neuron_scores"))
    assert record is not None
    file = record.folder / "token_neuron_scores.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    result = across(settings)
    assert not result.success
    assert "clear/token_neuron_scores: the content of file token_neuron_scores.parquet is not what was published" in faults_of(result)[0]
    assert page.read_bytes() == good

    (store.home(Place("clear", "congruence")) / "record.json").write_text("{")
    assert "clear/congruence: " in faults_of(across(settings))[0]
    assert "is damaged" in faults_of(across(settings))[0]


def test_a_table_that_contradicts_itself_is_judged_so_and_never_becomes_a_page(settings: Settings) -> None:
    from assets.across_models.quality import across_models_quality

    assert across(settings).success
    _, tables = published(settings.deployment.store)
    names = ["absent", "clear", "loud"]
    assert all(outcome.passed for outcome in across_models_quality(tables, names))

    def failed(changed: dict[str, pl.DataFrame], studies: list[str] = names) -> list[str]:
        return [outcome.expectation for outcome in across_models_quality({**tables, **changed}, studies) if not outcome.passed]

    neurons, tokens, studies = (tables[f"across_models_{name}"] for name in ("neurons", "tokens", "studies"))
    assert failed({}, [*names, "forgotten"]) == ["every study of the deployment is listed"]
    assert failed({"across_models_studies": studies.with_columns(reason=pl.lit(None, pl.String))}) == [
        "every study that is not compared says why"
    ]
    turned = neurons.with_columns(separation_rank=-pl.col("separation_rank"))
    assert "a better value never has a worse place" in failed({"across_models_neurons": turned})
    placed = neurons.with_columns(ablation_rank=pl.lit(1, pl.Int32))
    assert "a neuron has a place exactly where it has a value" in failed({"across_models_neurons": placed})
    overstated = tokens.with_columns(agreeing=pl.when(pl.col("agreeing") == 3).then(4).otherwise("agreeing").cast(pl.Int32))
    assert failed({"across_models_tokens": overstated}) == ["where measures agree on a neuron, it is first by exactly that many of them"]
    for role in ("writes it too", "goes along", "writes against it", "sings"):
        other = tokens.with_columns(predictor_role=pl.when(pl.col("token") == " an").then(pl.lit(role)).otherwise("predictor_role"))
        assert failed({"across_models_tokens": other}) == ["the role of a best predictor is that of its contribution"]
    assert failed({"across_models_tokens": tokens.filter(token=" up", study="loud")})[0] == (
        "every compared study says something of every token"
    )
