"""One neuron of a published study as JSON: all that the tables hold of it, by their columns' names.

    python -m orchestration.neuron demo "L2 N144" > L2-N144.json

The same record as the neuron's page in the atlas, with the texts of the tokens that it names. Needs neither the model nor torch.
"""

import argparse
import json
import sys

from assets.errors import InputError
from assets.published_study import PublishedStudy
from assets.tried_text.given_text import named_neurons
from orchestration.settings import Settings
from orchestration.study_files import find_study


def main() -> int:
    """Print one neuron; 0 if it was found, 2 for what is not there."""
    parser = argparse.ArgumentParser(
        prog="make neuron STUDY= NEURON=", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="name of a study in orchestration/studies/, or the path of a .yaml file")
    parser.add_argument("neuron", help='which one, such as "L2 N144" or L2-N144')
    given = parser.parse_args()
    try:
        settings = Settings.from_environment()
        study = find_study(given.study, settings)
        named = named_neurons(given.neuron)
        if len(named) != 1:
            raise InputError(f"neuron: given {given.neuron!r}; name one, such as L2-N144")
        found = PublishedStudy(settings.deployment.store.root, study.name).neuron_with_texts(*named[0])
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    json.dump(found, sys.stdout, ensure_ascii=False, allow_nan=False, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
