"""Tokens that go with a neuron: those that a loop over raw activations finds, and mirrored for a neuron that is negated."""

import math
from itertools import product

import numpy as np
import polars as pl
import pytest

from assets.atlas.atlas_tokens import TOKENS_OF_END, atlas_tokens
from assets.contracts import ATLAS_TOKENS
from assets.counting.histograms import Histograms
from tests.assets.statistics.test_token_neuron_screen import TEXTS, screened, slow_row

KNOWN = dict(enumerate(TEXTS))
NUMBERS = {
    "mean_there": "mean_where_predicted",
    "mean_elsewhere": "mean_elsewhere",
    "standardized_difference": "standardized_difference",
}  # and of slow_row


def table_of(histograms: Histograms, min_count: int = 1) -> pl.DataFrame:
    return pl.concat(atlas_tokens(histograms, KNOWN, min_count))


def slow_rows(
    activations: np.ndarray, tokens: dict[str, list[int]], groups: list[int]
) -> list[tuple[int, int, str, str, int, dict[str, float]]]:
    """Layer, neuron, by, end, token id and numbers of the first two tokens of each end, in order; `tokens` of each position."""
    rows = []
    for (layer, neuron), by in product(np.ndindex(*activations.shape[:2]), tokens):
        found = [(token, slow_row(activations, tokens[by], token, layer, neuron)) for token in sorted(groups)]
        for end, sign in (("high", 1), ("low", -1)):
            own = [pair for pair in found if sign * pair[1]["standardized_difference"] > 0]
            own.sort(key=lambda pair: -sign * pair[1]["standardized_difference"])
            rows += [(layer, neuron, by, end, token, numbers) for token, numbers in own[:2]]
    return rows


