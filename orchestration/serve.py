"""The Dagster UI and the published reports, on this machine only, until interrupted.

    python -m orchestration.serve

Reports are static files: a plain file server beside the UI gives them an address that the UI can link to.
"""

import functools
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from orchestration.settings import LOOPBACK, REPOSITORY, SITE_PORT, Settings

FIRST_UI_PORT = 3000
STOP_SECONDS = 10


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    """Serves files without a log line for each, and tells browsers to ask again: reports are replaced in place."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()


def free_port(first: int) -> int:
    """The first port from `first` on that nothing listens on."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) != 0:
                return port
    raise OSError(f"ports {first} to {first + 99} on {LOOPBACK} are all taken; stop a server that uses one")


def serve_reports(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Serve the published reports in a thread of this process."""
    folder.mkdir(parents=True, exist_ok=True)
    server = http.server.ThreadingHTTPServer((LOOPBACK, port), functools.partial(QuietFiles, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main() -> int:
    """Start both servers and wait for the UI to end."""
    settings = Settings.from_environment()
    site_port = free_port(int(os.environ.get("NEURON_ATLAS_SITE_PORT", SITE_PORT)))
    ui_port = free_port(int(os.environ.get("NEURON_ATLAS_UI_PORT", FIRST_UI_PORT)))
    site_url = f"http://{LOOPBACK}:{site_port}"
    if settings.bucket:
        from orchestration.bucket_reports import serve_bucket_reports

        serve_bucket_reports(settings.deployment.store, site_port)
        origin = f"  (read from {settings.bucket})"
    else:
        serve_reports(settings.data / "reports", site_port)
        origin = ""
    print(f"Dagster UI  http://{LOOPBACK}:{ui_port}\nReports     {site_url}{origin}\nStop with Ctrl-C.", flush=True)
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(REPOSITORY / "orchestration" / "instance")))
    command = [sys.executable, "-m", "dagster", "dev", "--workspace", "workspace.yaml", "--host", LOOPBACK, "--port", str(ui_port)]
    environment = {**os.environ, "NEURON_ATLAS_SITE_URL": site_url, "DAGSTER_HOME": str(home), "PYTHONWARNINGS": "ignore"}
    return run_until_stopped(command, environment)


def run_until_stopped(command: list[str], environment: dict[str, str]) -> int:
    """Run a server and hand SIGINT and SIGTERM on to it; end it if it has not stopped after ten seconds.

    The handlers stand before it starts: a shell that starts this in the background ignores SIGINT, the server would inherit
    that, and Dagster then ignores SIGTERM as well.
    """
    stopped = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopped.set())
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
