"""A whole study on a cluster: the work before the shards in one run, a backfill with one run for each shard, then the rest.

    python -m orchestration.cluster.run demo

Needs a Dagster deployment that is up (webserver, daemon, workers; docs/deployment.md) and reaches it by NEURON_ATLAS_UI. Holds the
order of the three; where runs take place is the deployment's run launcher.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable

from assets.errors import InputError
from assets.study import Study
from orchestration.cluster.phases import after_shards, before_shards, spread_asset
from orchestration.cluster.webserver import ClusterError, Webserver
from orchestration.jobs import all_shards, job_name
from orchestration.settings import Settings
from orchestration.study_files import find_study

DEFAULT_UI = "http://127.0.0.1:3000"


def run_on_cluster(study: Study, webserver: Webserver, tell: Callable[[str], None]) -> None:
    """Run the study and wait for it. Raises ClusterError naming the part that failed and where to look."""
    tags = {"neuron_atlas/study": study.name}
    tell("before the shards: model, corpus, tokenized shards, bins")
    run = webserver.start_run(job_name(study), before_shards(study), {**tags, **all_shards(study)})
    if not webserver.wait_for_run(run, tell):
        raise ClusterError(f"the run before the shards failed; see {webserver.url}/runs/{run}")
    tell(f"{len(study.shard_names)} shards, a run for each")
    backfill = webserver.start_backfill(spread_asset(study), study.shard_names, f"Shards of {study.name}", tags)
    if not webserver.wait_for_backfill(backfill, study.shard_names, tell):
        raise ClusterError(f"not every shard was made; see {webserver.url}/runs/b/{backfill}. Start again: finished shards are kept")
    tell("after the shards: merge, statistics, prompts, report")
    run = webserver.start_run(job_name(study), after_shards(study), tags)
    if not webserver.wait_for_run(run, tell):
        raise ClusterError(f"the run after the shards failed; see {webserver.url}/runs/{run}")


def main() -> int:
    """Run one study on the cluster; 0 if everything was made and every blocking check holds."""
    parser = argparse.ArgumentParser(prog="make cluster STUDY=", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="name of a study in the deployment's folder of studies")
    given = parser.parse_args().study
    started = time.monotonic()

    def tell(message: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {message}", flush=True)

    try:
        settings = Settings.from_environment()
        study = find_study(given, settings)
        run_on_cluster(study, Webserver(os.environ.get("NEURON_ATLAS_UI", DEFAULT_UI)), tell)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2 if not isinstance(error, ClusterError) else 1
    report = settings.deployment.site_address(study.name)
    print(f"\nStudy {study.name} finished in {time.monotonic() - started:.0f} s. Report:\n{report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
