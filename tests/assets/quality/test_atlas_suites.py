"""The check of the atlas passes on sound tables, and each of its expectations fails on tables broken in that one way."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from assets.atlas.atlas_examples import atlas_examples, example_places
from assets.atlas.atlas_histograms import atlas_histograms
from assets.atlas.atlas_neighbours import KINDS, Kind, atlas_neighbours
from assets.atlas.atlas_texts import pieces_around
from assets.atlas.atlas_tokens import atlas_tokens
from assets.atlas.likeness import Neighbours, neighbours
from assets.contracts import TABLES
from assets.counting.histograms import CONTEXT
from assets.quality import atlas_violations
from assets.quality.expectations import Outcome
from assets.statistics.neuron_statistics import neuron_statistics
from tests.assets.atlas.made_corpus import KEPT, MadeCorpus
from tests.assets.quality import judged
from tests.assets.statistics.test_token_neuron_screen import TEXTS, screened

Tables = dict[str, pl.DataFrame]
Change = Callable[[pl.DataFrame], pl.DataFrame]
BALANCED = "the bins of every neuron hold its counted positions, less those outside them"
NOT_NEGATIVE = "no bin holds less than nothing"
AS_MANY = "all neurons of a layer have as many bins"
OWN = "every example has its own activation at its place, in half precision"
ONE_LENGTH = "the lists of a piece are of one length, of 1 to 64 tokens"
BEGINNING = "every piece begins at a multiple of 64"
IN_ORDER = "pieces stand once, in the order of the corpus"
REACH = "the list around an example is no longer than what is kept"
WITH_TEXT = "the text around every example is in atlas_texts"
OUTWARDS = "examples are ranked by activation, outermost first"
ONE_OF_DOCUMENT = "no document is twice among a neuron's highest, or lowest"
NOT_SHOWN = "no example of the levels between is among the highest or lowest"
RANKED = "tokens are ranked by the size of their difference"
OWN_END = "a token stands at the end that its means say"
ONCE = "no token goes twice with a neuron, by predicted or by current token"
NEAREST = "neighbours are ranked by likeness, the largest first"
NEIGHBOURS_END = "a neighbour stands at the end that its likeness says"
NEIGHBOUR_ONCE = "no neuron is twice a neighbour of one kind"
NOT_ITSELF = "no neuron is its own neighbour"
TWO_SIDED = "either of two neighbours says the same likeness"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    made = MadeCorpus(levels=300)
    places, folder = example_places(made.histograms, KEPT), tmp_path_factory.mktemp("pieces")
    pieces = pieces_around(places, made.windows.iter_slices(4), made.position_predictions.iter_slices(4), folder)
    random = np.random.default_rng(1)
    screen = screened(random.normal(0, 1, (2, 4, 90)).astype(np.float32), random.integers(0, len(TEXTS), 90).tolist(), [0, 1, 2, 3])
    return {
        "histograms": pl.concat(atlas_histograms(made.histograms)),
        "examples": pl.concat(atlas_examples(made.histograms, pieces.lengths, KEPT)),
        "texts": pl.concat(pieces.frames()),
        "tokens": pl.concat(atlas_tokens(screen, dict(enumerate(TEXTS)), 1)),
        "neighbours": pl.concat(atlas_neighbours({kind: alike(random, of) for kind, of in KINDS.items()}, 2, 4)),
        "statistics": neuron_statistics(made.histograms, is_gated=False),
    }


def alike(random: np.random.Generator, kind: Kind) -> Neighbours:
    return neighbours(random.normal(0, 1, (8, 30)).astype(np.float32), kind.told, kind.is_centred)


def outcomes(tables: Tables) -> list[Outcome]:
    frames = {
        "histograms": atlas_violations.histograms(tables["histograms"], tables["statistics"]),
        "examples": atlas_violations.examples(tables["examples"], tables["texts"]),
        "texts": atlas_violations.texts(tables["texts"]),
        "tokens": atlas_violations.tokens(tables["tokens"]),
        "neighbours": atlas_violations.neighbours(tables["neighbours"]),
    }
    return judged.check("atlas_values", "atlas").judged(frames)


def failures(found: list[Outcome]) -> dict[str, str]:
    assert {outcome.severity for outcome in found} == {"blocking"}
    return {outcome.expectation: outcome.observed for outcome in found if not outcome.passed}


def test_sound_tables_pass_and_so_do_empty_ones(sound: Tables) -> None:
    assert failures(outcomes(sound)) == {}
    observed = {outcome.expectation: outcome.observed for outcome in outcomes(sound)}
    assert observed[BALANCED] == "0 of 8 neurons unbalanced"
    assert observed[OWN] == f"0 of {sound['examples'].height} examples unlike"
    assert set(sound["examples"]["side"]) == {"top", "bottom", "between_top", "between_bottom", "random"}
    empty = {name: TABLES[f"atlas_{name}"].schema.to_frame() for name in ("histograms", "examples", "texts", "tokens", "neighbours")}
    found = outcomes({**empty, "statistics": sound["statistics"]})
    assert len(found) == 20, "a check that looks at nothing stops the study"
    assert failures(found) == {}


def put(column: str, row: int, value: Any) -> Change:
    """The table with another value in one cell, of a list where the column holds lists."""

    def change(table: pl.DataFrame) -> pl.DataFrame:
        values = table[column].to_list()
        values[row] = value(values[row]) if callable(value) else value
        return table.with_columns(pl.Series(column, values, dtype=table.schema[column]))

    return change


def exchange(row: int, *columns: str) -> Change:
    """These columns of the first row exchanged with those of another."""
    return lambda table: table.with_columns(
        pl.col(name).gather([row, *range(1, row), 0, *range(row + 1, table.height)]) for name in columns
    )


def put_whole(column: str, value: Any) -> Change:
    """As put, in the first example with as much text on either side of it as is kept."""
    return lambda table: put(column, table["activations"].list.len().to_list().index(CONTEXT), value)(table)


def shown_again(table: pl.DataFrame) -> pl.DataFrame:
    """The first example of the levels between at the place of the neuron's highest, of which its lists begin as far before it."""
    row = table["side"].to_list().index("between_top")
    highest = table.with_row_index().filter(side="top", rank=1, layer=table["layer"][row], neuron=table["neuron"][row])["index"][0]
    for name in ("document", "window_in_document", "position", "first_position", "activations", "activation"):
        table = put(name, row, table[name].to_list()[highest])(table)
    return table


