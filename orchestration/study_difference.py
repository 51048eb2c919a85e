"""Two studies of models of one shape side by side: a page over what changed, from whatever both have published.

    python -m orchestration.study_difference demo other
    python -m orchestration.study_difference demo path/to/my-study.yaml

Runs no model and no Dagster job. Faults that the user can mend are printed as one message.
"""

import argparse
import sys

from assets.errors import InputError
from orchestration.settings import Settings
from orchestration.study_files import find_study
from reports.study_difference.publication import pair_name, publish_study_difference


def main() -> int:
    """Compare two studies; 0 if their page was published."""
    parser = argparse.ArgumentParser(prog="make diff A= B=", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for study in ("a", "b"):
        parser.add_argument(study, help="name of a study in orchestration/studies/, or the path of a .yaml file")
    given = parser.parse_args()
    try:
        settings = Settings.from_environment()
        one, other = (find_study(name, settings) for name in (given.a, given.b))
        publish_study_difference(one, other, settings.deployment, print)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"\nThe two studies side by side:\n{settings.deployment.site_address(pair_name(one.name, other.name))}")
    if settings.bucket:
        print("To read it on this machine: make dev, with the same NEURON_ATLAS_DATA")
    return 0


if __name__ == "__main__":
    sys.exit(main())
