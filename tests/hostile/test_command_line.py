"""Malformed studies on the real command line: exit code 2, the exact sentence and nothing else, nothing made."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.assets.test_study import LEAST, MALFORMED, write

ROOT = Path(__file__).parents[2]
# Every one through main() with its own arguments, in one process: starting Python for each would take minutes.
SCRIPT = textwrap.dedent("""
    import sys
    from orchestration import run
    for file in sys.argv[1:]:
        sys.argv = ["run", file]
        print("code", run.main(), file=sys.stderr)
""")


def test_every_malformed_study_ends_with_code_2_and_its_sentence_alone(tmp_path: Path) -> None:
    files = []
    for number, (fields, _) in enumerate(MALFORMED):
        folder = tmp_path / str(number)
        folder.mkdir()
        files.append(write(folder, fields))
    (tmp_path / "cron").mkdir()
    files.append(write(tmp_path / "cron", {**LEAST, "schedule": "99 99 * * *"}))
    (tmp_path / "home").mkdir()
    environment = {
        **os.environ,
        "NEURON_ATLAS_DATA": str(tmp_path / "data"),
        "DAGSTER_HOME": str(tmp_path / "home"),
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, files)], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    told = done.stderr.split("code 2\n")[:-1]
    assert len(told) == len(files), done.stderr[-2000:]
    for file, (_, message), sentence in zip(files, MALFORMED, told, strict=False):
        assert sentence.startswith(f"{file}: {message}"), sentence
        assert len(sentence.splitlines()) == 1
    assert "field schedule: given '99 99 * * *'" in told[-1]
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "data").exists()
