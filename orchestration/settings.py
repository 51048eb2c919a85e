"""What differs between deployments, read from the environment once: folders, the address of the reports, how steps are run.

What is measured is not here: that is the study's.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from assets.deployment import Deployment
from assets.errors import InputError

LOOPBACK, SITE_PORT = "127.0.0.1", 3080  # where `make dev` serves the reports, so that links of any run work there
REPOSITORY = Path(__file__).resolve().parents[1]
SHIPPED_STUDIES = Path(__file__).resolve().parent / "studies"
ONE_RUN, RUN_PER_SHARD = "one", "per-shard"


class SettingsError(InputError):
    """An environment variable that cannot be used."""


@dataclass(frozen=True)
class Settings:
    """One deployment. Environment variables: NEURON_ATLAS_DATA, NEURON_ATLAS_STUDIES, NEURON_ATLAS_SITE_URL, NEURON_ATLAS_RUNS.

    `runs` is "one" (all shards in one process) or "per-shard" (a cluster: a backfill starts a run for each shard).
    """

    data: Path
    studies: Path
    site_url: str
    runs: str = ONE_RUN

    def __post_init__(self) -> None:
        if self.runs not in (ONE_RUN, RUN_PER_SHARD):
            raise SettingsError(f"NEURON_ATLAS_RUNS: given {self.runs!r}; give {ONE_RUN} or {RUN_PER_SHARD}")

    @classmethod
    def from_environment(cls) -> "Settings":
        """Settings of this process; without variables, everything lies inside the checkout."""
        return cls(
            data=Path(os.environ.get("NEURON_ATLAS_DATA", REPOSITORY / "data")).resolve(),
            studies=Path(os.environ.get("NEURON_ATLAS_STUDIES", SHIPPED_STUDIES)).resolve(),
            site_url=os.environ.get("NEURON_ATLAS_SITE_URL", f"http://{LOOPBACK}:{SITE_PORT}"),
            runs=os.environ.get("NEURON_ATLAS_RUNS", ONE_RUN),
        )

    @property
    def deployment(self) -> Deployment:
        """The resource that assets and checks are given."""
        return Deployment(self.data, self.site_url)
