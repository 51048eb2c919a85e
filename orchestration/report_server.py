"""A file server of the published reports, for this machine only; reports in a bucket are served by bucket_reports."""

import functools
import http.server
import threading
from pathlib import Path

from orchestration.settings import LOOPBACK

NAMES_OF_THIS_MACHINE = ("127.0.0.1", "localhost", "[::1]")


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    """Serves files without a log line for each, and tells browsers to ask again: reports are replaced in place.

    Answers only who asks for this machine by name: a page from elsewhere whose name was made to lead here would read the reports.
    """

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        name = self.headers.get("Host", LOOPBACK)
        if (name if name.endswith("]") else name.rpartition(":")[0] or name) in NAMES_OF_THIS_MACHINE:
            return True
        self.send_error(403, explain=f"these reports are served to this machine alone, as http://{LOOPBACK}")
        return False

    def log_message(self, format: str, *args: object) -> None:
        pass

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()


def serve_reports(folder: Path, port: int, handler: type[QuietFiles] = QuietFiles) -> http.server.ThreadingHTTPServer:
    """Serve the published reports in a thread of this process."""
    folder.mkdir(parents=True, exist_ok=True)
    server = http.server.ThreadingHTTPServer((LOOPBACK, port), functools.partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
