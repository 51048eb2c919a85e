"""A study: all that a researcher writes, as one YAML file, validated into frozen models.

Holds the fields, what each allows, and the messages that name file, field, value and remedy. Reads no model and no corpus:
what needs a tokenizer (is this one token?) is checked by the stage that loads it.
"""

import hashlib
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ByteSize, ConfigDict, Field, ValidationError, field_validator, model_validator

from assets.errors import InputError
from assets.urls import is_url
from assets.yaml_files import YamlFileError, read_yaml

STUDY_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
COMMIT = re.compile(r"[0-9a-f]{40}")
CLAIMS_SUFFIX = ".claims.yaml"  # <study>.claims.yaml lies beside <study>.yaml
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
TEXT_SUFFIXES = (".jsonl", ".json", ".csv", ".txt")  # of corpus files that may be compressed as well
CORPUS_SUFFIXES = (".parquet", ".arrow", *TEXT_SUFFIXES, *(text + compression for text in TEXT_SUFFIXES for compression in COMPRESSIONS))
LONGEST_NAME = 100  # of a study: names of jobs, folders and files are made of it
TAKEN_NAMES = ("across-models", "reports", "studies-with-faults")  # two groups of the product's own, and the folder of all reports
LONGEST_PATH, LONGEST_PART = 1024, 255  # bytes; a part stands between two slashes
MOST_MEMORY = 2**50  # bytes: a petabyte
MOST_FAULTS = 20  # that are told at once
MOST_POSITIONS = 1024  # the pass samples so many of each token (assets/counting/position_samples.py)
MOST_PAIRS = 512  # of a prompt set: 4 bytes of each for every neuron, 377 MB for the 184,320 of GPT-2 Large
SLOT = re.compile(r"\{([a-z][a-z0-9_]*)\}")
A_LOT = 10**12  # larger than any count that is ever meant, and far from where 64-bit numbers end
MODEL_SUFFIXES = (".json", ".safetensors", ".model", ".txt")  # of the files of a model folder that are looked at


