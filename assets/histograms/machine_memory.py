"""What the machine has: memory that this process may still take and has taken, and the most that it ever held.

Linux's own numbers, the limit of a container among them; elsewhere the machine's whole memory. Plans nothing.
"""

import os
import resource
import sys
from pathlib import Path

CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def available_bytes(device: str = "cpu") -> int:
    """Bytes that this process may hold in all: what is free now and what it holds already, on the host or on a GPU."""
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(torch.device(device))
        return int(free) + torch.cuda.memory_reserved(torch.device(device))
    status = _kilobytes(Path("/proc/self/status"), "VmRSS")
    free_now = _kilobytes(Path("/proc/meminfo"), "MemAvailable")
    if free_now is None:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [int(text) for file in CONTAINER_LIMITS if (text := _text(Path(file))).isdigit()]
    return min([free_now + (status or 0), *limits])


def peak_bytes() -> int:
    """The most that this process ever held, since its program was started."""
    # Not getrusage on Linux: its maximum is handed on to a new program from whoever started it.
    own = _kilobytes(Path("/proc/self/status"), "VmHWM")
    if own is not None:
        return own
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _kilobytes(file: Path, name: str) -> int | None:
    """Bytes of a line such as `VmRSS:  1234 kB`."""
    lines = [line.split() for line in _text(file).splitlines() if line.startswith(f"{name}:")]
    return int(lines[0][1]) * 1024 if lines else None


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
