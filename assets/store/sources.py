"""Files that a study reads from a URL: model folders and corpus files, copied to the cache of this machine with their hashes.

Any protocol that fsspec has a driver for. A copy belongs to what lies there now: it is named by the ETags of the files (where a
server gives none, by their size and time), so a changed file is fetched again.
"""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

from assets.store.cache import FOLDER_VARIABLE, Cache
from assets.store.connection import RemoteError, connect, told
from assets.store.files import readable_failures, sha256_of

HASHES = "sha256.json"  # beside the copied files, never one of them
FILES = "files"
MARKS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "created", "LastModified", "size")


def source_marks(url: str, endings: tuple[str, ...] = ()) -> dict[str, str]:
    """What tells the present content of a file, or of the files of a folder, from any other: path -> mark.

    With `endings` the URL is a folder, and these are the files that count; folders below it are not looked into. Raises
    RemoteError if nothing is there, UnreachableError where the server does not answer.
    """
    return _found(url, endings)[1]


def fetch_source(url: str, endings: tuple[str, ...] = ()) -> Path:
    """A copy of a file, or (with `endings`) a folder with copies of a folder's files, on this machine.

    Raises RemoteError or UnreachableError, and StoreError where there is no room.
    """
    files, found = _found(url, endings)
    cache = Cache.of_this_machine()
    name = "source-" + hashlib.sha256(json.dumps([url, found], sort_keys=True).encode()).hexdigest()[:32]
    with readable_failures(url, cache.root, FOLDER_VARIABLE):
        copy = cache.find(name)
        if copy is not None and not _is_whole(copy):
            cache.drop(name)
            copy = None
        if copy is None:
            scratch = cache.scratch()
            try:
                _download(url, files, list(found), scratch)
            except BaseException:
                cache.drop(scratch.name)
                raise
            copy = cache.keep(scratch, name)
    folder = copy / FILES
    return folder if endings else folder / PurePosixPath(next(iter(found))).name


def _found(url: str, endings: tuple[str, ...]) -> tuple[Any, dict[str, str]]:
    """The file system, and the mark of each file by its path."""
    files, path = connect(url)
    with told(url):
        try:
            entries = files.ls(path, detail=True) if endings else [files.info(path)]
        except FileNotFoundError:
            raise RemoteError(f"{url}: there is nothing; correct the URL") from None
    wanted = {str(entry["name"]): entry for entry in entries if entry["type"] == "file" and str(entry["name"]).endswith(endings or ("",))}
    if not wanted:
        raise RemoteError(f"{url}: there is no file{' ending in ' if endings else ''}{', '.join(endings)} there; correct the URL")
    return files, {path: _mark(wanted[path]) for path in sorted(wanted)}


def _mark(entry: dict[str, Any]) -> str:
    tag = next((str(entry[mark]) for mark in MARKS[:4] if entry.get(mark)), "")
    return tag or " ".join(f"{mark}={entry[mark]}" for mark in MARKS[4:] if entry.get(mark) is not None)


def _download(url: str, files: Any, paths: list[str], scratch: Path) -> None:
    folder = scratch / FILES
    folder.mkdir()
    with told(url):
        files.get(paths, [str(folder / PurePosixPath(path).name) for path in paths])
    hashes = {file.name: sha256_of(file) for file in sorted(folder.iterdir())}
    (scratch / HASHES).write_text(json.dumps(hashes, indent=1))


def _is_whole(copy: Path) -> bool:
    """Whether every file is still what was downloaded."""
    try:
        hashes = json.loads((copy / HASHES).read_text())
        return all(sha256_of(copy / FILES / name) == value for name, value in hashes.items())
    except (OSError, json.JSONDecodeError):
        return False
