"""Processes and ports of the tests that start whole deployments."""

import os
import signal
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"


def descendants(process: int) -> list[int]:
    """The process and all that it started, directly or not."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # ended while we looked
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [process]
    for one in found:
        found.extend(children.get(one, ()))
    return found


def kill_with_descendants(process: int) -> None:
    """SIGKILL to a process and all that it started: a machine that is gone."""
    for one in descendants(process):
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            continue


def free_ports(first: int, count: int) -> int:
    """The first of `count` ports in a row, from `first` on, that nothing listens on."""
    start = first
    while start < 65_000:
        taken = [port for port in range(start, start + count) if _is_taken(port)]
        if not taken:
            return start
        start = taken[-1] + 1
    raise OSError(f"no {count} free ports in a row from {first} on")


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
