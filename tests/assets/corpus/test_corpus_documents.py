"""Reading a corpus: what is kept, what is dropped and counted, and the message of each that cannot be read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from assets.contracts import CORPUS_DOCUMENTS, conform
from assets.corpus.corpus_documents import CorpusError, documents_frame, read_corpus
from assets.study import Study


def study(folder: Path, **corpus: object) -> Study:
    return Study.model_validate(
        {"name": "s", "folder": folder, "model": {"id": "m"}, "tokens": (" an",), "corpus": {"context_length": 8, **corpus}}
    )


def test_empty_documents_are_dropped_and_counted_and_duplicates_marked(tmp_path: Path) -> None:
    rows = [{"text": text} for text in ("one", "", "two", "  \n", "one", None)]
    (tmp_path / "c.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    corpus = read_corpus(study(tmp_path, files=["c.jsonl"]))
    frame = conform(CORPUS_DOCUMENTS, corpus.documents)
    assert frame["text"].to_list() == ["one", "two", "one"]
    assert frame["document"].to_list() == [0, 1, 2]
    assert frame["source_row"].to_list() == [0, 2, 4]
    assert frame["is_duplicate"].to_list() == [False, False, True]
    assert (corpus.rows_read, corpus.empty, corpus.duplicates) == (6, 3, 1)


def test_the_three_file_kinds_read_alike_and_in_the_given_order(tmp_path: Path) -> None:
    pl.DataFrame({"text": ["a", "b"]}).write_parquet(tmp_path / "x.parquet")
    (tmp_path / "y.jsonl").write_text('{"text": "c"}\n{"text": "d"}\n')
    (tmp_path / "z.txt").write_text("e\nf")
    corpus = read_corpus(study(tmp_path, files=["z.txt", "x.parquet", "y.jsonl"]))
    assert corpus.documents["text"].to_list() == ["e\nf", "a", "b", "c", "d"]


def test_bytes_that_are_no_text_are_told_with_the_file(tmp_path: Path) -> None:
    for name in ("c.jsonl", "c.txt"):
        (tmp_path / name).write_bytes(b'{"text": "a\xff"}')
        with pytest.raises(CorpusError, match=rf"{name}: not readable as .*: 'utf-8' codec can't decode byte 0xff in position 11"):
            read_corpus(study(tmp_path, files=[name]))


def test_a_lone_surrogate_becomes_the_replacement_character_and_marks_of_the_file_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a\\ud800b"}\r\n\r\n{"text": "\\ud83c\\udf4e\\u0000"}\n')
    (tmp_path / "d.txt").write_bytes(b"\xef\xbb\xbfa\r\nb")
    texts = read_corpus(study(tmp_path, files=["c.jsonl", "d.txt"])).documents["text"].to_list()
    assert texts == ["a\ufffdb", "\U0001f34e\0", "a\r\nb"]


def test_documents_limits_how_many_rows_are_read(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text("\n".join(json.dumps({"text": str(number)}) for number in range(10)))
    assert read_corpus(study(tmp_path, files=["c.jsonl"], documents=3)).documents.height == 3


def test_the_fingerprint_depends_on_content_and_order() -> None:
    def fingerprint(texts: list[str | None]) -> list[str]:
        return documents_frame(texts)["sha256"].to_list()

    assert fingerprint(["a", "b"]) == fingerprint(["a", "b"]) != fingerprint(["b", "a"])
    assert fingerprint(["abc"]) == ["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]  # FIPS 180-2


def test_text_of_any_kind_is_kept_as_it_is() -> None:
    texts: list[str | None] = ["\x00\x01", "שלום", "🍎", "<script>alert(1)</script>", "x", "long " * 100_000, "a\ud800b"]
    frame = documents_frame(texts)
    assert frame["text"].to_list()[:-1] == texts[:-1]
    assert frame["text"].to_list()[-1] == "a\ufffdb"  # a lone surrogate cannot be stored as UTF-8


@pytest.mark.parametrize(
    ("name", "content", "corpus", "message"),
    [
        ("c.jsonl", '{"text": "a"}', {"files": ["none.jsonl"]}, r"none.jsonl: no such file"),
        ("c.jsonl", '{"body": "a"}', {"files": ["c.jsonl"]}, r"corpus.text_column 'text': .*c.jsonl has no such column; it has \['body'\]"),
        ("c.jsonl", '{"text": 3}', {"files": ["c.jsonl"]}, r"in .*c.jsonl, line 1, it holds int, not text"),
        ("c.jsonl", '{"text": "a"}\n{"text": 3}', {"files": ["c.jsonl"]}, r"in .*c.jsonl, line 2, it holds int, not text"),
        ("c.jsonl", '{"text": "a"}\n{"text": "b', {"files": ["c.jsonl"]}, r"c.jsonl: line 2: not readable as .jsonl: Unterminated string"),
        ("c.jsonl", '["a"]', {"files": ["c.jsonl"]}, r"line 1: not readable as .jsonl: it holds list, not an object with the field 'text'"),
        (
            "c.jsonl",
            '{"text": ' + "[" * 100_000,
            {"files": ["c.jsonl"]},
            r"line 1: not readable as .jsonl: maximum recursion depth exceeded",
        ),
        ("c.jsonl", '{"text": "a", "n": ' + "9" * 5000 + "}", {"files": ["c.jsonl"]}, r"line 1: not readable as .jsonl: Exceeds the limit"),
        ("c.jsonl", "", {"files": ["c.jsonl"]}, r"corpus c.jsonl: 0 rows were read and none has any text"),
        ("c.txt", "", {"files": ["c.txt"]}, r"corpus c.txt: 1 rows were read and none has any text"),
        ("c.jsonl", "{text", {"files": ["c.jsonl"]}, r"c.jsonl: line 1: not readable as .jsonl"),
        ("c.parquet", "no parquet", {"files": ["c.parquet"]}, r"c.parquet: not readable as .parquet"),
        ("c.jsonl", '{"text": ""}\n{"text": " "}', {"files": ["c.jsonl"]}, r"corpus c.jsonl: 2 rows were read and none has any text"),
    ],
)
def test_a_corpus_that_cannot_be_used_is_refused_by_name(tmp_path: Path, name: str, content: str, corpus: dict, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=message):
        read_corpus(study(tmp_path, **corpus))


@pytest.mark.parametrize("given", ["json", "../texts", "/etc", "a/b/c", "owner/name of it", "owner/..", "./texts"])
def test_a_hub_id_that_is_none_is_not_taken_for_a_folder_of_this_machine_or_a_loader(tmp_path: Path, given: str) -> None:
    with pytest.raises(CorpusError, match=r"no hub id of the form owner/name; local files go into corpus.files"):
        read_corpus(study(tmp_path, id=given))


def test_a_hub_corpus_without_a_network_is_told_with_what_to_do(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from assets.corpus.corpus_documents import read_corpus; from assets.study import Study\n"
        "fields = {'name': 's', 'folder': Path('.'), 'model': {'id': 'm'}, 'tokens': (' an',), 'corpus': {'id': 'owner/texts', 'revision': sys.argv[1]}}\n"
        "try: read_corpus(Study.model_validate(fields))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    for revision in ("f" * 40, "main"):
        environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-c", script, revision]
        said = subprocess.run(command, cwd=Path(__file__).parents[3], env=environment, capture_output=True, text=True, check=True).stdout
        assert said.startswith(("CorpusError", "ConnectionError"))
        assert f"study s: corpus.id 'owner/texts', revision '{revision}', split 'train'" in said
