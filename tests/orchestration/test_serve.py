"""`make dev`: both servers answer on loopback only, and stop when told, also when started in the background."""

import http.client
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.serve import LOOPBACK, free_port, main, serve_reports

ROOT = Path(__file__).parents[2]


def answer(url: str, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return urllib.request.urlopen(url, timeout=5).read().decode()
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def listening() -> set[tuple[str, int]]:
    """(address in hexadecimal, port) of every TCP socket that listens on this machine."""
    lines = [line.split() for file in ("tcp", "tcp6") for line in Path("/proc/net", file).read_text().splitlines()[1:]]
    sockets = [fields[1].split(":") for fields in lines if fields[3] == "0A"]  # 0A: LISTEN
    return {(address, int(port, 16)) for address, port in sockets}


def asked(port: int, path: str, host: str) -> tuple[int, str]:
    """Status and content of a request that is sent as it stands: no client mends the path or the host."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    answered = connection.getresponse()
    return answered.status, answered.read().decode(errors="replace")


@pytest.fixture
def reports(tmp_path: Path) -> Iterator[int]:
    """The port of a server of reports; a secret lies beside its folder."""
    (tmp_path / "secret.txt").write_text("SECRET")
    (tmp_path / "reports" / "some").mkdir(parents=True)
    (tmp_path / "reports" / "some" / "index.html").write_text("a report")
    port = free_port(3540)
    server = serve_reports(tmp_path / "reports", port)
    yield port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "path",
    ["/../secret.txt", "/%2e%2e/secret.txt", "/some/../../secret.txt", "/some/%2e%2e/%2e%2e/secret.txt", "/..%2fsecret.txt", "//../secret.txt",
     "/some/..%5c..%5csecret.txt", "/%252e%252e/secret.txt", "http://127.0.0.1/../secret.txt", "/some/index.html/../../../secret.txt"],
)  # fmt: skip
def test_no_path_leads_out_of_the_folder_of_reports(reports: int, path: str) -> None:
    status, content = asked(reports, path, f"{LOOPBACK}:{reports}")
    assert status == 404
    assert "SECRET" not in content


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("127.0.0.1:1", 200), ("localhost:8080", 200), ("[::1]:80", 200), ("[::1]", 200),
                                              ("evil.example", 403), ("evil.example:3080", 403), ("127.0.0.1.evil.example", 403), ("", 403)])  # fmt: skip
def test_reports_are_answered_to_who_asks_this_machine_by_its_name(reports: int, host: str, status: int) -> None:
    found, content = asked(reports, "/some/", host)
    assert found == status
    assert ("a report" in content) == (status == 200)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("NEURON_ATLAS_SITE_PORT", "80a", "NEURON_ATLAS_SITE_PORT: given '80a'; give the number of a port, 1 to 65535"),
        ("NEURON_ATLAS_SITE_PORT", "70000", "NEURON_ATLAS_SITE_PORT: given '70000'; give the number of a port, 1 to 65535"),
        ("NEURON_ATLAS_RUNS", "many", "NEURON_ATLAS_RUNS: given 'many'; give one or per-shard"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told_in_one_sentence(
    variable: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys, "argv", ["serve", "--reports"])
    assert main() == 2
    assert capsys.readouterr().err == told + "\n"


def test_the_reports_alone_are_served_on_loopback_at_their_own_port_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "reports" / "some").mkdir(parents=True)
    (tmp_path / "reports" / "some" / "index.html").write_text("a report")
    port = free_port(3560)
    environment = {**os.environ, "NEURON_ATLAS_DATA": str(tmp_path), "NEURON_ATLAS_SITE_PORT": str(port)}
    command = [sys.executable, "-m", "orchestration.serve", "--reports"]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        assert answer(f"http://{LOOPBACK}:{port}/some/", 60) == "a report"
        assert {address for address, listened in listening() if listened == port} == {"0100007F"}
        assert asked(port, "/try_text/", LOOPBACK)[0] == 404  # beside a deployment's webserver no model is loaded
        second = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
        assert second.returncode == 2
        assert second.stderr.startswith(f"NEURON_ATLAS_SITE_PORT: port {port} on 127.0.0.1 cannot be used (Address already in use)")
        assert len(second.stderr.splitlines()) == 1
    finally:
        server.terminate()
        assert server.wait(20) == 0


@pytest.mark.slow
def test_the_ui_and_the_reports_are_served_on_loopback_and_stop_when_told(tmp_path: Path) -> None:
    (tmp_path / "data" / "reports" / "some").mkdir(parents=True)
    (tmp_path / "data" / "reports" / "some" / "index.html").write_text("a report")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    ui, site = free_port(3400), free_port(3500)
    environment = {
        **os.environ,
        "NEURON_ATLAS_DATA": str(tmp_path / "data"),
        "NEURON_ATLAS_UI_PORT": str(ui),
        "NEURON_ATLAS_SITE_PORT": str(site),
        "DAGSTER_HOME": str(tmp_path / "home"),
    }
    # As a shell starts a job in the background: SIGINT ignored.
    server = subprocess.Popen(
        [sys.executable, "-m", "orchestration.serve"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        assert answer(f"http://{LOOPBACK}:{site}/some/", 20) == "a report"
        assert "<h1>Try a text</h1>" in answer(f"http://{LOOPBACK}:{site}/try_text/", 20)
        assert "Dagster" in answer(f"http://{LOOPBACK}:{ui}", 90)
        assert {address for address, port in listening() if port in (ui, site)} == {"0100007F"}  # 127.0.0.1, as the kernel writes it
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    time.sleep(1)
    assert not {port for _, port in listening()} & {ui, site}
