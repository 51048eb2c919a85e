"""Start-up and shards as a share of a run: `python -m benchmarks.overhead`.

A study of a GPT-2-small-sized random model is run as Dagster assets in a new process, up to the merge of two short shards. Start-up is
everything before the first shard, and the trial of the batch shapes that occur; a shard's overhead is all of its asset but the batches
(inputs verified, counters made, written, hashed, published) and its checks. The tracked tokens are the ones that the model predicts
most, so that their counters are as full as they get. The rounds before the measured ones compile the loops and find these tokens.

`--positions 400000 --rounds 1` measures a run of some ten minutes as a whole: what its batches did not take.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl

from benchmarks.page import RESULTS, printed, write_page

RUN_SECONDS, SHARDS = 600, (1, 4)  # a study has one shard unless it says otherwise
DEMO = Path(__file__).parent.parent / "orchestration" / "studies" / "demo"
CHILD_STARTED = "import time; began = time.time(); from benchmarks.overhead import child; child({file!r}, began)"
PER_SHARD = {
    "shard": "one shard: verified, counters made, written, hashed, published",
    "shard's checks": "one shard: its checks",
}
BESIDE = {"merge": "after the shards, of any corpus: merge and its checks", "whole run": "the measured run", "batches": "its batches"}


def main() -> None:
    """Measure, print, write benchmarks/results/overhead.parquet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--tracked", type=int, default=64)
    parser.add_argument("--positions", type=int, default=8192)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder, arguments.layers)
        write_corpus(folder / "short.jsonl", 4096)
        write_corpus(folder / "corpus.jsonl", arguments.positions)
        _measured(write_study(folder, "short.jsonl", [0], shards=2), 0)
        tokens = most_predicted(folder / "data-0", arguments.tracked)
        _measured(write_study(folder, "short.jsonl", tokens, shards=2), 1)
        file = write_study(folder, "corpus.jsonl", tokens, arguments.shards)
        measured = [_measured(file, number) for number in range(2, arguments.rounds + 2)]
    table = overhead_table(measured)
    print(printed({"overhead": table}))
    arguments.results.mkdir(parents=True, exist_ok=True)
    table.write_parquet(arguments.results / "overhead.parquet")
    if arguments.results == RESULTS:  # a trial elsewhere leaves the page alone
        write_page()


def overhead_table(measured: list[dict[str, float]]) -> pl.DataFrame:
    """Medians of each part in seconds, start-up's largest first, and their shares of a run of RUN_SECONDS with so many SHARDS.

    `measured` holds a row a round: the parts of PER_SHARD and BESIDE, `imports`, and each asset before the shards by its name. The
    measured run's share is what its batches did not take of it.
    """
    medians = {name: float(pl.Series([row[name] for row in measured]).median() or 0.0) for name in measured[0]}  # type: ignore[arg-type]
    per_shard = {label: medians.pop(name) for name, label in PER_SHARD.items()}
    beside = {name: medians.pop(name) for name in BESIDE}
    rows = {f"start-up: {name}": seconds for name, seconds in sorted(medians.items(), key=lambda part: -part[1])} | per_shard
    for shards in SHARDS:
        rows[f"together, {shards} shard{'s' if shards > 1 else ''}"] = sum(medians.values()) + shards * sum(per_shard.values())
    table = [{"part": part, "seconds": seconds, "share": seconds / RUN_SECONDS} for part, seconds in rows.items()]
    table.append({"part": BESIDE["merge"], "seconds": beside["merge"], "share": beside["merge"] / RUN_SECONDS})
    outside = beside["whole run"] - beside["batches"]
    part = f"of the measured run, {beside['whole run']:,.0f} s without the merge: all but its batches"
    return pl.DataFrame([*table, {"part": part, "seconds": outside, "share": outside / beside["whole run"]}])


def write_model(folder: Path, layers: int) -> None:
    """A random model with the embedded study's tokenizer."""
    import yaml
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_layer=layers, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(str(folder / "model"))
    demo = yaml.safe_load((DEMO.parent / "demo.yaml").read_text())
    AutoTokenizer.from_pretrained(str(DEMO.parent / demo["model"]["id"])).save_pretrained(str(folder / "model"))


