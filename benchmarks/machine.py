"""What a measurement ran on, and how a run is timed. Holds no arm."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any


def machine_facts(threads: int, device: str = "cpu") -> dict[str, str | int | float]:
    """Processor, cores, load by others, threads and versions."""
    import torch

    return {
        "processor": torch.cuda.get_device_name() if device == "cuda" else processor_name(),
        "cores": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 1),
        "threads": threads,
        "torch": torch.__version__,
        "platform": platform.platform(),
    }


def processor_name() -> str:
    """As the kernel names it."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def instructions_and_cores() -> str:
    """The processor, its cores and the widest instructions that torch finds in it: names alone do not tell generations apart."""
    import torch

    return f"{processor_name()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"


def timed(run: Callable[[], Any], device: str = "cpu") -> tuple[float, float]:
    """Wall and CPU seconds of one run; CPU seconds sum over threads. Waits for the device before and after."""
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    wait()
    return time.perf_counter() - wall, time.process_time() - cpu


def interleaved(runs: dict[str, Callable[[], Any]], rounds: int, device: str = "cpu") -> dict[str, list[tuple[float, float]]]:
    """Seconds of every run in every round, after one warm run each; every other round in reverse, so that load falls on all alike."""
    for run in runs.values():
        run()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs) if number % 2 else list(runs)[::-1]:
            seconds[name].append(timed(runs[name], device))
    return seconds


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return ordered[quarter], statistics.median(ordered), ordered[-1 - quarter]
