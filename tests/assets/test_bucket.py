"""What only a bucket has: writers that meet, abandoned locks, copies on this machine, and a server that refuses or is away."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import polars as pl
import pytest

from assets.contracts import TABLES
from assets.freshness import Freshness
from assets.store import RECORD, Place, Store, StoreError
from assets.store.bucket import Bucket
from assets.store.bucket_lock import bucket_lock
from assets.store.cache import Cache
from assets.store.connection import RemoteError, UnreachableError
from assets.store.objects import Objects
from assets.store.sources import fetch_source
from assets.tables import read_table, write_table
from tests.assets.stored_outputs import HOME, PLACE, BucketOutputs, found, publish
from tests.reports.sample_data import study
from tests.s3_server import BucketForTests

ROOT = Path(__file__).parents[2]


@pytest.fixture
def outputs(bucket: BucketForTests) -> BucketOutputs:
    return BucketOutputs(bucket)


def test_of_two_writers_that_meet_one_publishes_and_the_other_is_told(outputs: BucketOutputs) -> None:
    publish(outputs.store, "old")

    def slower() -> None:
        with outputs.store.publish(PLACE, "0" * 64, {}) as draft:
            (draft.folder / "part.txt").write_text("slower")
            publish(outputs.store, "faster")

    with pytest.raises(StoreError, match="study/table shard 0000: another run published it meanwhile; its version stays"):
        slower()
    record = found(outputs.store)
    outputs.store.verify(record)
    assert outputs.read(f"{record.version}/part.txt") == b"faster"
    assert len(outputs.names()) == 2


def test_a_writer_that_was_taken_for_a_dead_one_removes_nothing_of_its_successor(outputs: BucketOutputs) -> None:
    publish(outputs.store, "old")
    with outputs.store.publish(PLACE, "1" * 64, {}) as draft:
        (draft.folder / "part.txt").write_text("mine")
        outputs.write("aaaaaaaaaaaa-bbbbbbbb/part.txt", b"of a successor that uploads now")
    assert "aaaaaaaaaaaa-bbbbbbbb/part.txt" in outputs.names()
    outputs.store.verify(found(outputs.store))


def test_a_record_whose_answer_was_lost_counts_as_published(outputs: BucketOutputs, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Objects.put_if

    def sent_twice(objects: Objects, key: str, content: bytes, etag: str | None) -> str:
        honest(objects, key, content, etag)
        return honest(objects, key, content, etag)  # as the driver does when the connection breaks before the answer

    publish(outputs.store, "old")
    monkeypatch.setattr(Objects, "put_if", sent_twice)
    publish(outputs.store, "new")
    assert (found(outputs.store).folder / "part.txt").read_text() == "new"
    outputs.store.verify(found(outputs.store))


def test_the_lock_of_a_process_that_was_killed_here_is_taken_over_at_once(outputs: BucketOutputs) -> None:
    script = textwrap.dedent("""
        import os, signal, sys
        from assets.store import Place, Store
        with Store(sys.argv[1]).one_writer(Place("study", "table", "0000")):
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert subprocess.run([sys.executable, "-c", script, outputs.root], cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert outputs.names() == [".lock"]
    with outputs.store.storage.one_writer(PLACE, wait=False) as is_held:
        assert is_held
    assert outputs.names() == []


@pytest.mark.parametrize(("expires_after", "is_taken"), [(0.0, True), (600.0, False)])
def test_the_lock_of_another_machine_is_taken_over_when_it_was_not_renewed(
    outputs: BucketOutputs, expires_after: float, is_taken: bool
) -> None:
    owner = {"host": "elsewhere", "machine": "another", "pid": 1, "started": "1", "lock": "x"}
    outputs.write(".lock", json.dumps(owner).encode())
    assert isinstance(outputs.store.storage, Bucket)
    # the server tells the second of the last write: wait until it is over
    while (state := outputs.store.storage.objects.state(f"{HOME}/.lock")) and not state.age:
        pass
    with bucket_lock(outputs.store.storage.objects, f"{HOME}/.lock", wait=False, expires_after=expires_after) as is_held:
        assert is_held == is_taken
    assert (outputs.names() == []) == is_taken


def test_a_lock_that_is_held_is_renewed(outputs: BucketOutputs) -> None:
    assert isinstance(outputs.store.storage, Bucket)
    objects, key = outputs.store.storage.objects, f"{HOME}/.lock"
    written: set[object] = set()
    with bucket_lock(objects, key, wait=True, expires_after=0.3) as is_held:
        assert is_held
        while len(written) < 2:
            written.add(outputs.bucket.client.head_object(Bucket=outputs.bucket.name, Key=f"data/{key}")["LastModified"])
    assert outputs.names() == []


def test_a_folder_copied_into_a_bucket_is_read_there_as_it_is(outputs: BucketOutputs, tmp_path: Path) -> None:
    local = Store(tmp_path)
    publish(local, "abc")
    version = found(local).version
    outputs.write(RECORD, (local.home(PLACE) / RECORD).read_bytes())
    outputs.write(f"{version}/part.txt", b"abc")
    record = found(outputs.store)
    outputs.store.verify(record)  # no ETag is recorded, so the content itself is compared
    assert (record.folder / "part.txt").read_text() == "abc"
    outputs.write(f"{version}/part.txt", b"abd")
    with pytest.raises(StoreError, match=r"part.txt.*SHA-256 differs"):
        outputs.store.verify(record)


def test_a_copy_is_fetched_once_and_a_damaged_copy_again(outputs: BucketOutputs) -> None:
    publish(outputs.store, "abc")
    outputs.forget_copies()
    record = found(outputs.store)
    assert record.here is None
    file = record.folder / "part.txt"
    assert record.here == file.parent
    file.write_text("abd")
    os.utime(file, ns=(1, 1))
    assert record.here is None
    assert (record.folder / "part.txt").read_text() == "abc"


def test_a_table_beside_counters_is_fetched_by_itself_and_not_kept(outputs: BucketOutputs) -> None:
    table = TABLES["token_counts"]
    frame = pl.DataFrame([(3, "a", 5, 2, 1)], schema=table.schema, orient="row")
    for beside, is_kept in (("c/0", False), ("other.parquet", True)):
        with outputs.store.publish(PLACE, beside, {}) as draft:
            write_table(draft.folder, table, frame)
            (draft.folder / beside).parent.mkdir(exist_ok=True)
            (draft.folder / beside).write_bytes(b"large")
        outputs.forget_copies()
        record = found(outputs.store)
        assert read_table(record, table)["predictions"].to_list() == [2]
        assert (record.here is not None) == is_kept
        outputs.write(f"{record.version}/{table.name}.parquet", b"other")
        outputs.forget_copies()
        with pytest.raises(StoreError, match=r"token_counts.parquet"):
            read_table(record, table)


def test_what_is_fetched_is_compared_with_the_record_and_the_file_is_named(outputs: BucketOutputs) -> None:
    publish(outputs.store, "abc")
    outputs.forget_copies()
    record = found(outputs.store)
    outputs.write(f"{record.version}/part.txt", b"abd")
    with pytest.raises(StoreError, match=r"study/table shard 0000: the content of file part.txt is not what was published"):
        _ = record.folder
    with pytest.raises(StoreError, match=r"study/table shard 0000: the content of file part.txt is not what was published"):
        record.read("part.txt")
    outputs.remove(f"{record.version}/part.txt")
    for read in (lambda: record.folder, lambda: record.read("part.txt")):
        with pytest.raises(StoreError, match=r"study/table shard 0000: file part.txt is missing from s3://"):
            read()


def test_copies_beyond_the_limit_are_freed_least_recently_used_first_but_never_those_in_use(tmp_path: Path) -> None:
    cache, other = Cache(tmp_path, limit=250), Cache(tmp_path, limit=250)  # the second as another process would have it

    def add(name: str) -> None:
        scratch = cache.scratch()
        (scratch / "file").write_bytes(b"x" * 100)
        os.utime(cache.keep(scratch, name), ns=(len(name), len(name)))  # used in the order of their names' lengths

    with cache.in_use():
        for name in ("a", "bb", "ccc"):
            add(name)
        assert [copy.name for copy in cache.copies()] == ["a", "bb", "ccc"]
        assert other.trim(0) == 0  # all are held
    assert [copy.name for copy in cache.copies()] == ["bb", "ccc"]
    assert other.find("bb") is not None
    assert cache.trim(0) == 100
    assert [copy.name for copy in cache.copies()] == ["bb"]


def test_the_scratch_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    script = "import os, signal, sys; from pathlib import Path; from assets.store.cache import Cache; Cache(Path(sys.argv[1]), 0).scratch(); os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    mine = Cache(tmp_path, 0).scratch()
    assert list(tmp_path.iterdir()) == [mine]


def test_processes_that_fill_one_cache_at_the_same_time_do_not_stumble_over_each_other(tmp_path: Path) -> None:
    """Each sees folders of the others that are renamed or freed between two of its looks: about one of a hundred rounds did so."""
    script = """
        import sys
        from pathlib import Path
        from assets.store.cache import Cache
        cache = Cache(Path(sys.argv[1]), 10**9 if sys.argv[3] == "keep" else 0)
        for turn in range(200):
            with cache.in_use():
                scratch = cache.scratch()
                (scratch / "below").mkdir()
                (scratch / "below" / "file").write_bytes(b"x")
                assert (cache.keep(scratch, f"copy-{sys.argv[2]}-{turn}") / "below" / "file").is_file()
    """
    commands = [
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), str(number), what]
        for number, what in enumerate(("keep", "keep", "free", "free"))
    ]
    at_once = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for command in commands]
    assert [(process.communicate()[1], process.returncode) for process in at_once] == [("", 0)] * len(commands)