def write_corpus(file: Path, positions: int) -> None:
    """Texts of 40 to 400 words of the embedded study's stories, together about so many tokens: windows of every length up to 256."""
    words = " ".join(pl.read_ndjson(DEMO / "corpus.jsonl")["text"]).split()
    generator = np.random.default_rng(0)
    with file.open("w") as lines:
        left = positions
        while left > 0:
            number = int(generator.integers(40, 400))
            lines.write(json.dumps({"text": " ".join(generator.choice(words, number).tolist())}) + "\n")
            left -= number


def write_study(folder: Path, corpus: str, tokens: list[int], shards: int) -> Path:
    """The study file over a corpus of the folder."""
    import yaml

    study: dict[str, Any] = {
        "question": "How long does it take to begin?",
        "model": {"id": str(folder / "model"), "device": "cpu"},
        "corpus": {"files": [str(folder / corpus)], "context_length": 256, "windows": "all"},
        "tokens": tokens,
        "shards": shards,
    }
    (folder / "overhead.yaml").write_text(yaml.safe_dump(study))
    return folder / "overhead.yaml"


def most_predicted(data: Path, number: int) -> list[int]:
    """The tokens that were the top prediction most often in a run in this folder."""
    from assets.histograms.histogram_store import read_histograms
    from assets.store import Place, Store

    record = Store(data).find(Place("overhead", "merged_histograms"))
    assert record is not None
    predictions = np.asarray(read_histograms(record)["predictions"][:])
    return [int(token) for token in np.argsort(-predictions, kind="stable")[:number]]


def _measured(file: Path, number: int) -> dict[str, float]:
    command = [sys.executable, "-c", CHILD_STARTED.format(file=f"{file}:{number}")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"round {number} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(place: str, began: float) -> None:
    """Run the study's assets up to the merge in this process and print the seconds of each part."""
    name, _, number = place.rpartition(":")
    import dagster as dg

    import assets.histograms.activation_histograms as one_pass
    import assets.quality.asset_checks as asset_checks
    import assets.wiring as wiring
    import orchestration.run  # noqa: F401  # as `make study` does, Dagster first
    from assets.stages import STAGES, ancestors
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
    keys = [asset_key(study, asset) for asset in (*before, "activation_histograms", "merged_histograms")]
    started = time.perf_counter()
    with (
        in_batches() as counted,
        timed(one_pass, "rows_of_batches", lambda *_: "shapes") as tried,  # a process tries each shape once
        timed(one_pass, "rows_of_last_batches", lambda *_: "shapes") as tried_last,
        timed(wiring, "materialize", lambda study, stage, *_: stage.name) as made,  # inputs verified, made, hashed, published
        timed(asset_checks, "outcomes_of", lambda study, asset, *_: asset) as checked,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        job.execute_in_process(instance=instance, tags=all_shards(study), asset_selection=keys)
    whole = time.perf_counter() - started
    shards, shards_checks = made.pop("activation_histograms"), checked["activation_histograms"]
    merge = made.pop("merged_histograms") + checked["merged_histograms"]
    shapes = tried["shapes"] + tried_last["shapes"]
    shards -= shapes
    start_up = {
        **made,
        "batch shapes tried": shapes,
        "imports and definitions": imports,
        "checks, Dagster": whole - sum(made.values()) - shapes - shards - shards_checks - merge,
    }
    per_shard = {"shard": (shards - sum(counted)) / study.shards, "shard's checks": shards_checks / study.shards}
    print(json.dumps(start_up | per_shard | {"merge": merge, "whole run": imports + whole - merge, "batches": sum(counted)}))


@contextmanager
def timed(module: Any, name: str, label: Callable[..., str]) -> Iterator[dict[str, float]]:
    """While open, the seconds that calls of a module's function take, added up under the label of each call's arguments."""
    function = getattr(module, name)
    seconds: defaultdict[str, float] = defaultdict(float)

    def measured(*arguments: Any) -> Any:
        started = time.perf_counter()
        made = function(*arguments)
        seconds[label(*arguments)] += time.perf_counter() - started
        return made

    with patch.object(module, name, measured):
        yield seconds


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
