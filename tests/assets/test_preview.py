"""What the UI shows of an output: the rows that say most, plain and short values, and a picture that scales what it is given."""

import base64
import math
from pathlib import Path

import polars as pl
import pytest

from assets.contracts import TABLES
from assets.preview import HEIGHT, LEGEND, MARGIN, VIEWS, WIDTH, Series, drawing, picture, preview
from assets.tables import write_table


def test_the_best_scores_come_first_and_missing_ones_are_left_out(tmp_path: Path) -> None:
    table = TABLES["token_neuron_scores"]
    auroc = [0.5, 0.9123456, None, 0.7, math.nan, 0.9123456, 0.1, 0.2]
    frame = pl.DataFrame({"neuron": range(8), "auroc": auroc}, strict=False)
    rest = {name: pl.lit(1.0) for name in table.schema.names() if name not in ("neuron", "auroc", "token")}
    write_table(tmp_path, table, frame.with_columns(token=pl.lit(" an"), **rest))
    rows = preview(table, tmp_path)
    assert [row["neuron"] for row in rows] == [1, 5, 3, 0, 7]  # equal scores in the order of the key
    assert rows[0]["auroc"] == 0.9123  # four digits
    assert rows[0]["token"] == '" an"'  # its space can be seen
    assert list(rows[0]) == list(VIEWS["token_neuron_scores"].columns)


def test_a_long_text_is_cut_and_an_empty_table_shows_nothing(tmp_path: Path) -> None:
    table = TABLES["corpus_documents"]
    frame = pl.DataFrame(
        {"document": [0], "source_row": [0], "text": ["x" * 500], "characters": [500], "sha256": ["0"], "is_duplicate": [False]}
    )
    write_table(tmp_path, table, frame)
    (row,) = preview(table, tmp_path)
    assert row["text"] == "x" * 60 + "…"
    write_table(tmp_path, table, frame.clear())
    assert preview(table, tmp_path) == []


def test_every_view_names_columns_of_its_table() -> None:
    for name, view in VIEWS.items():
        assert {*view.columns, *filter(None, [view.ranked])} <= set(TABLES[name].schema.names()), name


def test_a_line_goes_from_corner_to_corner_and_a_name_of_tags_stays_text() -> None:
    svg = drawing("a < b", [Series("</text><script>", [2.0, 4.0], [0.0, 10.0])])
    bottom = HEIGHT - MARGIN - LEGEND
    assert f'points="{MARGIN:.1f},{bottom:.1f} {WIDTH - MARGIN:.1f},{MARGIN:.1f}"' in svg
    assert "<script>" not in svg
    assert "&lt;/text&gt;&lt;script&gt;" in svg


def test_the_picture_of_curves_takes_the_highest_reliable_curve_of_each_token(tmp_path: Path) -> None:
    table = TABLES["proportion_curves"]
    rows = [
        {"neuron": neuron, "bin_left": left, "bin_right": left + 1.0, "proportion": proportion, "count": 30, "reliable": reliable}
        for neuron, left, proportion, reliable in (
            (4, 0.0, 0.1, True), (4, 1.0, 0.8, True), (5, 0.0, 0.2, True), (5, 1.0, 1.0, False), (4, -math.inf, 0.9, True),
        )
    ]  # fmt: skip
    frame = pl.DataFrame(rows).with_columns(
        layer=pl.lit(2), token_id=pl.lit(11), token=pl.lit(" an"), top_prediction_count=pl.lit(3), ci_low=pl.lit(0.0), ci_high=pl.lit(1.0)
    )
    write_table(tmp_path, table, frame)
    drawn = picture("proportion_curves", tmp_path)
    assert drawn is not None
    svg = base64.b64decode(drawn.split("base64,")[1].rstrip(")")).decode()
    assert "layer 2 neuron 4" in svg
    assert svg.count("<polyline") == 1
    assert picture("token_counts", tmp_path) is None


@pytest.mark.parametrize("asset", ["proportion_curves", "logit_lens"])
def test_where_there_is_nothing_to_draw_there_is_no_picture(tmp_path: Path, asset: str) -> None:
    write_table(tmp_path, TABLES[asset], pl.DataFrame(schema=TABLES[asset].schema))
    assert picture(asset, tmp_path) is None
