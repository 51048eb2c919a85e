"""What a study's model makes of a text, at a terminal: at each token the prediction and the neurons that contribute most to it.

    python -m orchestration.try_text demo "I climbed up the apple tree and picked"
    python -m orchestration.try_text --neurons "L1 N3, L2 N7" path/to/my-study.yaml "..."

The model is the one that the study's run recorded; only that stage must have been run. The same is a page under `make dev`. Faults that the
user can mend are printed as one message.
"""

import argparse
import sys
import unicodedata
from collections.abc import Sequence

from assets.errors import InputError
from assets.tried_text.study_models import StudyModels, tried_by
from assets.tried_text.tried_text import Contribution, ReadToken, TriedText
from orchestration.settings import Settings
from orchestration.study_files import find_study
from reports.numbers import number, percent, signed
from reports.text import shortened, visible
from reports.tried_text.shown import neuron_name

WRITERS, WRITERS_AGAINST = 3, 2  # that fit on a line; the page names more
LONGEST_TOKEN = 16


def table_lines(tried: TriedText) -> list[str]:
    """The text for a terminal, a line for each token. Control characters of tokens are shown, never sent."""
    along = [neuron_name(neuron) for neuron in tried.activations]
    heads = ["", "token", *along, "predicts", "p"] + ([] if tried.refused else ["write it (logits)", "write against it"])
    rows = [_cells(tried, place, token) for place, token in enumerate(tried.tokens)]
    to_the_right = {0, *range(2, 2 + len(along)), 3 + len(along)}  # numbers
    widths = [max(_width(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    return ["  ".join(_aligned(row, widths, to_the_right)).rstrip() for row in (heads, *rows)]


def _cells(tried: TriedText, place: int, token: ReadToken) -> list[str]:
    along = [number(activations[place]) for activations in tried.activations.values()]
    ends = [_named(token.writes[:WRITERS]), _named(token.writes_against[:WRITERS_AGAINST])]
    seen, predicted = (shortened(visible(text), LONGEST_TOKEN) for text in (token.token, token.prediction))
    return [str(place), seen, *along, predicted, percent(token.probability), *([] if tried.refused else ends)]


def _named(contributions: Sequence[Contribution]) -> str:
    return ", ".join(f"{neuron_name((one.layer, one.neuron))} {signed(one.contribution)}" for one in contributions) or "–"


def _aligned(row: Sequence[str], widths: Sequence[int], to_the_right: set[int]) -> list[str]:
    spaces = [" " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
    return [space + cell if column in to_the_right else cell + space for column, (cell, space) in enumerate(zip(row, spaces, strict=True))]


def _width(text: str) -> int:
    """Columns that a terminal gives the text: two for characters of East Asia, none for marks on the one before."""
    return sum(0 if unicodedata.combining(one) else 1 + (unicodedata.east_asian_width(one) in "WF") for one in text)


def main() -> int:
    """Try one text; 0 if it was read, 2 for what cannot be tried."""
    parser = argparse.ArgumentParser(
        prog="make text STUDY= TEXT=", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="name of a study in orchestration/studies/, or the path of a .yaml file")
    parser.add_argument("text", help="what the model reads, behind the beginning-of-sequence token")
    parser.add_argument(
        "--neurons", default="", help='whose activations are shown, such as "L1 N3, L2 N7"; the one that writes most if absent'
    )
    given = parser.parse_args()
    try:
        settings = Settings.from_environment()
        study = find_study(given.study, settings)
        tried = tried_by(StudyModels(settings.deployment.store), study, given.text, given.neurons)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(table_lines(tried)))
    if tried.refused:
        print(f"\nContributions are not told: {tried.refused}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
