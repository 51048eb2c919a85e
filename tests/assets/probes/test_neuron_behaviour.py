"""Bands of a neuron's activation: against ranks counted by hand, and a neuron that does three things."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from assets.contracts import TABLES, conform
from assets.probes.neuron_behaviour import BANDS, bands_of, neuron_behaviour
from tests.assets.probes.made_kept import OTHER, TOKEN, VOCABULARY, Corpus

TEXTS = {entry: f" word{entry}" for entry in range(VOCABULARY)}
FIRST, SECOND, THIRD = TOKEN, 20, 30


def three_things(activations: np.ndarray, is_case: np.ndarray, rows: Any, random: Any) -> None:
    """(1, 3) is highest where FIRST is predicted, lower and still high where SECOND comes next, and lowest where THIRD is predicted."""
    here = activations[:, 1, 3]
    here[:] = random.uniform(-1, 1, len(here))
    low = np.flatnonzero(rows.prediction == THIRD)
    here[low] = -6 - random.random(low.size)
    middle = np.flatnonzero(rows.next_token == SECOND)
    here[middle] = 5 + random.random(middle.size)
    here[is_case] = 9 + random.random(is_case.sum())


def behaviour_of(plant: Any, rate: float = 0.004) -> tuple[pl.DataFrame, pl.DataFrame]:
    found = neuron_behaviour(Corpus(2, rate=rate).kept(plant), [(1, 3), (0, 0)], [TOKEN, OTHER], TEXTS)
    return conform(TABLES["neuron_bands"], found.bands), conform(TABLES["neuron_band_tokens"], found.tokens)


def first(tokens: pl.DataFrame, end: str, band: int, outcome: str) -> tuple[int, float]:
    row = tokens.filter(layer=1, neuron=3, end=end, band=band, outcome=outcome, rank=1).row(0, named=True)
    return row["token_id"], row["share"]


def test_a_neuron_that_does_three_things_is_seen_to() -> None:
    bands, tokens = behaviour_of(three_things)
    token, share = first(tokens, "high", 1, "top_prediction")
    assert token == FIRST
    assert share > 0.6
    token, share = first(tokens, "high", 2, "next_token")
    assert token == SECOND
    assert share > 0.8
    token, share = first(tokens, "low", 1, "top_prediction")
    assert token == THIRD
    assert share > 0.95
    assert bands.filter(layer=1, neuron=3).height == len(BANDS)
    assert bands.group_by("layer", "neuron").agg(pl.col("positions").sum())["positions"].to_list() == [2048, 2048]
    tracked = tokens.filter(layer=1, neuron=3, end="low", band=1, outcome="top_prediction", token_id=TOKEN).row(0, named=True)
    assert (tracked["rank"], tracked["is_tracked"], tracked["positions"]) == (None, True, 0)


def slow_bands(values: list[float]) -> list[int]:
    edges, placed = [0.005, 0.02, 0.1], []
    for value in values:
        above = sum(other >= value for other in values) / len(values)
        below = sum(other <= value for other in values) / len(values)
        if above <= 0.1:
            placed.append(BANDS.index(("high", 1 + sum(above > edge for edge in edges))))
        elif below <= 0.1:
            placed.append(BANDS.index(("low", 1 + sum(below > edge for edge in edges))))
        else:
            placed.append(len(BANDS) - 1)
    return placed


@pytest.mark.parametrize("decimals", [0, 1, 4])
def test_bands_are_those_counted_by_hand_ties_together(decimals: int) -> None:
    values = np.random.default_rng(decimals).normal(0, 2, 600).round(decimals)
    assert bands_of(values).tolist() == slow_bands(values.tolist())


def test_activations_that_are_mostly_zero_have_no_low_end() -> None:
    values = np.maximum(np.random.default_rng(0).normal(-1, 1, 1000), 0)
    ends = {BANDS[place][0] for place in bands_of(values)}
    assert ends == {"high", "middle"}


def test_a_negated_neuron_has_its_ends_exchanged() -> None:
    def negated(activations: np.ndarray, is_case: np.ndarray, rows: Any, random: Any) -> None:
        three_things(activations, is_case, rows, random)
        activations *= -1

    bands, tokens = behaviour_of(three_things)
    turned_bands, turned_tokens = behaviour_of(negated)
    exchange = pl.col("end").replace({"high": "low", "low": "high"})
    order = ["layer", "neuron", "end", "band"]
    mirrored = turned_bands.with_columns(end=exchange, lowest=-pl.col("highest"), highest=-pl.col("lowest"))
    assert_frame_equal(bands.sort(order), mirrored.sort(order))
    keys = [*order, "outcome", "token_id"]
    assert_frame_equal(tokens.sort(keys), turned_tokens.with_columns(end=exchange).sort(keys))
