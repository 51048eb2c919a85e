"""The published reports of a bucket, served on this machine: each request shows the version that the record names now.

So that reports can be read, and linked from the UI, without a public bucket. Files come from the cache of this machine.
"""

import html
import http.server
import io
import threading
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from assets.across_models.comparison import NAME as ACROSS_MODELS
from assets.deployment import REPORTS
from assets.errors import InputError
from assets.store import Place, Store
from assets.store.bucket import Bucket
from assets.study import STUDY_NAME
from orchestration.report_server import QuietFiles
from orchestration.settings import LOOPBACK
from reports.across_models.asset import SITE as ACROSS_MODELS_SITE
from reports.study_difference.publication import difference_place


def site_place(name: str) -> Place | None:
    """Which output the report of this name is; None for what cannot be one."""
    if name == ACROSS_MODELS:
        return Place(ACROSS_MODELS, ACROSS_MODELS_SITE)
    if place := difference_place(name):
        return place
    return Place(name, "report_site") if STUDY_NAME.fullmatch(name) else None


class BucketReports(QuietFiles):
    """Serves /<study>/<page> from the study's published report, and a list of the reports at /."""

    store: Store

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        parts = unquote(urlsplit(self.path).path).lstrip("/").split("/")
        try:
            if parts == [""]:
                return self._list_of_reports()
            place = site_place(parts[0])
            record = self.store.find(place) if place else None
            if record is None:
                self.send_error(404, explain=f"no report {parts[0]!r} is published at {self.store.root}")
                return None
            with self.store.reading():  # a file that is open stays readable when its copy is freed
                self.directory = str(record.folder)
                return super().send_head()
        except InputError as error:
            self.send_error(503, explain=str(error))
            return None

    def translate_path(self, path: str) -> str:
        """The file of a path below the report's folder: the study's name stands in front of it."""
        return super().translate_path("/" + path.lstrip("/").partition("/")[2])

    def _list_of_reports(self) -> io.BytesIO:
        storage = self.store.storage
        folders = {key.split("/", 1)[0] for key in storage.objects.below(REPORTS) if "/" in key} if isinstance(storage, Bucket) else set()
        names = sorted(name for name in folders if site_place(name))
        links = "".join(f'<li><a href="{html.escape(name)}/">{html.escape(name)}</a></li>' for name in names)
        page = f"<!doctype html><html lang=en><meta charset=utf-8><title>Reports</title><ul>{links or 'none yet'}</ul></html>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        return io.BytesIO(page)


def serve_bucket_reports(store: Store, port: int) -> http.server.ThreadingHTTPServer:
    """Serve the reports of a bucket in a thread of this process, on this machine only."""
    handler = type("Reports", (BucketReports,), {"store": store})
    server = http.server.ThreadingHTTPServer((LOOPBACK, port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
