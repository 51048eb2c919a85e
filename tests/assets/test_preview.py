"""What the UI shows of an output: the rows that say most, plain and short values."""

import math
from pathlib import Path

import polars as pl

from assets.contracts import TABLES
from assets.preview import VIEWS, preview
from assets.statistics.token_neuron_scores import with_direction
from assets.tables import write_table


def test_the_best_scores_come_first_and_missing_ones_are_left_out(tmp_path: Path) -> None:
    table = TABLES["token_neuron_scores"]
    auroc = [0.5, 0.9123456, None, 0.7, math.nan, 0.9123456, 0.1, 0.2]
    frame = with_direction(pl.DataFrame({"neuron": range(8), "auroc": auroc}, strict=False))
    rest = {name: pl.lit(1.0) for name in table.schema.names() if name not in (*frame.columns, "token")}
    write_table(tmp_path, table, frame.with_columns(token=pl.lit(" an"), **rest))
    rows = preview(table, tmp_path)
    assert [row["neuron"] for row in rows] == [1, 5, 6, 7, 3]  # in either direction; equal scores in the order of the key
    assert rows[0]["auroc"] == 0.9123  # four digits
    assert rows[0]["token"] == '" an"'  # its space can be seen
    assert list(rows[0]) == list(VIEWS["token_neuron_scores"].columns)


def test_a_long_text_is_cut_and_an_empty_table_shows_nothing(tmp_path: Path) -> None:
    table = TABLES["corpus_documents"]
    frame = pl.DataFrame(
        {
            "document": [0],
            "source_row": [0],
            "text": ["x" * 500],
            "characters": [500],
            "sha256": ["0"],
            "is_duplicate": [False],
            "domain": [0],
            "token_ids": [None],
        }
    )
    write_table(tmp_path, table, frame)
    (row,) = preview(table, tmp_path)
    assert row["text"] == "x" * 60 + "…"
    write_table(tmp_path, table, frame.clear())
    assert preview(table, tmp_path) == []


def test_every_view_names_columns_of_its_table() -> None:
    for name, view in VIEWS.items():
        assert {*view.columns, *filter(None, [view.ranked])} <= set(TABLES[name].schema.names()), name
