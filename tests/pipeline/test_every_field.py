"""Nothing stale is kept: whichever field of a study, file or line of code changes, a run leaves what a run in a fresh folder gives.

A run keeps an output exactly where its fingerprint is the one that is asked for. So for every field that stages declare another value is
written into the study, which is run in an empty folder: an output whose fingerprint any run of these tests has met must hold what it held
there, file by file and fact by fact. By induction along the stages that is what a run on top of old outputs leaves; changes that add,
take away or empty something are run on top as well.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from assets.freshness import Freshness, hash_of, values_of
from assets.stages import STAGES, Stage
from assets.store import Place, Record, Store
from assets.study import CalibratedBins, FixedBins, Study
from tests.freshness import NAME, Ground, hub, one_moment, whole
from tests.planted import ANSWER, CLEAN_PROMPT, CORRUPT_PROMPT, WRONG_ANSWER
from tests.stage_runs import run_stages

__all__ = ["hub", "one_moment"]

# As tests/pipeline/conftest.py has them.
PROMPT = {"name": "fruit", "text": CLEAN_PROMPT, "corrupt": CORRUPT_PROMPT, "answer": ANSWER, "wrong_answer": WRONG_ANSWER}
FRUITS = {"name": "fruits", "text": "I climbed up the {fruit} tree and picked", "answer": ANSWER, "fillers": ["apple", "orange"],
          "wrong_answer": WRONG_ANSWER, "corrupt_fillers": ["lemon", "pear"]}  # fmt: skip

# Another value for every field of a study, and where one value shows too little a second; beside it what else must change to allow it.
CHANGES: dict[str, list[dict[str, Any]]] = {
    "description": [{"description": "Another one.", "question": 'Which neuron predicts " a"?', "schedule": "0 4 * * 1", "memory": "4GiB"}],
    "model.id": [{"model.id": "other"}, {"model.id": "copied"}],
    "model.revision": [{"model.revision": "main"}],
    "model.dtype": [{"model.dtype": "bfloat16"}],
    "model.device": [{"model.device": "auto"}],
    "model.linear_maps": [{"model.linear_maps": "prepacked"}],
    "corpus.id": [{"corpus.files": None, "corpus.id": "planted/text"}],
    "corpus.config": [{"corpus.files": None, "corpus.id": "planted/text", "corpus.config": "cherries"}],
    "corpus.data_files": [{"corpus.files": None, "corpus.id": "planted/text", "corpus.data_files": ["cherry/*"]}],
    "corpus.revision": [{"corpus.files": None, "corpus.id": "planted/text", "corpus.revision": "0" * 40}],
    "corpus.split": [{"corpus.files": None, "corpus.id": "planted/text", "corpus.split": "test"}],
    "corpus.files": [{"corpus.files": ["longer.jsonl"]}],
    "corpus.text_column": [{"corpus.text_column": "backwards"}],
    "corpus.tokens_column": [{"corpus.tokens_column": "entries"}],
    "corpus.domain_column": [{"corpus.domain_column": "of.half"}],
    "corpus.domain_by_file": [{"corpus.domain_by_file": True}],
    "corpus.documents": [{"corpus.documents": 40}],
    "corpus.context_length": [{"corpus.context_length": 12}],
    "corpus.windows": [{"corpus.windows": "first", "corpus.context_length": 12}],
    "tokens": [{"tokens": [" a", " an"]}, {"tokens": [" an", " the", " a"]}],
    "neurons": [{"neurons": [[0, 1], [2, 5]]}, {"neurons": []}],
    "prompts": [{"prompts": []}, {"prompts": [{**PROMPT, "text": "I climbed up the orange tree and picked", "answer": " the"}]}],
    "prompt_sets": [{"prompt_sets": []}, {"prompt_sets": [{**FRUITS, "answer": " the", "fillers": ["apple"], "pairs": 1}]}],
    "bins": [{"bins": "calibrated"}, {"bins": {"per_unit": 4, "low": -2, "high": 10}}, {"bins": {"calibrated": 32}}],
    "count_bos": [{"count_bos": True}],
    "embedding_predictions": [{"embedding_predictions": True}],
    "outcomes": [{"outcomes": ["top_prediction"]}, {"outcomes": ["top_prediction", "next_token", "probability"]}],
    "outcome": [{"outcome": "next_token"}],
    "contrasts": [{"contrasts": [[" a", " an"]]}, {"contrasts": []}],
    "groups": [{"groups": {"either": [" an", " a"]}}],
    "min_count": [{"min_count": 5}],
    "best_neurons": [{"best_neurons": 1}],
    "examples": [{"examples": 2}],
    "patching_layers": [{"patching_layers": [1]}],
    "ablation_positions": [{"ablation_positions": 6}, {"ablation_positions": 0}],
    "kept_positions": [{"kept_positions": 40}, {"kept_positions": 0}],
    "atlas.neurons": [{"atlas.neurons": "none"}, {"atlas.neurons": "studied", "atlas.examples": 1}],
    "batch_positions": [{"batch_positions": 64}],
    "screen": [{"screen": "off"}, {"screen": {"tokens": 6}}, {"screen": {"memory": 20_000}}],
    "shards": [{"shards": 3}],
}  # fmt: skip
# Another value for every part of a field that stages declare as a whole, as the report declares the whole study: that such a part is
# hashed is asked of the hash alone.
PARTS: dict[str, dict[str, Any]] = {
    "question": {"question": 'Which neuron predicts " a"?'},
    "schedule": {"schedule": "0 4 * * 1"},
    "memory": {"memory": "4GiB"},
    "prompts.name": {"prompts": [{**PROMPT, "name": "apple"}]},
    "prompts.text": {"prompts": [{**PROMPT, "text": "I climbed up the orange tree and picked"}]},
    "prompts.answer": {"prompts": [{**PROMPT, "answer": " the"}]},
    "prompts.wrong_answer": {"prompts": [{**PROMPT, "wrong_answer": " the"}]},
    "prompts.corrupt": {"prompts": [{**PROMPT, "corrupt": "I climbed up the pear tree and picked"}]},
    "prompt_sets.name": {"prompt_sets": [{**FRUITS, "name": "orchard"}]},
    "prompt_sets.text": {"prompt_sets": [{**FRUITS, "text": "I climbed up the {fruit} tree and then picked"}]},
    "prompt_sets.answer": {"prompt_sets": [{**FRUITS, "answer": " the"}]},
    "prompt_sets.fillers": {"prompt_sets": [{**FRUITS, "fillers": ["apple"]}]},
    "prompt_sets.wrong_answer": {"prompt_sets": [{**FRUITS, "wrong_answer": " the"}]},
    "prompt_sets.corrupt_fillers": {"prompt_sets": [{**FRUITS, "corrupt_fillers": ["pear", "lemon"]}]},
    "prompt_sets.pairs": {"prompt_sets": [{**FRUITS, "pairs": 3}]},
    "bins.per_unit": {"bins": {"per_unit": 4}},
    "bins.low": {"bins": {"low": -2}},
    "bins.high": {"bins": {"high": 10}},
    "bins.calibrated": {"bins": {"calibrated": 32}},
    "atlas.examples": {"atlas.examples": 1},
    "screen.tokens": {"screen": {"tokens": 6}},
    "screen.memory": {"screen": {"memory": 20_000}},
}
BY_WHERE_IT_LIES = {"name", "folder"}  # given by the study file's own name and folder
# Changes that leave more or fewer outputs, files or rows behind: run on top of the old ones too.
ALSO_ON_TOP = {
    "description 0", "model.id 0", "corpus.files 0", "tokens 1", "neurons 1", "prompts 0", "prompt_sets 0", "bins 0", "outcomes 0",
    "kept_positions 1", "ablation_positions 1", "atlas.neurons 0", "screen 0", "embedding_predictions 0", "shards 0",
}  # fmt: skip


def fields_of(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Dotted paths of every field, those of models in lists and unions included."""
    for name, field in model.model_fields.items():
        yield f"{path}{name}"
        for inner in _models_in(field.annotation):
            yield from fields_of(inner, f"{path}{name}.")


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]


