"""Rankings: ties go to what comes first, and a stream in chunks of any size ends with what sorting everything at once would give."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.congruence.ordering import HIGHEST, LARGEST, LOWEST, Comparison, NeuronRanking, TokenRanking
from assets.congruence.ranking_loops import SPAN

WAYS = [HIGHEST, LOWEST, LARGEST]
# Small whole numbers, so that most rankings have ties; [neuron, token].
MATRICES = st.integers(1, 12).flatmap(
    lambda neurons: st.integers(1, 12).flatmap(
        lambda tokens: st.lists(st.lists(st.integers(-2, 2), min_size=tokens, max_size=tokens), min_size=neurons, max_size=neurons)
    )
)


def ordered(scores: np.ndarray, way: int) -> np.ndarray:
    return np.abs(scores) if way == LARGEST else scores * way


def slow(row: np.ndarray, count: int) -> list[tuple[float, int]]:
    return sorted(((float(value), index) for index, value in enumerate(row)), key=lambda pair: (-pair[0], pair[1]))[:count]


def pairs(values: np.ndarray, entries: np.ndarray) -> list[list[tuple[float, int]]]:
    return [list(zip(row.tolist(), of.tolist(), strict=True)) for row, of in zip(values, entries, strict=True)]


def ranked(scores: np.ndarray, places: int, way: int, at_once: int, by: Comparison | None = None) -> tuple[NeuronRanking, TokenRanking]:
    """Both rankings of float32 [neuron, token], taken in `at_once` neurons at a time."""
    neurons, tokens = scores.shape
    of_neurons, of_tokens = NeuronRanking(neurons, min(places, tokens), way), TokenRanking(tokens, min(places, neurons), way)
    for first in range(0, neurons, at_once):
        chunk = np.ascontiguousarray(scores[first : first + at_once])
        own = Comparison.as_they_are(chunk)
        if by:
            here = slice(first, first + at_once)
            own = Comparison(by.scale[here], by.shift[here], by.takes[here], by.common)
        of_neurons.add(first, chunk, own)
        of_tokens.add(first, chunk, own)
    return of_neurons, of_tokens


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=60, deadline=None)
@given(matrix=MATRICES, places=st.integers(1, 6), at_once=st.integers(1, 5))
def test_a_stream_in_chunks_of_any_size_equals_sorting_every_row_and_column(
    way: int, matrix: list[list[int]], places: int, at_once: int
) -> None:
    scores = np.array(matrix, np.float32)
    of_neurons, of_tokens = ranked(scores, places, way, at_once)
    expected = ordered(scores, way)
    assert pairs(of_neurons.values, of_neurons.tokens) == [slow(row, places) for row in expected]
    assert pairs(of_tokens.values.T, of_tokens.neurons.T) == [slow(column, places) for column in expected.T]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tokens", [1, SPAN - 1, SPAN, SPAN + 1, 1000])
def test_many_spans_equal_sorting(way: int, tokens: int) -> None:
    scores = np.random.default_rng(tokens).integers(-40, 40, (300, tokens)).astype(np.float32)
    of_neurons, of_tokens = ranked(scores, 5, way, 70)
    assert pairs(of_neurons.values, of_neurons.tokens) == [slow(row, 5) for row in ordered(scores, way)]
    assert pairs(of_tokens.values.T, of_tokens.neurons.T) == [slow(column, 5) for column in ordered(scores, way).T]


@pytest.mark.parametrize("way", WAYS)
def test_what_scores_are_compared_by_is_worked_out_on_the_way(way: int) -> None:
    rng = np.random.default_rng(2)
    scores, scale, shift, common = (rng.normal(size=shape).astype(np.float32) for shape in ((90, 200), 90, 90, 200))
    takes = (np.arange(90) % 3 > 0).astype(np.float32)
    compared = scores * scale[:, None] + shift[:, None] + common * takes[:, None]
    of_neurons, of_tokens = ranked(scores, 4, way, 40, Comparison(scale, shift, takes, common))
    assert pairs(of_neurons.values, of_neurons.tokens) == [slow(row, 4) for row in ordered(compared, way)]
    assert pairs(of_tokens.values.T, of_tokens.neurons.T) == [slow(column, 4) for column in ordered(compared, way).T]


def test_a_hundred_equal_scores_in_a_wide_row_still_go_by_index() -> None:
    scores = np.zeros((3, 5000), np.float32)
    scores[1, 4000:4100] = 1.0
    of_neurons, of_tokens = ranked(scores, 4, HIGHEST, 2)
    assert of_neurons.tokens.tolist() == [[0, 1, 2, 3], [4000, 4001, 4002, 4003], [0, 1, 2, 3]]
    assert of_tokens.neurons[:, 4000].tolist() == [1, 0, 2]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0]])
def test_a_chunk_that_beats_nothing_changes_nothing(order: list[int]) -> None:
    _, of_tokens = ranked(np.array([[7.0], [9.0], *([float(value)] for value in order)], np.float32), 2, HIGHEST, 2)
    assert (of_tokens.values[:, 0].tolist(), of_tokens.neurons[:, 0].tolist()) == ([9.0, 7.0], [1, 0])
