"""A whole study without the UI: one Dagster run, one process, one loaded model for all shards.

    python -m orchestration.run demo
    python -m orchestration.run path/to/my-study.yaml

The run is recorded in the same instance that the UI shows. Faults that the user can mend are printed as one message.
"""

import argparse
import sys
import time
from datetime import UTC, datetime

import dagster as dg

from assets.errors import InputError
from assets.publication import records_of
from assets.study import Study
from assets.time_spent import spent_lines, time_spent
from orchestration.definitions import build_definitions
from orchestration.faults import faults_in
from orchestration.headless import headless_tags, only_run
from orchestration.history import opened_history
from orchestration.jobs import all_shards, job_name
from orchestration.settings import Settings
from orchestration.study_files import find_study
from orchestration.terminal import TERMINAL


def run_study(study: Study, settings: Settings, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Run the study's job over all its shards in this process."""
    definitions = build_definitions([study], settings)
    job = definitions.resolve_job_def(job_name(study))
    with only_run(study.name, instance, print):
        return job.execute_in_process(
            instance=instance,
            tags={**all_shards(study), **headless_tags(study.name, instance)},
            raise_on_error=False,
            run_config={"loggers": {TERMINAL: {}}},
        )


def faults_of(result: dg.ExecuteInProcessResult) -> list[str]:
    """One sentence for each failed step and each failed check that stopped the run."""
    return faults_in(result.all_events)


def main() -> int:
    """Run one study; 0 if everything was made and every blocking check holds."""
    parser = argparse.ArgumentParser(prog="make study STUDY=", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="name of a study in orchestration/studies/, or the path of a .yaml file")
    started, began = time.monotonic(), datetime.now(UTC)
    try:
        settings = Settings.from_environment()
        study = find_study(parser.parse_args().study, settings)
        with opened_history() as instance:
            result = run_study(study, settings, instance)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if not result.success:
        print("\nThe study stopped; outputs that were already published stay, and nothing was published from bad inputs.", file=sys.stderr)
        for fault in faults_of(result):
            print(f"  {fault}", file=sys.stderr)
        return 1
    report = settings.deployment.site_address(study.name)
    took = time.monotonic() - started
    spent = time_spent(records_of(study, settings.deployment.store), began, took)
    print("\n".join(["", *spent_lines(spent)]))
    print(f"\nStudy {study.name} finished in {took:.0f} s. Report:\n{report}")
    if settings.bucket:
        print("To read it on this machine: make dev, with the same NEURON_ATLAS_DATA")
    return 0


if __name__ == "__main__":
    sys.exit(main())
