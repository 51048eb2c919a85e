"""What differs between deployments, read from the environment once: folders, the address of the reports, how steps are run.

What is measured is not here: that is the study's.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from assets.deployment import Deployment
from assets.errors import InputError
from assets.urls import is_url
from orchestration.alerts import Alerts

LOOPBACK, SITE_PORT = "127.0.0.1", 3080  # where `make dev` serves the reports, so that links of any run work there
REPOSITORY = Path(__file__).resolve().parents[1]
SHIPPED_STUDIES = Path(__file__).resolve().parent / "studies"
ONE_RUN, RUN_PER_SHARD = "one", "per-shard"


class SettingsError(InputError):
    """An environment variable that cannot be used."""


@dataclass(frozen=True)
class Settings:
    """One deployment. Environment variables: NEURON_ATLAS_DATA, NEURON_ATLAS_STUDIES, NEURON_ATLAS_SITE_URL, NEURON_ATLAS_RUNS and
    those of `Alerts`.

    NEURON_ATLAS_DATA is a folder or s3://bucket/prefix; credentials and the server's address are those of the AWS_* variables.
    NEURON_ATLAS_CACHE and NEURON_ATLAS_CACHE_GB are read by `assets/store/cache.py`.
    `runs` is "one" (all shards in one process) or "per-shard" (a cluster: a backfill starts a run for each shard).
    """

    data: Path
    studies: Path
    site_url: str
    alerts: Alerts = Alerts()
    bucket: str = ""  # where outputs lie instead of `data`
    runs: str = ONE_RUN

    def __post_init__(self) -> None:
        if self.runs not in (ONE_RUN, RUN_PER_SHARD):
            raise SettingsError(f"NEURON_ATLAS_RUNS: given {self.runs!r}; give {ONE_RUN} or {RUN_PER_SHARD}")

    @classmethod
    def from_environment(cls) -> "Settings":
        """Settings of this process; without variables, everything lies inside the checkout."""
        data = os.environ.get("NEURON_ATLAS_DATA") or str(REPOSITORY / "data")
        return cls(
            data=(REPOSITORY / "data" if is_url(data) else Path(data)).resolve(),
            bucket=data.rstrip("/") if is_url(data) else "",
            studies=Path(os.environ.get("NEURON_ATLAS_STUDIES") or SHIPPED_STUDIES).resolve(),
            site_url=os.environ.get("NEURON_ATLAS_SITE_URL", f"http://{LOOPBACK}:{SITE_PORT}"),
            alerts=Alerts.from_environment(),
            runs=os.environ.get("NEURON_ATLAS_RUNS") or ONE_RUN,
        )

    @property
    def deployment(self) -> Deployment:
        """The resource that assets and checks are given."""
        return Deployment(self.data, self.site_url, self.bucket)
