"""The counts that docs/faults.md states of hostile input are those of the tests."""

from pathlib import Path

from tests.assets.test_study import MALFORMED
from tests.hostile.test_models import BROKEN, MEASURABLE, REFUSED_FAMILIES

PAGE = (Path(__file__).parents[2] / "docs" / "faults.md").read_text()


def test_the_page_says_how_many_malformed_studies_and_models_are_refused() -> None:
    for row in (
        f"| Malformed studies, each with its exact message | {len(MALFORMED)} |",
        f"exit code 2, the sentence, nothing else, nothing made | {len(MALFORMED) + 1} |",
        f"| Model folders that are broken, unsafe or lie about themselves | {len(BROKEN)} |",
        f"| Architectures without one list of neurons a layer, or that cannot be loaded | {len(REFUSED_FAMILIES)} |",
        f"| Families that are measured, with the logits of plain code | {len(MEASURABLE)} |",
    ):
        assert row in PAGE, row
