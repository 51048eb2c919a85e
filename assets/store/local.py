"""Outputs in a folder of this machine: versions beside their record, a link to the current one, a lock of the system."""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.store.files import (
    VERSION,
    difference,
    difference_of,
    entries_of,
    new_version,
    readable_failures,
    size_of,
    statuses_of,
    write_atomically,
)
from assets.store.records import CURRENT, RECORD, Place, Record, StoreError, encode_record

LOCK = ".lock"


@dataclass
class LocalDraft:
    """A version while it is written in its own place; `publish` makes it the current one."""

    place: Place
    folder: Path

    def publish(self, fields: Mapping[str, Any]) -> None:
        """Replace the record by one that names this version."""
        record = encode_record(self.place, self.folder.name, entries_of(self.folder), fields)
        write_atomically(self.folder.parent / RECORD, record)
        point(self.folder.parent, self.folder.name)


@dataclass(frozen=True)
class LocalFolder:
    """All outputs below a folder of this machine. Renames and `flock` must work there: a local or a POSIX network file system."""

    root: Path

    def address(self, place: Place) -> str:
        return str(self.home(place))

    def home(self, place: Place) -> Path:
        """Folder that holds the record and the versions of one output."""
        return self.root / place.path

    def record(self, place: Place) -> bytes | None:
        """The bytes of a record, None if there is none."""
        try:
            return (self.home(place) / RECORD).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{place}: {error.filename} cannot be read ({error.strerror}); let this user read it, or remove it") from None

    def folder(self, record: Record) -> Path:
        return self.home(record.place) / record.version

    def here(self, record: Record) -> Path | None:
        return self.folder(record)

    def read(self, record: Record, name: str) -> bytes:
        fault = difference(self.folder(record), name, record.files[name])
        if fault:
            raise StoreError(f"{record.place}: {fault}; materialize it again")
        return (self.folder(record) / name).read_bytes()

    def verify(self, record: Record) -> None:
        """Compare every file with its recorded size and hash. Raises StoreError naming the first that differs, lacks or is too many."""
        folder = self.folder(record)
        found = statuses_of(folder)
        for name, entry in record.files.items():
            fault = difference_of(folder, name, entry, found.get(name))
            if fault:
                raise StoreError(f"{record.place}: {fault}; materialize it again")
        for name in sorted(found.keys() - record.files.keys()):  # a chunk that should not be there would be read like any other
            raise StoreError(f"{record.place}: file {name} lies in {folder} but was not published; materialize it again")

    @contextmanager
    def writing(self, place: Place, fingerprint: str, published: Record | None) -> Iterator[LocalDraft]:
        """A new version to write; it is removed if the block ends with an error. `published` is kept until it is replaced."""
        home = self.home(place)
        with readable_failures(str(place), home, "NEURON_ATLAS_DATA"):
            home.mkdir(parents=True, exist_ok=True)
            self.clear_remains(place, published)
            folder = home / new_version(fingerprint)
            folder.mkdir()
            try:
                yield LocalDraft(place, folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            _sweep(home, keep=folder.name)

    def clear_remains(self, place: Place, published: Record | None) -> None:
        """Remove what killed runs left beside the published version. Hold `one_writer` around it."""
        _sweep(self.home(place), keep=published.version if published else None)

    @contextmanager
    def one_writer(self, place: Place, wait: bool) -> Iterator[bool]:
        """Hold the output's lock. The system frees it when the process ends, however it ends. False: another holds it (`wait` unset)."""
        home = self.home(place)
        with readable_failures(str(place), home, "NEURON_ATLAS_DATA"):
            home.mkdir(parents=True, exist_ok=True)
            lock = (home / LOCK).open("a")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    def point_current(self, record: Record) -> None:
        """Let the link `current` beside the record name the published version: a stable path for people and file servers."""
        point(self.home(record.place), record.version)

    def show_site(self, record: Record, at: str) -> None:
        """Make `<root>/<at>` a link to the current version of a site."""
        link = self.root / at
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(Path(os.path.relpath(self.home(record.place) / CURRENT, link.parent)))

    def show_page(self, at: str, page: bytes) -> None:
        """Write one HTML page."""
        (self.root / at).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.root / at, page)

    def note(self, place: Place, name: str) -> bytes | None:
        """A small file beside a record, None if there is none that can be read."""
        try:
            return (self.home(place) / name).read_bytes()
        except OSError:
            return None

    def write_note(self, place: Place, name: str, content: bytes) -> None:
        """Replace a small file beside a record in one step."""
        home = self.home(place)
        home.mkdir(parents=True, exist_ok=True)
        write_atomically(home / name, content)

    def hide_site(self, at: str) -> None:
        """Remove what `show_site` made."""
        (self.root / at).unlink(missing_ok=True)

    def places(self) -> list[Place]:
        """Every output that has a record or a version below the root, by name."""
        homes = {file.parent for file in self.root.glob(f"*/*/{RECORD}")} | {file.parent for file in self.root.glob(f"*/*/*/{RECORD}")}
        homes |= {entry.parent for depth in ("*/*/*", "*/*/*/*") for entry in self.root.glob(depth) if is_version(entry)}
        return sorted((_place(home.relative_to(self.root)) for home in homes), key=str)

    def versions(self, place: Place) -> dict[str, int]:
        """Bytes of every version that lies at a place, by its name."""
        home = self.home(place)
        return {entry.name: size_of(entry) for entry in sorted(home.iterdir()) if is_version(entry)} if home.is_dir() else {}

    def remove_version(self, place: Place, version: str) -> None:
        """Remove one version's files. Hold `one_writer` around it."""
        shutil.rmtree(self.home(place) / version, ignore_errors=True)

    def remove(self, place: Place) -> None:
        """Remove an output, its record first, so that no reader is led to what is half gone. Hold `one_writer` around it."""
        home = self.home(place)
        (home / RECORD).unlink(missing_ok=True)
        _sweep(home, keep=None)
        for entry in home.iterdir():
            if entry.name != LOCK and (entry.is_symlink() or entry.is_file()):  # the link to the current version, notes
                entry.unlink()
        for folder in (home, home.parent, home.parent.parent):
            left = {entry.name for entry in folder.iterdir()}  # shards of the same asset, other assets of the study
            if folder == self.root or left - {LOCK}:
                return
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()


def is_version(entry: Path) -> bool:
    """Whether a folder is one version of an output."""
    return VERSION.fullmatch(entry.name) is not None and entry.is_dir() and not entry.is_symlink()


def point(home: Path, version: str) -> None:
    """Let the link `current` in `home` name the version, in one step."""
    link = home / CURRENT
    if link.is_symlink() and os.readlink(link) == version:
        return
    temporary = link.with_name(f".{RECORD}.{uuid.uuid4().hex[:8]}")
    temporary.symlink_to(version)
    os.replace(temporary, link)


def _place(path: Path) -> Place:
    return Place(*path.parts)


def _sweep(home: Path, keep: str | None) -> None:
    """Remove versions that no record names: what a killed run left behind, and the version just replaced."""
    for entry in home.iterdir():
        if is_version(entry) and entry.name != keep:
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name.startswith(f".{RECORD}."):
            entry.unlink(missing_ok=True)