class StudyError(InputError):
    """A study file that cannot be used. The message names the file, the field, what was given and what is allowed."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModelChoice(_Frozen):
    """Which model. `revision` is a commit, or a branch that the first run resolves to its commit and records."""

    id: str = Field(min_length=1, description="Hub id, or a folder made by save_pretrained: a path (relative to the study file) or a URL.")
    revision: str | None = Field(None, description="Commit or branch on the hub; none for a local folder.")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    linear_maps: Literal["plain", "prepacked"] = Field("plain", description="How the one pass multiplies: assets/model/prepacked_maps.py.")

    @model_validator(mode="after")
    def _products_exist(self) -> "ModelChoice":
        if self.linear_maps == "prepacked" and (self.dtype != "float32" or self.device not in ("auto", "cpu")):
            raise ValueError(
                f"linear_maps 'prepacked' needs dtype float32 and device cpu (or auto, where there is no GPU), not {self.dtype} and "
                f"{self.device}; leave it at 'plain'"
            )
        return self

    @field_validator("id")
    @classmethod
    def _path(cls, value: str) -> str:
        return _path_or_id(value)


class CorpusChoice(_Frozen):
    """Which text, and how it is cut into windows."""

    id: str | None = Field(None, min_length=1, description="Hub data set id.")
    config: str | None = Field(None, min_length=1, description="Configuration of the hub data set, such as wikitext-103-raw-v1.")
    data_files: tuple[str, ...] = Field(
        (), description="Files of the hub data set, or patterns such as en/part-000*; its own choice if absent."
    )
    files: tuple[str, ...] = Field((), description="Files, folders or patterns: paths (relative to the study file) or URLs.")
    revision: str | None = None
    split: str = "train"
    text_column: str = "text"
    tokens_column: str | None = Field(
        None,
        min_length=1,
        description="Column of vocabulary entries, for a corpus that is tokenized already; its text is then not cut again.",
    )
    domain_column: str | None = Field(
        None,
        min_length=1,
        description="Column that says which domain a document is of; dots reach nested fields, as in meta.pile_set_name.",
    )
    domain_by_file: bool = Field(False, description="A document's domain is the name of its file.")
    documents: int | None = Field(None, ge=1, le=A_LOT, description="Read at most this many documents; all if absent.")
    context_length: int = Field(1024, ge=2, le=A_LOT, description="Tokens in a window, the beginning-of-sequence token included.")
    windows: Literal["first", "all"] = "first"

    @field_validator("files", "data_files", mode="before")
    @classmethod
    def _list_of_files(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one_source(self) -> "CorpusChoice":
        if (self.id is None) == (not self.files):
            raise ValueError("give either `id` (a hub data set) or `files` (local files), not both and not neither")
        for field in ("config", "data_files") if self.files else ():
            if getattr(self, field):
                raise ValueError(f"{field} is of a hub data set; leave it out, or give `id` instead of `files`")
        for file in self.files:
            last = _path_or_id(file).rsplit("/", 1)[-1]
            can_be_a_folder = "." not in last and not is_url(file)  # source_files looks there
            if not can_be_a_folder and "*" not in last and not last.endswith(CORPUS_SUFFIXES):
                kinds = f".parquet, .arrow, {', '.join(TEXT_SUFFIXES)}, or one of the last {len(TEXT_SUFFIXES)} packed as {', '.join(COMPRESSIONS)}"
                raise ValueError(
                    f"file {file!r} is not one of {kinds}; a folder (with a / behind a name with a dot) or a pattern such as part-*.jsonl can "
                    "be given too"
                )
        doubles = [file for file, times in Counter(self.files).items() if times > 1]
        if doubles:
            raise ValueError(f"files: {doubles[0]} given twice; name each once: every document of it would be counted twice")
        return self

    @model_validator(mode="after")
    def _one_source_of_domains(self) -> "CorpusChoice":
        if self.domain_column and not all(self.domain_column.split(".")):
            raise ValueError(f"domain_column {self.domain_column!r} has an empty part; write the names of nested fields with a dot between")
        if self.domain_by_file and self.domain_column:
            raise ValueError("give either `domain_column` or `domain_by_file`, not both: a document is of one domain")
        if self.domain_by_file and not self.files:
            raise ValueError("domain_by_file needs `files`; for a hub data set name the column by `domain_column`")
        return self

    @property
    def has_domains(self) -> bool:
        """Whether the study says where a document's domain stands."""
        return self.domain_column is not None or self.domain_by_file


class NeuronChoice(_Frozen):
    """One neuron of special interest."""

    layer: int = Field(ge=0, le=A_LOT)
    neuron: int = Field(ge=0, le=A_LOT)


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


