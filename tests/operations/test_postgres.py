"""The production instance on a private PostgreSQL: a study's run and its asset events, read back by another process."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.operations.processes import LOOPBACK, free_ports
from tests.pipeline.conftest import Bench

ROOT = Path(__file__).parents[2]
INSTANCES = ("production", "cluster")
NEEDS_SERVER = "needs PostgreSQL's server programs: apt-get install postgresql"
NEEDS_CLIENT = "needs dagster-postgres: make setup-operations"

RUN_A_PART = """
import sys
from pathlib import Path
import dagster as dg
from assets.study import read_study
from assets.wiring import asset_key
from orchestration.definitions import build_definitions
from orchestration.jobs import job_name
from orchestration.settings import Settings

study = read_study(Path(sys.argv[1]))
job = build_definitions([study], Settings.from_environment()).resolve_job_def(job_name(study))
with dg.DagsterInstance.get() as instance:
    wanted = [asset_key(study, name) for name in ("model_snapshot", "tracked_tokens", "corpus_documents")]
    result = job.execute_in_process(instance=instance, asset_selection=wanted, raise_on_error=False)
    print(result.run_id, result.success)
"""

READ_BACK = """
import json, sys
import dagster as dg
with dg.DagsterInstance.get() as instance:
    run = instance.get_run_by_id(sys.argv[1])
    (event,) = instance.fetch_materializations(dg.AssetKey(["planted", "corpus_documents"]), limit=1).records
    print(json.dumps({
        "storage": type(instance.run_storage).__name__,
        "status": run.status.value,
        "run of event": event.run_id,
        "rows": event.asset_materialization.metadata["dagster/row_count"].value,
        "checks passed": sum(evaluation.passed for evaluation in checks_of(instance, run.run_id)),
    }))
"""
READ_BACK = READ_BACK.replace(
    "with dg",
    "def checks_of(instance, run):\n"
    "    records = instance.get_records_for_run(run, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records\n"
    "    return [record.event_log_entry.dagster_event.event_specific_data for record in records]\n"
    "with dg",
    1,
)


def server_programs() -> Path | None:
    """The folder with initdb and pg_ctl: on the path, or where Debian keeps them."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


@pytest.fixture
def postgres() -> Iterator[dict[str, str]]:
    """Environment of a server of this test's own, on loopback, with a password made for it."""
    programs = server_programs()
    if programs is None:
        pytest.skip(NEEDS_SERVER)
    folder = Path(tempfile.mkdtemp(prefix="atlas-postgres-"))  # pytest's own folders are closed to the server's user
    password, port = secrets.token_hex(16), free_ports(int(os.environ.get("NEURON_ATLAS_TEST_PORT", 7480)), 1)
    (folder / "password").write_text(password)
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # the server refuses to run as root
    if user:
        shutil.chown(folder, "postgres")
        shutil.chown(folder / "password", "postgres")

    def call(program: str, *arguments: str) -> None:
        done = subprocess.run([*user, str(programs / program), *arguments], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    data = str(folder / "data")
    call("initdb", "-D", data, "-U", "atlas", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync")
    options = f"-c listen_addresses={LOOPBACK} -c port={port} -c unix_socket_directories='' -c fsync=off"
    call("pg_ctl", "-D", data, "-l", str(folder / "log"), "-o", options, "-w", "start")
    try:
        yield {
            "NEURON_ATLAS_POSTGRES_HOST": LOOPBACK,
            "NEURON_ATLAS_POSTGRES_PORT": str(port),
            "NEURON_ATLAS_POSTGRES_DB": "postgres",
            "NEURON_ATLAS_POSTGRES_USER": "atlas",
            "NEURON_ATLAS_POSTGRES_PASSWORD": password,
        }
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


def in_another_process(script: str, *arguments: str, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.slow
def test_runs_and_asset_events_are_kept_in_postgresql_and_read_by_another_process(
    bench: Bench, postgres: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("dagster_postgres", reason=NEEDS_CLIENT)
    bench.study()
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(ROOT / "deployment" / "production" / "dagster.yaml", home)
    environment = {
        **postgres,
        "DAGSTER_HOME": str(home),
        "NEURON_ATLAS_DATA": str(bench.settings.data),
        "NEURON_ATLAS_STUDIES": str(bench.file.parent),
        "NEURON_ATLAS_LOGS": str(tmp_path / "logs"),
    }
    run, success = in_another_process(RUN_A_PART, str(bench.file), environment=environment).split()
    assert success == "True"
    shutil.rmtree(home / "storage", ignore_errors=True)  # nothing of the history may lie in a file
    seen = json.loads(in_another_process(READ_BACK, run, environment=environment))
    assert seen["storage"] == "PostgresRunStorage"
    assert (seen["status"], seen["run of event"]) == ("SUCCESS", run)
    assert seen["rows"] == bench.record("corpus_documents").summary["corpus_documents_rows"]
    assert seen["checks passed"] >= 3
    assert not list(home.rglob("*.db")), "SQLite was used beside PostgreSQL"


@pytest.mark.parametrize("name", INSTANCES)
def test_an_instance_file_takes_every_part_of_its_database_from_the_environment(name: str) -> None:
    instance = yaml.safe_load((ROOT / "deployment" / name / "dagster.yaml").read_text())
    database = instance["storage"]["postgres"]["postgres_db"]
    of_environment = {name for name, value in database.items() if isinstance(value, dict) and set(value) == {"env"}}
    assert of_environment == {"hostname", "port", "db_name", "username", "password"}
    assert set(database) - of_environment == {"scheme"}
    assert instance["telemetry"] == {"enabled": False}


@pytest.mark.parametrize("file", sorted(ROOT.glob("deployment/**/*.yaml")), ids=lambda file: str(file.relative_to(ROOT / "deployment")))
def test_no_deployment_file_holds_a_secret(file: Path) -> None:
    literal = [path for document in yaml.safe_load_all(file.read_text()) for path, value in strings(document) if is_secret(path, value)]
    assert literal == []


def strings(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every (dotted path, text) of a YAML document."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from strings(value, f"{path}.{key}")
    elif isinstance(node, list):
        for item in node:
            yield from strings(item, path)
    elif isinstance(node, str):
        yield path, node


def is_secret(path: str, value: str) -> bool:
    """Text below a key that speaks of a secret, unless it names where the secret is kept or a variable."""
    words = path.lower().rsplit(".", 2)[-2:]
    speaks_of_one = any(word in key for key in words for word in ("password", "token", "secret_key"))
    names_a_place = words[-1] in ("env", "name", "key", "secretname", "path") or value == ""
    return speaks_of_one and not names_a_place


def test_a_password_written_into_an_instance_file_would_be_found() -> None:
    assert is_secret(".storage.postgres.postgres_db.password", "letmein")
    assert not is_secret(".storage.postgres.postgres_db.password.env", "NEURON_ATLAS_POSTGRES_PASSWORD")
