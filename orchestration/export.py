"""A published study's neurons as files that tools of automated interpretability read (NeuronRecord of neuron-explainer).

    python -m orchestration.export --neurons "L1 N3, L2 N7" -- demo exported/
    python -m orchestration.export -- demo exported/

A file a neuron and end of its activations: high/neurons/<layer>/<neuron>.json, and low/ with every activation negated, as such tools take what
is below 0 for a neuron at rest. Needs neither the model nor torch. What is told and what is lost: docs/decisions/0044-export.md.
"""

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from assets.errors import InputError
from assets.exported_neurons.exported_folder import refuse_folder, write_export
from assets.product import PRODUCT_VERSION
from assets.progress import Progress, Tally
from assets.published_study import PublishedStudy
from assets.study import Study
from assets.tried_text.given_text import named_neurons
from orchestration.settings import Settings
from orchestration.study_files import find_study

ALL = "all"


def main() -> int:
    """Write an export; 0 if it stands, 2 for what is not there or cannot be written."""
    parser = argparse.ArgumentParser(
        prog="make export STUDY= OUT=", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="name of a study in orchestration/studies/, or the path of a .yaml file")
    parser.add_argument("out", type=Path, help="a folder that does not exist yet, or is empty")
    parser.add_argument("--neurons", default=ALL, help='which ones, such as "L1 N3, L2 N7"; all unless told')
    given = parser.parse_args()
    try:
        settings = Settings.from_environment()
        study = find_study(given.study, settings)
        chosen = None if given.neurons.strip().lower() in ("", ALL) else named_neurons(given.neurons, most=None)
        if chosen == ():
            raise InputError(f"NEURONS: given {given.neurons!r}, which names none; give some, such as L1-N3, or {ALL}")
        refuse_folder(given.out)
        published = PublishedStudy(settings.deployment.store.root, study.name)
        about, records = _about(study, published), published.neurons(chosen)
        told = _counted(records, len(chosen or published.neurons_of_atlas))
        amounts = write_export(given.out, told, published.texts(), 0 if study.count_bos else 1, about)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"{amounts['neurons']:,} neurons, {amounts['high_passages']:,} passages of high and {amounts['low_passages']:,} of low activations:"
    )
    print(given.out)
    return 0


def _about(study: Study, published: PublishedStudy) -> dict[str, Any]:
    """What export.json says of where the numbers come from."""
    model, corpus = published.facts("model_snapshot"), published.facts("corpus_documents")
    return {
        "made_by": f"Neuron Atlas {PRODUCT_VERSION}",
        "study": study.name,
        "model": study.model.id,
        "model_commit": model["commit"],
        "layers": model["layers"],
        "neurons_in_a_layer": model["neurons"],
        "is_gated": model["is_gated"],
        "corpus": study.corpus.id or [Path(file).name for file in study.corpus.files],
        "corpus_fingerprint": corpus["fingerprint"],
        "low": "the same neurons with every activation negated",
    }


def _counted(records: Iterator[dict[str, Any]], amount: int) -> Iterator[dict[str, Any]]:
    """The records one by one, with the progress of long work told at the terminal's error output."""
    tally = Tally(Progress(partial(print, file=sys.stderr), "export", "neurons"), amount)
    for record in records:
        yield record
        tally.add(1)


if __name__ == "__main__":
    sys.exit(main())
