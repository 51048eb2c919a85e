"""Copies on this machine of what lies elsewhere, and the scratch folders that outputs are made in before they are uploaded.

Each copy is a folder whose name says what is in it. What a process uses is held by a lock on the folder, which the system
frees when the process ends; everything else may be freed, least recently used first, when the copies exceed their limit.
"""

import contextlib
import fcntl
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache as once
from pathlib import Path

from assets.store.files import size_of
from assets.store.records import StoreError

FOLDER_VARIABLE, LIMIT_VARIABLE = "NEURON_ATLAS_CACHE", "NEURON_ATLAS_CACHE_GB"
DEFAULT_LIMIT_GB = 20.0
SCRATCH = "scratch-"


@dataclass(frozen=True)
class Copy:
    """One folder of the cache."""

    name: str
    bytes: int
    used_at: float
    is_in_use: bool


@dataclass
class Cache:
    """The copies below `root`; beyond `limit` bytes the least recently used are freed."""

    root: Path
    limit: int
    _held: dict[str, int] = field(default_factory=dict)  # name -> descriptor of the locked folder
    _readers: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @staticmethod
    def of_this_machine() -> "Cache":
        """The cache that the environment names: NEURON_ATLAS_CACHE (~/.cache/neuron-atlas), NEURON_ATLAS_CACHE_GB (20)."""
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neuron-atlas"
        root = Path(os.environ.get(FOLDER_VARIABLE) or home).resolve()
        given = os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_LIMIT_GB)
        try:
            return _shared(root, int(float(given) * 1e9))
        except (ValueError, OverflowError):
            raise StoreError(f"{LIMIT_VARIABLE}: given {given!r}; give a number of gigabytes such as 20") from None

    def find(self, name: str) -> Path | None:
        """The copy of this name, held until nothing of this process is in use; None if there is none."""
        with self._lock:
            folder = self.root / name
            if name in self._held and not folder.is_dir():  # somebody emptied the cache by hand
                os.close(self._held.pop(name))
            if name in self._held or self._hold(folder):
                os.utime(folder)
                return folder
            return None

    def scratch(self) -> Path:
        """A new folder to write in, held. Those of killed processes are removed first."""
        with self._lock:
            self.root.mkdir(parents=True, exist_ok=True)
            for left in self.root.glob(f"{SCRATCH}*"):
                self._free(left.name)
            while True:
                folder = self.root / f"{SCRATCH}{uuid.uuid4().hex[:12]}"
                folder.mkdir()
                if self._hold(folder):  # else another process took it for a killed one's before it was locked
                    return folder

    def keep(self, scratch: Path, name: str) -> Path:
        """Let a finished scratch folder be the copy of this name, and free what is then too much."""
        with self._lock:
            folder = self.root / name
            descriptor = self._held.pop(scratch.name)
            try:
                os.rename(scratch, folder)
                self._held[name] = descriptor
            except OSError:  # another process was first, with the same content
                os.close(descriptor)
                shutil.rmtree(scratch, ignore_errors=True)
                self._hold(folder)
            self.trim()
            return folder

    def drop(self, name: str) -> None:
        """Remove a copy, also one that this process holds."""
        with self._lock:
            if name in self._held:
                os.close(self._held.pop(name))
            self._free(name)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """What is found or kept inside this block stays until its end; afterwards it may be freed."""
        with self._lock:
            self._readers += 1
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1
                if not self._readers:
                    for name in [name for name in self._held if not name.startswith(SCRATCH)]:
                        os.close(self._held.pop(name))
                    self.trim()

    def copies(self) -> list[Copy]:
        """Every copy and scratch folder, least recently used first. One that another process renames or frees meanwhile is left out."""
        found = []
        for entry in self.root.iterdir() if self.root.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                if entry.is_dir():
                    found.append(Copy(entry.name, size_of(entry), entry.stat().st_mtime, self._is_held(entry)))
        return sorted(found, key=lambda copy: copy.used_at)

    def trim(self, limit: int | None = None) -> int:
        """Free copies that nobody uses, least recently used first, until at most `limit` bytes are left. Returns the bytes freed."""
        allowed, freed = self.limit if limit is None else limit, 0
        with self._lock:
            copies = self.copies()
            excess = sum(copy.bytes for copy in copies) - allowed
            for copy in copies:
                if freed < excess and not copy.is_in_use and not copy.name.startswith(SCRATCH) and self._free(copy.name):
                    freed += copy.bytes
        return freed

    def _hold(self, folder: Path) -> bool:
        """Lock the folder against being freed; False if it is not there (any more)."""
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if not _is_at(descriptor, folder):  # whoever freed it between the two calls has renamed it first
            os.close(descriptor)
            return False
        self._held[folder.name] = descriptor
        return True

    def _is_held(self, folder: Path) -> bool:
        if folder.name in self._held:
            return True
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _free(self, name: str) -> bool:
        """Remove a folder that nobody holds; False if somebody does."""
        folder = self.root / name
        if name in self._held:
            return False
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            going = self.root / f"{SCRATCH}going-{uuid.uuid4().hex[:8]}"
            os.rename(folder, going)
            shutil.rmtree(going, ignore_errors=True)
            return True
        except (BlockingIOError, FileNotFoundError):
            return False
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, folder: Path) -> bool:
    """Whether an open folder still lies at its path."""
    try:
        return os.fstat(descriptor).st_ino == folder.stat().st_ino
    except FileNotFoundError:
        return False


@once
def _shared(root: Path, limit: int) -> Cache:
    """One cache per folder and process, so that all of it knows what is in use."""
    return Cache(root, limit)
