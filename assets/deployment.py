"""Where this deployment keeps its outputs and serves its reports: the one resource that assets and checks are given."""

from dataclasses import dataclass
from pathlib import Path

from assets.store import Place, Store

REPORTS = "reports"


@dataclass(frozen=True)
class Deployment:
    """`data` is the root folder of all outputs; `bucket` is the URL that they lie at instead ("" if they lie in `data`).

    `site_url` is where the published reports are served ("" if nowhere).
    """

    data: Path
    site_url: str = ""
    bucket: str = ""

    @property
    def store(self) -> Store:
        """The outputs below `bucket` or `data`."""
        return Store(self.bucket or self.data)

    def site_folder(self, study: str) -> Path:
        """The published report of a study in a data folder, as a stable path that always shows the last good version."""
        return self.data / REPORTS / study

    def site_address(self, study: str) -> str:
        """The first page of a study's report: a path on this machine, or a URL in the bucket."""
        return f"{self.bucket}/{REPORTS}/{study}/index.html" if self.bucket else str(self.site_folder(study) / "index.html")

    def link_site(self, study: str, asset: str = "report_site") -> None:
        """Make the stable address of a study's report: a link to the current version of its report_site, or redirecting pages."""
        self.store.show_site(Place(study, asset), f"{REPORTS}/{study}")

    def open_with(self, study: str) -> None:
        """Let the folder of all reports open with this one."""
        page = f'<!doctype html><meta charset="utf-8"><title>Neuron Atlas</title><meta http-equiv="refresh" content="0; url={study}/index.html">'
        self.store.show_page(f"{REPORTS}/index.html", f'{page}<a href="{study}/index.html">Neuron Atlas</a>\n'.encode())

    def page_url(self, study: str, page: str = "index.html") -> str:
        """Address of a report page: served if there is a server, else a file on this machine."""
        unserved = f"{self.bucket}/{REPORTS}" if self.bucket else f"file://{(self.data / REPORTS).resolve()}"
        return f"{self.site_url.rstrip('/') or unserved}/{study}/{page}"
