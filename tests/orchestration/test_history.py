"""A run history that cannot be opened is told in one sentence, whichever command asks for it, and holds no password."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assets.errors import InputError
from orchestration.history import opened_history
from tests.assets.test_study import MINIMAL, write

ROOT = Path(__file__).parents[2]
PASSWORD = "not-to-be-shown"


def told(tmp_path: Path, module: str, *arguments: str, **environment: str) -> str:
    """What a command says before it ends with code 2."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, "NEURON_ATLAS_DATA": str(tmp_path / "data"), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()
    return done.stderr.strip()


@pytest.mark.parametrize("home", ["nowhere", "relative"])
def test_a_folder_that_is_not_there_is_named(tmp_path: Path, home: str) -> None:
    given = str(tmp_path / home) if home == "nowhere" else home
    study = write(tmp_path, MINIMAL)
    sentence = told(tmp_path, "orchestration.run", str(study), DAGSTER_HOME=given)
    assert sentence.startswith(f"DAGSTER_HOME: given {given!r}; give the absolute path of a folder that is there")
    assert len(sentence.splitlines()) == 1


def test_a_file_of_settings_with_a_fault_is_named(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("storage: {nowhere: {}}\n")
    sentence = told(tmp_path, "orchestration.upkeep.retention", DAGSTER_HOME=str(tmp_path))
    assert sentence.startswith(f"the run history of DAGSTER_HOME={tmp_path} cannot be opened (")
    assert len(sentence.splitlines()) == 1


@pytest.mark.slow
def test_a_database_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("dagster_postgres", reason="needs dagster-postgres: make setup-operations")
    (tmp_path / "home").mkdir()
    shutil.copy(ROOT / "deployment" / "production" / "dagster.yaml", tmp_path / "home")
    database = {"HOST": "127.0.0.1", "PORT": "9", "DB": "atlas", "USER": "atlas", "PASSWORD": PASSWORD}  # port 9: nothing answers there
    environment = {f"NEURON_ATLAS_POSTGRES_{name}": value for name, value in database.items()}
    study = write(tmp_path, MINIMAL)
    environment |= {"DAGSTER_HOME": str(tmp_path / "home"), "NEURON_ATLAS_LOGS": str(tmp_path / "logs")}
    said = told(tmp_path, "orchestration.run", str(study), **environment)
    assert PASSWORD not in said
    sentence = said.splitlines()[-1]  # Dagster tells before it that it tries again
    assert sentence.startswith(f"the run history of DAGSTER_HOME={tmp_path / 'home'} cannot be opened (")
    assert 'connection to server at "127.0.0.1", port 9 failed: Connection refused' in sentence


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_a_history_that_is_lost_in_the_middle_is_told_and_a_defect_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_wrapped: bool
) -> None:
    from sqlalchemy.exc import OperationalError

    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    lost = OperationalError("INSERT INTO event_logs", {}, Exception("database or disk is full"))

    def lose() -> None:
        with opened_history():
            if is_wrapped:
                raise RuntimeError("too many retries for DB connection") from lost
            raise lost

    with pytest.raises(
        InputError, match=r"could not be written any more \(database or disk is full\); what was published stays. Free space"
    ):
        lose()

    def defect() -> None:
        with opened_history():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        defect()


OPEN_AT = """
import sys, time
import dagster
from orchestration.history import opened_history
time.sleep(max(0, float(sys.argv[1]) - time.time()))
with opened_history() as history:
    print(len(history.get_runs()))
"""


@pytest.mark.slow
def test_processes_that_open_a_new_history_at_the_same_moment_all_get_it(tmp_path: Path) -> None:
    """SQLite's tables are made by whoever comes first; the others come in the middle of it."""
    for home in (tmp_path / "first", tmp_path / "second"):
        home.mkdir()
        shutil.copy(ROOT / "orchestration" / "instance" / "dagster.yaml", home)
        command = [sys.executable, "-W", "ignore", "-c", OPEN_AT, str(time.time() + 12)]
        environment = {**os.environ, "DAGSTER_HOME": str(home)}
        opening = [
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(6)
        ]
        said = [process.communicate()[0].strip() for process in opening]
        assert said == ["0"] * 6
