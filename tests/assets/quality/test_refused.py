"""An output that says that nothing is measured of the model: its checks hold if it is empty, and fail for a single row."""

from pathlib import Path

import polars as pl
import pytest

from assets.contracts import TABLES
from assets.quality.every_check import checks_of, outcomes_of
from assets.stages import STAGES
from assets.store import Place, Record, Store
from assets.tables import write_table
from tests.reports.sample_data import report_data, study

REFUSABLE = [stage.name for stage in STAGES.values() if stage.may_be_refused]


def published(folder: Path, asset: str, rows: int) -> Record:
    """The asset's tables with so many rows in the first, and the fact that it is refused."""
    store, place = Store(folder), Place("planted", asset)
    with store.one_writer(place), store.publish(place, "a" * 64, {}) as draft:
        for number, table in enumerate(STAGES[asset].tables):
            frame = report_data().table(table)
            write_table(draft.folder, TABLES[table], frame.head(rows if number == 0 else 0))
        draft.facts["refused"] = "model X: it cannot be told"
    record = store.find(place)
    assert record is not None
    return record


@pytest.mark.parametrize("asset", REFUSABLE)
def test_each_check_has_an_outcome_that_holds_of_empty_tables(tmp_path: Path, asset: str) -> None:
    outcomes = outcomes_of(study(), asset, {asset: published(tmp_path, asset, rows=0)}, ())
    shown = [(check.name, blocking) for check in checks_of(asset) for _, blocking in check.shown]
    assert [(outcome.check, outcome.severity == "blocking") for outcome in outcomes] == shown
    assert all(outcome.passed for outcome in outcomes)
    assert all("model X: it cannot be told" in outcome.expectation for outcome in outcomes)
    assert len({(outcome.check, outcome.expectation) for outcome in outcomes}) == len(outcomes)


def test_a_row_in_a_table_that_is_said_to_be_empty_stops_everything(tmp_path: Path) -> None:
    outcomes = outcomes_of(study(), "logit_lens", {"logit_lens": published(tmp_path, "logit_lens", rows=1)}, ())
    assert pl.Series([outcome.is_blocking_failure for outcome in outcomes]).any()
    assert not any(outcome.passed for outcome in outcomes)
