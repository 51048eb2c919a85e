"""The Dagster UI and the published reports, on this machine only, until interrupted.

    python -m orchestration.serve
    python -m orchestration.serve --reports      the reports alone, beside a webserver that runs by itself

Reports are static files: a plain file server beside the UI gives them an address that the UI can link to. Beside the UI, and with reports
in a folder, a text can be tried as well (text_server); a server of reports alone loads no model.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from assets.errors import InputError
from orchestration.report_server import QuietFiles, serve_reports
from orchestration.settings import LOOPBACK, REPOSITORY, SITE_PORT, Settings, SettingsError
from orchestration.text_server import PLACE, TextTrials, handler_of

FIRST_UI_PORT = 3000
STOP_SECONDS = 10


def free_port(first: int) -> int:
    """The first port from `first` on that nothing listens on."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) != 0:
                return port
    raise OSError(f"ports {first} to {first + 99} on {LOOPBACK} are all taken; stop a server that uses one")


def port_from(variable: str, default: int) -> int:
    """The port that an environment variable names. Raises SettingsError for anything else."""
    given = os.environ.get(variable) or str(default)
    if not (given.isascii() and given.isdigit() and 0 < int(given) < 65_536):
        raise SettingsError(f"{variable}: given {given!r}; give the number of a port, 1 to 65535")
    return int(given)


def start_reports(settings: Settings, port: int, handler: type[QuietFiles] = QuietFiles) -> str:
    """Serve the reports of a deployment; says where they are read from, if that is a bucket. `handler` is what serves those of a folder."""
    if not settings.bucket:
        serve_reports(settings.data / "reports", port, handler)
        return ""
    from orchestration.bucket_reports import serve_bucket_reports

    serve_bucket_reports(settings.deployment.store, port)
    return f"  (read from {settings.bucket})"


def main() -> int:
    """Start what was asked for and wait for its end; 2 for a setting that cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", action="store_true", help="serve the reports alone, at NEURON_ATLAS_SITE_PORT and no other")
    try:
        return serve_only_reports() if parser.parse_args().reports else serve_all()
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


def serve_only_reports() -> int:
    """Serve the reports at the one port that links lead to, until SIGINT or SIGTERM."""
    settings, port = Settings.from_environment(), port_from("NEURON_ATLAS_SITE_PORT", SITE_PORT)
    stopped = stop_signals()
    try:
        origin = start_reports(settings, port)
    except OSError as error:
        raise SettingsError(f"NEURON_ATLAS_SITE_PORT: port {port} on {LOOPBACK} cannot be used ({error.strerror}); stop what uses it, or give "
                            "another, and the same in NEURON_ATLAS_SITE_URL") from None  # fmt: skip
    print(f"Reports     http://{LOOPBACK}:{port}{origin}\nStop with Ctrl-C.", flush=True)
    stopped.wait()
    return 0


def serve_all() -> int:
    """Start both servers and wait for the UI to end."""
    settings = Settings.from_environment()
    site_port = free_port(port_from("NEURON_ATLAS_SITE_PORT", SITE_PORT))
    ui_port = free_port(port_from("NEURON_ATLAS_UI_PORT", FIRST_UI_PORT))
    site_url = f"http://{LOOPBACK}:{site_port}"
    trials = TextTrials(settings)
    origin = start_reports(settings, site_port, handler_of(trials))
    tried = "" if settings.bucket else f"Try a text  {site_url}{PLACE}\n"
    print(f"Dagster UI  http://{LOOPBACK}:{ui_port}\nReports     {site_url}{origin}\n{tried}Stop with Ctrl-C.", flush=True)
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(REPOSITORY / "orchestration" / "instance")))
    command = [sys.executable, "-m", "dagster", "dev", "--workspace", "workspace.yaml", "--host", LOOPBACK, "--port", str(ui_port)]
    environment = {**os.environ, "NEURON_ATLAS_SITE_URL": site_url, "DAGSTER_HOME": str(home), "PYTHONWARNINGS": "ignore"}
    ended = run_until_stopped(command, environment)
    if not trials.close(STOP_SECONDS):  # the interpreter's own end would be cut off by the threads of a model that is being loaded
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended)
    return ended


def stop_signals() -> threading.Event:
    """An event that SIGINT or SIGTERM sets from now on."""
    stopped = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopped.set())
    return stopped


def run_until_stopped(command: list[str], environment: dict[str, str]) -> int:
    """Run a server and hand SIGINT and SIGTERM on to it; end it if it has not stopped after ten seconds.

    The handlers stand before it starts: a shell that starts this in the background ignores SIGINT, the server would inherit
    that, and Dagster then ignores SIGTERM as well.
    """
    stopped = stop_signals()
    server = subprocess.Popen(command, cwd=REPOSITORY, env=environment, start_new_session=True)
    while server.poll() is None and not stopped.wait(0.2):
        pass
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
    return 0 if stopped.is_set() else server.wait()


if __name__ == "__main__":
    sys.exit(main())
