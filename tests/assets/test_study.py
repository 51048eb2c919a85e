"""Study files: what is accepted, and the exact sentence that each malformed one gets."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from assets.study import MOST_OF_ATLAS, CalibratedBins, FixedBins, StudyError, read_studies, read_study
from orchestration.settings import SHIPPED_STUDIES

LEAST: dict = {"model": {"id": "model"}, "corpus": {"files": ["text.txt"]}, "tokens": [" an"]}
FRUIT = {"name": "a", "text": "the {fruit} tree", "answer": "y", "fillers": ["apple"], "wrong_answer": "z", "corrupt_fillers": ["lemon"]}


MINIMAL = "model: {id: model}\ncorpus: {files: [text.txt]}\ntokens: [' an']\n"
# Ten aliases of ten aliases of ...: a few lines that stand for 10^10 values, in lists and in merged fields.
BILLIONS = "a0: &a0 [x]\n" + "".join(f"a{row}: &a{row} [{', '.join([f'*a{row - 1}'] * 10)}]\n" for row in range(1, 11))
MERGED_BILLIONS = "a0: &a0 {x: y}\n" + "".join(f"a{row}: &a{row} {{<<: [{', '.join([f'*a{row - 1}'] * 10)}]}}\n" for row in range(1, 11))


def write(folder: Path, fields: object, name: str = "my-study.yaml") -> Path:
    """A study file: text and bytes as they are, anything else as YAML."""
    file = folder / name
    content = fields if isinstance(fields, str | bytes) else yaml.safe_dump(fields)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
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


def test_tokens_may_be_texts_or_entries_and_layers_a_list(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, {**LEAST, "tokens": [" an", 5], "patching_layers": [2, 0], "neurons": [[1, 2]]}))
    assert study.tokens == (" an", 5)
    assert study.patching_layers == (2, 0)
    assert (study.neurons[0].layer, study.neurons[0].neuron) == (1, 2)
    assert read_study(write(tmp_path, {**LEAST, "patching_layers": "all"})).patching_layers == "all"


def test_the_slot_of_a_prompt_set_is_filled_wherever_it_stands_and_other_braces_stay(tmp_path: Path) -> None:
    (one,) = read_study(write(tmp_path, {**LEAST, "prompt_sets": [{**FRUIT, "text": "{fruit}: {x y} the {fruit} tree {}"}]})).prompt_sets
    assert one.filled("{apple}\\1") == "{apple}\\1: {x y} the {apple}\\1 tree {}"
    assert (one.fillers, one.corrupt_fillers, one.pairs) == (("apple",), ("lemon",), 48)
    assert read_study(write(tmp_path, LEAST)).prompt_sets == ()


def test_the_screen_may_be_sized_or_off_and_memory_is_given_in_units(tmp_path: Path) -> None:
    least = read_study(write(tmp_path, LEAST))
    assert (least.screen.tokens, least.screen.memory, least.memory) == (None, 2**30, None)
    for off in (False, "off"):  # a bare off in YAML is false
        assert read_study(write(tmp_path, {**LEAST, "screen": off})).screen.tokens == 0
    study = read_study(write(tmp_path, {**LEAST, "screen": {"tokens": 2000, "memory": "1.5GiB"}, "memory": "8GiB"}))
    assert (study.screen.tokens, study.screen.memory, study.memory) == (2000, 3 * 2**29, 8 * 2**30)


def test_the_atlas_holds_all_neurons_and_as_many_examples_as_are_kept_unless_told_otherwise(tmp_path: Path) -> None:
    least = read_study(write(tmp_path, LEAST))
    assert (least.atlas.neurons, least.atlas.examples) == (None, 4)
    assert [least.atlas.holds(neurons) for neurons in (1, MOST_OF_ATLAS, MOST_OF_ATLAS + 1)] == ["all", "all", "studied"]
    assert read_study(write(tmp_path, {**LEAST, "examples": 3})).atlas.examples == 4  # of which three are kept
    given = read_study(write(tmp_path, {**LEAST, "examples": 3, "atlas": {"neurons": "none", "examples": 3}}))
    assert (given.atlas.neurons, given.atlas.examples) == ("none", 3)
    for holds in ("all", "studied", "none"):
        assert read_study(write(tmp_path, {**LEAST, "atlas": {"neurons": holds}})).atlas.holds(MOST_OF_ATLAS + 1) == holds


def test_the_hash_changes_with_any_field_and_not_with_the_folder(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    here, there = read_study(write(tmp_path, LEAST)), read_study(write(tmp_path / "other", LEAST))
    changed = read_study(write(tmp_path, {**LEAST, "min_count": 21}))
    assert here.hash == there.hash != changed.hash


def test_the_shipped_studies_are_valid_and_the_hub_ones_name_commits() -> None:
    studies = {study.name: study for study in read_studies(SHIPPED_STUDIES)}
    assert set(studies) == {"demo", "an-neuron-gpt2-large", "an-neuron-gpt2-small", "an-neuron-pythia-160m", "an-neuron-smollm2-135m"}
    large = studies["an-neuron-gpt2-large"]
    assert large.model.revision == "32b71b12589c2f8d625668d2335a01cac3249519"
    assert large.tokens[:4] == (" an", " a", " any", " had")  # the others are those of the published curves
    assert (large.neurons[0].layer, large.neurons[0].neuron) == (31, 892)


MALFORMED: list[tuple[object, str]] = [
    ({**LEAST, "tokens": []}, "field tokens: given []; list should have at least 1 item after validation, not 0"),
    ({k: v for k, v in LEAST.items() if k != "model"}, "field model: missing; it must be given"),
    ({**LEAST, "modell": 1}, "field modell: unknown (given 1); see docs/study.md for the fields"),
    ({**LEAST, "model": {"id": "m", "dtype": "float8"}}, "field model.dtype: given 'float8'; input should be 'float32', 'bfloat16' or 'float16'"),
    ({**LEAST, "model": {"id": "m", "linear_maps": "prepacked", "dtype": "bfloat16"}}, "field model: linear_maps 'prepacked' needs dtype float32 and device cpu (or auto, where there is no GPU), not bfloat16 and auto; leave it at 'plain'"),
    ({**LEAST, "model": {"id": "m", "linear_maps": "fast"}}, "field model.linear_maps: given 'fast'; input should be 'plain' or 'prepacked'"),
    ({**LEAST, "model": {"id": "m", "device": "gpu"}}, "field model.device: given 'gpu'; string should match pattern '^(auto|cpu|cuda(:\\d+)?)$'"),
    ({**LEAST, "corpus": {}}, "field corpus: give either `id` (a hub data set) or `files` (local files), not both and not neither"),
    ({**LEAST, "corpus": {"id": "a/b", "files": ["x.txt"]}}, "field corpus: give either `id` (a hub data set) or `files` (local files), not both and not neither"),
    ({**LEAST, "corpus": {"files": ["x.docx"]}}, "field corpus: file 'x.docx' is not one of .parquet, .arrow, .jsonl, .json, .csv, .txt, or one of the last 4 packed as .gz, .bz2, .xz, .zst; a folder (with a / behind a name with a dot) or a pattern such as part-*.jsonl can be given too"),
    ({**LEAST, "corpus": {"files": ["s3://bucket/texts"]}}, "field corpus: file 's3://bucket/texts' is not one of .parquet, .arrow, .jsonl, .json, .csv, .txt, or one of the last 4 packed as .gz, .bz2, .xz, .zst; a folder (with a / behind a name with a dot) or a pattern such as part-*.jsonl can be given too"),
    ({**LEAST, "corpus": {"files": ["x.csv"], "config": "en"}}, "field corpus: config is of a hub data set; leave it out, or give `id` instead of `files`"),
    ({**LEAST, "corpus": {"files": ["x.txt"], "documents": 0}}, "field corpus.documents: given 0; input should be greater than or equal to 1"),
    ({**LEAST, "corpus": {"files": ["x.txt"], "context_length": 1}}, "field corpus.context_length: given 1; input should be greater than or equal to 2"),
    ({**LEAST, "corpus": {"files": ["x.txt"], "windows": "last"}}, "field corpus.windows: given 'last'; input should be 'first' or 'all'"),
    ({**LEAST, "corpus": {"files": ["x.txt"], "domain_column": "kind", "domain_by_file": True}}, "field corpus: give either `domain_column` or `domain_by_file`, not both: a document is of one domain"),
    ({**LEAST, "corpus": {"id": "a/b", "domain_by_file": True}}, "field corpus: domain_by_file needs `files`; for a hub data set name the column by `domain_column`"),
    ({**LEAST, "corpus": {"files": ["x.jsonl"], "domain_column": "meta..name"}}, "field corpus: domain_column 'meta..name' has an empty part; write the names of nested fields with a dot between"),
    ({**LEAST, "corpus": {"files": ["x.jsonl"], "domain_column": ""}}, "field corpus.domain_column: given ''; string should have at least 1 character"),
    ({**LEAST, "corpus": {"files": ["x.jsonl"], "domain_by_file": "yes"}}, "field corpus.domain_by_file: given 'yes'; it must be true or false"),
    ({**LEAST, "neurons": [[1]]}, "field neurons.0: given [1]; a neuron is [layer, neuron]"),
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
    ({**LEAST, "prompts": [{"name": "a", "text": "x", "answer": "y", "wrong_answer": "y"}]}, "field prompts.0: prompt a: answer and wrong_answer are both 'y'; their logit difference would be 0: give two tokens"),
    ({**LEAST, "prompts": [{"name": "a", "text": "x", "corrupt": "x", "answer": "y", "wrong_answer": "z"}]}, "field prompts.0: prompt a: corrupt is the same text as text; nothing could be patched: change the word that decides the answer"),
    ({**LEAST, "memory": "lots"}, "field memory: given 'lots'; could not parse value and unit from byte string"),
    ({**LEAST, "memory": 0}, "field memory: given 0; input should be greater than or equal to 1"),
    ({**LEAST, "screen": {"tokens": -1}}, "field screen.tokens: given -1; input should be greater than or equal to 0"),
    ({**LEAST, "screen": "wide"}, "field screen: given 'wide'; it must hold fields of its own"),
    ({**LEAST, "name": "x"}, "field name is given by where the file lies; leave it out"),
    ({**LEAST, "tokens": " an"}, "field tokens: given ' an'; it must be a list"),
    ({**LEAST, "tokens": [""]}, "field tokens: given ''; a token is a text such as ' an', or the number of its vocabulary entry"),
    ({**LEAST, "tokens": [-1]}, "field tokens: given -1; a token is a text such as ' an', or the number of its vocabulary entry"),
    ({**LEAST, "tokens": [" an", True]}, "field tokens: given True; a token is a text such as ' an', or the number of its vocabulary entry"),
    ({**LEAST, "tokens": [None]}, "field tokens: given None; a token is a text such as ' an', or the number of its vocabulary entry"),
    ({**LEAST, "model": "gpt2"}, "field model: given 'gpt2'; it must hold fields of its own"),
    ({**LEAST, "model": {"id": ""}}, "field model.id: given ''; string should have at least 1 character"),
    ({**LEAST, "model": {"id": "m", "trust_remote_code": True}}, "field model.trust_remote_code: unknown (given True); see docs/study.md for the fields"),
    ({**LEAST, "corpus": {"id": ""}}, "field corpus.id: given ''; string should have at least 1 character"),
    ({**LEAST, "corpus": {"files": "x.txt"}}, "field corpus.files: given 'x.txt'; it must be a list"),
    ({**LEAST, "corpus": {"files": ["x.txt"], "context_length": "many"}}, "field corpus.context_length: given 'many'; input should be a valid integer"),
    ({**LEAST, "neurons": 5}, "field neurons: given 5; it must be a list"),
    ({**LEAST, "neurons": "31/892"}, "field neurons: given '31/892'; it must be a list"),
    ({**LEAST, "neurons": [[1, 2, 3]]}, "field neurons.0: given [1, 2, 3]; a neuron is [layer, neuron]"),
    ({**LEAST, "patching_layers": "last"}, "field patching_layers: given 'last'; give all, or a list of layers, each once and counted from 0"),
    ({**LEAST, "patching_layers": [-1]}, "field patching_layers: given [-1]; give all, or a list of layers, each once and counted from 0"),
    ({**LEAST, "patching_layers": [0, 0]}, "field patching_layers: given [0, 0]; give all, or a list of layers, each once and counted from 0"),
    ({**LEAST, "prompts": [{"name": "../x", "text": "x", "answer": "y", "wrong_answer": "z"}]}, "field prompts.0.name: given '../x'; string should match pattern '^[a-z0-9]+(-[a-z0-9]+)*$'"),
    ({**LEAST, "prompts": [{"name": "a", "text": "x", "wrong_answer": "z"}]}, "field prompts.0.answer: missing; it must be given"),
    ({**LEAST, "prompts": [{"name": "a", "text": "x", "answer": "y", "wrong_answer": "z"}] * 2}, "field study: prompts: a given twice; name each once"),
    ({**LEAST, "bins": 5}, "field bins: given 5; give {per_unit, low, high} or calibrated"),
    ({**LEAST, "bins": {"per_unit": float("nan")}}, "field bins.per_unit: given nan; input should be greater than 0"),
    ({**LEAST, "bins": {"low": float("-inf")}}, "field bins: edge -inf x per_unit 5.0 must be a whole number, so that bins end on the edges"),
    ({**LEAST, "bins": {"per_unit": 1000}}, "field bins: 16000 bins; at most 4096 are allowed"),
    ({**LEAST, "bins": {"calibrated": 9}}, "field bins.calibrated: given 9; input should be a multiple of 2"),
    ({**LEAST, "bins": {"calibrated": 64, "low": 1}}, "field bins.low: unknown (given 1); see docs/study.md for the fields"),
    ({**LEAST, "shards": True}, "field shards: given True; input should be a valid integer"),
    ({**LEAST, "embedding_predictions": 1}, "field embedding_predictions: given 1; it must be true or false"),
    ({**LEAST, "count_bos": "yes"}, "field count_bos: given 'yes'; it must be true or false"),
    ({**LEAST, "best_neurons": 101}, "field best_neurons: given 101; input should be less than or equal to 100"),
    ({**LEAST, "schedule": 5}, "field schedule: given 5; input should be a valid string"),
    (LEAST | {1: 2}, "field 1: unknown; see docs/study.md for the fields"),
    ({**LEAST, "extra": "x" * 1000}, "field extra: unknown (given '" + "x" * 119 + "...); see docs/study.md for the fields"),
    ("model: {id: m}\nmodel: {id: n}\n", "not readable as YAML: field 'model' is given twice"),
    ("!!python/object/apply:os.system ['true']\n", "not readable as YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.system'"),
    ("[" * 2000, "not readable as YAML: maximum recursion depth exceeded"),
    ("tokens: [\x00]", "not readable as YAML: unacceptable character #x0000: special characters are not allowed"),
    ("\t- x", "not readable as YAML: while scanning for the next token found character '\\t' that cannot start any token"),
    ("- a\n- b\n", "holds list, not fields; a study needs at least model, corpus and tokens"),
    ("a: [\n", "not readable as YAML: while parsing"),
    ("", "holds NoneType, not fields; a study needs at least model, corpus and tokens"),
    ("# nothing\n", "holds NoneType, not fields; a study needs at least model, corpus and tokens"),
    (MINIMAL + BILLIONS, "holds more than 200,000 values, aliases counted as what they stand for; write only what is needed"),
    (MINIMAL + MERGED_BILLIONS, "holds more than 200,000 values, aliases counted as what they stand for; write only what is needed"),
    ("tokens: &all [' an', *all]\n", "not readable as YAML: an alias stands for what it is part of (line 1, column 9)"),
    (MINIMAL + "<<: {shards: 2}\n", "field <<: unknown (given {'shards': 2}); see docs/study.md for the fields"),
    (MINIMAL + "description: " + "x" * 10_000_000, "has 10,000,076 bytes, at most 1,000,000 are read; texts belong in corpus.files"),
    (MINIMAL + "min_count: " + "9" * 5000, "not readable as YAML: '" + "9" * 59 + "... is a number of too many digits (line 4, column 12)"),
    (MINIMAL + "min_count: 0x" + "f" * 5000, "not readable as YAML: '0x" + "f" * 57 + "... is a number of too many digits (line 4, column 12)"),
    (MINIMAL + "min_count: 99999999999999999999", "field min_count: given 99999999999999999999; input should be less than or equal to 1000000000000"),
    (MINIMAL + "neurons: [[99999999999999999999, 0]]", "field neurons.0.layer: given 99999999999999999999; input should be less than or equal to 1000000000000"),
    (MINIMAL + "memory: 99999999999GiB", "field memory: given '99999999999GiB'; input should be less than or equal to 1125899906842624"),
    (MINIMAL + "shards: !!int ''", "not readable as YAML: '' is no int that can be read (line 4, column 9)"),
    (MINIMAL + "count_bos: !!bool maybe", "not readable as YAML: 'maybe' is no bool that can be read (line 4, column 12)"),
    (MINIMAL + "shards: !!timestamp soon", "not readable as YAML: 'soon' is no timestamp that can be read (line 4, column 9)"),
    (MINIMAL.replace("' an'", "12:30"), "not readable as YAML: '12:30' is a number to the base of 60 in YAML; put it in quotes if it is a text (line 3, column 10)"),
    (MINIMAL.replace("' an'", '"\\ud800"'), "not readable as YAML: '\\ud800' holds half a character (a lone surrogate), which no file and no page can (line 3, column 10)"),
    (MINIMAL + "? {a: 1}\n: 3\n", "not readable as YAML: a field's name is a dict, not text (line 4, column 3)"),
    (MINIMAL + "---\n" + MINIMAL, "not readable as YAML: expected a single document in the stream but found another document (line 4, column 1)"),
    (MINIMAL.encode("utf-16"), "not readable as YAML: byte 0 is 0xff, no UTF-8; save it as UTF-8"),
    (b"question: caf\xe9\n", "not readable as YAML: byte 13 is 0xe9, no UTF-8; save it as UTF-8"),
    ({**LEAST, "model": {"id": "a\0b"}}, "field model.id: given 'a\\x00b'; a path holds no NUL, at most 255 bytes between slashes and 1024 in all"),
    ({**LEAST, "model": {"id": "m" * 300}}, "field model.id: given '" + "m" * 119 + "...; a path holds no NUL, at most 255 bytes between slashes and 1024 in all"),
    ({**LEAST, "corpus": {"files": ["x\0.txt"]}}, "field corpus: given 'x\\x00.txt'; a path holds no NUL, at most 255 bytes between slashes and 1024 in all"),
    ({**LEAST, "corpus": {"files": ["x.txt", "x.txt"]}}, "field corpus: files: x.txt given twice; name each once: every document of it would be counted twice"),
    ({**LEAST, "corpus": {"files": ["s3://key:secret@bucket/x.txt"]}}, "field corpus: a URL may hold no password: it would stand in every report; credentials belong in the environment (docs/storage.md)"),
    ({**LEAST, "schedule": "* * * * * *"}, "field schedule: '* * * * * *' is no cron line; write five fields such as '0 3 * * 1' (Mondays at 03:00)"),
    ({**LEAST, "outcomes": ["luck"]}, "field outcomes.0: given 'luck'; input should be 'top_prediction', 'next_token' or 'probability'"),
    ({**LEAST, "outcomes": ["next_token"]}, "field study: outcomes: given next_token; name top_prediction, which is always counted, and each once"),
    ({**LEAST, "outcomes": ["top_prediction"] * 2}, "field study: outcomes: given top_prediction, top_prediction; name top_prediction, which is always counted, and each once"),
    ({**LEAST, "outcome": "rank"}, "field outcome: given 'rank'; input should be 'top_prediction', 'next_token' or 'probability'"),
    ({**LEAST, "outcome": "probability"}, "field study: outcome: probability leads, but outcomes are top_prediction, next_token; add it there"),
    ({**LEAST, "contrasts": [" an"]}, "field contrasts: given [' an']; give pairs of tracked tokens, such as [[' an', ' a']]"),
    ({**LEAST, "contrasts": [[" an", " an"]]}, "field study: contrasts: ' an' against itself; name two different tokens"),
    ({**LEAST, "contrasts": [[" an", " a"]]}, "field study: contrasts: ' a' is not tracked; add it to tokens"),
    ({**LEAST, "tokens": [" an", " a"], "contrasts": [[" an", " a"]] * 2}, "field study: contrasts: ' an' against ' a' given twice; name it once"),
    ({**LEAST, "groups": [" an"]}, "field groups: given [' an']; give names with lists of tracked tokens, such as {an: [' an', 'An']}"),
    ({**LEAST, "groups": {" an": [" an", " a"]}}, "field study: groups: ' an' is the name of a group and of a token; call the group something else"),
    ({**LEAST, "groups": {"an": [" an"]}}, "field study: groups: an: given ' an'; name two tokens or more, each once"),
    ({**LEAST, "groups": {"an": [" an", " apple tree"]}}, "field study: groups: an: ' apple tree' is not tracked; add it to tokens (a member is one vocabulary entry)"),
    ({**LEAST, "prompts": None}, "field prompts: given None; it must be a list"),
    ({**LEAST, "prompt_sets": [{**FRUIT, "text": "the tree"}]}, "field prompt_sets.0: prompt set a: text has no slot; write one name in braces, such as {fruit}, where the fillers go"),
    ({**LEAST, "prompt_sets": [{**FRUIT, "text": "the {} tree { fruit }"}]}, "field prompt_sets.0: prompt set a: text has no slot; write one name in braces, such as {fruit}, where the fillers go"),
    ({**LEAST, "prompt_sets": [{**FRUIT, "text": "the {fruit} {tree}"}]}, "field prompt_sets.0: prompt set a: text has the slots {fruit}, {tree}; write one name in braces, such as {fruit}, where the fillers go"),
    ({**LEAST, "prompt_sets": [{**FRUIT, "fillers": []}]}, "field prompt_sets.0: prompt set a: fillers: given none; give a list of texts for the slot, at least one"),
    ({**LEAST, "prompt_sets": [{**FRUIT, "corrupt_fillers": ["lemon", ""]}]}, "field prompt_sets.0: prompt set a: corrupt_fillers: given an empty text; give a list of texts for the slot, at least one"),
    ({**LEAST, "prompt_sets": [{**FRUIT, "fillers": "apple"}]}, "field prompt_sets.0.fillers: given 'apple'; it must be a list"),
    ({**LEAST, "prompt_sets": [{**FRUIT, "fillers": ["apple", 5]}]}, "field prompt_sets.0.fillers.1: given 5; input should be a valid string"),
    ({**LEAST, "prompt_sets": [{**FRUIT, "fillers": ["apple", "apple"]}]}, "field prompt_sets.0: prompt set a: fillers: 'apple' given twice; name each once"),
    ({**LEAST, "prompt_sets": [{**FRUIT, "fillers": ["apple", "lemon"]}]}, "field prompt_sets.0: prompt set a: 'lemon' is in fillers and in corrupt_fillers; a filler decides for one of the answers: keep it in one"),
    ({**LEAST, "prompt_sets": [{**FRUIT, "answer": "z"}]}, "field prompt_sets.0: prompt set a: answer and wrong_answer are both 'z'; their logit difference would be 0: give two tokens"),
    ({**LEAST, "prompt_sets": [{**FRUIT, "pairs": 0}]}, "field prompt_sets.0.pairs: given 0; input should be greater than or equal to 1"),
    ({**LEAST, "prompt_sets": [{**FRUIT, "pairs": 513}]}, "field prompt_sets.0.pairs: given 513; input should be less than or equal to 512"),
    ({**LEAST, "prompt_sets": [{**FRUIT, "slots": 2}]}, "field prompt_sets.0.slots: unknown (given 2); see docs/study.md for the fields"),
    ({**LEAST, "prompt_sets": [FRUIT, FRUIT]}, "field study: prompt_sets: a given twice; name each once"),
    ({**LEAST, "prompt_sets": {"name": "a"}}, "field prompt_sets: given {'name': 'a'}; it must be a list"),
    ({**LEAST, "atlas": "all"}, "field atlas: given 'all'; it must hold fields of its own"),
    ({**LEAST, "atlas": {"neurons": "some"}}, "field atlas.neurons: given 'some'; input should be 'all', 'studied' or 'none'"),
    ({**LEAST, "atlas": {"examples": 0}}, "field atlas.examples: given 0; input should be greater than or equal to 1"),
    ({**LEAST, "atlas": {"examples": 11}}, "field study: atlas: examples is 11, but the pass keeps 10 of each neuron; give at most 10, or raise the study's examples"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "message"), MALFORMED, ids=[str(number) for number in range(len(MALFORMED))])
def test_a_malformed_study_gets_one_clear_sentence(tmp_path: Path, fields: object, message: str) -> None:
    file = write(tmp_path, fields)
    with pytest.raises(StudyError) as caught:
        read_study(file)
    told = str(caught.value)
    assert told == f"{file}: {message}" or (message.startswith("not readable as YAML: ") and told.startswith(f"{file}: {message}"))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_bad_file_name_are_told(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no such file; give the path of a study"):
        read_study(tmp_path / "none.yaml")
    with pytest.raises(StudyError, match="the name 'My Study' must be lower-case words"):
        read_study(write(tmp_path, LEAST, "My Study.yaml"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file: file.mkdir(), "is a folder; give a YAML file"),
        (os.mkfifo, "is no plain file; give a YAML file"),  # opening it would wait for ever
        (lambda file: file.symlink_to("/dev/zero"), "is no plain file; give a YAML file"),
        (lambda file: file.symlink_to(file), "no such file; give the path of a study, or the name of one in orchestration/studies/"),
        (
            lambda file: file.symlink_to("nowhere.yaml"),
            "no such file; give the path of a study, or the name of one in orchestration/studies/",
        ),
    ],
    ids=["folder", "pipe", "endless device", "link to itself", "link to nothing"],
)
def test_what_is_no_plain_file_is_told_and_not_waited_for(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    file = tmp_path / "my-study.yaml"
    make(file)
    with pytest.raises(StudyError) as caught:
        read_study(file)
    assert str(caught.value) == f"{file}: {message}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My-Study", "the name 'My-Study' must be lower-case words and numbers joined by '-', e.g. an-neuron-gpt2.yaml"),
        ("..", "the name '..' must be lower-case words and numbers joined by '-', e.g. an-neuron-gpt2.yaml"),
        ("a_b", "the name 'a_b' must be lower-case words and numbers joined by '-', e.g. an-neuron-gpt2.yaml"),
        ("ünï", "the name 'ünï' must be lower-case words and numbers joined by '-', e.g. an-neuron-gpt2.yaml"),
        ("a" * 101, "the name has 101 characters, at most 100 are allowed; rename the file"),
        ("across-models", "the name 'across-models' is the product's own (across-models, reports, studies-with-faults); rename the file"),
        ("reports", "the name 'reports' is the product's own (across-models, reports, studies-with-faults); rename the file"),
    ],
)
def test_a_name_that_folders_and_jobs_cannot_have_is_refused(tmp_path: Path, name: str, message: str) -> None:
    file = write(tmp_path, LEAST, f"{name}.yaml")
    with pytest.raises(StudyError) as caught:
        read_study(file)
    assert str(caught.value) == f"{file}: {message}"


def test_dates_and_signs_are_text_and_a_text_is_another_token_than_the_entry_of_that_number(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, MINIMAL.replace("' an'", "=, 1, '1', 2001-02-30") + "question: 2001-01-01\n"))
    assert (study.tokens, study.question) == (("=", 1, "1", "2001-02-30"), "2001-01-01")


def test_of_very_many_faults_the_first_are_told(tmp_path: Path) -> None:
    with pytest.raises(StudyError) as caught:
        read_study(write(tmp_path, MINIMAL + "".join(f"field{number}: 1\n" for number in range(50))))
    told = str(caught.value).splitlines()
    assert len(told) == 21
    assert told[-1].endswith(": and 30 more faults")


def test_a_folder_of_studies_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no such folder of studies; correct NEURON_ATLAS_STUDIES"):
        read_studies(tmp_path / "nowhere")


def test_a_link_that_leads_to_itself_is_a_path_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert not read_study(write(tmp_path, LEAST)).path("loop/model").is_dir()
