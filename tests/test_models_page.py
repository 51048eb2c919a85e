"""docs/models.md says what the checks give: no family is missing, and no cell is stale."""

import pytest

from tests.family_checks import CHECKS
from tests.model_families import FAMILIES
from tests.models_page import END, PAGE, YES, measured, row, table, written

CELLS = 4  # before those of the checks


def rows_of_page() -> dict[str, list[str]]:
    """Family -> its cells."""
    lines = written(PAGE.read_text(encoding="utf-8")).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]
    return {own[0]: own for own in cells}


def test_the_page_has_a_row_for_every_family_and_tells_what_each_is() -> None:
    page = rows_of_page()
    assert list(page) == list(FAMILIES)
    for name, family in FAMILIES.items():
        assert page[name][1:CELLS] == [f"`{family.kind}`", family.published, family.departs]
        assert len(page[name]) == CELLS + len(CHECKS)
    assert END in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["Llama", "Mixtral", "OPT, norms behind"])
def test_a_row_is_what_is_measured(name: str) -> None:
    found = measured(FAMILIES[name])
    cells = rows_of_page()[name][CELLS:]
    expected = [found.get("", YES)] * len(CHECKS) if "" in found else list(found.values())
    assert [cell == YES for cell in cells] == [told == YES for told in expected]


def test_a_refusal_is_a_numbered_note_and_one_reason_has_one_number() -> None:
    notes: list[str] = []
    family = FAMILIES["Mixtral"]
    first = row("A", family, dict.fromkeys(CHECKS, YES) | {"patching": "it cannot"}, notes)
    second = row("B", family, {"": "it cannot"}, notes)
    assert notes == ["it cannot"]
    assert first.count("no (1)") == 1
    assert second.count("no (1)") == len(CHECKS)


@pytest.mark.slow
def test_the_whole_table_is_what_is_measured_of_every_family() -> None:
    assert written(PAGE.read_text(encoding="utf-8")) == table({name: measured(family) for name, family in FAMILIES.items()}), (
        "stale: write it again with python -m tests.models_page"
    )
