"""How long a whole cold study takes beside the bare model: `python -m benchmarks.whole_study [STUDY.yaml ...]`.

Each study is run by the headless runner in a new process, with data and run history of its own in a temporary folder. A stage's seconds are
those of its record; what lies between (checks, loading, Dagster) is a row of its own. The bare arm is plain Hugging Face code and the argmax
of its logits on full windows of the study's length, before the study, in the middle of it (the study is stopped meanwhile, behind the merge
of the pass) and after it; its median speed tells how long it would take over the study's positions.

Without a study file: two shapes, GPT-2 Small's with random weights, and SmolLM2 135M, for which --make names a script that makes the folder given
to it; random weights of its shape without. The corpus is made up, --words long, of the embedded study's words.
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from benchmarks.machine import instructions_and_cores
from benchmarks.overhead import DEMO, write_corpus
from benchmarks.page import RESULTS, printed, write_page
from benchmarks.setting import SMALL, SMOLLM2, Size, config_of

PAUSED_BEHIND = "merged_histograms"  # the run is then in this stage's checks: no other stage's seconds hold the pause
BETWEEN = "checks, loading, Dagster"
PUBLISHED = re.compile(r"/([a-z_]+)(?: shard \d+)?: (?:published|nothing changed)")
POSITIONS_OF_BARE = 2048
SHAPES = {"gpt2": SMALL, "smollm2": SMOLLM2}


@dataclass
class Run:
    """What one headless run left: wall seconds without the pause, and its lines."""

    seconds: float = 0.0
    lines: list[str] = field(default_factory=list)


def main() -> None:
    """Measure, print, add to benchmarks/results/whole_study.parquet."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name:
        files = arguments.studies or [made_study(Path(name), SHAPES[shape], arguments) for shape in arguments.shapes]
        tables = [measured(file, Path(name) / f"run-{number}", arguments.threads) for number, file in enumerate(files)]
    table = pl.concat(tables)
    print(printed({"whole_study": table}))
    arguments.results.mkdir(parents=True, exist_ok=True)
    file = arguments.results / "whole_study.parquet"
    kept = pl.read_parquet(file).join(table, on="study", how="anti") if file.is_file() else table.clear()
    pl.concat([kept, table]).write_parquet(file)
    if arguments.results == RESULTS:  # a trial elsewhere leaves the page alone
        write_page()


def measured(file: Path, folder: Path, threads: int) -> pl.DataFrame:
    """The rows of one study, as benchmarks.page shows them."""
    from assets.publication import records_of
    from assets.store import Store
    from assets.study import read_study

    study, load = read_study(file), os.getloadavg()[0]
    model = study.path(study.model.id)
    if not model.is_dir():
        sys.exit(
            f"{file}: model {study.model.id} is not a folder of this machine; downloads are not measured: download it, and name its folder"
        )
    bare = bare_arm(model, study.corpus.context_length, threads)
    rates = [bare()]
    run = run_study(file, folder, lambda: rates.append(bare()))
    rates.append(bare())
    records = records_of(study, Store(folder / "data"))
    positions = sum(int(record.summary["tokens"]) for record in records["token_windows"])
    seconds = {stage: sum(record.seconds for record in held) for stage, held in records.items()}
    return rows(study.name, positions, seconds, run, statistics.median(rates), load)


def rows(study: str, positions: int, seconds: Mapping[str, float], run: Run, rate: float, load: float) -> pl.DataFrame:
    """One row for each stage, and one for what lies between them; `rate`: positions a second of the bare arm."""
    parts = {**seconds, BETWEEN: run.seconds - sum(seconds.values())}
    told = stages_that_told(run.lines)
    return pl.DataFrame(
        [
            {"study": study, "positions": positions, "part": part, "seconds": took, "told": part in told, "bare_seconds": positions / rate,
             "load": load, "machine": instructions_and_cores()}
            for part, took in parts.items()
        ]
    )  # fmt: skip


