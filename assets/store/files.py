"""Files of this machine: replaced in one step, hashed once, and failures to write told as sentences."""

import errno
import functools
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from polars.exceptions import PolarsError

from assets.store.records import FileEntry, StoreError

# Not allowed, read-only, or a file where a folder should be.
CANNOT_WRITE = (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)
HASHED_AT_ONCE = 4  # files; more than cores, since some wait for the disk
VERSION = re.compile(r"[0-9a-f]{12}-[0-9a-f]{8}")


def new_version(fingerprint: str) -> str:
    """Name of a new version's folder: which fingerprint it has, and a part that no other version has."""
    return f"{fingerprint[:12]}-{uuid.uuid4().hex[:8]}"


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


def sha256_of(file: Path | str, status: os.stat_result | None = None) -> str:
    """SHA-256 (hex) of a file, whose `status` may be known; computed once per process while the file stays the same.

    A modification time can be set to any value; the time of the inode's last change, which the system sets, cannot. Raises
    StoreError for a file that this user may not read or the disk does not give.
    """
    try:
        status = status or os.stat(file)
        return _sha256(str(file), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{file}: cannot be read ({error.strerror}); let this user read it, or replace it") from None


@functools.lru_cache(maxsize=65_536)
def _sha256(file: str, *state: int) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def entries_of(folder: Path) -> dict[str, FileEntry]:
    """Size and SHA-256 of every file of a folder, by path from the folder; each is on disk when this returns."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:  # hashing and waiting for the disk leave the interpreter to others
        return {str(file.relative_to(folder)): entry for file, entry in zip(files, pool.map(_entry, files), strict=True)}


def difference(folder: Path, name: str, entry: FileEntry) -> str:
    """What is wrong with one file of `folder`, as the end of a sentence; "" if it is what was published."""
    file = folder / name
    return difference_of(folder, name, entry, file.stat() if file.is_file() else None)


def difference_of(folder: Path, name: str, entry: FileEntry, status: os.stat_result | None) -> str:
    """The same of a file whose `status` is known; None where there is none."""
    if status is None:
        return f"file {name} is missing from {folder}"
    if status.st_size != entry.bytes:
        return f"file {name} has {status.st_size} bytes, {entry.bytes} were published"
    if sha256_of(f"{folder}/{name}", status) != entry.sha256:
        return f"the content of file {name} is not what was published (SHA-256 differs)"
    return ""


def statuses_of(folder: Path) -> dict[str, os.stat_result | None]:
    """Every file of a folder and below that is not hidden, by its path from the folder, with its status; None of what is no file. One look at
    each: SmolLM2-135M's counters are 4,000 files, which some hundred stages and checks verify. Links to folders are not followed.

    Raises StoreError for a folder that this user may not read.
    """
    found: dict[str, os.stat_result | None] = {}
    left = [""]
    try:
        while left:
            below = left.pop()
            with os.scandir(f"{folder}/{below}") as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append(f"{below}{entry.name}/")
                    elif not entry.name.startswith("."):
                        found[f"{below}{entry.name}"] = entry.stat() if entry.is_file() else None
    except FileNotFoundError:
        return found  # what is gone meanwhile is missed by its name
    except OSError as error:
        raise StoreError(f"{error.filename}: cannot be read ({error.strerror}); let this user read it, or replace it") from None
    return found


def size_of(folder: Path) -> int:
    """Bytes of all files of a folder; links are not followed, and files that vanish meanwhile count nothing."""
    total = 0
    for below, _, names in os.walk(folder):  # unlike rglob it passes over a folder that is gone when its turn comes
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(below, name)).st_size
    return total


def _entry(file: Path) -> FileEntry:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())  # on disk before the record names it
    return FileEntry(file.stat().st_size, sha256_of(file))


@contextmanager
def readable_failures(what: str, home: Path, variable: str) -> Iterator[None]:
    """Tell a full disk and a folder that cannot be written as StoreError; `variable` is what names another folder."""
    try:
        yield
    except (OSError, PolarsError) as error:
        number = _error_number(error)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreError(f"{what}: no space left to write below {home} ({os.strerror(number)}); the last good version stays. "
                             f"Free space or choose another folder with {variable}, then run again: finished parts are kept") from error  # fmt: skip
        if isinstance(error, OSError) and number in CANNOT_WRITE and str(error.filename or "").startswith(str(home.anchor)):
            raise StoreError(f"{what}: {error.filename} cannot be written ({error.strerror}); choose a folder that can, "
                             f"with {variable}") from error  # fmt: skip
        raise


def _error_number(error: OSError | PolarsError) -> int:
    """The system's number of what it refused; 0 where the system refused nothing. Polars tells it in words, in an OSError as well."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else 0
