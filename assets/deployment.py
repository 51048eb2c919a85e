"""Where this deployment keeps its outputs and serves its reports: the one resource that assets and checks are given."""

from dataclasses import dataclass
from pathlib import Path

from assets.store import CURRENT, Store, write_atomically


@dataclass(frozen=True)
class Deployment:
    """`data` is the root folder of all outputs; `site_url` is where its published reports are served ("" if nowhere)."""

    data: Path
    site_url: str = ""

    @property
    def store(self) -> Store:
        """The outputs below `data`."""
        return Store(self.data)

    def site_folder(self, study: str) -> Path:
        """The published report of a study, as a stable path that always shows the last good version."""
        return self.data / "reports" / study

    def link_site(self, study: str, asset: str = "report_site") -> None:
        """Make the stable path of a study's report: a link to the current version of its report_site."""
        link = self.site_folder(study)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(Path("..") / study / asset / CURRENT)

    def open_with(self, study: str) -> None:
        """Let the folder of all reports open with this one."""
        page = f'<!doctype html><meta charset="utf-8"><title>Neuron Atlas</title><meta http-equiv="refresh" content="0; url={study}/index.html">'
        write_atomically(self.data / "reports" / "index.html", f'{page}<a href="{study}/index.html">Neuron Atlas</a>\n'.encode())

    def page_url(self, study: str, page: str = "index.html") -> str:
        """Address of a report page: served if there is a server, else a file on this machine."""
        base = self.site_url.rstrip("/") if self.site_url else f"file://{(self.data / 'reports').resolve()}"
        return f"{base}/{study}/{page}"
