"""An output that says that nothing is measured of the model: its checks hold if it is empty, and fail for a single row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets.contracts import TABLES
from assets.quality.every_check import checks_of, outcomes_of
from assets.stages import STAGES
from assets.store import Place, Record, Store
from assets.tables import write_table
from tests.reports.sample_data import study

REFUSABLE = [stage.name for stage in STAGES.values() if stage.may_be_refused]


LENS_ROW = {"prompt": "p", "variant": "clean", "scale": "own", "layer": 0, "point": "mlp"} | dict.fromkeys(
    ("answer_logit", "wrong_answer_logit", "difference"), 0.0
)


def published(folder: Path, asset: str, rows: Mapping[str, list[dict[str, Any]]]) -> Record:
    """The asset's tables, empty where no rows are given, and the fact that it is refused."""
    store, place = Store(folder), Place("planted", asset)
    with store.one_writer(place), store.publish(place, "a" * 64, {}) as draft:
        for table in STAGES[asset].tables:
            write_table(draft.folder, TABLES[table], pl.DataFrame(rows.get(table, []), schema=TABLES[table].schema))
        draft.facts["refused"] = "model X: it cannot be told"
    record = store.find(place)
    assert record is not None
    return record


@pytest.mark.parametrize("asset", REFUSABLE)
def test_each_check_has_an_outcome_that_holds_of_empty_tables(tmp_path: Path, asset: str) -> None:
    outcomes = outcomes_of(study(), asset, {asset: published(tmp_path, asset, {})}, ())
    shown = [(check.name, blocking) for check in checks_of(asset) for _, blocking in check.shown]
    assert [(outcome.check, outcome.severity == "blocking") for outcome in outcomes] == shown
    assert all(outcome.passed for outcome in outcomes)
    assert all("model X: it cannot be told" in outcome.expectation for outcome in outcomes)
    assert len({(outcome.check, outcome.expectation) for outcome in outcomes}) == len(outcomes)


def test_a_row_in_a_table_that_is_said_to_be_empty_stops_everything(tmp_path: Path) -> None:
    outcomes = outcomes_of(study(), "logit_lens", {"logit_lens": published(tmp_path, "logit_lens", {"logit_lens": [LENS_ROW]})}, ())
    assert pl.Series([outcome.is_blocking_failure for outcome in outcomes]).any()
    assert not any(outcome.passed for outcome in outcomes)
