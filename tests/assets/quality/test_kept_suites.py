"""The checks of kept positions, probes and bands: sound outputs pass, and each planted fault is found by its own sentence."""

import dataclasses
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import torch

from assets.contracts import TABLES, conform
from assets.counting.batch_counter import Answers
from assets.counting.histograms import Histograms
from assets.counting.kept_position_counter import KeptPositionCounter
from assets.counting.kept_positions import quotas
from assets.probes.neuron_behaviour import neuron_behaviour
from assets.probes.sparse_probes import sparse_probes
from assets.quality.expectations import Outcome
from tests.assets.counting.made_batches import VOCABULARY, counter_of, made_batch, made_bins, windows_frame
from tests.assets.probes.made_kept import OTHER, TOKEN, Corpus
from tests.assets.probes.test_neuron_behaviour import TEXTS, three_things
from tests.assets.probes.test_sparse_probes import one
from tests.assets.quality import judged

Arrays = dict[str, np.ndarray]
Change = Callable[[pl.DataFrame], pl.DataFrame]
EVEN = "half of the kept positions are an even sample of all"
TWICE = "no position is kept twice"
ORDERED = "kept positions stand in the order of their hashes, without gaps"
THERE = "every kept position is in a window of the corpus"
FOLLOWS = "what comes next at a kept position is what comes next in its window"
FINITE = "every kept activation is a finite number"


def failures(outcomes: list[Outcome]) -> set[str]:
    assert {outcome.severity for outcome in outcomes} <= {"blocking"}
    return {outcome.expectation for outcome in outcomes if not outcome.passed}


@pytest.fixture(scope="module")
def counted() -> tuple[Histograms, pl.DataFrame]:
    """Ten documents of twelve tokens, 30 positions kept, tokens 1 and 2 tracked."""
    random = np.random.default_rng(4)
    ids = random.integers(0, VOCABULARY, (10, 12))
    inner = counter_of("compiled", made_bins(1, 2), (1, 2))
    counter = KeptPositionCounter(inner, 30, quotas(30, (1, 2), ()), VOCABULARY, 1, 2, 4, count_bos=False)
    counter.start(made_batch(ids, [12] * 10, range(10), [0] * 10))
    counter.add_layer(0, torch.randn(10, 12, 2))
    counter.add_answers(Answers(torch.from_numpy(random.integers(0, VOCABULARY, (10, 12)))))
    return counter.histograms(), windows_frame(ids.tolist())


def test_sound_positions_pass_and_so_do_none(counted: tuple[Histograms, pl.DataFrame]) -> None:
    histograms, windows = counted
    assert (histograms["kept_document"] >= 0).sum() > 15
    assert failures(judged.kept_quality(histograms, windows)) == set()
    without = {name: values for name, values in histograms.tensors.items() if not name.startswith("kept_")}
    keeps_none = dataclasses.replace(histograms, tensors=without)
    outcomes = judged.kept_quality(keeps_none, windows)
    assert outcomes, "a check that looks at nothing stops the study"
    assert failures(outcomes) == set()
    assert failures(judged.kept_quality(keeps_none, windows, asked=16)) == {"half of the kept positions are an even sample of all"}


def put(name: str, row: int, value: float) -> Callable[[Arrays], None]:
    def change(tensors: Arrays) -> None:
        tensors[name][row] = value

    return change


def repeat(tensors: Arrays) -> None:
    for name in ("document", "window", "position", "next_token"):
        tensors[f"kept_{name}"][3] = tensors[f"kept_{name}"][2]


def exchange(tensors: Arrays) -> None:
    for name in ("document", "window", "position", "next_token"):
        tensors[f"kept_{name}"][[1, 4]] = tensors[f"kept_{name}"][[4, 1]]


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (put("kept_is_background", 0, 0), {EVEN}),
        (repeat, {TWICE}),
        (exchange, {ORDERED}),
        (put("kept_document", 0, -1), {EVEN, ORDERED}),
        (put("kept_window", 0, 7), {THERE, ORDERED}),
        (put("kept_next_token", 0, VOCABULARY - 1), {FOLLOWS}),
        (put("kept_activations", 2, np.nan), {FINITE}),
        (put("kept_activations", 2, np.inf), {FINITE}),
    ],
)
def test_each_fault_of_the_positions_is_found(
    counted: tuple[Histograms, pl.DataFrame], change: Callable[[Arrays], None], broken: set[str]
) -> None:
    histograms, windows = counted
    tensors = {name: values.copy() if name.startswith("kept_") else values for name, values in histograms.tensors.items()}
    change(tensors)
    found = failures(judged.kept_quality(dataclasses.replace(histograms, tensors=tensors), windows))
    assert broken - {ORDERED} <= found
    assert found <= broken | {ORDERED}
    assert not (broken == {ORDERED} and found != broken)


