"""What a stage declares to read: the grammar, what each declaration allows, and what of a record is in the reader's fingerprint."""

import dataclasses
from pathlib import Path

import pytest

from assets.reads import Part, Read, reads
from assets.store import Place, Record, Store

EACH = {
    "token_counts": Read("token_counts", "table", "token_counts"),
    "ablation_controls": Read("neuron_ablation", "table", "ablation_controls"),
    "model_snapshot.layers": Read("model_snapshot", "fact", "layers"),
    "merged_histograms/": Read("merged_histograms", "files"),
    "corpus_documents.*": Read("corpus_documents", "everything"),
    "token_counts.record": Read("token_counts", "record"),
    "token_windows.windows:all": Read("token_windows", "fact", "windows", "all"),
    "token_windows/:first": Read("token_windows", "files", "", "first"),
    "activation_histograms.*:same": Read("activation_histograms", "everything", "", "same"),
}


@pytest.mark.parametrize("written", EACH)
def test_a_declaration_is_read_and_written_the_same(written: str) -> None:
    (read,) = reads(written)
    assert read == EACH[written]
    assert str(read) == written


@pytest.mark.parametrize(
    "written", ["", "no_table", "token_counts:none_such", "token_counts:", "Token", "token_counts.*.x", "a/b", "x:y:all"]
)
def test_what_the_grammar_does_not_know_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=f"read {written!r}: "):
        reads(written)


ALLOWED: dict[str, set[tuple[Part, str]]] = {
    "token_counts": {("table", "token_counts")},
    "token_counts.rows": {("fact", "rows")},
    "token_counts/": {("files", "")},
    "token_counts.*": {("table", "token_counts"), ("fact", "rows"), ("files", ""), ("everything", "")},
    "token_counts.record": {("record", "")},
}


@pytest.mark.parametrize("written", ALLOWED)
def test_a_declaration_allows_what_it_names_and_nothing_else(written: str) -> None:
    (read,) = reads(written)
    asked = {parts for allowed in ALLOWED.values() for parts in allowed}
    assert {parts for parts in asked if read.covers("token_counts", *parts)} == ALLOWED[written]
    assert not any(read.covers("merged_histograms", *parts) for parts in asked)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    place, store = Place("study", "token_counts"), Store(tmp_path)
    with store.one_writer(place), store.publish(place, "f" * 64, {}) as draft:
        (draft.folder / "token_counts.parquet").write_text("a table")
        (draft.folder / "more.txt").write_text("more")
        draft.facts["rows"] = 3
        draft.summary["shown"] = "to people"
    found = store.find(place)
    assert found is not None
    return found


def changed(record: Record, **parts: object) -> Record:
    return dataclasses.replace(record, **parts)  # type: ignore[arg-type]


def test_what_is_found_changes_with_what_is_read_and_with_nothing_else(record: Record) -> None:
    entry = record.files["more.txt"]
    table, more = (
        changed(record, files={**record.files, name: dataclasses.replace(entry, sha256="0" * 64)})
        for name in ("token_counts.parquet", "more.txt")
    )
    facts = changed(record, facts={"rows": 4})
    later = changed(record, created_at="2027-01-01T00:00:00+00:00")
    summary = changed(record, summary={"shown": "something else"})
    noticed = {
        written: [name for name, other in (("table", table), ("more", more), ("facts", facts), ("later", later), ("summary", summary))
                  if reads(written)[0].found_in(other) != reads(written)[0].found_in(record)]
        for written in ALLOWED
    }  # fmt: skip
    assert noticed == {
        "token_counts": ["table"],
        "token_counts.rows": ["facts"],
        "token_counts/": ["table", "more"],
        "token_counts.*": ["table", "more", "facts"],
        "token_counts.record": ["table", "more", "facts", "later"],
    }


def test_a_table_or_fact_that_is_not_there_is_found_as_none(record: Record) -> None:
    assert reads("embedding_curves")[0].found_in(record) is None
    assert reads("token_counts.no_fact")[0].found_in(record) is None
