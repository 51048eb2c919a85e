"""The most memory that one arm ever held, in a process of its own: `python -m benchmarks.peak_memory c --tracked 64`.

Prints MiB: what the process held before the arm was made (imports, two models), and its peak after three batches.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from assets.histograms.machine_memory import peak_bytes
from benchmarks.arms import ARMS
from benchmarks.setting import LARGE, SMALL, TINY, made_setting

SIZES = {size.name: size for size in (SMALL, LARGE, TINY)}


def peak_memory(key: str, size: str, tracked: int, threads: int) -> tuple[float, float]:
    """MiB before the arm and at its peak, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.peak_memory", key, "--size", size, "--tracked", str(tracked), "--threads", str(threads)]
    before, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-2:]
    return float(before), float(peak)


def main() -> None:
    """Run the arm three times and print."""
    import torch

    from assets.model.freed_memory import keep_freed_memory

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("key")
    parser.add_argument("--size", default=SMALL.name)
    parser.add_argument("--tracked", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    with torch.inference_mode():
        setting = made_setting(SIZES[arguments.size], arguments.tracked)
        before = _forget_peak()
        run = next(arm for arm in ARMS if arm.key == arguments.key).make(setting)
        for _ in range(3):
            run()
    print(before, _peak())


def _forget_peak() -> float:
    """Start the peak anew at what is held now (Linux: proc(5), clear_refs), and return it."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    """Of this process alone: getrusage would begin with what its parent held."""
    return peak_bytes() / 2**20


if __name__ == "__main__":
    main()