@pytest.mark.parametrize(("seed", "block"), [(0, 64), (1, 2), (2, 1)])
def test_every_neuron_has_the_tokens_of_a_loop_over_raw_activations(seed: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assets.atlas.atlas_tokens.GROUPS_OF_BLOCK", block)
    monkeypatch.setattr("assets.atlas.atlas_tokens.TOKENS_OF_END", 2)
    generator = np.random.default_rng(seed)
    tokens = {by: generator.integers(0, len(TEXTS), 300).tolist() for by in ("predicted", "current")}
    activations = generator.normal(0, 1.5, (2, 4, 300)).astype(np.float32)
    activations[1, 2] += 3 * (np.array(tokens["predicted"]) == 2) - 4 * (np.array(tokens["current"]) == 1)
    table = table_of(screened(activations, tokens["predicted"], [0, 1, 2, 3], tokens["current"]))
    assert table.schema == ATLAS_TOKENS.schema
    expected = slow_rows(activations, tokens, [0, 1, 2, 3])
    assert table.select("layer", "neuron", "by", "end", "token_id").rows() == [row[:5] for row in expected]
    for row, (*_, token, numbers) in zip(table.iter_rows(named=True), expected, strict=True):
        assert {name: row[name] for name in NUMBERS} == pytest.approx(
            {name: numbers[of] for name, of in NUMBERS.items()}, rel=1e-5, abs=1e-6
        )
        assert (row["positions"], row["token"]) == (tokens[row["by"]].count(token), TEXTS[token])
    for _, of_end in table.group_by("layer", "neuron", "by", "end"):
        assert of_end["rank"].to_list() == list(range(1, of_end.height + 1))
    assert table.filter(layer=1, neuron=2, by="predicted", end="high", rank=1)["token_id"].item() == 2
    assert table.filter(layer=1, neuron=2, by="current", end="low", rank=1)["token_id"].item() == 1


def test_a_negated_neuron_has_its_ends_exchanged_and_nothing_else() -> None:
    generator = np.random.default_rng(5)
    predictions = generator.integers(0, len(TEXTS), 200).tolist()
    activations = generator.normal(0, 1, (1, 6, 200)).astype(np.float32)
    current = generator.integers(0, len(TEXTS), 200).tolist()
    one, other = (table_of(screened(given, predictions, [0, 1, 2, 3], current)) for given in (activations, -activations))
    turned = other.with_columns(
        end=pl.col("end").replace({"high": "low", "low": "high"}), **{name: -pl.col(name) for name in NUMBERS}
    ).sort("layer", "neuron", pl.col("by") == "current", "end", "rank")
    assert one.equals(turned)
    assert one.filter(end="low").height > 6


def test_at_most_five_tokens_stand_at_an_end_and_equal_ones_go_by_token_id() -> None:
    texts = [f"token {entry}" for entry in range(9)]
    predictions = [token for token in range(8) for _ in range(4)]  # tokens 1 to 7 at as many positions, equally high
    activations = np.where(np.array(predictions) > 0, 1.0, -7.0).astype(np.float32)[None, None]
    activations = activations + np.tile(np.array([0.5, -0.5], np.float32), 16)
    tensors = {
        "count": np.zeros((1, 1, 1)),
        "screen_token": np.array([*range(1, 8), -1], np.int32),
        "screen_count": np.array([4] * 8),
        "screen_sum": np.array([[[4 * 2**24]] * 7 + [[-28 * 2**24]]]).reshape(1, 8, 1),
        "screen_current_count": np.array([1] * 7 + [25]),  # too rare
        "screen_current_sum": np.ones((1, 8, 1), np.int64),
        "mean": activations.mean(-1),
        "moment_2": ((activations - activations.mean(-1, keepdims=True)) ** 2).sum(-1),
    }
    table = pl.concat(atlas_tokens(Histograms(tensors, 32, ()), dict(enumerate(texts)), 2))
    assert TOKENS_OF_END == 5
    assert table.select("by", "end", "rank", "token_id").rows() == [("predicted", "high", rank, rank) for rank in range(1, 6)]
    assert table["standardized_difference"].n_unique() == 1


def test_rare_tokens_and_neurons_that_do_not_vary_have_no_row() -> None:
    predictions = [1] * 5 + [2] * 4 + [0] * 11
    activations = np.zeros((1, 3, 20), np.float32)
    activations[0, 0] = np.arange(20)
    activations[0, 1] = -1e-6 * (np.array(predictions) == 1)  # varies with the token, but by next to nothing
    activations[0, 2] = 7
    table = table_of(screened(activations, predictions, [1, 2], [2] * 6 + [0] * 14), min_count=5)
    assert table.select("neuron", "by", "end", "token_id").rows() == [(0, "predicted", "low", 1), (0, "current", "low", 2)]


def test_a_neuron_that_varies_between_the_groups_alone_stands_first_without_a_number() -> None:
    activations = np.array([[[2, 2, 2, 1, 1, 1, 1]]], np.float32)
    table = table_of(screened(activations, [1, 1, 1, 0, 0, 0, 0], [1]))
    assert table.select("end", "mean_there", "mean_elsewhere", "standardized_difference").rows() == 2 * [("high", 2.0, 1.0, None)]


def test_an_activation_that_was_no_number_leaves_the_neuron_out_and_no_screen_all() -> None:
    generator = np.random.default_rng(0)
    sound = screened(generator.normal(0, 1, (1, 2, 40)).astype(np.float32), [0, 1] * 20, [1])
    infinite = {**sound.tensors, "mean": np.array([[math.inf, 0.1]]), "moment_2": np.array([[math.nan, 30.0]])}
    assert table_of(Histograms(infinite, 40, ()))["neuron"].to_list() == [1, 1]
    off = {**sound.tensors, "screen_token": np.empty(0, np.int32), "screen_count": np.empty(0, np.int64),
           "screen_sum": np.empty((1, 0, 2)), "screen_current_count": np.empty(0, np.int64), "screen_current_sum": np.empty((1, 0, 2))}  # fmt: skip
    assert table_of(Histograms(off, 40, ())).is_empty()
