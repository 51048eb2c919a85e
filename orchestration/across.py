"""The comparison of all models without the UI: one Dagster run of the group across_models, from whatever was run before.

    python -m orchestration.across
    python -m orchestration.across path/to/my-study.yaml

Compared are the studies of this deployment's folder and the study files that are named. The run is recorded in the same instance
that the UI shows. Faults that the user can mend are printed as one message.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from assets.across_models.comparison import NAME
from assets.errors import InputError
from assets.study import Study, StudyError, read_studies, read_study
from orchestration.definitions import build_definitions
from orchestration.history import opened_history
from orchestration.run import faults_of
from orchestration.settings import Settings
from orchestration.terminal import TERMINAL


def studies_to_compare(files: Sequence[str], settings: Settings) -> list[Study]:
    """The deployment's studies and those of `files`. Raises StudyError for a name that two files share."""
    studies = {study.name: study for study in read_studies(settings.studies)}
    for file in files:
        study = read_study(Path(file))
        known = studies.setdefault(study.name, study)
        if known.folder != study.folder:
            raise StudyError(f"{file}: the deployment already has a study {study.name} in {known.folder}; rename one of the two")
    return list(studies.values())


def run_across(studies: Sequence[Study], settings: Settings, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Make across_models, judge it and publish its page, in this process."""
    job = build_definitions(studies, settings).resolve_job_def(NAME)
    return job.execute_in_process(instance=instance, raise_on_error=False, run_config={"loggers": {TERMINAL: {}}})


def main() -> int:
    """Compare what was run; 0 if the page was published."""
    parser = argparse.ArgumentParser(prog="make across STUDIES=", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", help="study files beside those of orchestration/studies/")
    try:
        settings = Settings.from_environment()
        studies = studies_to_compare(parser.parse_args().studies, settings)
        with opened_history() as instance:
            result = run_across(studies, settings, instance)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if not result.success:
        print("\nNothing was compared anew; the last good page stays.", file=sys.stderr)
        for fault in faults_of(result):
            print(f"  {fault}", file=sys.stderr)
        return 1
    print(f"\nThe models side by side:\n{settings.deployment.site_address(NAME)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
