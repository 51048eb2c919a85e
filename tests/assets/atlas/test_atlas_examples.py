"""Examples of every neuron: those that one position after the other finds, with the text of their windows, however the corpus is read."""

import dataclasses
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import polars as pl
import pytest

from assets.atlas.atlas_examples import atlas_examples, example_places
from assets.atlas.atlas_texts import PIECE, PLACE, Pieces, Texts, pieces_around
from assets.contracts import ATLAS_EXAMPLES, ATLAS_TEXTS
from assets.counting.histograms import BETWEEN, SIDES, HistogramError, Histograms
from tests.assets.atlas.made_corpus import KEPT, LAYERS, LENGTHS, MadeCorpus


def pieces_of(made: MadeCorpus, places: pl.DataFrame, where: Path, rows: int = 100) -> Pieces:
    folder = Path(mkdtemp(dir=where))
    return pieces_around(places, made.windows.iter_slices(rows), made.position_predictions.iter_slices(rows), folder)


def texts_of(pieces: Pieces) -> pl.DataFrame:
    return pl.concat([ATLAS_TEXTS.schema.to_frame(), *pieces.frames()])


def table_of(made: MadeCorpus, examples: int, where: Path, rows: int = 100) -> pl.DataFrame:
    """The examples with the text that the pieces hold around them."""
    pieces = pieces_of(made, example_places(made.histograms, examples), where, rows)
    table = pl.concat(atlas_examples(made.histograms, pieces.lengths, examples))
    assert table.schema == ATLAS_EXAMPLES.schema
    return Texts.of(texts_of(pieces)).around(table)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("examples", [1, 3, KEPT])
def test_the_table_is_what_a_loop_over_all_positions_finds(seed: int, examples: int, tmp_path: Path) -> None:
    made = MadeCorpus(seed)
    found, expected = table_of(made, examples, tmp_path), made.slow_examples(examples)
    assert found.rows(named=True) == expected
    assert {row["side"] for row in expected} == {"top", "bottom", "between_top", "between_bottom", "random"}
    assert max(row["rank"] for row in expected if row["side"].startswith("between")) > 1
    lengths = {len(row["token_ids"]) for row in expected}
    assert len(lengths) > 3, "examples at the ends of windows and within them"


def test_a_piece_stands_once_and_a_corpus_in_any_parts_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = MadeCorpus()
    places = example_places(made.histograms, KEPT)
    assert places.height == places.unique().height < len(made.slow_examples(KEPT))
    whole, texts = table_of(made, KEPT, tmp_path), texts_of(pieces_of(made, places, tmp_path))
    assert texts.height == texts.unique().height <= sum(-(-length // PIECE) for length in LENGTHS)
    monkeypatch.setattr("assets.atlas.atlas_texts.AT_ONCE", 2)
    assert texts_of(pieces_of(made, places, tmp_path)).equals(texts)
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
    table = pl.concat(atlas_examples(fewer, pieces_of(made, example_places(fewer, KEPT), tmp_path).lengths, KEPT))
    extremes = table.filter(pl.col("side").is_in(SIDES))
    assert extremes.group_by("neuron").len().sort("neuron").rows() == [(0, 4 * KEPT), (1, 8), (2, 4 * KEPT)]
    assert set(table.filter(neuron=3)["side"]) == {"random"}


def test_text_is_cut_around_its_place_and_at_the_ends_of_its_window(tmp_path: Path) -> None:
    made = MadeCorpus()
    longest = LENGTHS.index(max(LENGTHS))
    document, window = made.windows.row(longest)[:2]
    types = {"window_in_document": pl.Int32, "position": pl.Int32, "first_position": pl.Int32}
    for position in (0, 39, 40, 41, PIECE - 13, PIECE - 12, PIECE + 39, PIECE + 40, max(LENGTHS) - 13, max(LENGTHS) - 12, max(LENGTHS) - 1):
        place = pl.DataFrame({"document": [document], "window_in_document": [window], "position": [position]}, schema_overrides=types)
        texts = texts_of(pieces_of(made, place, tmp_path, rows=2))
        own = slice(max(0, position - 40), min(position + 13, max(LENGTHS)))
        assert texts["first_position"].to_list() == sorted({own.start // PIECE * PIECE, (own.stop - 1) // PIECE * PIECE})
        shown = {"first_position": [own.start], "activations": [[0.0] * (own.stop - own.start)]}
        found = Texts.of(texts).around(place.with_columns(pl.DataFrame(shown, schema_overrides=types)))
        assert found["token_ids"].to_list() == [made.token_ids[longest][own]]
        assert found["prediction_ids"].to_list() == [made.predictions[longest][own]]


def test_an_example_without_its_text_is_refused(tmp_path: Path) -> None:
    made = MadeCorpus()
    pieces = pieces_of(made, example_places(made.histograms, KEPT), tmp_path)
    table = pl.concat(atlas_examples(made.histograms, pieces.lengths, KEPT))
    with pytest.raises(HistogramError, match=r"^atlas: \d+ of \d+ examples have no text in atlas_texts; .* materialize the atlas again$"):
        Texts.of(texts_of(pieces)[1:]).around(table)


@pytest.mark.parametrize(("table", "named"), [("windows", "token ids"), ("position_predictions", "predictions")])
def test_a_corpus_without_a_window_of_the_counters_is_refused(table: str, named: str, tmp_path: Path) -> None:
    made = MadeCorpus()
    tables = {"windows": made.windows, "position_predictions": made.position_predictions}
    tables[table] = tables[table][:-1]
    places = example_places(made.histograms, KEPT)
    lost = places.filter(document=5).height
    assert lost > 0
    with pytest.raises(HistogramError, match=f"^atlas: {lost} of {places.height} places of examples have no {named}; .*again$"):
        pieces_around(places, iter([tables["windows"]]), iter([tables["position_predictions"]]), tmp_path)


def test_counters_of_nothing_have_no_examples(tmp_path: Path) -> None:
    made = MadeCorpus()
    tensors = {name: np.array(made.histograms[name]) for name in made.histograms.tensors}
    for side in (*SIDES, *BETWEEN, "random"):
        tensors[f"{side}_document"][:] = -1
    nothing = Histograms(tensors, 0, made.histograms.token_ids)
    places = example_places(nothing, KEPT)
    assert (places.height, places.columns) == (0, list(PLACE))
    pieces = pieces_of(made, places, tmp_path)
    assert texts_of(pieces).height == 0
    frames = list(atlas_examples(nothing, pieces.lengths, KEPT))
    assert [frame.height for frame in frames] == [0] * LAYERS
