"""The outputs of all studies below one root, a folder or a bucket: finding, verifying, publishing, one writer at a time."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from assets.store.bucket import Bucket
from assets.store.cache import Cache
from assets.store.local import LocalFolder
from assets.store.records import Draft, Place, Record, StoreError, decode_record
from assets.urls import is_url


@dataclass(frozen=True)
class Store:
    """All outputs of all studies below `root`: a folder, or the URL s3://bucket/prefix."""

    root: Path | str

    @cached_property
    def storage(self) -> LocalFolder | Bucket:
        """How the root is read and written."""
        if is_url(str(self.root)):
            return Bucket(str(self.root).rstrip("/"), Cache.of_this_machine())
        return LocalFolder(Path(self.root))

    def home(self, place: Place) -> Path:
        """Folder that holds the record and the versions of one output. Raises StoreError if the root is a bucket."""
        if isinstance(self.storage, Bucket):
            raise StoreError(f"{place}: lies at {self.address(place)}, not in a folder of this machine")
        return self.storage.home(place)

    def address(self, place: Place) -> str:
        """Folder or URL that holds the record and the versions of one output."""
        return self.storage.address(place)

    def find(self, place: Place) -> Record | None:
        """The published record, or None. Raises StoreError for one that cannot be read."""
        content = self.storage.record(place)
        return None if content is None else decode_record(place, content, self.storage)

    def verify(self, record: Record) -> None:
        """Whether every file is there as published. Raises StoreError naming the first file that differs.

        In a folder: size and SHA-256 of every file. In a bucket: size and ETag, and the content itself where the ETag differs;
        the SHA-256 of what is then fetched is compared on arrival.
        """
        self.storage.verify(record)

    @contextmanager
    def publish(self, place: Place, fingerprint: str, inputs: Mapping[str, str]) -> Iterator[Draft]:
        """Make an output: the draft becomes the published version when the block ends without an error.

        Hold `one_writer` of the place around it. On an error the draft is removed and the last good version stays. Raises
        StoreError where the disk is full or the folder cannot be written.
        """
        started, clock = datetime.now(UTC), time.monotonic()  # the system's time may be set back meanwhile
        with self.storage.writing(place, fingerprint, self._published(place)) as version:
            draft = Draft(version.folder)
            yield draft
            version.publish(
                {
                    "fingerprint": fingerprint,
                    "inputs": dict(inputs),
                    "provenance": draft.provenance,
                    "facts": draft.facts,
                    "summary": draft.summary,
                    "created_at": started.isoformat(timespec="seconds"),
                    "seconds": round(time.monotonic() - clock, 3),
                }
            )

    def point_current(self, place: Place) -> None:
        """Let the link `current` beside the record name the published version (in a folder; a bucket has none)."""
        record = self.find(place)
        if record is not None:
            self.storage.point_current(record)

    def clear_remains(self, place: Place) -> None:
        """Remove what a killed run left beside the published version. Hold `one_writer` of the place around it."""
        self.storage.clear_remains(place, self._published(place))

    def show_site(self, place: Place, at: str) -> None:
        """Make `<root>/<at>/` a stable address that shows the published version of a site."""
        record = self.find(place)
        if record is not None:
            self.storage.show_site(record, at)

    def show_page(self, at: str, page: bytes) -> None:
        """Write one HTML page at `<root>/<at>`, in one step."""
        self.storage.show_page(at, page)

    def note(self, place: Place, name: str) -> bytes | None:
        """A small file beside a record, None if there is none that can be read."""
        return self.storage.note(place, name)

    def write_note(self, place: Place, name: str, content: bytes) -> None:
        """Replace a small file beside a record in one step."""
        self.storage.write_note(place, name, content)

    @contextmanager
    def one_writer(self, place: Place) -> Iterator[None]:
        """Hold the place's lock: a second run of the same output waits here. It is freed when the process ends, however it ends."""
        with self.storage.one_writer(place, wait=True):
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Inside this block, what is fetched from a bucket stays on this machine; afterwards it may be freed for something else."""
        if isinstance(self.storage, Bucket):
            with self.storage.cache.in_use():
                yield
        else:
            yield

    def _published(self, place: Place) -> Record | None:
        try:
            return self.find(place)
        except StoreError:  # a damaged record is about to be replaced; its files cannot be trusted either
            return None