def test_every_field_of_a_study_has_another_value_here() -> None:
    fields = set(fields_of(Study)) - BY_WHERE_IT_LIES
    groups = {"model", "corpus", "atlas", "neurons.layer", "neurons.neuron"}  # tried by their parts, or as the whole pair
    assert fields - groups == CHANGES.keys() | PARTS.keys()
    assert not CHANGES.keys() & PARTS.keys()
    assert {FixedBins, CalibratedBins} <= {model for field in Study.model_fields.values() for model in _models_in(field.annotation)}


def declaring(field: str) -> list[Stage]:
    """The stages whose declared fields hold this one, alone or in a whole."""
    return [stage for stage in STAGES.values() if any(f"{field}.".startswith(f"{declared}.") for declared in stage.fields)]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_field_is_declared_with_the_whole_and_hashed_by_every_stage_that_declares_it(ground: Ground, part: str) -> None:
    hashing = [*declaring(part), STAGES["report_site"]]
    assert not any(part in stage.fields for stage in hashing)
    assert [ground.fields[name] for name in ("prompts", "prompt_sets")] == [[PROMPT], [FRUITS]]  # so that nothing else changes
    before, after = ground.study({"bins": "calibrated"} if part == "bins.calibrated" else {}), ground.study(PARTS[part])
    for stage in hashing:
        assert hash_of(values_of(before, stage.fields)) != hash_of(values_of(after, stage.fields)), stage.name


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("ground"))


