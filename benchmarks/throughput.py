"""What the one pass costs beside the bare model, and beside other ways to count: `python -m benchmarks.throughput`.

Each arm (benchmarks.arms) takes turns with the bare model on the same seeded, random, GPT-2-small-sized model, batch, dtype and threads, so that whatever
else the machine does falls on both; set-up and the first, cold batch are left out. Writes tables as Parquet into
benchmarks/results and the page docs/benchmarks.md. On a GPU, where there is one: the size of GPT-2 Large in bfloat16.
"""

import argparse
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.arms import ARMS, Arm
from benchmarks.breakdown import breakdown, growth
from benchmarks.machine import interleaved, machine_facts, quartiles
from benchmarks.page import RESULTS, printed, write_page
from benchmarks.peak_memory import peak_memory
from benchmarks.setting import LARGE, SMALL, SMOLLM2, TINY, TINY_GATED, Setting, Size, made_setting

HOURS = 3600


def main() -> None:
    """Measure, print, write."""
    import torch

    from assets.model.freed_memory import keep_freed_memory

    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # of the whole process, so all arms have it
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size, dtype = _size(device, arguments), "bfloat16" if device == "cuda" else "float32"
    rounds = 2 if arguments.quick else arguments.rounds
    with torch.inference_mode():
        setting = made_setting(size, arguments.tracked, dtype=dtype)
        tables = {
            "throughput": throughput(setting, rounds, arguments.arms, device),
            "breakdown": _long(breakdown(setting, rounds, arguments.threads)),
        }
        if not arguments.gated:
            tables["growth"] = pl.DataFrame(growth(setting, 1 if arguments.quick else 3))
    if not (arguments.no_memory or arguments.gated):
        memory = [peak_memory(arm.key, size.name, arguments.tracked, arguments.threads) for arm in ARMS if arm.key in arguments.arms]
        keys = [arm.key for arm in ARMS if arm.key in arguments.arms]
        tables["memory"] = pl.DataFrame({"arm": keys, "before_mib": [row[0] for row in memory], "peak_mib": [row[1] for row in memory]})
    facts = machine_facts(arguments.threads, device) | {
        "model": size.name, "layers": size.layers, "neurons": size.neurons * size.layers, "vocabulary": size.vocabulary, "dtype": dtype,
        "windows": setting.ids.shape[0], "length": setting.ids.shape[1], "tracked": len(setting.token_ids), "rounds": rounds,
    }  # fmt: skip
    tables["machine"] = pl.DataFrame({"fact": list(facts), "value": [str(value) for value in facts.values()]})
    if arguments.gated:
        tables = {f"gated_{name}": table for name, table in tables.items()}
    print(printed(tables))
    if not arguments.quick:
        arguments.results.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            table.write_parquet(arguments.results / f"{name}.parquet")
        if arguments.results == RESULTS:  # a trial elsewhere leaves the page alone
            write_page()


def throughput(setting: Setting, rounds: int, keys: str, device: str) -> pl.DataFrame:
    """One row per arm: seconds and positions a second (medians), ratio of throughput to (a) with its quartiles over the rounds.

    Each arm takes turns with (a) alone and is then let go: the counters of an engine are some 10 GB, and five of them fit into no small machine.
    """
    arms = {arm.key: arm for arm in ARMS if arm.key in keys and arm.key != "a" and (arm.key != "p" or device == "cpu")}
    (bare,) = (arm for arm in ARMS if arm.key == "a")
    turns = {key: interleaved({"a": bare.make(setting), key: arm.make(setting)}, rounds, device) for key, arm in arms.items()}
    if not turns:
        turns = {"a": interleaved({"a": bare.make(setting)}, rounds, device)}
    every_bare = [run for turn in turns.values() for run in turn["a"]]
    rows = [_row(setting, bare, every_bare, every_bare)]
    return pl.DataFrame(rows + [_row(setting, arm, turns[key][key], turns[key]["a"]) for key, arm in arms.items()])


def _row(setting: Setting, arm: Arm, runs: list[tuple[float, float]], of_bare: list[tuple[float, float]]) -> dict[str, Any]:
    """A row of the table, from the wall and processor seconds of each round and those of (a) beside it."""
    ratios = quartiles([bare[0] / run[0] for bare, run in zip(of_bare, runs, strict=True)])
    by_cpu = quartiles([bare[1] / run[1] for bare, run in zip(of_bare, runs, strict=True)])[1]
    walls = [run[0] for run in runs]
    median = quartiles(walls)[1]
    pairs = len(setting.token_ids) * setting.bins.per_unit.size
    passes = pairs if arm.key == "d" else 1
    return {
        "arm": arm.key, "name": arm.name, "wall_seconds": median, "fastest_seconds": min(walls), "cpu_seconds": quartiles([run[1] for run in runs])[1],
        "positions_per_second": setting.positions / median, "ratio": ratios[1], "ratio_low": ratios[0], "ratio_high": ratios[2],
        "ratio_by_cpu_time": by_cpu, "passes_for_all_pairs": passes,
        "hours_per_million_positions_all_pairs": passes * median / setting.positions * 1e6 / HOURS,
    }  # fmt: skip


def _long(seconds: dict[str, list[float]]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"step": name, "round": number, "seconds": value} for name, row in seconds.items() for number, value in enumerate(row)]
    )


def _size(device: str, arguments: argparse.Namespace) -> Size:
    if arguments.gated:
        return TINY_GATED if arguments.quick else SMOLLM2
    if arguments.quick:
        return TINY
    return LARGE if device == "cuda" else SMALL


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tracked", type=int, default=64, help="tracked tokens, the most predicted ones")
    parser.add_argument("--arms", default="".join(arm.key for arm in ARMS), help="keys of the arms, such as ac; (a) always runs")
    parser.add_argument("--no-memory", action="store_true", help="skip the peak memory, measured in a process for each arm")
    parser.add_argument("--gated", action="store_true", help="a gated model of SmolLM2-135M's shape instead, in tables of its own")
    parser.add_argument("--quick", action="store_true", help="a tiny model, two rounds, nothing written: to try the program")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
