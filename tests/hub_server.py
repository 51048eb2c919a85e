"""A server on loopback that answers as the hub does, for tests: models and data sets at commits, ranges, refusals. Holds no test.

Written from the requests that huggingface_hub makes. A repository whose name holds `gated` wants a token, one with `busy` answers 429, and one
with `cut` breaks off in the middle of the first answer of each large file.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c" * 40
TOKEN = "hf_of_the_test"
LARGE = 2**24  # bytes of a file that is cut once: the library keeps what it has by 10 MB


@dataclass
class HubServer:
    """`repositories`: by "datasets/owner/name" or "models/owner/name" the files of its only commit, which `main` names."""

    repositories: Mapping[str, Mapping[str, bytes]]
    address: str = ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Range
    was_cut: set[str] = field(default_factory=set)

    def environment(self, folder: str) -> dict[str, str]:
        """What a user sets to reach it; `folder` is for the caches."""
        return {
            "HF_ENDPOINT": self.address,
            "HF_HOME": folder,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def fetched(self, path: str) -> list[str]:
        """The Range of each GET of a file."""
        return [ranged for method, asked, ranged in self.requests if method == "GET" and asked.endswith(path)]


@contextmanager
def hub_server(repositories: Mapping[str, Mapping[str, bytes]]) -> Iterator[HubServer]:
    """A running server."""
    hub = HubServer(repositories)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing: the test looks at the requests."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range", "")))
        asked = re.fullmatch(r"/api/(datasets|models)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?", path)
        file = re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = asked or file
        if found is None:
            self._refuse(404, "EntryNotFound")
            return
        name = f"{found[1] or 'models'}/{found[2]}"
        if "gated" in name and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._refuse(401, "GatedRepo", "Access to this repository is restricted")
            return
        if "busy" in name:
            self._refuse(429, "")
            return
        if name not in self.hub.repositories:
            self._refuse(401, "RepoNotFound", "Repository not found")
            return
        revision = asked[4] if asked else file[3] if file else None
        if revision not in (None, "main", COMMIT):
            self._refuse(404, "RevisionNotFound")
            return
        files = self.hub.repositories[name]
        if file:
            self._file(name, file[4], files)
            return
        assert asked is not None
        if asked[3] == "tree":
            self._json(_listed(files, asked[5] or "", "recursive" in self.path and "recursive=False" not in self.path))
            return
        if asked[3] == "paths-info":
            given = json.loads(body) if body.startswith(b"{") else parse_qs(body.decode())
            self._json([entry for path in given["paths"] for entry in _of_path(files, path)])
            return
        kind: dict[str, Any] = {
            "id": found[2],
            "sha": COMMIT,
            "private": False,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
        }
        self._json({**kind, "lastModified": "2026-01-01T00:00:00.000Z", "siblings": [{"rfilename": path} for path in sorted(files)]})
        return

    def _json(self, content: Any) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, message: str = "") -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": message} if code else {})

    def _file(self, name: str, path: str, files: Mapping[str, bytes]) -> None:
        if path not in files:
            self._refuse(404, "EntryNotFound")
            return
        content = files[path]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if ranged:
            start, end = int(ranged[1]), min(int(ranged[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            content = content[start : end + 1]
        if "cut" in name and self.command == "GET" and len(content) > LARGE and path not in self.hub.was_cut:
            self.hub.was_cut.add(path)
            self._send(206 if ranged else 200, content, headers, sent=len(content) // 2)
            return
        self._send(206 if ranged else 200, content, headers)

    def _send(self, status: int, content: bytes, headers: Mapping[str, str], sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:sent])
        if sent is not None:
            self.close_connection = True


def _listed(files: Mapping[str, bytes], folder: str, is_deep: bool) -> list[dict[str, Any]]:
    inside = [path for path in sorted(files) if not folder or path.startswith(f"{folder}/")]
    start = len(folder) + 1 if folder else 0
    folders = {path[: path.index("/", start)] for path in inside if "/" in path[start:]}
    shown = [path for path in inside if is_deep or "/" not in path[start:]]
    return [entry for path in (*sorted(folders), *shown) for entry in _of_path(files, path)]


def _of_path(files: Mapping[str, bytes], path: str) -> list[dict[str, Any]]:
    if path in files:
        return [{"type": "file", "path": path, "size": len(files[path]), "oid": hashlib.sha1(files[path]).hexdigest()}]
    return [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40}] if any(one.startswith(f"{path}/") for one in files) else []