def test_a_source_is_copied_again_when_it_changed_and_a_url_that_is_empty_is_told(bucket: BucketForTests) -> None:
    bucket.write("texts/corpus.txt", b"one")
    url = f"s3://{bucket.name}/texts/corpus.txt"
    first = fetch_source(url)
    assert (first.name, first.read_text()) == ("corpus.txt", "one")
    assert fetch_source(url) == first
    first.write_text("two")  # damaged here
    os.utime(first, ns=(1, 1))
    assert fetch_source(url).read_text() == "one"
    bucket.write("texts/corpus.txt", b"three")
    assert fetch_source(url).read_text() == "three"
    with pytest.raises(RemoteError, match=f"s3://{bucket.name}/texts/none.txt: there is nothing; correct the URL"):
        fetch_source(f"s3://{bucket.name}/texts/none.txt")
    with pytest.raises(RemoteError, match="there is no file ending in .json, .safetensors there"):
        fetch_source(f"s3://{bucket.name}/texts", (".json", ".safetensors"))


def tried(url: str, **environment: str) -> str:
    """What a fresh process says that looks for an output there."""
    script = textwrap.dedent("""
        import sys
        from assets.errors import InputError
        from assets.store import Place, Store
        try:
            print(Store(sys.argv[1]).find(Place("study", "table")))
        except InputError as error:
            print(type(error).__name__, error)
    """)
    given = {name: value for name, value in {**os.environ, **environment}.items() if value}
    return subprocess.run([sys.executable, "-c", script, url], cwd=ROOT, env=given, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("url", "environment", "message"),
    [
        (
            "s3://no-such-bucket/data",
            {},
            "RemoteError s3://no-such-bucket/data: there is no bucket 'no-such-bucket' on this server; create it",
        ),
        (
            "s3://some/data",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": "/nonexistent"},
            "RemoteError s3://some/data: no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        (
            "s3://some/data",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"},
            "UnreachableError s3://some/data: the server cannot be reached (Could not connect to the endpoint URL",
        ),
        ("gs://some/data", {}, "RemoteError gs://some/data: outputs can lie in a folder or at s3://bucket/prefix"),
    ],
    ids=["no bucket", "no credentials", "no network", "no such protocol"],
)
def test_what_a_server_refuses_is_told_in_one_sentence(bucket: BucketForTests, url: str, environment: dict[str, str], message: str) -> None:
    said = tried(url, **environment)
    assert said.startswith(message)
    assert len(said.splitlines()) == 1


@pytest.mark.skipif("NEURON_ATLAS_TEST_S3" in os.environ, reason="only the server in this process can be told to ask for rights")
def test_denied_access_is_told_in_one_sentence(bucket: BucketForTests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)  # from now on the server asks who may do what
    said = tried(bucket.url)
    assert said.startswith(
        f"RemoteError {bucket.url}: access denied (InvalidAccessKeyId); the credentials in the environment must allow to list"
    )
    assert len(said.splitlines()) == 1


def test_a_server_that_is_away_is_no_reason_to_make_an_output_again(outputs: BucketOutputs, monkeypatch: pytest.MonkeyPatch) -> None:
    freshness = Freshness(study(), Store("s3://some/data"))
    monkeypatch.setattr(Objects, "get", lambda *_: (_ for _ in ()).throw(UnreachableError("away")))
    with pytest.raises(UnreachableError):
        freshness.fresh("tracked_tokens")


def test_a_bucket_has_no_home_folder(outputs: BucketOutputs) -> None:
    with pytest.raises(StoreError, match="lies at s3://.*/data/study/table/0000, not in a folder of this machine"):
        outputs.store.home(PLACE)
    assert outputs.store.address(Place("study", "table")) == f"{outputs.root}/study/table"
