"""Study files: what is accepted, and the exact sentence that each malformed one gets."""

from pathlib import Path

import pytest
import yaml

from assets.study import CalibratedBins, FixedBins, StudyError, read_studies, read_study
from orchestration.settings import SHIPPED_STUDIES

LEAST = {"model": {"id": "model"}, "corpus": {"files": ["text.txt"]}, "tokens": [" an"]}


def write(folder: Path, fields: object, name: str = "my-study.yaml") -> Path:
    file = folder / name
    file.write_text(fields if isinstance(fields, str) else yaml.safe_dump(fields))
    return file


def test_a_study_needs_only_model_corpus_and_tokens(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, LEAST))
    assert study.name == "my-study"
    assert study.group == "my_study"
    assert study.tokens == (" an",)
    assert study.bins == FixedBins(per_unit=5.0, low=-1.0, high=15.0)  # the published width of 0.2
    assert study.shard_names == ("0000",)
    assert study.path("model") == (tmp_path / "model").resolve()


def test_bins_may_be_calibrated_by_name_or_with_a_number_of_bins(tmp_path: Path) -> None:
    assert read_study(write(tmp_path, {**LEAST, "bins": "calibrated"})).bins == CalibratedBins(calibrated=128)
    assert read_study(write(tmp_path, {**LEAST, "bins": {"calibrated": 64}})).bins == CalibratedBins(calibrated=64)


def test_the_hash_changes_with_any_field_and_not_with_the_folder(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    here, there = read_study(write(tmp_path, LEAST)), read_study(write(tmp_path / "other", LEAST))
    changed = read_study(write(tmp_path, {**LEAST, "min_count": 21}))
    assert here.hash == there.hash != changed.hash


def test_the_shipped_studies_are_valid_and_the_hub_ones_name_commits() -> None:
    studies = {study.name: study for study in read_studies(SHIPPED_STUDIES)}
    assert set(studies) == {"demo", "an-neuron-gpt2-large", "an-neuron-gpt2-small", "an-neuron-pythia-160m"}
    large = studies["an-neuron-gpt2-large"]
    assert large.model.revision == "32b71b12589c2f8d625668d2335a01cac3249519"
    assert large.tokens[:4] == (" an", " a", " any", " had")  # the others are those of the published curves
    assert (large.neurons[0].layer, large.neurons[0].neuron) == (31, 892)


MALFORMED: list[tuple[object, str]] = [
    ({**LEAST, "tokens": []}, "field tokens: given (); tuple should have at least 1 item after validation, not 0"),
    ({k: v for k, v in LEAST.items() if k != "model"}, "field model: missing; it must be given"),
    ({**LEAST, "modell": 1}, "field modell: unknown (given 1); see docs/study.md for the fields"),
    ({**LEAST, "model": {"id": "m", "dtype": "float8"}}, "field model.dtype: given 'float8'; input should be 'float32', 'bfloat16' or 'float16'"),
    ({**LEAST, "model": {"id": "m", "device": "gpu"}}, "field model.device: given 'gpu'; string should match pattern '^(auto|cpu|cuda(:\\d+)?)$'"),
    ({**LEAST, "corpus": {}}, "field corpus: give either `id` (a hub data set) or `files` (local files), not both and not neither"),
    ({**LEAST, "corpus": {"id": "a/b", "files": ["x.txt"]}}, "field corpus: give either `id` (a hub data set) or `files` (local files), not both and not neither"),
    ({**LEAST, "corpus": {"files": ["x.csv"]}}, "field corpus: file 'x.csv' is not one of .parquet, .jsonl, .txt"),
    ({**LEAST, "corpus": {"files": ["x.txt"], "documents": 0}}, "field corpus.documents: given 0; input should be greater than or equal to 1"),
    ({**LEAST, "corpus": {"files": ["x.txt"], "context_length": 1}}, "field corpus.context_length: given 1; input should be greater than or equal to 2"),
    ({**LEAST, "corpus": {"files": ["x.txt"], "windows": "last"}}, "field corpus.windows: given 'last'; input should be 'first' or 'all'"),
    ({**LEAST, "neurons": [[1]]}, "field neurons.0: given [1]; input should be a valid dictionary or instance of NeuronChoice"),
    ({**LEAST, "neurons": [[-1, 0]]}, "field neurons.0.layer: given -1; input should be greater than or equal to 0"),
    ({**LEAST, "neurons": [[1, 2], [1, 2]]}, "field study: neurons: (1, 2) given twice; name each once"),
    ({**LEAST, "tokens": [" an", " an"]}, "field study: tokens:  an given twice; name each once"),
    ({**LEAST, "shards": 0}, "field shards: given 0; input should be greater than or equal to 1"),
    ({**LEAST, "shards": "four"}, "field shards: given 'four'; input should be a valid integer"),
    ({**LEAST, "schedule": "daily"}, "field schedule: 'daily' is no cron line; write five fields such as '0 3 * * 1' (Mondays at 03:00)"),
    ({**LEAST, "bins": {"per_unit": 0}}, "field bins.per_unit: given 0; input should be greater than 0"),
    ({**LEAST, "bins": {"low": 3, "high": 1}}, "field bins: low (3.0) must be below high (1.0)"),
    ({**LEAST, "bins": {"per_unit": 3, "low": 0.5, "high": 1}}, "field bins: edge 0.5 x per_unit 3.0 must be a whole number, so that bins end on the edges"),
    ({**LEAST, "bins": "wide"}, "field bins: given 'wide'; give {per_unit, low, high} or calibrated"),
    ({**LEAST, "prompts": [{"name": "A b", "text": "x", "answer": "y", "wrong_answer": "z"}]}, "field prompts.0.name: given 'A b'; string should match pattern '^[a-z0-9]+(-[a-z0-9]+)*$'"),
    ({**LEAST, "prompts": [{"name": "a", "text": "x", "answer": "y", "wrong_answer": "y"}]}, "field prompts.0: answer and wrong_answer are both 'y'; their logit difference would be 0: give two tokens"),
    ({**LEAST, "prompts": [{"name": "a", "text": "x", "corrupt": "x", "answer": "y", "wrong_answer": "z"}]}, "field prompts.0: corrupt is the same text as text; nothing could be patched: change the word that decides the answer"),
    ({**LEAST, "name": "x"}, "field name is given by where the file lies; leave it out"),
    ("- a\n- b\n", "holds list, not fields; a study needs at least model, corpus and tokens"),
    ("a: [\n", "not readable as YAML: while parsing"),
    ("", "holds NoneType, not fields; a study needs at least model, corpus and tokens"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "message"), MALFORMED, ids=[str(number) for number in range(len(MALFORMED))])
def test_a_malformed_study_gets_one_clear_sentence(tmp_path: Path, fields: object, message: str) -> None:
    file = write(tmp_path, fields)
    with pytest.raises(StudyError) as caught:
        read_study(file)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_bad_file_name_are_told(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no such file; give the path of a study"):
        read_study(tmp_path / "none.yaml")
    with pytest.raises(StudyError, match="the name 'My Study' must be lower-case words"):
        read_study(write(tmp_path, LEAST, "My Study.yaml"))