def beside_itself(table: pl.DataFrame) -> pl.DataFrame:
    """The first row alone, of a neuron that is its own neighbour."""
    return table.head(1).with_columns(other_layer="layer", other_neuron="neuron")


@pytest.mark.parametrize(
    ("name", "change", "broken"),
    [
        ("histograms", put("counts", 5, lambda counts: [counts[0] + 1, *counts[1:]]), {BALANCED}),
        ("histograms", put("counts", 2, lambda counts: [-1, *counts[1:-1], counts[0] + counts[-1] + 1]), {NOT_NEGATIVE}),
        ("histograms", put("counts", 3, lambda counts: [*counts, 0]), {AS_MANY}),
        ("examples", put("activation", 0, 7.5), {OWN}),
        ("examples", put_whole("position", lambda position: position - 1), {OWN, REACH}),
        ("examples", put_whole("activations", lambda values: values * 2), {REACH, WITH_TEXT}),
        ("texts", put("token_ids", 3, lambda ids: [*ids, 1]), {ONE_LENGTH}),
        ("texts", put("prediction_ids", 3, []), {ONE_LENGTH}),
        ("texts", put("first_position", 1, 63), {BEGINNING, WITH_TEXT}),
        ("texts", lambda table: table.reverse(), {IN_ORDER}),
        ("texts", lambda table: table[1:], {WITH_TEXT}),
        ("examples", exchange(KEPT - 1, "rank"), {OUTWARDS}),
        ("examples", exchange(KEPT - 1, "document", "window_in_document", "position", "activation", "first_position", "activations"),
         {OUTWARDS}),
        ("examples", lambda table: put("document", 1, table["document"][0])(table), {ONE_OF_DOCUMENT, WITH_TEXT}),
        ("examples", lambda table: shown_again(table), {NOT_SHOWN}),
        ("tokens", exchange(1, "rank"), {RANKED}),
        ("tokens", exchange(1, "token_id", "token", "mean_there", "mean_elsewhere", "standardized_difference"), {RANKED}),
        ("tokens", lambda table: table.rename({"mean_there": "mean_elsewhere", "mean_elsewhere": "mean_there"}), {OWN_END}),
        ("tokens", lambda table: put("token_id", 1, table["token_id"][0])(table), {ONCE}),
        ("neighbours", exchange(1, "rank"), {NEAREST}),
        ("neighbours", exchange(1, "other_layer", "other_neuron", "likeness"), {NEAREST}),
        ("neighbours", lambda table: table.with_columns(-pl.col("likeness")), {NEIGHBOURS_END}),
        ("neighbours", lambda table: table.with_columns(kind=pl.lit("reads"), rank=pl.int_range(1, pl.len() + 1).over("layer", "neuron", "end")), {NEAREST, NEIGHBOUR_ONCE, TWO_SIDED}),
        ("neighbours", beside_itself, {NOT_ITSELF}),
        ("neighbours", lambda table: put("likeness", 0, lambda likeness: likeness * 1.0001)(table), {TWO_SIDED}),
    ],
)  # fmt: skip
def test_each_fault_is_found_and_named(sound: Tables, name: str, change: Change, broken: set[str]) -> None:
    assert set(failures(outcomes({**sound, name: change(sound[name])}))) == broken


def test_an_infinite_difference_stands_first_and_an_infinite_activation_is_kept_as_the_largest_half(sound: Tables) -> None:
    first = put("standardized_difference", 0, None)(sound["tokens"])
    assert failures(outcomes({**sound, "tokens": first})) == {}
    second = put("standardized_difference", 1, None)(sound["tokens"])
    assert set(failures(outcomes({**sound, "tokens": second}))) == {RANKED}
    place = sound["examples"]["position"][0] - sound["examples"]["first_position"][0]
    largest = put("activations", 0, lambda values: [*values[:place], 65504.0, *values[place + 1 :]])(sound["examples"])
    assert failures(outcomes({**sound, "examples": put("activation", 0, float("inf"))(largest)})) == {}
