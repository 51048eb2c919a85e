"""Every kind of file, folder and pattern that a corpus can name: the same rows out of each, and the sentence for what cannot be read."""

import bz2
import gzip
import json
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import fsspec
import polars as pl
import pyarrow as pa
import pytest

from assets.corpus.source_rows import CorpusError
from assets.source_files import SourceFileError, local_files, remote_files, source_files
from tests.assets.corpus.test_corpus_documents import read_corpus, study

TEXTS = ["NA", "123", 'a "quoted", text\nof two lines', "null"]


def jsonl(texts: list[str]) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


def csv_of(texts: list[str]) -> bytes:
    return ("number,text\n" + "".join(f'{n},"{text.replace(chr(34), chr(34) * 2)}"\n' for n, text in enumerate(texts))).encode()


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


PACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}
WRITTEN = {".jsonl": jsonl, ".csv": csv_of, ".json": lambda texts: json.dumps([{"text": text} for text in texts], indent=1).encode()}


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("kind", WRITTEN)
def test_text_files_read_alike_however_they_are_written_and_packed(tmp_path: Path, kind: str, packing: str) -> None:
    (tmp_path / f"c.v2{kind}{packing}").write_bytes(PACKED[packing](WRITTEN[kind](TEXTS)))
    assert read_corpus(study(tmp_path, files=[f"c.v2{kind}{packing}"])).documents["text"].to_list() == TEXTS


@pytest.mark.parametrize("packing", [".gz", ".bz2", ".xz", ".zst"])
def test_several_frames_are_one_text_and_a_file_that_is_cut_off_is_refused(tmp_path: Path, packing: str) -> None:
    pack = PACKED[packing]
    whole = pack(jsonl(["a"] * 5000)) + pack(jsonl(["b"] * 5000))
    file = tmp_path / f"c.jsonl{packing}"
    file.write_bytes(whole)
    assert read_corpus(study(tmp_path, files=[file.name])).rows_read == 10_000
    file.write_bytes(whole[:-10])
    with pytest.raises(CorpusError, match=rf"c.jsonl{packing}: not readable as .jsonl: "):
        read_corpus(study(tmp_path, files=[file.name]))
    file.write_bytes(b"nonsense" * 100)
    with pytest.raises(CorpusError, match=rf"c.jsonl{packing}: not readable as .jsonl: "):
        read_corpus(study(tmp_path, files=[file.name]))


def test_a_text_that_is_packed_is_one_document(tmp_path: Path) -> None:
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"two\nlines"))
    assert read_corpus(study(tmp_path, files=["c.txt.gz"])).documents["text"].to_list() == ["two\nlines"]


