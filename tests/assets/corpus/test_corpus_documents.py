"""Reading a corpus: what is kept, what is dropped and counted, and the message of each that cannot be read."""

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import datasets
import polars as pl
import pytest

from assets.contracts import CORPUS_DOCUMENTS, CORPUS_DOMAINS, conform
from assets.corpus.corpus_documents import Corpus, documents_frame
from assets.corpus.corpus_documents import read_corpus as read_corpus_into
from assets.corpus.source_rows import CorpusError
from assets.study import Study


def study(folder: Path, **corpus: object) -> Study:
    return Study.model_validate(
        {"name": "s", "folder": folder, "model": {"id": "m"}, "tokens": (" an",), "corpus": {"context_length": 8, **corpus}}
    )


@dataclass(frozen=True)
class Read(Corpus):
    """A corpus with its documents in memory."""

    documents: pl.DataFrame  # type: ignore[assignment]


def read_corpus(study: Study) -> Read:
    with tempfile.TemporaryDirectory() as folder:
        corpus = read_corpus_into(study, Path(folder))
        return Read(**{**vars(corpus), "documents": pl.concat(corpus.documents)})


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
        "try: read_corpus(Study.model_validate(fields), Path('.'))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    for revision in ("f" * 40, "main"):
        environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-c", script, revision]
        said = subprocess.run(command, cwd=Path(__file__).parents[3], env=environment, capture_output=True, text=True, check=True).stdout
        assert said.startswith(("CorpusError", "ConnectionError"))
        assert f"study s: corpus.id 'owner/texts', revision '{revision}', split 'train'" in said


def lines(folder: Path, *rows: dict, name: str = "c.jsonl") -> None:
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows))


def domains_of(corpus: Read) -> list[tuple]:
    """The rows of corpus_domains, after a look that the documents agree with them."""
    table, frame = conform(CORPUS_DOMAINS, corpus.domains), conform(CORPUS_DOCUMENTS, corpus.documents)
    assert dict(frame.group_by("domain").len().iter_rows()) == dict(table.select("domain", "documents").iter_rows())
    return table.rows()


def test_without_a_word_of_domains_all_documents_are_of_one_without_a_name(tmp_path: Path) -> None:
    lines(tmp_path, {"text": "a", "kind": "x"}, {"text": "b", "kind": "y"})
    assert domains_of(read_corpus(study(tmp_path, files=["c.jsonl"]))) == [(0, "", 2)]


def test_domains_are_numbered_by_their_documents_then_by_name_and_empty_documents_are_of_none(tmp_path: Path) -> None:
    kinds = ["pear", "fig", "pear", "apple", "apple", "fig", "fig", None, " "]
    lines(tmp_path, *({"text": "a", "kind": kind} for kind in kinds), {"text": " ", "kind": "lime"}, {"text": "a"})
    corpus = read_corpus(study(tmp_path, files=["c.jsonl"], domain_column="kind"))
    assert domains_of(corpus) == [(0, "fig", 3), (1, "none given", 3), (2, "apple", 2), (3, "pear", 2)]
    assert corpus.documents["domain"].to_list() == [3, 0, 3, 2, 2, 0, 0, 1, 1, 1]


def test_at_most_six_domains_are_told_apart_and_the_rest_is_one_more(tmp_path: Path) -> None:
    lines(tmp_path, *({"text": "a", "kind": kind} for kind in "abcdefgh" for _ in range(2 if kind in "gh" else 1)))
    told = domains_of(read_corpus(study(tmp_path, files=["c.jsonl"], domain_column="kind")))
    assert told == [(0, "g", 2), (1, "h", 2), (2, "a", 1), (3, "b", 1), (4, "c", 1), (5, "d", 1), (6, "other", 2)]


