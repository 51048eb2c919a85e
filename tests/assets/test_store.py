"""Publication in one step, in a folder and in a bucket: what a reader sees before, during and after a write, and of damage."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from assets.store import RECORD, Store, StoreError
from tests.assets.stored_outputs import PLACE, BucketOutputs, FolderOutputs, Outputs, found, publish

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["folder", "bucket"])
def outputs(request: pytest.FixtureRequest, tmp_path: Path) -> Outputs:
    return FolderOutputs(tmp_path) if request.param == "folder" else BucketOutputs(request.getfixturevalue("bucket"))


def test_a_published_output_is_found_with_its_facts_and_summary_and_verifies(outputs: Outputs) -> None:
    store = outputs.store
    assert store.find(PLACE) is None
    publish(store, "abc")
    record = found(store)
    assert (record.folder / "part.txt").read_text() == "abc"
    assert (record.facts, record.summary) == ({"first": "a"}, {"letters": 3})
    assert record.inputs == {"upstream": "c"}
    assert (
        record.files["part.txt"].sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # SHA-256 of "abc", FIPS 180-2
    store.verify(record)


def test_a_file_that_was_not_published_is_named_however_deep_it_lies_and_hidden_ones_are_left(tmp_path: Path) -> None:
    store = FolderOutputs(tmp_path).store
    publish(store, "abc")
    record = found(store)
    (record.folder / "c" / "0").mkdir(parents=True)
    (record.folder / "c" / "0" / ".DS_Store").write_text("")
    store.verify(record)
    (record.folder / "c" / "0" / "1").write_text("abc")
    with pytest.raises(StoreError, match=f"file c/0/1 lies in {record.folder} but was not published; materialize it again"):
        store.verify(record)


def test_equal_content_has_an_equal_content_hash_whenever_it_was_made(outputs: Outputs) -> None:
    contents = []
    for text, fingerprint in (("abc", "1" * 64), ("abc", "2" * 64), ("abd", "2" * 64)):
        publish(outputs.store, text, fingerprint)
        contents.append(found(outputs.store).content)
    assert contents[0] == contents[1] != contents[2]


def test_facts_are_content_and_a_summary_is_not(outputs: Outputs) -> None:
    contents, files = set(), set()
    for fact, shown in ((1, 1), (1, 2), (2, 2)):
        with outputs.store.publish(PLACE, "f" * 64, {}) as draft:
            (draft.folder / "part.txt").write_text("abc")
            draft.facts["fact"] = fact
            draft.summary["shown"] = shown
        record = found(outputs.store)
        contents.add((fact, record.content))
        files.add(record.files_content)
    assert len(contents) == 2
    assert len(files) == 1


@pytest.mark.parametrize("name", ["../../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "a\\..\\evil.txt", "evil\0.txt", ""])
def test_a_record_that_names_a_file_outside_is_damaged_and_nothing_is_fetched_or_read(outputs: Outputs, name: str) -> None:
    publish(outputs.store, "abc")
    raw = json.loads(outputs.read(RECORD))
    for hostile in ({**raw, "files": {name: raw["files"]["part.txt"]}}, {**raw, "folder": name}):
        outputs.write(RECORD, json.dumps(hostile).encode())
        with pytest.raises(StoreError, match=r"record.json is damaged; delete that file and run the study again"):
            outputs.store.find(PLACE)


def test_the_version_before_is_removed_once_the_new_one_stands(outputs: Outputs) -> None:
    publish(outputs.store, "old")
    publish(outputs.store, "new")
    version = found(outputs.store).version
    assert outputs.names() == sorted([RECORD, f"{version}/part.txt"])
    assert outputs.read(f"{version}/part.txt") == b"new"


def test_in_a_folder_the_link_current_leads_to_the_published_version(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "old")
    publish(store, "new")
    assert (store.home(PLACE) / "current" / "part.txt").read_text() == "new"


def test_an_error_while_writing_leaves_the_last_good_version_and_nothing_else(outputs: Outputs) -> None:
    publish(outputs.store, "good")
    before = outputs.names()

    def write_half() -> None:
        with outputs.store.publish(PLACE, "0" * 64, {}) as draft:
            (draft.folder / "part.txt").write_text("ba")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert (found(outputs.store).folder / "part.txt").read_text() == "good"
    assert outputs.names() == before


KILLED_WHILE_WRITING = """
    import os, signal, sys
    from assets.store import Place, Store
    with Store(sys.argv[1]).publish(Place("study", "table", "0000"), "0" * 64, {}) as draft:
        (draft.folder / "part.txt").write_text("ba")
        os.kill(os.getpid(), signal.SIGKILL)
"""
# The process dies when its files lie in the bucket, one instant before the record would name them.
KILLED_BEFORE_THE_RECORD = """
    import os, signal, sys
    from assets.store import Place, Store
    from assets.store.objects import Objects
    Objects.put_if = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    with Store(sys.argv[1]).publish(Place("study", "table", "0000"), "0" * 64, {}) as draft:
        (draft.folder / "part.txt").write_text("ba")