@pytest.fixture(scope="module")
def before(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of outputs by the changes that they were made with; filled as they are needed."""
    return {"": tmp_path_factory.mktemp("before") / "data"}


class Met(NamedTuple):
    """What an output held, and in which run."""

    held: dict[str, Any]
    run: str


@pytest.fixture(scope="module")
def met() -> dict[tuple[Place, str], Met]:
    """What every output of the runs so far held, by place and fingerprint."""
    return {}


def unlike(met: dict[tuple[Place, str], Met], records: dict[Place, Record], run: str) -> list[str]:
    """The outputs of a run that hold something else than one of the same place and fingerprint has held, which are from now on met."""
    found = []
    for place, record in records.items():
        now = whole({place: record})
        first = met.setdefault((place, record.fingerprint), Met(now, run))
        found += [f"{place}, first met with {first.run}: {name}" for name in differing(first.held, now)]
    return found


def made_before(ground: Ground, before: dict[str, Path], changes: dict[str, Any]) -> Path:
    """The outputs of the study before a change: with files, or from the hub where the change is about the hub."""
    is_hub = "corpus.id" in changes and len(changes) > 2
    start = {"corpus.files": None, "corpus.id": "planted/text"} if is_hub else {}
    folder = before.setdefault("hub" if is_hub else "", before[""].with_name("hub"))
    if not folder.exists():
        run_stages(ground.study(start), folder)
    return folder


EVERY_CHANGE = {f"{field} {number}": change for field, changes in CHANGES.items() for number, change in enumerate(changes)}


@pytest.mark.slow
@pytest.mark.usefixtures("hub", "one_moment")
@pytest.mark.parametrize("changed", EVERY_CHANGE)
def test_what_a_changed_field_does_not_make_stale_is_the_same_in_a_fresh_folder(
    ground: Ground, before: dict[str, Path], met: dict[tuple[Place, str], Met], changed: str, tmp_path: Path
) -> None:
    change = EVERY_CHANGE[changed]
    old = made_before(ground, before, change)
    assert unlike(met, records_before(old), "no change") == []
    study = ground.study(change)
    fresh = run_stages(study, tmp_path / "fresh")
    assert unlike(met, fresh, changed) == []
    if changed in ALSO_ON_TOP:
        shutil.copytree(old, tmp_path / "kept", symlinks=True)
        assert differing(whole(run_stages(study, tmp_path / "kept")), whole(fresh)) == []
        assert Freshness(study, Store(tmp_path / "kept")).stale() == []


def records_before(folder: Path) -> dict[Place, Record]:
    """All that was published in a folder."""
    store = Store(folder)
    return {place: record for place in store.storage.places() if (record := store.find(place)) is not None}


def test_what_is_run_on_top_is_a_change() -> None:
    assert set(EVERY_CHANGE) >= ALSO_ON_TOP


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what differs between two whole outputs."""
    return sorted(name for name in one | other if one.get(name) != other.get(name))


CLAIMS = """
source: the planted weights
claims:
  - {claim: An answer is favoured., quantity: logit_difference, of: {prompt: fruit, variant: clean}, expected: 1, tolerance: 1, convention: correct}
"""
EDITS: dict[str, Callable[[Path], object]] = {
    "a longer corpus": lambda folder: _append(folder / "corpus.jsonl", '{"text": "I picked a lemon"}\n'),
    "empty documents": lambda folder: _append(folder / "corpus.jsonl", '{"text": " "}\n' * 300),
    "another model": lambda folder: shutil.copy(folder / "other" / "model.safetensors", folder / "model" / "model.safetensors"),
    "claims": lambda folder: (folder / f"{NAME}.claims.yaml").write_text(CLAIMS),
}


def _append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


@pytest.mark.slow
@pytest.mark.usefixtures("one_moment")
@pytest.mark.parametrize("edit", EDITS)
def test_what_an_edited_file_leaves_is_what_a_fresh_folder_gets(ground: Ground, before: dict[str, Path], edit: str, tmp_path: Path) -> None:
    moved = Ground.of(shutil.copytree(ground.folder, tmp_path / "ground"))
    shutil.copytree(made_before(ground, before, {}), tmp_path / "kept", symlinks=True)
    EDITS[edit](moved.folder)
    study = moved.study({})
    stale = Freshness(study, Store(tmp_path / "kept")).stale()
    assert stale
    kept = whole(run_stages(study, tmp_path / "kept"))
    assert differing(kept, whole(run_stages(study, tmp_path / "fresh"))) == []


@pytest.mark.slow
@pytest.mark.usefixtures("one_moment")
def test_outputs_copied_from_a_study_of_another_name_say_nothing_of_it(ground: Ground, before: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(made_before(ground, before, {}) / NAME, tmp_path / "kept" / "renamed", symlinks=True)
    study = ground.study({}, name="renamed")
    assert differing(whole(run_stages(study, tmp_path / "kept")), whole(run_stages(study, tmp_path / "fresh"))) == []
