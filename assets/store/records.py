"""What is known of a published output: its place, its files, what made it; as values and as the JSON of `record.json`."""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from assets.errors import InputError

RECORD = "record.json"
CURRENT = "current"
LARGE_RECORD = 2**16  # bytes: of many files, and of these only a few are kept in memory
RECORD_VERSION = 2  # 2: facts, which other outputs may be made from, apart from the summary that people look at


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

    @property
    def path(self) -> str:
        """Where the output lies below the root, with forward slashes."""
        return "/".join(part for part in (self.study, self.asset, self.shard) if part)


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 (hex) of one published file; in a bucket also the ETag that the server gave it."""

    bytes: int
    sha256: str
    etag: str = ""


class Files(Protocol):
    """Where the files of records are: a folder of this machine or a bucket."""

    def address(self, place: Place) -> str:
        """Folder or URL of an output."""
        ...

    def folder(self, record: "Record") -> Path:
        """The record's files as a folder of this machine, fetched first if need be. Raises StoreError."""
        ...

    def here(self, record: "Record") -> Path | None:
        """The same folder if nothing has to be fetched, else None."""
        ...

    def read(self, record: "Record", name: str) -> bytes:
        """One whole file, verified and not kept. Raises StoreError naming it."""
        ...


@dataclass(frozen=True)
class Record:
    """What was published and what made it. `version` names the folder of its files beside the record.

    `facts` are numbers and texts that other outputs may be made from: they are content, as the files are. `summary` is for people.
    """

    place: Place
    version: str
    fingerprint: str
    inputs: Mapping[str, str]
    provenance: Mapping[str, Any]
    facts: Mapping[str, Any]
    summary: Mapping[str, Any]
    files: Mapping[str, FileEntry]
    created_at: str
    seconds: float
    storage: Files = field(repr=False, compare=False)

    @property
    def folder(self) -> Path:
        """The files as a folder of this machine. What lies in a bucket is fetched at the first use. Raises StoreError."""
        return self.storage.folder(self)

    @property
    def here(self) -> Path | None:
        """The same folder if the files are on this machine already, else None."""
        return self.storage.here(self)

    @property
    def address(self) -> str:
        """Folder or URL that holds the record and its files."""
        return self.storage.address(self.place)

    def read(self, name: str) -> bytes:
        """One whole file, its SHA-256 verified, not kept on disk. Raises StoreError naming it."""
        return self.storage.read(self, name)

    @property
    def content(self) -> str:
        """SHA-256 over the files and the facts: equal content, equal value, whenever it was made."""
        if not self.facts:
            return self.files_content
        return hashlib.sha256(f"{self.files_content}\n{json.dumps(self.facts, sort_keys=True)}".encode()).hexdigest()

    @property
    def files_content(self) -> str:
        """SHA-256 over the names and hashes of all files."""
        return content_of(self.files)

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(entry.bytes for entry in self.files.values())


@dataclass
class Draft:
    """An output while it is made: write files into `folder`; `facts` are what other outputs may read beside them, JSON values; fill
    `summary` with numbers that people look at."""

    folder: Path
    facts: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


def content_of(files: Mapping[str, FileEntry]) -> str:
    """SHA-256 (hex) over the names and hashes of files."""
    lines = sorted(f"{name} {entry.sha256}" for name, entry in files.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def encode_record(place: Place, version: str, files: Mapping[str, FileEntry], fields: Mapping[str, Any]) -> bytes:
    """The JSON of a record. `fields` holds fingerprint, inputs, provenance, facts, summary, created_at and seconds."""
    entries = {name: {key: value for key, value in asdict(entry).items() if value != ""} for name, entry in files.items()}
    record = {"record_version": RECORD_VERSION, **asdict(place), "folder": version, **fields, "files": entries}
    return json.dumps(record, indent=1, sort_keys=True).encode()


def decode_record(place: Place, content: bytes, storage: Files) -> Record:
    """The record of a place from its JSON. Raises StoreError for one that is damaged or of another version of the product."""
    decode = _decode_once if len(content) < LARGE_RECORD else _decode_large_once
    return Record(storage=storage, **decode(place, content, f"{storage.address(place)}/{RECORD}"))


@functools.lru_cache(maxsize=256)
def _decode_once(place: Place, content: bytes, file: str) -> dict[str, Any]:
    """A run looks up the same records some thousand times: each stage asks whether everything before it still stands."""
    return _decode(place, content, file)


@functools.lru_cache(maxsize=16)
def _decode_large_once(place: Place, content: bytes, file: str) -> dict[str, Any]:
    """The counters' 8,000 files take 0.1 s, and every stage behind them asks: 15 s of a study of SmolLM2-135M. A study asks for each of its shards in
    turn, and with fewer kept than there are every one was read again: 8 s with four shards and the merge, of which four were kept."""
    return _decode(place, content, file)


def _decode(place: Place, content: bytes, file: str) -> dict[str, Any]:
    try:
        raw = json.loads(content)
        if raw["record_version"] != RECORD_VERSION:
            raise StoreError(f"{place}: {file} was written by another version of the product (record version {raw['record_version']}, "
                             f"this one reads {RECORD_VERSION}); rebuild it with: make study STUDY={place.study}")  # fmt: skip
        return {
            "place": place,
            "version": _below(raw["folder"]),
            "files": {_below(name): FileEntry(**entry) for name, entry in raw["files"].items()},
            **{name: raw[name] for name in ("fingerprint", "inputs", "provenance", "facts", "summary", "created_at", "seconds")},
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{place}: {file} is damaged; delete that file and run the study again") from None


def _below(name: str) -> str:
    """A path below a folder, as it was given. Raises ValueError for one that leads elsewhere: a reader would write there."""
    path = PurePosixPath(name)
    if not name or "\0" in name or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError(name)
    return name