def test_a_domain_that_is_named_other_is_of_the_rest(tmp_path: Path) -> None:
    lines(tmp_path, *({"text": "a", "kind": kind} for kind in ("other", "other", "x")))
    assert domains_of(read_corpus(study(tmp_path, files=["c.jsonl"], domain_column="kind"))) == [(0, "x", 1), (1, "other", 2)]


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "arrow", "saved"])
def test_dots_reach_nested_fields_in_every_kind_of_source(tmp_path: Path, kind: str) -> None:
    rows: list[dict] = [
        {"text": "a", "meta": {"set": {"name": "books"}}},
        {"text": "b", "meta": {"set": {"name": None}}},
        {"text": "c", "meta": None},
    ]
    lines(tmp_path, *rows)
    pl.DataFrame(rows).write_parquet(tmp_path / "c.parquet")
    (tmp_path / "c.json").write_text(json.dumps(rows))
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "c.saved"))
    (arrow,) = (tmp_path / "c.saved").glob("*.arrow")
    arrow.with_name("c.arrow").write_bytes(arrow.read_bytes())
    file = {"saved": "c.saved/", "arrow": "c.saved/c.arrow"}.get(kind, f"c.{kind}")
    corpus = read_corpus(study(tmp_path, files=[file], domain_column="meta.set.name"))
    assert corpus.documents.select("text", "domain").rows() == [("a", 1), ("b", 0), ("c", 0)]
    assert domains_of(corpus) == [(0, "none given", 2), (1, "books", 1)]


def test_a_column_with_a_dot_in_its_name_is_found_by_that_name(tmp_path: Path) -> None:
    rows = [{"text": "a", "meta.name": "x", "meta": {"name": "y"}}]
    lines(tmp_path, *rows)
    pl.DataFrame(rows).write_parquet(tmp_path / "c.parquet")
    corpus = read_corpus(study(tmp_path, files=["c.jsonl", "c.parquet"], domain_column="meta.name"))
    assert domains_of(corpus) == [(0, "x", 2)]


def test_a_document_can_be_of_the_domain_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "news").mkdir()
    lines(tmp_path, {"text": "a"}, {"text": "b"}, name="news/n.jsonl")
    (tmp_path / "b.txt").write_text("c")
    corpus = read_corpus(study(tmp_path, files=["b.txt", "news/n.jsonl"], domain_by_file=True))
    assert domains_of(corpus) == [(0, "n.jsonl", 2), (1, "b.txt", 1)]
    assert corpus.documents["domain"].to_list() == [1, 0, 0]


@pytest.mark.parametrize(
    ("rows", "column", "message"),
    [
        ([{"text": "a", "kind": 3}], "kind", "c.jsonl, line 1, it holds int, not text; write the domain as text, or name a field that has it so"),
        ([{"text": "a", "kind": "x"}, {"text": "b", "kind": ["x"]}], "kind", "c.jsonl, line 2, it holds list, not text; write"),
        ([{"text": "a", "meta": "x"}], "meta.name", "c.jsonl, line 1, 'name' is looked for in str, which has no fields; name a field"),
        ([{"text": "a"}, {"text": "b"}], "kinds", "none of the 2 documents of corpus c.jsonl has it; name a column that they have"),
    ],
)  # fmt: skip
def test_domains_that_cannot_be_read_are_refused_with_the_place_and_what_to_do(
    tmp_path: Path, rows: list[dict], column: str, message: str
) -> None:
    lines(tmp_path, *rows)
    with pytest.raises(CorpusError, match=rf"study s: corpus.domain_column '{column}'.*{re.escape(message)}"):
        read_corpus(study(tmp_path, files=["c.jsonl"], domain_column=column))


def test_a_table_without_the_column_is_refused_with_those_it_has(tmp_path: Path) -> None:
    rows = [{"text": "a", "kind": 7}]
    pl.DataFrame(rows).write_parquet(tmp_path / "c.parquet")
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    for name in ("c.parquet", "saved"):
        with pytest.raises(CorpusError, match=rf"'meta.name': .*{name} has no such column; it has \['kind', 'text'\]"):
            read_corpus(study(tmp_path, files=[name], domain_column="meta.name"))
        with pytest.raises(CorpusError, match=rf"in .*{name}, row 1, it holds int, not text"):
            read_corpus(study(tmp_path, files=[name], domain_column="kind"))
