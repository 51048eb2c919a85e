"""The files of a record as a read-only Zarr store: fetched one by one, verified against the record, and not kept on disk.

For shards that are not on this machine: a merge holds one layer of two shards, so it needs no room for whole shards.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from assets.store import Record

KEPT_BYTES = 32 * 2**20  # a layer's counts are asked for once per block of tracked tokens


def zarr_files(record: Record) -> Any:
    """A Zarr store over the record's files.

    A file that the record names and that is missing or altered raises StoreError: Zarr alone would take a missing chunk for
    one that holds nothing.
    """
    from zarr.storage import MemoryStore

    return MemoryStore(_Files(record), read_only=True)  # type: ignore[arg-type] # only read, so no mutable mapping is needed


class _Files(Mapping[str, Any]):
    """A record's files by name as Zarr's buffers, each read when it is asked for; the last ones are remembered."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._last: OrderedDict[str, bytes] = OrderedDict()

    def __getitem__(self, name: str) -> Any:
        from zarr.core.buffer import default_buffer_prototype

        if name not in self.record.files:
            raise KeyError(name)
        content = self._last.get(name)
        if content is None:
            content = self.record.read(name)
            self._last[name] = content
            while len(self._last) > 1 and sum(map(len, self._last.values())) > KEPT_BYTES:
                self._last.popitem(last=False)
        return default_buffer_prototype().buffer.from_bytes(content)

    def __contains__(self, name: object) -> bool:
        return name in self.record.files

    def __iter__(self) -> Iterator[str]:
        return iter(self.record.files)

    def __len__(self) -> int:
        return len(self.record.files)

    def __eq__(self, other: object) -> bool:
        return self is other  # comparing contents would read every file

    __hash__ = object.__hash__