@pytest.fixture(scope="module")
def probes() -> tuple[pl.DataFrame, pl.DataFrame]:
    found = sparse_probes(Corpus(0).kept(one), {TOKEN: " an", OTHER: " the"})
    return conform(TABLES["sparse_probes"], found.probes), conform(TABLES["probe_neurons"], found.neurons)


@pytest.fixture(scope="module")
def bands() -> tuple[pl.DataFrame, pl.DataFrame]:
    found = neuron_behaviour(Corpus(2, rate=0.004).kept(three_things), [(1, 3), (0, 0)], [TOKEN, OTHER], TEXTS)
    return conform(TABLES["neuron_bands"], found.bands), conform(TABLES["neuron_band_tokens"], found.tokens)


def at(place: int, name: str, value: object) -> Change:
    return lambda frame: frame.with_columns(
        pl.when(pl.int_range(pl.len()) == place).then(pl.lit(value)).otherwise(pl.col(name)).cast(frame.schema[name]).alias(name)
    )


def without(**where: object) -> Change:
    return lambda frame: frame.filter(~pl.all_horizontal(pl.col(name) == value for name, value in where.items()))


CROSSED, MISSING = "an interval has two ends, in order", "a token has probes exactly where both halves have 20 cases, and one frequency"
GUESSING = "a frequency has no interval, and is the same in both halves"
SIZE, BY_WEIGHT = "a probe names as many neurons as it has", "neurons of a probe follow the size of their weights"


def test_sound_probes_and_bands_pass(probes: tuple[pl.DataFrame, pl.DataFrame], bands: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    assert failures(judged.probe_quality(*probes)) == set()
    assert failures(judged.probe_quality(probes[0].clear(), probes[1].clear())) == set()
    assert failures(judged.behaviour_quality(*bands)) == set()
    assert failures(judged.behaviour_quality(bands[0].clear(), bands[1].clear())) == set()


@pytest.mark.parametrize(
    ("table", "change", "broken"),
    [
        (0, at(0, "average_precision_low", 2.0), {CROSSED}),
        (0, at(0, "average_precision_high", None), {CROSSED}),
        (0, without(kind="layer"), {MISSING}),
        (0, without(kind="frequency"), {MISSING}),
        (0, at(0, "kind", "guess"), {MISSING, SIZE}),
        (0, at(0, "telling_cases", 3), {MISSING}),
        (0, at(7, "average_precision_low", 0.1), {CROSSED, GUESSING}),
        (0, at(7, "average_precision", 0.9), {GUESSING}),
        (1, lambda frame: frame[1:], {SIZE, BY_WEIGHT}),
        (1, at(0, "weight", 0.0), {BY_WEIGHT}),
        (1, at(0, "rank", 2), {BY_WEIGHT}),
    ],
)
def test_each_fault_of_the_probes_is_found(probes: tuple[pl.DataFrame, pl.DataFrame], table: int, change: Change, broken: set[str]) -> None:
    assert probes[0]["kind"][7] == "frequency"
    tables = [change(frame) if place == table else frame for place, frame in enumerate(probes)]
    assert failures(judged.probe_quality(*tables)) == broken


BALANCED, APART = "the bands of every neuron hold the same number of positions", "no band reaches into the one above it"
ROOM, SHARE = "no outer band holds more than its share of the positions", "every share is positions / the band's positions"
RANKS, ASKED = "ranks go by positions, from 1 to at most 5", "a token is told because it is among the five, or tracked"


@pytest.mark.parametrize(
    ("table", "change", "broken"),
    [
        (0, at(6, "positions", 1), {BALANCED, SHARE}),
        (0, at(1, "highest", 99.0), {APART}),
        (0, at(0, "positions", 500), {BALANCED, ROOM, SHARE}),
        (1, at(0, "share", 0.001), {SHARE}),
        (1, at(0, "rank", 3), {RANKS}),
        (1, at(0, "rank", None), {ASKED}),
        (1, at(0, "rank", 6), {RANKS}),
    ],
)
def test_each_fault_of_the_bands_is_found(bands: tuple[pl.DataFrame, pl.DataFrame], table: int, change: Change, broken: set[str]) -> None:
    tables = [change(frame) if place == table else frame for place, frame in enumerate(bands)]
    found = failures(judged.behaviour_quality(*tables))
    assert broken <= found
    assert found <= broken | {RANKS, ROOM}
