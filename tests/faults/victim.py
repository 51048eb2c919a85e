"""A run of the product in a process that can be killed at a chosen moment, and which stage that moment hit. Holds no test.

The parent imports everything that a run needs and forks for each run: what is run is `orchestration.run.main`, without the ten
seconds of imports. The parent must never compute with torch, polars or numba: their threads do not survive a fork.
"""

import importlib
import os
import re
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults.small_study import Place

HEAVY = (
    "torch", "transformers", "transformer_lens.model_bridge", "great_expectations", "zarr", "numba", "plotly.graph_objects", "polars",
    "orchestration.run", "assets.counting.batch_loops", "assets.quality.every_check", "reports.site",
)  # fmt: skip
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "shutil.rmtree"}
VERSION = re.compile(r"[0-9a-f]{12}-[0-9a-f]{8}")
INSIDE = re.compile(r"/[0-9a-f]{12}-[0-9a-f]{8}/")
WRITING = os.O_WRONLY | os.O_RDWR


@dataclass(frozen=True)
class Moment:
    """When to kill: after so many seconds of computing, whatever else the machine does, or just before the n-th call that changes something below the data folder.

    Changes `inside` a version folder (Zarr's chunks, pages) are counted apart from those that publish it.
    """

    seconds: float | None = None
    change: int | None = None
    inside: bool = False


@dataclass(frozen=True)
class End:
    """How a run ended: its exit code, or None if it was killed; the stage and the call that were going on; what it printed.

    `seconds` is the processor time of the run.
    """

    code: int | None
    stage: str
    call: str
    output: str
    seconds: float


def import_all() -> None:
    """Import what a run imports, so that each fork starts with it."""
    for name in HEAVY:
        importlib.import_module(name)


def run_until(place: Place, moment: Moment) -> End:
    """Run the study in a fork and kill it at the moment, if it lasts that long."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as note:
        child = os.fork()
        if child == 0:
            _run(place, moment, output.fileno(), note.fileno())
        status, seconds = _wait(child, moment.seconds)
        output.seek(0)
        note.seek(0)
        stage, _, call = note.read().decode().partition("\n")
        printed = output.read().decode(errors="replace")
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return End(None if killed else os.waitstatus_to_exitcode(status), stage or "before the first stage", call, printed, seconds)


def _wait(child: int, seconds: float | None) -> tuple[int, float]:
    """Status and processor seconds of the child, which is killed once it has used `seconds` of them."""
    while True:
        ended, status, used = os.wait4(child, os.WNOHANG if seconds is not None else 0)
        if ended:
            return status, used.ru_utime + used.ru_stime
        if seconds is not None and _processor_seconds(child) >= seconds:
            os.kill(child, signal.SIGKILL)
            seconds = None
        else:
            time.sleep(0.005)


def _processor_seconds(process: int) -> float:
    """Time that all threads of a process have computed so far: fields 14 and 15 of proc(5)'s stat."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _run(place: Place, moment: Moment, output: int, note: int) -> None:
    """The child: the product's own main, with its stages noted and, if asked for, a kill before the n-th change."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(place.environment)
    import assets.wiring as wiring
    from orchestration import run

    materialize = wiring.materialize

    def noted(study, stage, shard, *rest):
        _note(note, stage.name)
        try:
            return materialize(study, stage, shard, *rest)
        finally:
            _note(note, "between stages (checks, history)")

    wiring.materialize = noted
    if moment.change is not None:
        _kill_before_change(str(place.data), moment.change, moment.inside, note)
    sys.argv = ["run", str(place.study)]
    code = 70
    try:
        code = run.main()
    except BaseException as error:  # what a user would see as a traceback
        print(f"escaped: {type(error).__name__}: {error}")
    finally:
        sys.stdout.flush()
        os._exit(code)


def _kill_before_change(data: str, number: int, inside: bool, note: int) -> None:
    """Python tells every file operation before it happens; the `number`-th that changes something below `data` never does."""
    seen = 0

    def judge(event: str, arguments: tuple) -> None:
        nonlocal seen
        if event not in CHANGES and event != "open":
            return
        path = str(arguments[1] if event in ("os.rename", "os.symlink") else arguments[0])
        is_change = bool(arguments[2] & WRITING) if event == "open" else event != "os.mkdir" or not os.path.exists(path)
        if not is_change or not path.startswith(data) or path.endswith(".lock") or inside != bool(INSIDE.search(path)):
            return
        seen += 1
        if seen == number:
            os.pwrite(note, f"\n{event} {_what(path)}".encode(), os.fstat(note).st_size)
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(judge)


def _what(path: str) -> str:
    """What a path of the data folder is, without the names that differ from run to run."""
    name = Path(path).name
    if INSIDE.search(path):
        return "inside a version"
    if name.startswith(".record.json."):
        return "of a record or link not yet in place"
    return "of a version" if VERSION.fullmatch(name) else name if name in ("record.json", "current") else "of a place"


def _note(note: int, text: str) -> None:
    os.ftruncate(note, 0)
    os.pwrite(note, text.encode(), 0)
