"""The folder of the comparison: one page, its style and script, and its tables to download. The look is that of the studies' reports."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from assets.contracts import ACROSS_MODELS_TABLES
from assets.product import PRODUCT_VERSION
from assets.quality.expectations import Outcome
from reports import numbers
from reports.across_models.page import across_models_page
from reports.pages.page import neuron_page, token_page
from reports.site import render, templates, write_static


def build_across_models_site(tables: Mapping[str, pl.DataFrame], outcomes: Sequence[Outcome], folder: Path) -> None:
    """Write the site into the empty `folder`. `tables` are those of across_models by contract name."""
    (folder / "data").mkdir()
    for name in ACROSS_MODELS_TABLES:
        tables[name].write_parquet(folder / "data" / f"{name}.parquet", compression="zstd")
        tables[name].write_csv(folder / "data" / f"{name}.csv")
    write_static(folder, with_plotly=False)
    environment = templates(plural=numbers.plural, neuron_page=neuron_page, token_page=token_page, version=PRODUCT_VERSION)
    page = across_models_page(tables, outcomes)
    (folder / page.file).write_text(render(environment, page), encoding="utf-8")