def stages_that_told(lines: list[str]) -> set[str]:
    """Stages that told how many seconds are left before they were done; lines of a run, in order."""
    found, tells = set(), False
    for line in lines:
        tells = tells or line.rstrip().endswith(" s left")
        published = PUBLISHED.search(line)
        if published:
            if tells:
                found.add(published[1])
            tells = False
    return found


def run_study(file: Path, folder: Path, between: Callable[[], Any]) -> Run:
    """Run a study headless; `between` is called once, while the run is stopped. Exits with its output where it fails."""
    (folder / "home").mkdir(parents=True)
    settings = Path(__file__).parents[1] / "orchestration" / "instance" / "dagster.yaml"
    (folder / "home" / "dagster.yaml").write_text(settings.read_text())
    environment = {**os.environ, "NEURON_ATLAS_DATA": str(folder / "data"), "DAGSTER_HOME": str(folder / "home")}
    environment.setdefault("HF_HUB_OFFLINE", "1")
    run, started, paused = Run(), time.perf_counter(), 0.0
    command = [sys.executable, "-m", "orchestration.run", str(file)]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: run.lines.extend(process.stdout or ()))
    reader.start()
    while process.poll() is None:
        time.sleep(0.1)
        if not paused and any(f"/{PAUSED_BEHIND}: published" in line for line in list(run.lines)):
            os.killpg(process.pid, signal.SIGSTOP)
            stopped = time.perf_counter()
            try:
                between()
            finally:
                os.killpg(process.pid, signal.SIGCONT)
            paused = time.perf_counter() - stopped
    reader.join()
    if process.returncode:
        sys.exit(f"{file}: the study failed:\n{''.join(run.lines)[-4000:]}")
    run.seconds = time.perf_counter() - started - paused
    return run


def bare_arm(model: Path, length: int, threads: int) -> Callable[[], float]:
    """A function that gives positions a second of plain code (SDPA attention, no cache) and the argmax of its logits, once warm."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    length = min(length, plain.config.max_position_embeddings)
    ids = torch.randint(
        0, plain.config.vocab_size, (max(1, POSITIONS_OF_BARE // length), length), generator=torch.Generator().manual_seed(0)
    )

    def once() -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            plain(ids, use_cache=False).logits.argmax(-1)
        return float(ids.numel()) / (time.perf_counter() - started)

    once()
    return lambda: statistics.median(once() for _ in range(3))


def made_study(folder: Path, size: Size, arguments: argparse.Namespace) -> Path:
    """A study file over a model of this size and a made-up corpus: the embedded study's tokens and prompts, all stages on."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = re.sub(r"[^a-z0-9]+", "-", size.name.lower())
    demo: dict[str, Any] = yaml.safe_load((DEMO.parent / "demo.yaml").read_text())
    model = folder / name / "model"
    if size is SMOLLM2 and arguments.make:
        subprocess.run([sys.executable, str(arguments.make), str(arguments.folder or model)], check=True)
        model = arguments.folder or model
    else:
        AutoModelForCausalLM.from_config(config_of(size)).save_pretrained(str(model))
        AutoTokenizer.from_pretrained(str(DEMO.parent / demo["model"]["id"])).save_pretrained(str(model))
    write_corpus(folder / name / "corpus.jsonl", arguments.words)
    study: dict[str, Any] = {
        "question": "How long does a whole study take?",
        "model": {"id": str(model.resolve()), "device": "cpu"},
        "corpus": {"files": [str(folder / name / "corpus.jsonl")], "context_length": 256, "windows": "all"},
        "bins": "calibrated",
        **{key: demo[key] for key in ("tokens", "prompts") if key in demo},
    }
    file = folder / f"whole-{name}.yaml"
    file.write_text(yaml.safe_dump(study))
    return file


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", type=Path, help="study files, with models and corpora of this machine; none: the two shapes")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES), help="which of the two, without a study file")
    parser.add_argument("--words", type=int, default=100_000, help="words of the made-up corpus")
    parser.add_argument("--make", type=Path, help="a script that makes a folder of SmolLM2 135M: make.py FOLDER")
    parser.add_argument("--folder", type=Path, help="where --make makes it, or has made it; a temporary folder unless told otherwise")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
