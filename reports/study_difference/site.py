"""The folder of two studies' difference: one page, its style and scripts, and its tables to download. The look is that of the studies' reports."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from assets.contracts import STUDY_DIFFERENCE_TABLES
from assets.product import PRODUCT_VERSION
from assets.quality.expectations import Outcome
from assets.tables import write_table
from reports import numbers
from reports.downloads import CSV_ROWS
from reports.pages.page import token_page
from reports.site import render, templates, write_static
from reports.study_difference.page import Linked, study_difference_page


def build_study_difference_site(
    tables: Mapping[str, pl.DataFrame], linked: tuple[Linked, Linked], outcomes: Sequence[Outcome], folder: Path
) -> None:
    """Write the site into the empty `folder`. `tables` are those of study_difference by contract name."""
    (folder / "data").mkdir()
    for name, table in STUDY_DIFFERENCE_TABLES.items():
        write_table(folder / "data", table, tables[name])
        if tables[name].height <= CSV_ROWS:
            tables[name].write_csv(folder / "data" / f"{name}.csv")
    write_static(folder, with_plotly=True)
    environment = templates(plural=numbers.plural, token_page=token_page, version=PRODUCT_VERSION)
    page = study_difference_page(tables, linked, outcomes)
    (folder / page.file).write_text(render(environment, page), encoding="utf-8")
