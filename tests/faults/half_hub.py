"""A hub on loopback that serves one model, and cuts its largest file in the middle as often as it is told. Holds no test."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = "model.safetensors"


@dataclass
class Hub:
    """What it serves, how many more times it cuts the large file, and whether it then lies about the length."""

    files: dict[str, bytes]
    cuts: int = 0
    short: bool = False
    ranges: list[str] = field(default_factory=list)  # of the requests for the large file
    address: str = ""


@contextmanager
def serving(model: Path) -> Iterator[Hub]:
    """Serve owner/name from a `save_pretrained` folder while the block lasts."""
    hub = Hub({file.name: file.read_bytes() for file in model.iterdir()})
    server = _Server(("127.0.0.1", 0), _Handler)
    server.hub = hub
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    """Knows the hub that it serves."""

    daemon_threads = True
    hub: Hub


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        files, name = self.server.hub.files, self.path.rsplit("/", 1)[-1]
        if self.path.startswith("/api/models/"):
            tree = [{"type": "file", "path": name, "size": len(content), "oid": hash_of(content)} for name, content in files.items()]
            about = {"id": "owner/name", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            answer = tree if "/tree/" in self.path else about
            self._send(json.dumps(answer).encode(), with_body, {"Content-Type": "application/json"})
        elif name not in files:
            self._send(b"", with_body, {"X-Error-Code": "EntryNotFound"}, status=404)
        else:
            headers = {"ETag": f'"{hash_of(files[name])}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            if with_body and name == LARGE:
                self._send_large(files[name], headers)
            else:
                self._send(files[name], with_body, headers)

    def _send_large(self, content: bytes, headers: dict[str, str]) -> None:
        hub, asked = self.server.hub, self.headers.get("Range", "")
        hub.ranges.append(asked)
        first = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        rest, status = content[first:], 206 if first else 200
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        if hub.cuts == 0:
            self._send(rest, True, headers, status)
            return
        hub.cuts -= 1
        half = rest[: len(rest) // 2]
        self._send(half, True, headers, status, length=len(half) if hub.short else len(rest))
        self.close_connection = True

    def _send(self, body: bytes, with_body: bool, headers: dict[str, str], status: int = 200, length: int | None = None) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if with_body:
            self.wfile.write(body)


def hash_of(content: bytes) -> str:
    """SHA-256 (hex), as the hub's ETag of a large file."""
    return hashlib.sha256(content).hexdigest()
