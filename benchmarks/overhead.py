"""Start-up and shards as a share of a run: `python -m benchmarks.overhead`.

A study of a GPT-2-small-sized random model is run as Dagster assets in a new process, up to the counters of two short shards.
Start-up is everything before the first shard; a shard's overhead is all of its asset but the batches (inputs verified, counters made,
written, hashed, published). Both are seconds that do not grow with the corpus. The round before the first compiles the loops.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl

from benchmarks.page import RESULTS, printed, write_page

RUN_SECONDS, SHARDS = 600, 4
DEMO = Path(__file__).parent.parent / "orchestration" / "studies" / "demo"
CHILD_STARTED = "import time; began = time.time(); from benchmarks.overhead import child; child({file!r}, began)"


def main() -> None:
    """Measure, print, write benchmarks/results/overhead.parquet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--tracked", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = write_study(Path(folder), arguments.layers, arguments.tracked)
        measured = [_measured(file, number) for number in range(arguments.rounds + 1)][1:]  # the first compiles the loops
    table = overhead_table(measured)
    print(printed({"overhead": table}))
    arguments.results.mkdir(parents=True, exist_ok=True)
    table.write_parquet(arguments.results / "overhead.parquet")
    if arguments.results == RESULTS:  # a trial elsewhere leaves the page alone
        write_page()


def overhead_table(measured: list[dict[str, float]]) -> pl.DataFrame:
    """Medians of each part in seconds, largest first, and their shares of a run of RUN_SECONDS with SHARDS shards.

    `measured` holds a row a round: `imports`, `shard`, and each asset before the shards by its name.
    """
    medians = {name: float(pl.Series([row[name] for row in measured]).median() or 0.0) for name in measured[0]}  # type: ignore[arg-type]
    shard = medians.pop("shard")
    rows = {f"start-up: {name}": seconds for name, seconds in sorted(medians.items(), key=lambda part: -part[1])}
    rows["one shard: verified, counters made, written, hashed, published"] = shard
    rows[f"together, {SHARDS} shards"] = sum(medians.values()) + SHARDS * shard
    return pl.DataFrame([{"part": part, "seconds": seconds, "share": seconds / RUN_SECONDS} for part, seconds in rows.items()])


def write_study(folder: Path, layers: int, tracked: int) -> Path:
    """A random model with the embedded study's tokenizer and stories, as a study file."""
    import yaml
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_layer=layers, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(str(folder / "model"))
    demo = yaml.safe_load((DEMO.parent / "demo.yaml").read_text())
    AutoTokenizer.from_pretrained(str(DEMO.parent / demo["model"]["id"])).save_pretrained(str(folder / "model"))
    study: dict[str, Any] = {
        "question": "How long does it take to begin?",
        "model": {"id": str(folder / "model"), "device": "cpu"},
        "corpus": {"files": [str(DEMO.parent / demo["corpus"]["files"][0])], "context_length": 256, "documents": 64},
        "tokens": list(range(1, tracked + 1)),
        "shards": 2,
    }
    (folder / "overhead.yaml").write_text(yaml.safe_dump(study))
    return folder / "overhead.yaml"


def _measured(file: Path, number: int) -> dict[str, float]:
    command = [sys.executable, "-c", CHILD_STARTED.format(file=f"{file}:{number}")]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found: dict[str, float] = json.loads(lines[-1])
    return found


def child(place: str, began: float) -> None:
    """Run the study's assets up to the counters in this process and print the seconds of each part."""
    name, _, number = place.rpartition(":")
    import dagster as dg

    from assets.stages import STAGES, ancestors
    from assets.store import Place
    from assets.study import read_study
    from assets.wiring import asset_key
    from orchestration.definitions import build_definitions
    from orchestration.jobs import all_shards, job_name
    from orchestration.settings import Settings

    study = read_study(Path(name))
    settings = Settings(data=Path(name).parent / f"data-{number}", studies=Path(name).parent, site_url="")
    job = build_definitions([study], settings).resolve_job_def(job_name(study))
    imports = time.time() - began
    before = [asset for asset in STAGES if asset in ancestors("activation_histograms")]
    keys = [asset_key(study, asset) for asset in (*before, "activation_histograms")]
    started = time.perf_counter()
    with in_batches() as counted, dg.DagsterInstance.ephemeral() as instance:
        job.execute_in_process(instance=instance, tags=all_shards(study), asset_selection=keys)
    whole = time.perf_counter() - started
    store = settings.deployment.store

    def seconds(asset: str) -> float:
        shards = study.shard_names if STAGES[asset].is_sharded else (None,)
        return sum(record.seconds for shard in shards if (record := store.find(Place(study.name, asset, shard))) is not None)

    parts = {asset: seconds(asset) for asset in before}
    shards = seconds("activation_histograms")
    parts |= {"imports and definitions": imports, "checks, records, Dagster": whole - sum(parts.values()) - shards}
    print(json.dumps(parts | {"shard": (shards - sum(counted)) / study.shards}))


@contextmanager
def in_batches() -> Iterator[list[float]]:
    """While open, the seconds that each batch takes to go through the model and be counted: all else is overhead."""
    import assets.histograms.activation_histograms as one_pass

    counting, seconds = one_pass.counting, []

    @contextmanager
    def timed_counting(*arguments: Any) -> Iterator[Callable[[Any], None]]:
        with counting(*arguments) as count_batch:

            def timed(batch: Any) -> None:
                started = time.perf_counter()
                count_batch(batch)
                seconds.append(time.perf_counter() - started)

            yield timed

    with patch.object(one_pass, "counting", timed_counting):
        yield seconds


if __name__ == "__main__":
    main()
