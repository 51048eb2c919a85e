"""One writer of an output in a bucket: a lock object with an owner, renewed while it is held, taken over when it was abandoned.

The lock spares work. That nothing is corrupted does not hang on it: a record is replaced only if it is still the one that the
writer saw (see `bucket`). Ages are by the server's clock alone, so a clock that is wrong here does no harm.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from assets.errors import InputError
from assets.store.objects import Objects, TakenError

EXPIRES_AFTER = 60.0  # seconds without renewal after which an owner counts as gone
WAIT = 0.5  # seconds between two looks at a lock that another holds


@contextmanager
def bucket_lock(objects: Objects, key: str, wait: bool, expires_after: float = EXPIRES_AFTER) -> Iterator[bool]:
    """Hold the lock object at `key`. Without `wait`, False if another holds it."""
    held = _acquire(objects, key, expires_after, wait)
    if held is None:
        yield False
        return
    stop = threading.Event()
    renewing = threading.Thread(target=_renew, args=(objects, key, held, expires_after / 3, stop), daemon=True)
    renewing.start()
    try:
        yield True
    finally:
        stop.set()
        renewing.join()
        _release(objects, key, held)


@dataclass
class _Held:
    """Our lock object: what it says, and the ETag that it has while it is ours."""

    content: bytes
    etag: str


def _acquire(objects: Objects, key: str, expires_after: float, wait: bool) -> _Held | None:
    """The lock once it is ours; None if another holds it and `wait` is unset."""
    me = _owner()
    while True:
        try:
            return _Held(me, objects.put_if(key, me, None))
        except TakenError:
            state, owner = objects.state(key), objects.get(key)
        if state is None or owner is None:
            continue
        if owner == me:  # the answer to our request was lost, and it was sent again
            return _Held(me, state.etag)
        if (state.age or 0.0) > expires_after or _is_gone(owner):
            try:
                return _Held(me, objects.put_if(key, me, state.etag))
            except TakenError:
                continue
        if not wait:
            return None
        time.sleep(WAIT)


def _renew(objects: Objects, key: str, held: _Held, every: float, stop: threading.Event) -> None:
    while not stop.wait(every):
        try:
            held.etag = objects.put_if(key, held.content, held.etag)
        except TakenError:
            return
        except InputError:  # no network for a moment: another try at the next turn
            continue


def _release(objects: Objects, key: str, held: _Held) -> None:
    """Remove the lock if it is still ours. If the server is away it expires by itself; the work that was done counts."""
    try:
        if objects.get(key) == held.content:
            objects.remove([key])
    except InputError:
        return


def _owner() -> bytes:
    """Who holds the lock: a process of a machine, told apart from any earlier one with the same number."""
    owner = {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid(), "started": _started(os.getpid())}
    owner["lock"] = os.urandom(8).hex()  # one process can ask for the same lock twice
    return json.dumps(owner, sort_keys=True).encode()


def _is_gone(content: bytes) -> bool:
    """Whether the owner was a process of this machine that has ended. Of other machines nothing is known."""
    try:
        owner = json.loads(content)
        is_here = bool(owner["machine"]) and owner["machine"] == _machine()
        return is_here and _started(owner["pid"]) != owner["started"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return False


def _machine() -> str:
    """This boot of this machine and its process numbers (a container has its own); "" where that cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in ticks since boot; "" if there is no such process (or it has ended and waits to be collected)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]  # field 3 is the state, field 22 the start
