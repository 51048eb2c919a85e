"""Publication in one step: what a reader sees before, during and after a write, and what it notices of damage."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from assets.store import RECORD, Place, Store, StoreError

PLACE = Place("study", "table", "0000")


def publish(store: Store, text: str, fingerprint: str = "f" * 64) -> None:
    with store.publish(PLACE, fingerprint, {"upstream": "c"}) as draft:
        (draft.folder / "part.txt").write_text(text)
        draft.summary["letters"] = len(text)


def test_a_published_output_is_found_with_its_summary_and_verifies(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find(PLACE) is None
    publish(store, "abc")
    record = store.find(PLACE)
    assert record is not None
    assert (record.folder / "part.txt").read_text() == "abc"
    assert record.summary == {"letters": 3}
    assert record.inputs == {"upstream": "c"}
    assert (
        record.files["part.txt"].sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # SHA-256 of "abc", FIPS 180-2
    store.verify(record)


def test_equal_content_has_an_equal_content_hash_whenever_it_was_made(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "abc", "1" * 64)
    first = store.find(PLACE)
    publish(store, "abc", "2" * 64)
    second = store.find(PLACE)
    publish(store, "abd", "2" * 64)
    third = store.find(PLACE)
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.content == second.content != third.content


def test_the_version_before_is_removed_once_the_new_one_stands(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "old")
    publish(store, "new")
    folders = [entry for entry in store.home(PLACE).iterdir() if entry.is_dir() and not entry.is_symlink()]
    assert [(folder / "part.txt").read_text() for folder in folders] == ["new"]
    assert (store.home(PLACE) / "current" / "part.txt").read_text() == "new"


def test_an_error_while_writing_leaves_the_last_good_version_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "good")

    def write_half() -> None:
        with store.publish(PLACE, "0" * 64, {}) as draft:
            (draft.folder / "part.txt").write_text("ba")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    record = store.find(PLACE)
    assert record is not None
    assert (record.folder / "part.txt").read_text() == "good"
    assert len([entry for entry in store.home(PLACE).iterdir() if entry.is_dir() and not entry.is_symlink()]) == 1


def test_a_process_killed_while_writing_leaves_the_last_good_version_and_the_next_write_clears_its_remains(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "good")
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from assets.store import Place, Store
        with Store(Path(sys.argv[1])).publish(Place("study", "table", "0000"), "0" * 64, {}) as draft:
            (draft.folder / "part.txt").write_text("ba")
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -9
    record = store.find(PLACE)
    assert record is not None
    store.verify(record)
    assert (record.folder / "part.txt").read_text() == "good"
    publish(store, "better")
    assert len([entry for entry in store.home(PLACE).iterdir() if entry.is_dir() and not entry.is_symlink()]) == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "is missing"),
        (lambda file: file.write_text("ab"), "has 2 bytes, 3 were published"),
        (lambda file: file.write_text("abd"), "SHA-256 differs"),
    ],
)
def test_damage_is_found_and_the_file_is_named(tmp_path: Path, damage, message: str) -> None:
    store = Store(tmp_path)
    publish(store, "abc")
    record = store.find(PLACE)
    assert record is not None
    file = record.folder / "part.txt"
    damage(file)
    if file.exists():
        os.utime(file, ns=(1, 1))
    with pytest.raises(StoreError, match=f"study/table shard 0000: .*part.txt.*{message}"):
        store.verify(record)


def test_a_damaged_record_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "abc")
    (store.home(PLACE) / RECORD).write_text('{"record_version": 1')
    with pytest.raises(StoreError, match=r"record.json is damaged; delete that file and run the study again"):
        store.find(PLACE)
    publish(store, "abc")
    assert store.find(PLACE) is not None


def test_a_record_of_another_version_is_refused_with_the_remedy(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "abc")
    file = store.home(PLACE) / RECORD
    file.write_text(json.dumps({**json.loads(file.read_text()), "record_version": 0}))
    with pytest.raises(
        StoreError, match=r"another version of the product .*record version 0, this one reads 1.*; rebuild it with: make study STUDY=study"
    ):
        store.find(PLACE)


def test_a_full_disk_is_told_as_such_and_the_last_good_version_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "good")
    script = textwrap.dedent("""
        import resource, signal, sys
        from pathlib import Path
        from assets.store import Place, Store, StoreError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            with Store(Path(sys.argv[1])).publish(Place("study", "table", "0000"), "0" * 64, {}) as draft:
                (draft.folder / "part.txt").write_bytes(b"x" * 5000)
        except StoreError as error:
            print(error)
    """)
    limited = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert "study/table shard 0000: no space left to write" in limited.stdout
    assert "Free space or choose another folder with NEURON_ATLAS_DATA" in limited.stdout
    record = store.find(PLACE)
    assert record is not None
    store.verify(record)


def test_a_second_writer_waits_for_the_first(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from assets.store import Place, Store
        store, place = Store(Path(sys.argv[1])), Place("study", "table", "0000")
        with store.one_writer(place):
            seen = store.find(place)
            with store.publish(place, "0" * 64, {}) as draft:
                (draft.folder / "part.txt").write_text("x")
                draft.summary["after"] = seen.summary["after"] + 1 if seen else 0
                time.sleep(0.2)
    """)
    writers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[2]) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    record = Store(tmp_path).find(PLACE)
    assert record is not None
    assert record.summary == {"after": 2}  # each saw the one before it: none wrote at the same time