"""


@pytest.mark.parametrize("script", [KILLED_WHILE_WRITING, KILLED_BEFORE_THE_RECORD], ids=["while writing", "before the record"])
def test_a_process_killed_while_writing_leaves_the_last_good_version_and_the_next_write_clears_its_remains(
    outputs: Outputs, script: str
) -> None:
    if isinstance(outputs, FolderOutputs) and script == KILLED_BEFORE_THE_RECORD:
        script = script.replace("from assets.store.objects import Objects", "import assets.store.local as local")
        script = script.replace("Objects.put_if", "local.write_atomically")
    publish(outputs.store, "good")
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script), outputs.root], cwd=ROOT, check=False)
    assert killed.returncode == -9
    if script == KILLED_BEFORE_THE_RECORD:
        assert len(outputs.names()) == 3  # the record, the good version and the one that nothing names
    outputs.forget_copies()
    record = found(outputs.store)
    outputs.store.verify(record)
    assert (record.folder / "part.txt").read_text() == "good"
    publish(outputs.store, "better")
    assert outputs.names() == sorted([RECORD, f"{found(outputs.store).version}/part.txt"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda outputs, name: outputs.remove(name), "is missing"),
        (lambda outputs, name: outputs.write(name, b"ab"), "has 2 bytes, 3 were published"),
        (lambda outputs, name: outputs.write(name, b"abd"), "SHA-256 differs"),
    ],
    ids=["missing", "truncated", "altered"],
)
@pytest.mark.parametrize("are_copies_here", [True, False])
def test_damage_is_found_and_the_file_is_named(
    outputs: Outputs, damage: Callable[[Outputs, str], None], message: str, are_copies_here: bool
) -> None:
    publish(outputs.store, "abc")
    record = found(outputs.store)
    if not are_copies_here:
        outputs.forget_copies()
    damage(outputs, f"{record.version}/part.txt")
    with pytest.raises(StoreError, match=f"study/table shard 0000: .*part.txt.*{message}"):
        outputs.store.verify(record)


def test_a_damaged_record_is_refused_and_says_what_to_do(outputs: Outputs) -> None:
    publish(outputs.store, "abc")
    outputs.write(RECORD, b'{"record_version": 1')
    with pytest.raises(StoreError, match=r"record.json is damaged; delete that file and run the study again"):
        outputs.store.find(PLACE)
    publish(outputs.store, "abc")
    assert outputs.store.find(PLACE) is not None
    assert len(outputs.names()) == 2


def test_a_record_of_another_version_is_refused_with_the_command_that_rebuilds_it(outputs: Outputs) -> None:
    publish(outputs.store, "abc")
    outputs.write(RECORD, json.dumps({**json.loads(outputs.read(RECORD)), "record_version": 0}).encode())
    with pytest.raises(StoreError, match=r"record version 0, this one reads 2.*; rebuild it with: make study STUDY=study"):
        outputs.store.find(PLACE)


@pytest.mark.parametrize("kind", ["folder", "bucket"])
@pytest.mark.parametrize(
    "writing",
    [
        '(draft.folder / "part.txt").write_bytes(b"x" * 5000)',
        'pl.DataFrame({"a": range(5000)}).write_parquet(draft.folder / "part.parquet")',
    ],
)
def test_a_full_disk_is_told_as_such_and_the_last_good_version_stays(
    kind: str, writing: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    outputs: Outputs = FolderOutputs(tmp_path) if kind == "folder" else BucketOutputs(request.getfixturevalue("bucket"))
    publish(outputs.store, "good")
    script = textwrap.dedent("""
        import resource, signal, sys
        import polars as pl
        from assets.store import Place, Store, StoreError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            with Store(sys.argv[1]).publish(Place("study", "table", "0000"), "0" * 64, {}) as draft:
                WRITING
        except StoreError as error:
            print(error)
    """).replace("WRITING", writing)
    limited = subprocess.run([sys.executable, "-c", script, outputs.root], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "study/table shard 0000: no space left to write" in limited.stdout
    variable = "NEURON_ATLAS_DATA" if kind == "folder" else "NEURON_ATLAS_CACHE"
    assert f"Free space or choose another folder with {variable}" in limited.stdout
    outputs.store.verify(found(outputs.store))


def test_a_second_writer_waits_for_the_first(outputs: Outputs) -> None:
    script = textwrap.dedent("""
        import sys, time
        from assets.store import Place, Store
        store, place = Store(sys.argv[1]), Place("study", "table", "0000")
        with store.one_writer(place):
            seen = store.find(place)
            with store.publish(place, "0" * 64, {}) as draft:
                (draft.folder / "part.txt").write_text("x")
                draft.summary["after"] = seen.summary["after"] + 1 if seen else 0
                time.sleep(0.2)
    """)
    writers = [subprocess.Popen([sys.executable, "-c", script, outputs.root], cwd=ROOT) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert found(outputs.store).summary == {"after": 2}  # each saw the one before it: none wrote at the same time
    assert len(outputs.names()) == 2
