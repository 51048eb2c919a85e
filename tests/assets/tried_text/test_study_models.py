"""A study's model as its run recorded it: found, verified, held, and given back before another is loaded."""

import gc
import weakref
from pathlib import Path

import pytest
import torch

from assets.deployment import Deployment
from assets.model.language_model import LanguageModel
from assets.model.refusals import ModelError
from assets.publication import materialize
from assets.stages import STAGES
from assets.store import StoreError
from assets.study import Study, read_study
from assets.tried_text import study_models
from assets.tried_text.study_models import StudyModels
from tests.hostile.tiny_models import COMMON, tiny_model
from tests.stage_runs import compute_of


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path / "data")


def study_of(folder: Path, name: str, model: str = "") -> Study:
    """A study file beside a model of as many neurons as its name has letters and twenty; one that names another's has none of its own."""
    if not model:
        tiny_model(folder / name, "phi", **{**COMMON, "intermediate_size": 20 + len(name)})
    file = folder / f"{name}.yaml"
    file.write_text(f"model: {{id: {model or name}, device: cpu}}\ncorpus: {{files: [none.jsonl]}}\ntokens: [' an']\n")
    return read_study(file)


def run_snapshot(study: Study, deployment: Deployment) -> None:
    materialize(study, STAGES["model_snapshot"], None, deployment, compute_of(STAGES["model_snapshot"]), lambda text: None)


def test_a_study_that_was_not_run_says_what_to_do(tmp_path: Path, deployment: Deployment) -> None:
    study = study_of(tmp_path, "one")
    with pytest.raises(StoreError, match="one/model_snapshot: not there yet; .*make study STUDY=one"):
        StudyModels(deployment.store).model_of(study)


def test_a_model_is_held_until_another_is_asked_for_and_then_given_back(
    tmp_path: Path, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = study_of(tmp_path, "one"), study_of(tmp_path, "other")
    same = study_of(tmp_path, "same", model="one")
    for study in (one, other, same):
        run_snapshot(study, deployment)
    models = StudyModels(deployment.store)
    held = models.model_of(one)
    assert models.model_of(one) is held
    assert models.model_of(same) is held
    plain = weakref.ref(held.plain)
    del held
    gc.collect()
    assert plain() is not None
    own, there_while_loading = study_models.load_choice, []

    def watched(folder: Path, study: Study) -> LanguageModel:
        there_while_loading.append(plain() is not None)
        return own(folder, study)

    monkeypatch.setattr(study_models, "load_choice", watched)
    second = weakref.ref(models.model_of(other).plain)
    assert there_while_loading == [False]  # two models at once may not fit
    models.free()
    assert second() is None
    models.free()
    assert models.model_of(other).facts.layers == 2


def test_a_large_model_behind_a_small_one_has_all_threads_again(
    tmp_path: Path, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = study_of(tmp_path, "one"), study_of(tmp_path, "other")
    for study in (one, other):
        run_snapshot(study, deployment)
    set_to: list[int] = []
    torch.set_num_threads(1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    models = StudyModels(deployment.store)
    models.model_of(one)
    models.model_of(other)
    assert set_to == [7, 1, 7, 1]  # as it was, then one thread for a small model, each time


def test_files_that_have_changed_since_are_refused(tmp_path: Path, deployment: Deployment) -> None:
    study = study_of(tmp_path, "one")
    run_snapshot(study, deployment)
    recorded = StudyModels(deployment.store)
    snapshot = recorded.snapshot(study)
    (tmp_path / "one" / "generation_config.json").write_text("{}")
    monitored = StudyModels(deployment.store)
    monitored.snapshot = lambda study: snapshot  # type: ignore[method-assign, assignment]
    with pytest.raises(ModelError, match="file generation_config.json has changed since model_snapshot recorded it"):
        monitored.model_of(study)
    with pytest.raises(StoreError, match="made from another version of the study, its inputs or the code"):
        StudyModels(deployment.store).model_of(study)


def test_a_damaged_snapshot_is_refused(tmp_path: Path, deployment: Deployment) -> None:
    study = study_of(tmp_path, "one")
    run_snapshot(study, deployment)
    models = StudyModels(deployment.store)
    file = models.snapshot(study).folder / "model_snapshot.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(StoreError, match="model_snapshot"):
        models.model_of(study)
