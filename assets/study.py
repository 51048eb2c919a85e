"""A study: all that a researcher writes, as one YAML file, validated into frozen models.

Holds the fields, what each allows, and the messages that name file, field, value and remedy. Reads no model and no corpus:
what needs a tokenizer (is this one token?) is checked by the stage that loads it.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from assets.errors import InputError

STUDY_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
COMMIT = re.compile(r"[0-9a-f]{40}")
CLAIMS_SUFFIX = ".claims.yaml"  # <study>.claims.yaml lies beside <study>.yaml
CORPUS_SUFFIXES = (".parquet", ".jsonl", ".txt")


class StudyError(InputError):
    """A study file that cannot be used. The message names the file, the field, what was given and what is allowed."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModelChoice(_Frozen):
    """Which model. `revision` is a commit, or a branch that the first run resolves to its commit and records."""

    id: str = Field(min_length=1, description="Hub id, or a folder made by save_pretrained (relative to the study file).")
    revision: str | None = Field(None, description="Commit or branch on the hub; none for a local folder.")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")


class CorpusChoice(_Frozen):
    """Which text, and how it is cut into windows."""

    id: str | None = Field(None, description="Hub data set id.")
    files: tuple[str, ...] = Field((), description="Local .parquet, .jsonl or .txt files (relative to the study file).")
    revision: str | None = None
    split: str = "train"
    text_column: str = "text"
    documents: int | None = Field(None, ge=1, description="Read at most this many documents; all if absent.")
    context_length: int = Field(1024, ge=2, description="Tokens in a window, the beginning-of-sequence token included.")
    windows: Literal["first", "all"] = "first"

    @field_validator("files", mode="before")
    @classmethod
    def _list_of_files(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one_source(self) -> "CorpusChoice":
        if (self.id is None) == (not self.files):
            raise ValueError("give either `id` (a hub data set) or `files` (local files), not both and not neither")
        for file in self.files:
            if not file.endswith(CORPUS_SUFFIXES):
                raise ValueError(f"file {file!r} is not one of {', '.join(CORPUS_SUFFIXES)}")
        return self


class NeuronChoice(_Frozen):
    """One neuron of special interest."""

    layer: int = Field(ge=0)
    neuron: int = Field(ge=0)


class Prompt(_Frozen):
    """A named prompt. With `corrupt`, the pair is patched; both must have the same number of tokens."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    text: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    wrong_answer: str = Field(min_length=1)
    corrupt: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _answers_differ(self) -> "Prompt":
        if self.answer == self.wrong_answer:
            raise ValueError(
                f"prompt {self.name}: answer and wrong_answer are both {self.answer!r}; their logit difference would be 0: give two tokens"
            )
        if self.corrupt == self.text:
            raise ValueError(
                f"prompt {self.name}: corrupt is the same text as text; nothing could be patched: change the word that decides the answer"
            )
        return self


class FixedBins(_Frozen):
    """The same bins for every neuron: [low, high) cut into `per_unit` bins a unit."""

    per_unit: float = Field(default=5.0, gt=0, description="Bins per unit of activation; 5 is the published width of 0.2.")
    low: float = -1.0
    high: float = 15.0

    @model_validator(mode="after")
    def _whole_bins(self) -> "FixedBins":
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        for edge in (self.low, self.high):
            if not float(edge * self.per_unit).is_integer():
                raise ValueError(f"edge {edge} x per_unit {self.per_unit} must be a whole number, so that bins end on the edges")
        if (self.high - self.low) * self.per_unit > 4096:
            raise ValueError(f"{(self.high - self.low) * self.per_unit:.0f} bins; at most 4096 are allowed")
        return self


class CalibratedBins(_Frozen):
    """A power-of-two width per neuron, chosen from the first shard and then frozen with the study."""

    calibrated: int = Field(default=128, ge=8, le=4096, multiple_of=2, description="Bins per neuron, half of them below 0.")


TrackedToken = Annotated[str, Field(min_length=1)] | Annotated[int, Field(ge=0)]


class Study(_Frozen):
    """A whole study. `name` is the file's name without its suffix, `folder` the folder that relative paths start from."""

    name: str
    folder: Path
    description: str = ""
    question: str = Field("", description="What the study asks, in one sentence; shown on top of the report.")
    model: ModelChoice
    corpus: CorpusChoice
    tokens: tuple[TrackedToken, ...] = Field(min_length=1, description="Tracked tokens, as text or id.")
    neurons: tuple[NeuronChoice, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    bins: FixedBins | CalibratedBins = FixedBins()
    count_bos: bool = Field(False, description="Count the beginning-of-sequence position, as the published count did.")
    min_count: int = Field(20, ge=1, description="Positions that a bin needs to be reliable.")
    best_neurons: int = Field(5, ge=1, le=100, description="Best neurons per token that get curves and pages of their own.")
    examples: int = Field(10, ge=1, le=100, description="Top and bottom contexts kept per neuron, and random ones shown beside them.")
    patching_layers: tuple[int, ...] | Literal["all"] = Field("all", description="Layers whose neurons are patched one by one.")
    ablation_positions: int = Field(32, ge=0, description="Positions of each kind per token at which neurons are ablated; 0: none.")
    batch_positions: int = Field(2048, ge=1, description="Positions that go through the model at once.")
    shards: int = Field(1, ge=1, le=9999, description="Partitions that the corpus is cut into.")
    schedule: str = Field("0 3 * * 1", description="Cron line in UTC; off until switched on in the UI.")

    @field_validator("tokens", "neurons", "prompts", "patching_layers", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("neurons", mode="before")
    @classmethod
    def _pairs_of_numbers(cls, value: Any) -> Any:
        pairs = [{"layer": pair[0], "neuron": pair[1]} if isinstance(pair, list) and len(pair) == 2 else pair for pair in value or ()]
        return tuple(pairs)

    @field_validator("bins", mode="before")
    @classmethod
    def _calibrated_by_name(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "calibrated":
            raise ValueError(f"given {value!r}; give {{per_unit, low, high}} or calibrated")
        if value == "calibrated":
            return CalibratedBins()
        if isinstance(value, dict) and "calibrated" in value:
            return CalibratedBins(**value)
        return FixedBins(**value) if isinstance(value, dict) else value

    @field_validator("schedule")
    @classmethod
    def _cron_line(cls, value: str) -> str:
        if not _is_cron(value):
            raise ValueError(f"{value!r} is no cron line; write five fields such as '0 3 * * 1' (Mondays at 03:00)")
        return value

    @model_validator(mode="after")
    def _no_doubles(self) -> "Study":
        for field, values in (
            ("tokens", [str(token) for token in self.tokens]),
            ("neurons", [str((choice.layer, choice.neuron)) for choice in self.neurons]),
            ("prompts", [prompt.name for prompt in self.prompts]),
        ):
            doubles = sorted({value for value in values if values.count(value) > 1})
            if doubles:
                raise ValueError(f"{field}: {', '.join(doubles)} given twice; name each once")
        return self

    @property
    def group(self) -> str:
        """The study's name as Dagster allows it in asset keys and groups."""
        return self.name.replace("-", "_")

    @property
    def shard_names(self) -> tuple[str, ...]:
        """Partition keys, in corpus order."""
        return tuple(f"{shard:04d}" for shard in range(self.shards))

    def path(self, relative: str) -> Path:
        """A path of the study file, which starts from the file's own folder."""
        return (self.folder / relative).resolve()

    def settings(self, *fields: str) -> dict[str, Any]:
        """The named fields as plain JSON values: what a fingerprint hashes."""
        return self.model_dump(mode="json", include=set(fields))

    @property
    def hash(self) -> str:
        """SHA-256 over every field except where the file lies."""
        fields = self.model_dump(mode="json", exclude={"folder"})
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _is_cron(line: str) -> bool:
    """Five fields of cron's characters; whether their numbers are in range is Dagster's to say when it builds the schedule."""
    return re.fullmatch(r"[0-9A-Za-z*/,\-]+( +[0-9A-Za-z*/,\-]+){4}", line.strip()) is not None


def read_study(file: Path) -> Study:
    """Read one study file. Raises StudyError with one line per fault."""
    if not STUDY_NAME.fullmatch(file.stem):
        raise StudyError(f"{file}: the name {file.stem!r} must be lower-case words and numbers joined by '-', e.g. an-neuron-gpt2.yaml")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{file}: no such file; give the path of a study, or the name of one in orchestration/studies/") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{file}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise StudyError(f"{file}: holds {type(content).__name__}, not fields; a study needs at least model, corpus and tokens")
    taken = {"name", "folder"} & set(content)
    if taken:
        raise StudyError(f"{file}: field {', '.join(sorted(taken))} is given by where the file lies; leave it out")
    try:
        return Study(name=file.stem, folder=file.parent.resolve(), **content)
    except ValidationError as error:
        raise StudyError("\n".join(_sentence(file, fault) for fault in error.errors())) from None


def claims_file(study: Study) -> Path:
    """Where the study's claims lie, if it has any: beside the study file."""
    return study.folder / f"{study.name}{CLAIMS_SUFFIX}"


def study_files(folder: Path) -> list[Path]:
    """The study files of a folder, by name: every .yaml file that holds no claims."""
    return sorted(file for file in folder.glob("*.yaml") if not file.name.endswith(CLAIMS_SUFFIX))


def read_studies(folder: Path) -> list[Study]:
    """Every study file of a folder, by name. Raises StudyError with the faults of all files at once."""
    studies, faults = [], []
    for file in study_files(folder):
        try:
            studies.append(read_study(file))
        except StudyError as error:
            faults.append(str(error))
    if faults:
        raise StudyError("\n".join(faults))
    return studies


def _sentence(file: Path, fault: Any) -> str:
    field = ".".join(str(part) for part in fault["loc"]) or "study"
    if fault["type"] == "missing":
        return f"{file}: field {field}: missing; it must be given"
    if fault["type"] == "extra_forbidden":
        return f"{file}: field {field}: unknown (given {fault['input']!r}); see docs/study.md for the fields"
    if fault["type"] == "value_error":
        return f"{file}: field {field}: {fault['ctx']['error']}"
    return f"{file}: field {field}: given {fault['input']!r}; {fault['msg'][0].lower()}{fault['msg'][1:]}"
