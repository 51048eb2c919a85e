"""Examples of every neuron: those that one position after the other finds, with the text of their windows, however the corpus is read."""

import dataclasses
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import polars as pl
import pytest

from assets.atlas.atlas_examples import atlas_examples, example_places
from assets.atlas.passages import PLACE, Passages, passages_around
from assets.contracts import ATLAS_EXAMPLES
from assets.counting.histograms import BETWEEN, SIDES, HistogramError, Histograms
from tests.assets.atlas.made_corpus import KEPT, LAYERS, LENGTHS, MadeCorpus


def passages_of(made: MadeCorpus, places: pl.DataFrame, where: Path, rows: int = 100) -> Passages:
    folder = Path(mkdtemp(dir=where))
    return passages_around(places, made.windows.iter_slices(rows), made.position_predictions.iter_slices(rows), folder)


def table_of(made: MadeCorpus, examples: int, where: Path, rows: int = 100) -> pl.DataFrame:
    passages = passages_of(made, example_places(made.histograms, examples), where, rows)
    return pl.concat(atlas_examples(made.histograms, passages, examples))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("examples", [1, 3, KEPT])
def test_the_table_is_what_a_loop_over_all_positions_finds(seed: int, examples: int, tmp_path: Path) -> None:
    made = MadeCorpus(seed)
    found, expected = table_of(made, examples, tmp_path), made.slow_examples(examples)
    assert found.schema == ATLAS_EXAMPLES.schema
    assert found.rows(named=True) == expected
    assert {row["side"] for row in expected} == {"top", "bottom", "between_top", "between_bottom", "random"}
    assert max(row["rank"] for row in expected if row["side"].startswith("between")) > 1
    lengths = {len(row["token_ids"]) for row in expected}
    assert len(lengths) > 3, "examples at the ends of windows and within them"


def test_a_place_is_looked_up_once_and_a_corpus_in_any_parts_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = MadeCorpus()
    places = example_places(made.histograms, KEPT)
    assert places.height == places.unique().height < len(made.slow_examples(KEPT))
    whole = table_of(made, KEPT, tmp_path)
    monkeypatch.setattr("assets.atlas.passages.AT_ONCE", 2)
    for rows in (1, 2, len(LENGTHS)):
        assert table_of(made, KEPT, tmp_path, rows).equals(whole)


def test_more_examples_than_the_pass_keeps_are_those_that_it_keeps(tmp_path: Path) -> None:
    assert table_of(MadeCorpus(), KEPT + 3, tmp_path).equals(table_of(MadeCorpus(), KEPT, tmp_path))


def test_documents_fewer_than_places_leave_no_row_for_the_empty_ones(tmp_path: Path) -> None:
    made = MadeCorpus()
    tensors = {name: np.array(made.histograms[name]) for name in made.histograms.tensors}
    for side in (*SIDES, *BETWEEN):
        tensors[f"{side}_document"][:, 1, 2:] = -1
        tensors[f"{side}_document"][:, 3] = -1
    fewer = dataclasses.replace(made.histograms, tensors=tensors)
    table = pl.concat(atlas_examples(fewer, passages_of(made, example_places(fewer, KEPT), tmp_path), KEPT))
    extremes = table.filter(pl.col("side").is_in(SIDES))
    assert extremes.group_by("neuron").len().sort("neuron").rows() == [(0, 4 * KEPT), (1, 8), (2, 4 * KEPT)]
    assert set(table.filter(neuron=3)["side"]) == {"random"}


def test_a_passage_is_cut_around_its_place_and_at_the_ends_of_its_window(tmp_path: Path) -> None:
    made = MadeCorpus()
    longest = LENGTHS.index(max(LENGTHS))
    document, window = made.windows.row(longest)[:2]
    for position in (0, 39, 40, 41, max(LENGTHS) - 13, max(LENGTHS) - 12, max(LENGTHS) - 1):
        place = pl.DataFrame({"document": [document], "window_in_document": [window], "position": [position]}, schema_overrides={
            "window_in_document": pl.Int32, "position": pl.Int32})  # fmt: skip
        passages = passages_of(made, place, tmp_path, rows=2)
        rows = passages.rows_of(place)
        own = slice(max(0, position - 40), position + 13)
        assert passages.within(passages.token_ids[rows], rows).to_list() == [made.token_ids[longest][own]]
        assert passages.within(passages.predictions[rows], rows).to_list() == [made.predictions[longest][own]]


@pytest.mark.parametrize(("table", "named"), [("windows", "token ids"), ("position_predictions", "predictions")])
def test_a_corpus_without_a_window_of_the_counters_is_refused(table: str, named: str, tmp_path: Path) -> None:
    made = MadeCorpus()
    tables = {"windows": made.windows, "position_predictions": made.position_predictions}
    tables[table] = tables[table][:-1]
    places = example_places(made.histograms, KEPT)
    lost = places.filter(document=5).height
    assert lost > 0
    with pytest.raises(HistogramError, match=f"^atlas: {lost} of {places.height} places of examples have no {named}; .*again$"):
        passages_around(places, iter([tables["windows"]]), iter([tables["position_predictions"]]), tmp_path)


def test_counters_of_nothing_have_no_examples(tmp_path: Path) -> None:
    made = MadeCorpus()
    tensors = {name: np.array(made.histograms[name]) for name in made.histograms.tensors}
    for side in (*SIDES, *BETWEEN, "random"):
        tensors[f"{side}_document"][:] = -1
    nothing = Histograms(tensors, 0, made.histograms.token_ids)
    places = example_places(nothing, KEPT)
    assert (places.height, places.columns) == (0, list(PLACE))
    frames = list(atlas_examples(nothing, passages_of(made, places, tmp_path), KEPT))
    assert [frame.height for frame in frames] == [0] * LAYERS
