"""Where outputs lie, how they are published in one step, and how a reader knows that they are whole.

An output is a folder of files and a `record.json` beside it that names the folder, the fingerprint of what made it and the
SHA-256 of every file. The record is replaced in one step after the files are on disk, so a kill at any moment leaves the
last good output in place. What is inside the files is not known here.

    <root>/<study>/<asset>/[<shard>/]record.json
    <root>/<study>/<asset>/[<shard>/]current -> <version>
    <root>/<study>/<asset>/[<shard>/]<version>/...files
"""

import errno
import fcntl
import functools
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assets.errors import InputError

RECORD = "record.json"
CURRENT = "current"
RECORD_VERSION = 1


class StoreError(InputError):
    """An output that is missing, damaged or cannot be written."""


@dataclass(frozen=True)
class Place:
    """Which output: of which study, which asset, and which shard if the asset is partitioned."""

    study: str
    asset: str
    shard: str | None = None

    def __str__(self) -> str:
        return f"{self.study}/{self.asset}" + (f" shard {self.shard}" if self.shard else "")


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 (hex) of one published file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """What was published and what made it."""

    place: Place
    folder: Path
    fingerprint: str
    inputs: Mapping[str, str]
    provenance: Mapping[str, Any]
    summary: Mapping[str, Any]
    files: Mapping[str, FileEntry]
    created_at: str
    seconds: float

    @property
    def content(self) -> str:
        """SHA-256 over the names and hashes of all files: equal content, equal value, whenever it was made."""
        lines = sorted(f"{name} {entry.sha256}" for name, entry in self.files.items())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(entry.bytes for entry in self.files.values())