def test_lines_of_objects_in_a_file_named_json_are_lines(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(jsonl(TEXTS))
    assert read_corpus(study(tmp_path, files=["c.json"])).documents["text"].to_list() == TEXTS


@pytest.mark.parametrize("type_of_text", [pl.String, pl.Categorical])
def test_text_of_a_table_may_be_held_by_dictionary(tmp_path: Path, type_of_text: pl.DataType) -> None:
    pl.DataFrame({"text": [*TEXTS, None]}, schema={"text": type_of_text}).write_parquet(tmp_path / "c.parquet")
    corpus = read_corpus(study(tmp_path, files=["c.parquet"]))
    assert corpus.documents["text"].to_list() == TEXTS
    assert corpus.empty == 1


def test_a_saved_data_set_is_read_by_its_split(tmp_path: Path) -> None:
    parts = {"train": ["a", "b"], "test": ["c"]}
    datasets.DatasetDict({name: datasets.Dataset.from_dict({"text": texts}) for name, texts in parts.items()}).save_to_disk(
        str(tmp_path / "saved.v2")
    )
    for split, texts in parts.items():
        assert read_corpus(study(tmp_path, files=["saved.v2/"], split=split)).documents["text"].to_list() == texts
    with pytest.raises(CorpusError, match=r"corpus.split 'dev': .*saved.v2 has no such split; it has \['test', 'train'\]"):
        read_corpus(study(tmp_path, files=["saved.v2/"], split="dev"))
    assert {file.name for file in local_files(study(tmp_path, files=["saved.v2/"]))} > {"dataset_dict.json", "state.json"}


def test_folders_and_patterns_are_read_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.csv", "in/c.jsonl.gz", "notes.md"):
        (tmp_path / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        content = csv_of([name]) if name.endswith(".csv") else jsonl([name])
        (tmp_path / "texts" / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_corpus(study(tmp_path, files=["texts"])).documents["text"].to_list() == ["a.csv", "b.jsonl", "in/c.jsonl.gz"]
    corpus = read_corpus(study(tmp_path, files=["texts/**/*.jsonl*"], domain_by_file=True))
    assert corpus.documents["text"].to_list() == ["b.jsonl", "in/c.jsonl.gz"]
    assert set(corpus.domains["name"]) == {"b.jsonl", "c.jsonl.gz"}
    assert corpus.files["name"].to_list() == ["texts/b.jsonl", "texts/in/c.jsonl.gz"]
    assert corpus.files["first_row"].to_list() == [0, 1]


def test_the_wanted_documents_are_counted_over_all_files_and_no_file_behind_them_is_opened(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_bytes(jsonl([f"{name}{number}" for number in range(3)]))
    (tmp_path / "c.jsonl").write_text("no line that could be read")
    corpus = read_corpus(study(tmp_path, files=["a.jsonl", "b.jsonl", "c.jsonl"], documents=4))
    assert corpus.documents["text"].to_list() == ["a0", "a1", "a2", "b0"]
    assert corpus.files.select("name", "first_row", "rows").rows() == [("a.jsonl", 0, 3), ("b.jsonl", 3, 1)]


def test_a_name_with_brackets_that_is_there_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "c[1].jsonl").write_bytes(jsonl(["a"]))
    (tmp_path / "c1.jsonl").write_bytes(jsonl(["b"]))
    assert [file.name for file in source_files(study(tmp_path, files=["c[1].jsonl"]))] == ["c[1].jsonl"]


def test_a_pattern_of_urls_is_looked_up_and_each_file_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURON_ATLAS_CACHE", str(tmp_path / "cache"))
    served = fsspec.filesystem("memory")
    for name, text in (("part-1.jsonl.gz", "b"), ("part-0.jsonl.gz", "a"), ("notes.md", "none")):
        served.pipe(f"/texts/{name}", gzip.compress(jsonl([text])))
    asked = study(tmp_path, files=["memory://texts/*"])
    corpus = read_corpus(asked)
    assert corpus.documents["text"].to_list() == ["a", "b"]
    assert [name.rsplit("/", 1)[1] for name in corpus.files["name"]] == ["part-0.jsonl.gz", "part-1.jsonl.gz"]
    assert remote_files(asked) == corpus.files["name"].to_list()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("part-*.jsonl", "corpus.files: part-*.jsonl: no file has such a name; correct the pattern"),
        ("empty", "corpus.files: empty: the folder holds no .parquet, .arrow, .jsonl, .json, .csv, .txt"),
        ("notes.m*", "corpus.files: notes.m*: notes.md is not one of .parquet, .arrow, .jsonl"),
    ],
)
def test_a_folder_or_pattern_without_anything_to_read_is_told(tmp_path: Path, given: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.md").write_text("a")
    with pytest.raises(SourceFileError) as told:
        read_corpus(study(tmp_path, files=[given]))
    assert message in str(told.value)
    assert local_files(study(tmp_path, files=[given])) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", b'text\n"open', r"c.csv: after line 1: not readable as .csv: unexpected end of data"),
        ("c.csv", b"body\na\n", r"corpus.text_column 'text': .*c.csv has no such column; it has \['body'\]"),
        ("c.json", b'[{"text": "a"}, 3]', r"c.json: item 2: not readable as .json: it holds int, not an object with the field 'text'"),
        ("c.json", b'[{"text": "a"', r"c.json: not readable as .json: Expecting ',' delimiter: line 1 column 14"),
        ("c.arrow", b"nonsense", r"c.arrow: not readable as .arrow: "),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_its_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        read_corpus(study(tmp_path, files=[name]))


def test_tokens_are_read_and_what_is_none_is_told(tmp_path: Path) -> None:
    rows = [{"tokens": [3, 4]}, {"tokens": []}, {"tokens": [3, 4]}, {"tokens": None}]
    pl.DataFrame(rows, schema={"tokens": pl.List(pl.UInt16)}).write_parquet(tmp_path / "c.parquet")
    corpus = read_corpus(study(tmp_path, files=["c.parquet"], tokens_column="tokens"))
    assert corpus.documents["token_ids"].to_list() == [[3, 4], [3, 4]]
    assert (corpus.rows_read, corpus.empty, corpus.duplicates) == (4, 2, 1)
    for value, odd in (("ab", "str"), ([1, -2], "-2"), ([1, True], "True"), ([2**31], "2147483648"), ([1.5], "1.5")):
        (tmp_path / "c.jsonl").write_text(json.dumps({"tokens": [1]}) + "\n" + json.dumps({"tokens": value}))
        with pytest.raises(
            CorpusError, match=rf"corpus.tokens_column 'tokens': in .*c.jsonl, line 2, it holds {odd}; tokens are a list of"
        ):
            read_corpus(study(tmp_path, files=["c.jsonl"], tokens_column="tokens"))


MEASURED = """
import resource, sys, tempfile
from pathlib import Path
from assets.corpus.corpus_documents import read_corpus
from assets.tables import write_table_in_parts
from assets.contracts import CORPUS_DOCUMENTS
from assets.study import Study
fields = {"name": "s", "folder": Path(sys.argv[1]), "model": {"id": "m"}, "tokens": (" an",), "corpus": {"files": ("c.jsonl.gz",)}}
fields["corpus"]["documents"] = int(sys.argv[2])
with tempfile.TemporaryDirectory() as folder:
    corpus = read_corpus(Study.model_validate(fields), Path(folder))
    write_table_in_parts(Path(folder) / "c.parquet", CORPUS_DOCUMENTS, corpus.documents)
print(corpus.kept, corpus.characters, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_two_gigabytes_of_text(tmp_path: Path) -> None:
    """Less than a tenth of the text; what grows is a hash a document. Documents of 20,000 characters, no two alike."""
    filler = "It grew in the orchard behind the house. " * 480
    with gzip.open(tmp_path / "c.jsonl.gz", "wt", compresslevel=1) as lines:
        for number in range(105_000):
            lines.write(json.dumps({"text": f"{number} {filler}"}) + "\n")

    def measured(documents: int) -> tuple[int, int, int]:
        command = [sys.executable, "-c", MEASURED, str(tmp_path), str(documents)]
        said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]).stdout.split()
        return int(said[0]), int(said[1]), int(said[2])

    few, all_of = measured(5_000), measured(105_000)
    assert (few[0], all_of[0]) == (5_000, 105_000)
    assert all_of[1] > 2_000_000_000
    assert all_of[2] - few[2] < 200_000_000, (few, all_of)
