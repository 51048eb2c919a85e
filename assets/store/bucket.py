"""Outputs in a bucket, in the layout of a local folder: versions under prefixes, a record replaced by compare-and-set.

Files are made in and read from folders of this machine (`cache`); docs/decisions/0013-object-storage.md says why.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from assets.errors import InputError
from assets.store.bucket_lock import EXPIRES_AFTER, bucket_lock
from assets.store.bucket_site import HTML, hide_site, show_site
from assets.store.cache import FOLDER_VARIABLE, Cache
from assets.store.files import VERSION, difference, difference_of, entries_of, new_version, readable_failures, statuses_of
from assets.store.local import LOCK
from assets.store.objects import Objects, TakenError
from assets.store.records import RECORD, Place, Record, StoreError, content_of, encode_record

AGAIN = "materialize it again"


@dataclass
class BucketDraft:
    """A version while it is written on this machine; `publish` uploads it and makes it the current one."""

    bucket: "Bucket"
    place: Place
    folder: Path
    version: str
    seen: str | None  # ETag of the record when writing began
    content: str = ""  # of the record, once it is published

    def publish(self, fields: Mapping[str, Any]) -> None:
        """Upload every file, see that all arrived, then replace the record if nobody else has. Raises StoreError."""
        files = entries_of(self.folder)
        key = f"{self.place.path}/{self.version}"
        objects = self.bucket.objects
        objects.upload(self.folder, list(files), key)
        arrived = objects.below(key)
        for name, entry in files.items():
            if name not in arrived or arrived[name].bytes != entry.bytes:
                raise StoreError(f"{self.place}: file {name} did not arrive whole at {self.bucket.address(self.place)}; run again")
            files[name] = replace(entry, etag=arrived[name].etag)
        try:
            objects.put_if(f"{self.place.path}/{RECORD}", encode_record(self.place, self.version, files, fields), self.seen)
        except TakenError:
            # a request whose answer was lost is sent again and then meets its own record
            if self.bucket.published_version(self.place) != self.version:
                raise StoreError(
                    f"{self.place}: another run published it meanwhile; its version stays. Run again: what is fresh is kept"
                ) from None
        self.content = content_of(files)


@dataclass(frozen=True)
class Bucket:
    """All outputs below `url`, s3://bucket/prefix. Raises RemoteError and UnreachableError beside StoreError."""

    url: str
    cache: Cache
    lock_expires_after: float = EXPIRES_AFTER

    @cached_property
    def objects(self) -> Objects:
        """The objects below the URL."""
        return Objects(self.url)

    def address(self, place: Place) -> str:
        return f"{self.url}/{place.path}"

    def record(self, place: Place) -> bytes | None:
        """The bytes of a record, None if there is none."""
        return self.objects.get(f"{place.path}/{RECORD}")

    def folder(self, record: Record) -> Path:
        copy = self.here(record)
        if copy is not None:
            return copy
        with readable_failures(str(record.place), self.cache.root, FOLDER_VARIABLE):
            scratch = self.cache.scratch()
            try:
                self._fetch(record, list(record.files), scratch)
            except BaseException:
                self.cache.drop(scratch.name)
                raise
            return self.cache.keep(scratch, record.files_content)

    def here(self, record: Record) -> Path | None:
        copy = self.cache.find(record.files_content)
        if copy is None:
            return None
        found = statuses_of(copy)
        if any(difference_of(copy, name, entry, found.get(name)) for name, entry in record.files.items()):
            self.cache.drop(record.files_content)
            return None
        return copy

    def read(self, record: Record, name: str) -> bytes:
        content = self.objects.get(f"{record.place.path}/{record.version}/{name}")
        if content is None:
            raise StoreError(f"{record.place}: file {name} is missing from {self.address(record.place)}/{record.version}; {AGAIN}")
        if sha256(content).hexdigest() != record.files[name].sha256:
            raise StoreError(f"{record.place}: the content of file {name} is not what was published (SHA-256 differs); {AGAIN}")
        return content

    def verify(self, record: Record) -> None:
        """Compare one listing with the record; what has another ETag is downloaded and hashed. Raises StoreError naming a file."""
        found = self.objects.below(f"{record.place.path}/{record.version}")
        changed = []
        for name, entry in record.files.items():
            if name not in found:
                raise StoreError(f"{record.place}: file {name} is missing from {self.address(record.place)}/{record.version}; {AGAIN}")
            if found[name].bytes != entry.bytes:
                raise StoreError(f"{record.place}: file {name} has {found[name].bytes} bytes, {entry.bytes} were published; {AGAIN}")
            if found[name].etag != entry.etag:
                changed.append(name)
        if changed:
            with readable_failures(str(record.place), self.cache.root, FOLDER_VARIABLE):
                scratch = self.cache.scratch()
                try:
                    self._fetch(record, changed, scratch)
                finally:
                    self.cache.drop(scratch.name)

    @contextmanager
    def writing(self, place: Place, fingerprint: str, published: Record | None) -> Iterator[BucketDraft]:
        """A new version to write on this machine; it is removed if the block ends with an error.

        Only versions that were there before are removed: if this process is taken for a dead one, its successor's stay.
        """
        state = self.objects.state(f"{place.path}/{RECORD}")
        self.clear_remains(place, published)
        with readable_failures(str(place), self.cache.root, FOLDER_VARIABLE):
            draft = BucketDraft(self, place, self.cache.scratch(), new_version(fingerprint), state.etag if state else None)
            try:
                yield draft
                self.cache.keep(draft.folder, draft.content)
            except BaseException:
                self.cache.drop(draft.folder.name)
                self._abandon(place, draft.version)
                raise
        if published is not None:
            self.remove_version(place, published.version)

    def published_version(self, place: Place) -> str | None:
        """The version that the record names; None if there is no readable record."""
        try:
            return str(json.loads(self.record(place) or b"")["folder"])
        except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError):
            return None

    def clear_remains(self, place: Place, published: Record | None) -> None:
        """Remove what killed runs left beside the published version. Hold `one_writer` around it."""
        for version in self.versions(place):
            if published is None or version != published.version:
                self.remove_version(place, version)

    @contextmanager
    def one_writer(self, place: Place, wait: bool) -> Iterator[bool]:
        """Hold the output's lock object. False: another holds it (`wait` unset)."""
        with bucket_lock(self.objects, f"{place.path}/{LOCK}", wait, self.lock_expires_after) as is_held:
            yield is_held

    def point_current(self, record: Record) -> None:
        """Nothing: a bucket has no links; readers follow the record."""

    def show_site(self, record: Record, at: str) -> None:
        """Let the pages below `<url>/<at>/` redirect to those of the published version of a site."""
        show_site(self.objects, record, at)

    def show_page(self, at: str, page: bytes) -> None:
        """Write one HTML page."""
        self.objects.put(at, page, HTML)

    def note(self, place: Place, name: str) -> bytes | None:
        """A small object beside a record, None if there is none."""
        return self.objects.get(f"{place.path}/{name}")

    def write_note(self, place: Place, name: str, content: bytes) -> None:
        """Replace a small object beside a record in one step."""
        self.objects.put(f"{place.path}/{name}", content)

    def hide_site(self, at: str) -> None:
        """Remove what `show_site` made."""
        hide_site(self.objects, at)

    def places(self) -> list[Place]:
        """Every output that has a record or a version below the URL, by name."""
        found = set()
        for key in self.objects.below(""):
            parts = key.split("/")
            ends = [depth for depth in (2, 3) if len(parts) > depth and (parts[depth:] == [RECORD] or VERSION.fullmatch(parts[depth]))]
            found |= {Place(*parts[:depth]) for depth in ends}
        return sorted(found, key=str)

    def versions(self, place: Place) -> dict[str, int]:
        """Bytes of every version that lies at a place, by its name."""
        sizes: dict[str, int] = {}
        for key, entry in sorted(self.objects.below(place.path).items()):
            version = key.split("/", 1)[0]
            if VERSION.fullmatch(version):
                sizes[version] = sizes.get(version, 0) + entry.bytes
        return sizes

    def remove_version(self, place: Place, version: str) -> None:
        """Remove one version's objects. Hold `one_writer` around it."""
        key = f"{place.path}/{version}"
        self.objects.remove([f"{key}/{name}" for name in self.objects.below(key)])

    def remove(self, place: Place) -> None:
        """Remove an output, its record first, so that no reader is led to what is half gone. Hold `one_writer` around it."""
        self.objects.remove([f"{place.path}/{RECORD}"])
        for version in self.versions(place):
            self.remove_version(place, version)
        notes = [name for name in self.objects.below(place.path) if "/" not in name and name != LOCK]
        self.objects.remove([f"{place.path}/{name}" for name in notes])

    def _fetch(self, record: Record, names: Sequence[str], folder: Path) -> None:
        """Download and verify files of a record. Raises StoreError naming the first that is missing or differs."""
        key = f"{record.place.path}/{record.version}"
        try:
            self.objects.download(names, key, folder)
        except FileNotFoundError:
            left = self.objects.below(key)
            gone = next((name for name in names if name not in left), names[0])
            raise StoreError(f"{record.place}: file {gone} is missing from {self.url}/{key}; {AGAIN}") from None
        for name in names:
            fault = difference(folder, name, record.files[name])
            if fault:
                raise StoreError(f"{record.place}: {fault}; {AGAIN}")

    def _abandon(self, place: Place, version: str) -> None:
        """Remove a version that was not published; if the server is away, the next writer does."""
        try:
            if self.published_version(place) != version:
                self.remove_version(place, version)
        except InputError:
            return