@dataclass
class Draft:
    """An output while it is made: write files into `folder`; fill `summary` with numbers that people look at."""

    folder: Path
    summary: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Store:
    """All outputs of all studies below one root folder."""

    root: Path

    def home(self, place: Place) -> Path:
        """Folder that holds the record and the versions of one output."""
        return self.root / place.study / place.asset / (place.shard or "")

    def find(self, place: Place) -> Record | None:
        """The published record, or None. Raises StoreError for one that cannot be read."""
        file = self.home(place) / RECORD
        try:
            raw = json.loads(file.read_text())
            if raw["record_version"] != RECORD_VERSION:
                raise StoreError(f"{place}: {file} was written by another version of the product (record version "
                                 f"{raw['record_version']}, this one reads {RECORD_VERSION}); delete {self.home(place)} and run the study again")  # fmt: skip
            return Record(
                place=place,
                folder=self.home(place) / raw["folder"],
                fingerprint=raw["fingerprint"],
                inputs=raw["inputs"],
                provenance=raw["provenance"],
                summary=raw["summary"],
                files={name: FileEntry(**entry) for name, entry in raw["files"].items()},
                created_at=raw["created_at"],
                seconds=raw["seconds"],
            )
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError, UnicodeDecodeError):
            raise StoreError(f"{place}: {file} is damaged; delete that file and run the study again") from None

    def verify(self, record: Record) -> None:
        """Compare every file with its recorded size and hash. Raises StoreError naming the first that differs, lacks or is too many."""
        for name, entry in record.files.items():
            file = record.folder / name
            remedy = "materialize it again"
            if not file.is_file():
                raise StoreError(f"{record.place}: file {name} is missing from {record.folder}; {remedy}")
            size = file.stat().st_size
            if size != entry.bytes:
                raise StoreError(f"{record.place}: file {name} has {size} bytes, {entry.bytes} were published; {remedy}")
            if sha256_of(file) != entry.sha256:
                raise StoreError(f"{record.place}: the content of file {name} is not what was published (SHA-256 differs); {remedy}")
        for file in sorted(record.folder.rglob("*")):  # a chunk that should not be there would be read like any other
            name = str(file.relative_to(record.folder))
            if name not in record.files and not file.name.startswith(".") and not file.is_dir():
                raise StoreError(f"{record.place}: file {name} lies in {record.folder} but was not published; {remedy}")

    @contextmanager
    def publish(self, place: Place, fingerprint: str, inputs: Mapping[str, str]) -> Iterator[Draft]:
        """Make an output: the draft becomes the published version when the block ends without an error.

        Hold `one_writer` of the place around it. On an error the draft is removed and the last good version stays. Raises
        StoreError where the disk is full or the folder cannot be written.
        """
        home = self.home(place)
        started, clock = datetime.now(UTC), time.monotonic()  # the system's time may be set back meanwhile
        with _readable_failures(place, home):
            home.mkdir(parents=True, exist_ok=True)
            _sweep(home, keep=self._published_folder(place))
            folder = home / f"{fingerprint[:12]}-{uuid.uuid4().hex[:8]}"
            folder.mkdir()
            draft = Draft(folder)
            try:
                yield draft
                files = {str(file.relative_to(folder)): _entry(file) for file in sorted(folder.rglob("*")) if file.is_file()}
                record = {
                    "record_version": RECORD_VERSION,
                    "study": place.study,
                    "asset": place.asset,
                    "shard": place.shard,
                    "folder": folder.name,
                    "fingerprint": fingerprint,
                    "inputs": dict(inputs),
                    "provenance": draft.provenance,
                    "summary": draft.summary,
                    "created_at": started.isoformat(timespec="seconds"),
                    "seconds": round(time.monotonic() - clock, 3),
                    "files": {name: asdict(entry) for name, entry in files.items()},
                }
                write_atomically(home / RECORD, json.dumps(record, indent=1, sort_keys=True).encode())
                self.point_current(place)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            _sweep(home, keep=folder)

    def point_current(self, place: Place) -> None:
        """Let the link `current` beside the record name the published version: a stable path for people and file servers."""
        record = self.find(place)
        link = self.home(place) / CURRENT
        if record is None or (link.is_symlink() and os.readlink(link) == record.folder.name):
            return
        temporary = link.with_name(f".{RECORD}.{uuid.uuid4().hex[:8]}")
        temporary.symlink_to(record.folder.name)
        os.replace(temporary, link)

    def clear_remains(self, place: Place) -> None:
        """Remove what a killed run left beside the published version. Hold `one_writer` of the place around it."""
        _sweep(self.home(place), keep=self._published_folder(place))

    @contextmanager
    def one_writer(self, place: Place) -> Iterator[None]:
        """Hold the place's lock: a second run of the same output waits here. The system frees it when the process ends, however it ends."""
        home = self.home(place)
        with _readable_failures(place, home):
            home.mkdir(parents=True, exist_ok=True)
            lock = (home / ".lock").open("a")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _published_folder(self, place: Place) -> Path | None:
        try:
            record = self.find(place)
        except StoreError:  # a damaged record is about to be replaced; its files cannot be trusted either
            return None
        return record.folder if record else None


def write_atomically(file: Path, content: bytes) -> None:
    """Replace `file` in one step: readers see the old content or the new, never a part."""
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sha256_of(file: Path) -> str:
    """SHA-256 (hex) of a file; computed once per process while the file stays the same.

    A modification time can be set to any value; the time of the inode's last change, which the system sets, cannot.
    """
    status = file.stat()
    return _sha256(file, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=65_536)
def _sha256(file: Path, *state: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _entry(file: Path) -> FileEntry:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())  # on disk before the record names it
    return FileEntry(file.stat().st_size, sha256_of(file))


def _sweep(home: Path, keep: Path | None) -> None:
    """Remove versions that no record names: what a killed run left behind, and the version just replaced."""
    for entry in home.iterdir():
        is_version = not entry.is_symlink() and entry.is_dir() and len(entry.name) == 21 and entry.name[12] == "-"
        if is_version and (keep is None or entry.name != keep.name):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name.startswith(f".{RECORD}."):
            entry.unlink(missing_ok=True)


@contextmanager
def _readable_failures(place: Place, home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreError(f"{place}: no space left to write below {home} ({error.strerror}); the last good version stays. "
                             "Free space or choose another folder with NEURON_ATLAS_DATA, then run again: finished parts are kept") from error  # fmt: skip
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM) and str(error.filename or "").startswith(str(home.anchor)):
            raise StoreError(f"{place}: {error.filename} cannot be written ({error.strerror}); choose a folder that can, "
                             "with NEURON_ATLAS_DATA") from error  # fmt: skip
        raise
