"""Objects of one bucket by key: read, listed, written under a condition, removed. What the keys mean is not known here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from assets.store.connection import RemoteError, connect, error_code, told

DELETED_AT_ONCE = 1000  # what one request may name
CONDITION_FAILED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


class TakenError(Exception):
    """The object is there already, or is no longer the one that the condition names."""


@dataclass(frozen=True)
class ObjectState:
    """Size and ETag of an object, and how many seconds ago it was written by the server's own clock (None in listings)."""

    bytes: int
    etag: str
    age: float | None = None


@dataclass(frozen=True)
class Objects:
    """The objects below `url`, s3://bucket/prefix. Raises RemoteError and UnreachableError."""

    url: str

    @cached_property
    def _connected(self) -> tuple[Any, str]:
        if not self.url.startswith("s3://"):
            raise RemoteError(f"{self.url}: outputs can lie in a folder or at s3://bucket/prefix (any server with the S3 protocol and "
                              "conditional writes); give one of these as NEURON_ATLAS_DATA")  # fmt: skip
        files, path = connect(self.url)
        return files, path.rstrip("/")

    def get(self, key: str) -> bytes | None:
        """The content of an object, None if there is none."""
        from fsspec.asyn import sync

        files, root = self._connected
        bucket, path = f"{root}/{key}".split("/", 1)
        with told(self.url):
            try:
                answer = files.call_s3("get_object", Bucket=bucket, Key=path)  # one request: cat_file asks for the size first
                return bytes(sync(files.loop, answer["Body"].read))
            except FileNotFoundError as error:
                _refuse_missing_bucket(error)
                return None

    def state(self, key: str) -> ObjectState | None:
        """Size, ETag and age of an object, None if there is none."""
        files, root = self._connected
        bucket, path = f"{root}/{key}".split("/", 1)
        with told(self.url):
            try:
                answer = files.call_s3("head_object", Bucket=bucket, Key=path)
            except FileNotFoundError:
                return None
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        written: datetime = answer["LastModified"]
        return ObjectState(answer["ContentLength"], answer["ETag"], (now - written).total_seconds())

    def put(self, key: str, content: bytes, kind: str = "application/json") -> None:
        """Write an object in one step, whatever is there."""
        files, root = self._connected
        with told(self.url):
            files.pipe_file(f"{root}/{key}", content, ContentType=kind)

    def put_if(self, key: str, content: bytes, etag: str | None) -> str:
        """Write an object if it still has this ETag (None: if there is none yet); its new ETag. Raises TakenError."""
        files, root = self._connected
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        with told(self.url):
            try:
                return str(files.pipe_file(f"{root}/{key}", content, ContentType="application/json", **condition)["ETag"])
            except OSError as error:
                # NoSuchKey: the object of the condition is gone
                if error_code(error) in (*CONDITION_FAILED, "NoSuchKey", "404") or isinstance(error, FileExistsError):
                    raise TakenError(key) from None
                raise

    def upload(self, folder: Path, names: Sequence[str], key: str) -> None:
        """Write files of a folder as objects below `key`, several at once."""
        files, root = self._connected
        with told(self.url):
            files.put([str(folder / name) for name in names], [f"{root}/{key}/{name}" for name in names])

    def download(self, names: Sequence[str], key: str, folder: Path) -> None:
        """Write the objects below `key` as files of a folder, several at once. A missing one raises FileNotFoundError."""
        files, root = self._connected
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with told(self.url):
            files.get([f"{root}/{key}/{name}" for name in names], [str(folder / name) for name in names])

    def below(self, key: str) -> dict[str, ObjectState]:
        """Every object whose key starts with `key`/, by the rest of its key ("" lists all)."""
        files, root = self._connected
        start = f"{root}/{key}".rstrip("/")
        with told(self.url):
            try:
                found = files.find(start, detail=True)
            except FileNotFoundError as error:
                _refuse_missing_bucket(error)
                return {}
        return {name[len(start) + 1 :]: ObjectState(entry["size"], entry["ETag"]) for name, entry in found.items() if name != start}

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are gone already do no harm."""
        files, root = self._connected
        bucket, *prefix = root.split("/", 1)
        paths = ["/".join((*prefix, key)) for key in keys]
        for first in range(0, len(paths), DELETED_AT_ONCE):
            objects = [{"Key": path} for path in paths[first : first + DELETED_AT_ONCE]]
            with told(self.url):
                refused = files.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": objects, "Quiet": True}).get("Errors", [])
            if refused:
                raise RemoteError(f"{self.url}: {len(refused)} objects cannot be removed ({refused[0].get('Code')}, first {refused[0].get('Key')}); "
                                  "the credentials in the environment must allow to delete objects there")  # fmt: skip


def _refuse_missing_bucket(error: FileNotFoundError) -> None:
    if error_code(error) == "NoSuchBucket":
        raise error