class PromptSet(_Frozen):
    """Prompts that differ in one word: a text with a slot, fillers after which `answer` is due, and fillers after which `wrong_answer` is.

    Every filler with every corrupt filler is a pair of prompts, the clean one and its corrupt partner. At most `pairs` of those with the same
    number of tokens are patched.
    """

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    text: str = Field(min_length=1, description="The prompt with one slot, such as {fruit}, where the fillers go.")
    answer: str = Field(min_length=1)
    fillers: tuple[str, ...] = Field(description="What may stand in the slot where `answer` is due.")
    wrong_answer: str = Field(min_length=1)
    corrupt_fillers: tuple[str, ...] = Field(description="What may stand in the slot where `wrong_answer` is due.")
    pairs: int = Field(48, ge=1, le=MOST_PAIRS, description="Pairs that are patched at most; more are drawn from by a seeded hash.")

    @field_validator("fillers", "corrupt_fillers", mode="before")
    @classmethod
    def _list_of_fillers(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one_slot(self) -> "PromptSet":
        slots = list(dict.fromkeys(SLOT.findall(self.text)))
        if len(slots) != 1:
            found = f"the slots {', '.join(f'{{{slot}}}' for slot in slots)}" if slots else "no slot"
            raise ValueError(f"prompt set {self.name}: text has {found}; write one name in braces, such as {{fruit}}, where the fillers go")
        return self

    @model_validator(mode="after")
    def _fillers_differ(self) -> "PromptSet":
        for field in ("fillers", "corrupt_fillers"):
            given = getattr(self, field)
            if not given or not all(given):
                found = "an empty text" if given else "none"
                raise ValueError(f"prompt set {self.name}: {field}: given {found}; give a list of texts for the slot, at least one")
            doubles = [filler for filler, times in Counter(given).items() if times > 1]
            if doubles:
                raise ValueError(f"prompt set {self.name}: {field}: {doubles[0]!r} given twice; name each once")
        both = [filler for filler in self.fillers if filler in self.corrupt_fillers]
        if both:
            raise ValueError(
                f"prompt set {self.name}: {both[0]!r} is in fillers and in corrupt_fillers; a filler decides for one of the answers: keep it in one"
            )
        return self

    @model_validator(mode="after")
    def _answers_differ(self) -> "PromptSet":
        if self.answer == self.wrong_answer:
            raise ValueError(
                f"prompt set {self.name}: answer and wrong_answer are both {self.answer!r}; their logit difference would be 0: give two tokens"
            )
        return self

    def filled(self, filler: str) -> str:
        """The text with the filler in its slot."""
        return SLOT.sub(lambda slot: filler, self.text)


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


class Screen(_Frozen):
    """How many tokens are screened: the most frequent of the vocabulary, as many as both limits allow."""

    tokens: int | None = Field(default=None, ge=0, le=A_LOT, description="At most so many tokens; 0: no screen.")
    memory: ByteSize = Field(default=ByteSize(2**30), ge=0, le=MOST_MEMORY, description="At most so much memory for their counters.")


MOST_OF_ATLAS = 250_000  # neurons of a model whose atlas holds all where a study does not say: some 1.2 GB with its pages


class Atlas(_Frozen):
    """Which neurons the atlas holds: every one, the studied ones, or none; and how many of the highest and of the lowest examples of each."""

    neurons: Literal["all", "studied", "none"] | None = Field(
        default=None, description="All where left out, of a model of more than 250,000 neurons the studied ones."
    )
    examples: int = Field(
        default=4, ge=1, le=100, description="Highest and lowest examples of each neuron; as many as are kept, where these are fewer."
    )

    def holds(self, neurons: int) -> str:
        """`all`, `studied` or `none`, of a model of so many neurons."""
        return self.neurons or ("all" if neurons <= MOST_OF_ATLAS else "studied")


TrackedToken = str | int  # checked by the study: a union of two limits would tell each fault three times


Outcome = Literal["top_prediction", "next_token", "probability"]


class Study(_Frozen):
    """A whole study. `name` is the file's name without its suffix, `folder` the folder that relative paths start from."""

    name: str
    folder: Path
    description: str = ""
    question: str = Field("", description="What the study asks, in one sentence; shown on top of the report.")
    model: ModelChoice
    corpus: CorpusChoice
    tokens: tuple[TrackedToken, ...] = Field(min_length=1, description="Tracked tokens, as text or id.")
    groups: dict[str, tuple[TrackedToken, ...]] = Field(
        default_factory=dict, description="Named sets of tracked tokens that are told as one as well, such as the spellings of a word."
    )
    contrasts: tuple[tuple[TrackedToken, TrackedToken], ...] | None = Field(
        None, description="Pairs of tracked tokens told against each other; answer and wrong answer of each prompt if absent."
    )
    neurons: tuple[NeuronChoice, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    prompt_sets: tuple[PromptSet, ...] = Field((), description="Prompts that differ in one word, patched pair by pair.")
    bins: FixedBins | CalibratedBins = FixedBins()
    count_bos: bool = Field(False, description="Count the beginning-of-sequence position, as the published count did.")
    embedding_predictions: bool = Field(False, description="Count top predictions by the embedding too, as the published count took them.")
    outcomes: tuple[Outcome, ...] = Field(
        ("top_prediction", "next_token"),
        description="What is counted of tracked tokens: top_prediction always; next_token, what follows in the text; probability, what the "
        "model gives the token, which costs time.",
    )
    outcome: Outcome = Field("top_prediction", description="The outcome that leads the report, for tokens that are common enough by it.")
    min_count: int = Field(20, ge=1, le=A_LOT, description="Positions that a bin needs to be reliable.")
    best_neurons: int = Field(5, ge=1, le=100, description="Best neurons per token that get curves and pages of their own.")
    examples: int = Field(10, ge=1, le=100, description="Top and bottom contexts kept per neuron, and random ones shown beside them.")
    patching_layers: tuple[int, ...] | Literal["all"] = Field("all", description="Layers whose neurons are patched one by one.")
    ablation_positions: int = Field(
        32, ge=0, le=MOST_POSITIONS, description="Positions of each kind per token at which neurons are ablated; 0: none."
    )
    batch_positions: int = Field(1024, ge=1, le=A_LOT, description="Positions that go through the model at once.")
    kept_positions: int = Field(
        8192, ge=0, le=A_LOT, description="Positions at which the pass keeps the activations of all neurons, for probes; 0: none."
    )
    screen: Screen = Field(Screen(), description="Tokens beside the tracked ones for which every neuron's mean is counted; off: none.")
    atlas: Atlas = Field(Atlas(), description="Which neurons the atlas holds, and how many examples of each.")
    memory: ByteSize | None = Field(
        None, ge=1, le=MOST_MEMORY, description="Memory that a run may use; what the machine has available if absent."
    )
    shards: int = Field(1, ge=1, le=9999, description="Partitions that the corpus is cut into.")
    schedule: str = Field("0 3 * * 1", description="Cron line in UTC; off until switched on in the UI.")

    @field_validator("tokens", "neurons", "prompts", "prompt_sets", "patching_layers", "outcomes", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("neurons", mode="before")
    @classmethod
    def _pairs_of_numbers(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        pairs = [{"layer": pair[0], "neuron": pair[1]} if isinstance(pair, list) and len(pair) == 2 else pair for pair in value]
        return tuple(pairs)

    @field_validator("tokens", mode="before")
    @classmethod
    def _text_or_entries(cls, values: Any) -> Any:
        for value in values if isinstance(values, list | tuple) else ():
            is_entry = isinstance(value, int) and not isinstance(value, bool) and value >= 0
            if not is_entry and not (isinstance(value, str) and value):
                raise ValueError(f"given {value!r}; a token is a text such as ' an', or the number of its vocabulary entry")
        return values

    @field_validator("groups", mode="before")
    @classmethod
    def _names_with_lists(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not all(isinstance(members, list | tuple) for members in value.values()):
            raise ValueError(f"given {_short(value)}; give names with lists of tracked tokens, such as {{an: [' an', 'An']}}")
        return {str(name): tuple(members) for name, members in value.items()}

    @field_validator("contrasts", mode="before")
    @classmethod
    def _pairs_of_tokens(cls, value: Any) -> Any:
        if value is None:
            return value
        is_pairs = isinstance(value, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value)
        if not is_pairs:
            raise ValueError(f"given {_short(value)}; give pairs of tracked tokens, such as [[' an', ' a']]")
        return tuple(tuple(pair) for pair in value)

    @field_validator("patching_layers", mode="before")
    @classmethod
    def _all_or_layers(cls, value: Any) -> Any:
        is_layers = (
            isinstance(value, list | tuple) and all(type(layer) is int and layer >= 0 for layer in value) and len(set(value)) == len(value)
        )
        if value != "all" and not (value and is_layers):
            raise ValueError(f"given {_short(value)}; give all, or a list of layers, each once and counted from 0")
        return value

    @field_validator("bins", mode="before")
    @classmethod
    def _calibrated_by_name(cls, value: Any) -> Any:
        if value != "calibrated" and not isinstance(value, dict | FixedBins | CalibratedBins):
            raise ValueError(f"given {value!r}; give {{per_unit, low, high}} or calibrated")
        if value == "calibrated":
            return CalibratedBins()
        if isinstance(value, dict) and "calibrated" in value:
            return CalibratedBins(**value)
        return FixedBins(**value) if isinstance(value, dict) else value

    @field_validator("screen", mode="before")
    @classmethod
    def _screen_or_off(cls, value: Any) -> Any:
        return {"tokens": 0} if value is False or value == "off" else value  # YAML reads a bare off as false

    @field_validator("schedule")
    @classmethod
    def _cron_line(cls, value: str) -> str:
        if not _is_cron(value):
            raise ValueError(f"{value!r} is no cron line; write five fields such as '0 3 * * 1' (Mondays at 03:00)")
        return value

    @model_validator(mode="after")
    def _no_doubles(self) -> "Study":
        for field, values in (
            ("tokens", self.tokens),  # the text "5" is another token than entry 5
            ("neurons", [(choice.layer, choice.neuron) for choice in self.neurons]),
            ("prompts", [prompt.name for prompt in self.prompts]),
            ("prompt_sets", [one.name for one in self.prompt_sets]),
        ):
            doubles = sorted(str(value) for value, times in Counter(values).items() if times > 1)
            if doubles:
                raise ValueError(f"{field}: {', '.join(doubles)} given twice; name each once")
        return self

    @model_validator(mode="after")
    def _groups_are_of_tracked_tokens(self) -> "Study":
        for name, members in self.groups.items():
            if not name or name in self.tokens:
                raise ValueError(f"groups: {name!r} is the name of a group and of a token; call the group something else")
            if len(set(members)) < 2 or len(set(members)) < len(members):
                raise ValueError(f"groups: {name}: given {', '.join(map(repr, members)) or 'none'}; name two tokens or more, each once")
            absent = [token for token in members if token not in self.tokens]
            if absent:
                raise ValueError(f"groups: {name}: {absent[0]!r} is not tracked; add it to tokens (a member is one vocabulary entry)")
        return self

    @model_validator(mode="after")
    def _contrasts_are_of_two_tracked_tokens(self) -> "Study":
        for one, other in self.contrasts or ():
            if one == other:
                raise ValueError(f"contrasts: {one!r} against itself; name two different tokens")
            absent = [token for token in (one, other) if token not in self.tokens]
            if absent:
                raise ValueError(f"contrasts: {absent[0]!r} is not tracked; add it to tokens")
        doubles = [pair for pair, times in Counter(self.contrasts or ()).items() if times > 1]
        if doubles:
            raise ValueError(f"contrasts: {doubles[0][0]!r} against {doubles[0][1]!r} given twice; name it once")
        return self

    @model_validator(mode="after")
    def _outcomes_are_counted(self) -> "Study":
        if "top_prediction" not in self.outcomes or len(set(self.outcomes)) < len(self.outcomes):
            raise ValueError(
                f"outcomes: given {', '.join(self.outcomes) or 'none'}; name top_prediction, which is always counted, and each once"
            )
        if self.outcome not in self.outcomes:
            raise ValueError(f"outcome: {self.outcome} leads, but outcomes are {', '.join(self.outcomes)}; add it there")
        return self

    @model_validator(mode="after")
    def _atlas_shows_what_is_kept(self) -> "Study":
        given = "examples" in self.atlas.model_fields_set  # left out, it follows the study's
        if given and self.atlas.examples > self.examples:
            raise ValueError(
                f"atlas: examples is {self.atlas.examples}, but the pass keeps {self.examples} of each neuron; give at most "
                f"{self.examples}, or raise the study's examples"
            )
        return self

    @property
    def further_outcomes(self) -> tuple[str, ...]:
        """The outcomes beside top predictions that are counted, in one order however they are named."""
        return tuple(outcome for outcome in get_args(Outcome)[1:] if outcome in self.outcomes)

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
        return Path(os.path.realpath(self.folder / relative))  # Path.resolve raises for a link that leads to itself

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
    if len(file.stem) > LONGEST_NAME:
        raise StudyError(f"{file}: the name has {len(file.stem)} characters, at most {LONGEST_NAME} are allowed; rename the file")
    if file.stem in TAKEN_NAMES:
        raise StudyError(f"{file}: the name {file.stem!r} is the product's own ({', '.join(TAKEN_NAMES)}); rename the file")
    try:
        content = read_yaml(file)
    except FileNotFoundError:
        raise StudyError(f"{file}: no such file; give the path of a study, or the name of one in orchestration/studies/") from None
    except YamlFileError as error:
        raise StudyError(f"{file}: {error}") from None
    if not isinstance(content, dict):
        raise StudyError(f"{file}: holds {type(content).__name__}, not fields; a study needs at least model, corpus and tokens")
    odd = [key for key in content if not isinstance(key, str)]
    if odd:
        raise StudyError(f"{file}: field {odd[0]!r}: unknown; see docs/study.md for the fields")
    taken = {"name", "folder"} & set(content)
    if taken:
        raise StudyError(f"{file}: field {', '.join(sorted(taken))} is given by where the file lies; leave it out")
    try:
        return Study(name=file.stem, folder=file.parent.resolve(), **content)
    except ValidationError as error:
        sentences = [_sentence(file, fault) for fault in error.errors()[:MOST_FAULTS]]
        more = error.error_count() - len(sentences)
        raise StudyError("\n".join([*sentences, *([f"{file}: and {more} more faults"] if more else [])])) from None


def claims_file(study: Study) -> Path:
    """Where the study's claims lie, if it has any: beside the study file."""
    return study.folder / f"{study.name}{CLAIMS_SUFFIX}"


def study_files(folder: Path) -> list[Path]:
    """The study files of a folder, by name: every .yaml file that holds no claims."""
    return sorted(file for file in folder.glob("*.yaml") if not file.name.endswith(CLAIMS_SUFFIX))


def read_studies(folder: Path) -> list[Study]:
    """Every study file of a folder, by name. Raises StudyError with the faults of all files at once."""
    if not folder.is_dir():
        raise StudyError(f"{folder}: no such folder of studies; correct NEURON_ATLAS_STUDIES")
    studies, faults = [], []
    for file in study_files(folder):
        try:
            studies.append(read_study(file))
        except StudyError as error:
            faults.append(str(error))
    if faults:
        raise StudyError("\n".join(faults))
    return studies


# What pydantic calls things, and what they are called in a study file.
_PLAIN = {
    "tuple_type": "it must be a list",
    "model_type": "it must hold fields of its own",
    "bool_type": "it must be true or false",
}  # fmt: skip


def _sentence(file: Path, fault: Any) -> str:
    field = ".".join(str(part) for part in fault["loc"]) or "study"
    if fault["type"] == "missing":
        return f"{file}: field {field}: missing; it must be given"
    if fault["type"] == "extra_forbidden":
        return f"{file}: field {field}: unknown (given {_short(fault['input'])}); see docs/study.md for the fields"
    if fault["type"] == "value_error":
        return f"{file}: field {field}: {fault['ctx']['error']}"
    wanted = _PLAIN.get(fault["type"], f"{fault['msg'][0].lower()}{fault['msg'][1:]}".replace("tuple", "list"))
    if fault["type"] == "model_type" and field.startswith("neurons."):
        wanted = "a neuron is [layer, neuron]"
    return f"{file}: field {field}: given {_short(fault['input'])}; {wanted}"


def _path_or_id(value: str) -> str:
    """A path, URL or hub id as it was given. Raises ValueError for what no file system and no server takes."""
    parts = [len(part.encode()) for part in value.split("/")]
    if "\0" in value or max(parts) > LONGEST_PART or len(value.encode()) > LONGEST_PATH:
        raise ValueError(
            f"given {_short(value)}; a path holds no NUL, at most {LONGEST_PART} bytes between slashes and {LONGEST_PATH} in all"
        )
    if re.match(r"[a-z][a-z0-9+.-]*://[^/@]*:[^/@]*@", value):
        raise ValueError(
            "a URL may hold no password: it would stand in every report; credentials belong in the environment (docs/storage.md)"
        )
    return value


def _short(value: Any) -> str:
    """A value as it was given, cut where it is long."""
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 120 else f"{text[:120]}..."
