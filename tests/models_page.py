"""docs/models.md as it must read: the table of the families that were tried, from what the checks give.

`python -m tests.models_page` writes it again (two minutes); tests/test_models_page.py fails where it is stale.
"""

import re
import sys
import tempfile
from pathlib import Path

from assets.errors import InputError, NotMeasuredError
from tests.family_checks import CHECKS, Case
from tests.hostile.tiny_models import tiny_model
from tests.model_families import FAMILIES, Family

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- from here on written by tests/models_page.py -->\n", "<!-- to here -->\n"
ALLOWED = 2e-4  # of the largest effect: float32 logits of size 1 round at 1e-7, and the smallest effects compared are of 1e-3
YES, NO = "yes", "no"


def measured(family: Family) -> dict[str, str]:
    """Of each check whether the product gives plain code's numbers: `yes`, or the sentence with which it refuses.

    A model that is refused whole has the one entry "". Raises AssertionError for a number that is another than plain code's.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            case = Case.of(tiny_model(Path(folder) / "model", family.kind, **family.fields))
        except InputError as error:
            return {"": str(error).replace(f"model {folder}/model: ", "")}
        return {name: _told(case, name) for name in CHECKS}


def _told(case: Case, name: str) -> str:
    try:
        share = CHECKS[name](case)
    except NotMeasuredError as error:
        return re.sub(r"-?\d+\.\d+", "...", str(error).partition(": ")[2])  # numbers of random weights differ in their last digits
    assert share <= ALLOWED, f"{name}: {share:.1e} of the largest effect away from plain Hugging Face code"
    return YES


def row(name: str, family: Family, found: dict[str, str], notes: list[str]) -> str:
    """The family's row; reasons are added to `notes` and numbered."""

    def cell(told: str) -> str:
        if told == YES:
            return YES
        if told not in notes:
            notes.append(told)
        return f"{NO} ({notes.index(told) + 1})"

    cells = [cell(found[""])] * len(CHECKS) if "" in found else [cell(told) for told in found.values()]
    return " | ".join(["", name, f"`{family.kind}`", family.published, family.departs, *cells, ""]).strip()


def table(of: dict[str, dict[str, str]]) -> str:
    """The table and its notes, from what was measured of each family."""
    notes: list[str] = []
    rows = [row(name, FAMILIES[name], found, notes) for name, found in of.items()]
    head = " | ".join(["", "family", "`model_type`", "models of it", "departs from GPT-2 or Llama by", *CHECKS, ""]).strip()
    lines = [head, "|" + "---|" * (4 + len(CHECKS)), *rows, "", *(f"{place}. {note}" for place, note in enumerate(notes, 1))]
    return "\n".join(lines) + "\n"


def written(page: str) -> str:
    """The part of the page that is written here."""
    return page.partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    """Write the page's table again."""
    page = PAGE.read_text(encoding="utf-8")
    found = {}
    for name, family in FAMILIES.items():
        found[name] = measured(family)
        sys.stdout.write(f"{name}\n")
    before, _, after = page.partition(BEGIN)
    PAGE.write_text(before + BEGIN + table(found) + END + after.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
