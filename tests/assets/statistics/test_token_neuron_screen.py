"""The screen by hand, against a loop over all tokens and neurons of raw activations, and on the planted model's neurons."""

import math
import statistics

import numpy as np
import polars as pl
import pytest
import torch

from assets.counting.histograms import Histograms
from assets.histograms.activation_bins import fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.statistics.token_neuron_screen import NEURONS_OF_TOKEN, screen_coverage, token_neuron_screen
from assets.study import FixedBins
from tests.assets.counting.made_batches import windows_frame
from tests.planted import PLANTED, PREDICTIONS_OF_AN, RELAY, VOCABULARY, planted_corpus, planted_model, planted_token_id

TEXTS = ["<s>", " a", " an", " the", " of"]


def screened(activations: np.ndarray, predictions: list[int], groups: list[int], current: list[int] | None = None) -> Histograms:
    """What the screen reads, from raw activations [layer, neuron, position]: every group by a plain selection. Current tokens are those
    predicted, unless given."""
    layers, neurons, positions = activations.shape
    exact = np.round(activations.astype(np.float64) * 2**24) / 2**24
    others = [token for token in range(len(TEXTS)) if token not in groups]
    members = [[token] for token in groups] + [others]
    masks = np.array([[prediction in member for prediction in predictions] for member in members])
    of_current = np.array([[token in member for token in (predictions if current is None else current)] for member in members])
    tensors = {
        "count": np.zeros((layers, neurons, 1)),
        "screen_token": np.array([*groups, -1], np.int32),
        "screen_count": masks.sum(1),
        "screen_sum": np.stack([[(exact[layer] * mask).sum(-1) for mask in masks] for layer in range(layers)]) * 2**24,
        "screen_squares": np.stack([[(exact[layer] ** 2 * mask).sum(-1) for mask in masks] for layer in range(layers)]) * 2**24,
        "screen_current_count": of_current.sum(1),
        "screen_current_sum": np.stack([[(exact[layer] * mask).sum(-1) for mask in of_current] for layer in range(layers)]) * 2**24,
        "mean": exact.mean(-1),
        "moment_2": ((exact - exact.mean(-1, keepdims=True)) ** 2).sum(-1),
        "predictions": np.bincount(predictions, minlength=len(TEXTS)),
    }
    return Histograms(tensors, positions, ())


def slow_row(activations: np.ndarray, predictions: list[int], token: int, layer: int, neuron: int) -> dict[str, float]:
    """One token and neuron, by the definition of each quantity."""
    values = [float(value) for value in activations[layer, neuron]]
    here = [value for value, prediction in zip(values, predictions, strict=True) if prediction == token]
    elsewhere = [value for value, prediction in zip(values, predictions, strict=True) if prediction != token]
    within = sum((value - statistics.fmean(here)) ** 2 for value in here)
    within += sum((value - statistics.fmean(elsewhere)) ** 2 for value in elsewhere)
    total = sum((value - statistics.fmean(values)) ** 2 for value in values)
    gap = statistics.fmean(here) - statistics.fmean(elsewhere)
    return {
        "mean_where_predicted": statistics.fmean(here),
        "mean_elsewhere": statistics.fmean(elsewhere),
        "deviation_where_predicted": statistics.pstdev(here),
        "deviation_elsewhere": statistics.pstdev(elsewhere),
        "standardized_difference": gap / math.sqrt(within / (len(values) - 2)),
        "variance_explained": 1 - within / total,
    }


def test_a_hand_worked_token_and_neuron() -> None:
    # Token 1 is predicted where the neuron is 3 and 5, elsewhere it is 0, 1, 1, 2: means 4 and 1, sums of squares 2 and 2 within.
    # Between the groups 2 x 4 / 6 x 3^2 = 12 of 16 in all: a share of 3/4, and 3 / sqrt(4 / (6 - 2)) = 3 pooled deviations.
    activations = np.array([[[3, 5, 0, 1, 1, 2]]], np.float32)
    table = token_neuron_screen(screened(activations, [1, 1, 0, 0, 3, 3], [1]), TEXTS, min_count=1)
    assert table.rows(named=True) == [
        {
            "token_id": 1,
            "token": " a",
            "predictions": 2,
            "rank": 1,
            "layer": 0,
            "neuron": 0,
            "mean_where_predicted": 4.0,
            "mean_elsewhere": 1.0,
            "deviation_where_predicted": 1.0,
            "deviation_elsewhere": math.sqrt(0.5),
            "standardized_difference": 3.0,
            "variance_explained": 0.75,
            "false_discovery_rate": None,
        }
    ]


@pytest.mark.parametrize(("seed", "block"), [(0, 64), (1, 2), (2, 1)])
def test_every_token_and_neuron_is_as_the_loop_over_raw_activations_says(seed: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assets.statistics.token_neuron_screen.GROUPS_OF_BLOCK", block)
    generator = np.random.default_rng(seed)
    predictions = generator.integers(0, len(TEXTS), 300).tolist()
    activations = generator.normal(0, 1.5, (2, 4, 300)).astype(np.float32)  # 8 neurons: all are kept
    activations[1, 2] += 3 * (np.array(predictions) == 2)
    table = token_neuron_screen(screened(activations, predictions, [2, 0, 3]), TEXTS, min_count=1)
    assert table.group_by("token_id", maintain_order=True).len().rows() == [(2, 8), (0, 8), (3, 8)]
    for row in table.iter_rows(named=True):
        expected = slow_row(activations, predictions, row["token_id"], row["layer"], row["neuron"])
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert row["predictions"] == predictions.count(row["token_id"])
    for _, of_token in table.group_by("token_id"):
        assert of_token["rank"].to_list() == list(range(1, 9))
        assert of_token["variance_explained"].is_sorted(descending=True)
    assert table.filter(token_id=2, rank=1).select("layer", "neuron").row(0) == (1, 2)


def test_only_the_best_neurons_of_all_layers_are_kept_and_ties_go_to_the_lower_layer() -> None:
    generator = np.random.default_rng(0)
    predictions = generator.integers(0, 2, 100).tolist()
    activations = generator.normal(0, 1, (3, 8, 100)).astype(np.float32)
    activations[2, 5] = activations[0, 6] = np.array(predictions) * 4 + generator.normal(0, 0.1, 100)
    table = token_neuron_screen(screened(activations, predictions, [1]), TEXTS, min_count=1)
    assert table["rank"].to_list() == list(range(1, NEURONS_OF_TOKEN + 1))
    assert table.head(2).select("layer", "neuron").rows() == [(0, 6), (2, 5)]


def test_rare_tokens_and_neurons_that_do_not_vary_are_left_out() -> None:
    predictions = [1] * 5 + [2] * 4 + [0] * 11
    activations = np.zeros((1, 3, 20), np.float32)
    activations[0, 0] = np.arange(20)
    activations[0, 1] = -1e-9 * (np.array(predictions) == 1)  # varies with the token, but by less than sums can tell
    activations[0, 2] = 7
    table = token_neuron_screen(screened(activations, predictions, [1, 2]), TEXTS, min_count=5)
    assert table.select("token_id", "neuron").rows() == [(1, 0)]


def test_a_neuron_that_varies_between_the_groups_alone_explains_all_and_has_no_standardized_difference() -> None:
    predictions = [1, 1, 1, 0, 0, 0, 0]
    table = token_neuron_screen(screened(np.array([[[2, 2, 2, 1, 1, 1, 1]]], np.float32), predictions, [1]), TEXTS, min_count=1)
    assert table.select("variance_explained", "standardized_difference").row(0) == (1.0, None)


def test_no_screen_gives_empty_tables() -> None:
    sound = screened(np.zeros((1, 2, 4), np.float32), [0, 0, 1, 1], [1])
    off = Histograms({**sound.tensors, "screen_token": np.empty(0, np.int32), "screen_count": np.empty(0, np.int64),
                      "screen_sum": np.empty((1, 0, 2)), "screen_squares": np.empty((1, 0, 2))}, 4, ())  # fmt: skip
    assert token_neuron_screen(off, TEXTS, min_count=1).is_empty()
    assert screen_coverage(off, 1)["is_on"] is False


def test_what_is_left_out_is_counted() -> None:
    histograms = screened(np.zeros((1, 2, 6), np.float32), [0, 0, 1, 3, 3, 4], [0, 1])
    coverage = {"is_on": True, "tokens_predicted": 4, "tokens_screened": 1, "tokens_left_out": 2, "positions_left_out": 3}
    assert screen_coverage(histograms, min_count=2) == coverage


@pytest.fixture(scope="module")
def planted_screen(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    from assets.model.loading import load

    folder = tmp_path_factory.mktemp("planted")
    model = load.__wrapped__(planted_model(folder / "model"), device="cpu")
    texts = pl.read_ndjson(planted_corpus(folder))["text"]
    windows = windows_frame([[0, *model.tokenizer(text, add_special_tokens=False)["input_ids"]] for text in texts])
    with torch.inference_mode():
        histograms = count_windows(
            model,
            windows,
            fixed_bins(3, 16, FixedBins()),
            [planted_token_id(" a")],
            count_bos=False,
            examples=1,
            batch_positions=256,
            screened_ids=range(len(VOCABULARY)),
        )
    assert histograms["screen_count"][-1] == 0  # the whole vocabulary is screened
    return token_neuron_screen(histograms, VOCABULARY, min_count=5)


def test_the_planted_neuron_stands_out_most_for_its_token(planted_screen: pl.DataFrame) -> None:
    best = planted_screen.filter(token=" an", rank=1).row(0, named=True)
    assert (best["layer"], best["neuron"], best["predictions"]) == (PLANTED.layer, PLANTED.neuron, PREDICTIONS_OF_AN)
    assert best["mean_where_predicted"] == pytest.approx(4.22, abs=0.3)  # worked out in tests/planted.py
    assert best["mean_elsewhere"] == pytest.approx(0.01, abs=0.02)
    assert best["variance_explained"] > 0.95
    up = planted_screen.filter(token=" up").sort("rank").select("layer", "neuron").head(2).rows()
    assert (RELAY.layer, RELAY.neuron) in up


def test_a_neuron_that_falls_where_its_token_is_predicted_stands_out_as_well() -> None:
    predictions = [1] * 10 + [0] * 10
    falling = screened(-np.array([[[1.0] * 10 + [0.0, 0.1] * 5]], np.float32), predictions, [1])
    assert token_neuron_screen(falling, TEXTS, min_count=1)["standardized_difference"][0] < 0


def test_rates_come_from_sums_where_labels_say_nothing() -> None:
    """Of 2 x 300 neurons six stand out where token 1 is predicted; token 2's positions have nothing to do with any."""
    generator = np.random.default_rng(8)
    predictions = generator.integers(0, 4, 500)
    activations = generator.standard_normal((2, 300, 500)).astype(np.float32)
    activations[:, :3] += 0.9 * (predictions == 1)
    turned = np.roll(predictions, 200)
    histograms, null = (screened(activations, given.tolist(), [1, 2]) for given in (predictions, turned))
    counted = Histograms({**histograms.tensors, "screen_null_sum": null["screen_sum"]}, 500, ())
    table = token_neuron_screen(counted, TEXTS, min_count=1)
    real = (pl.col("token_id") == 1) & (pl.col("neuron") < 3)
    assert table.filter(real).height == 6
    assert (table.filter(real)["false_discovery_rate"] <= 0.1).all()
    assert (table.filter(~real)["false_discovery_rate"] <= 0.1).sum() <= 2
    assert table.drop("false_discovery_rate").equals(token_neuron_screen(histograms, TEXTS, 1).drop("false_discovery_rate"))
    # Where every label says nothing the table's first is by luck, and its rate says so.
    luck = Histograms(
        {**null.tensors, "screen_null_sum": screened(activations, np.roll(predictions, 350).tolist(), [1, 2])["screen_sum"]}, 500, ()
    )
    assert (token_neuron_screen(luck, TEXTS, 1)["false_discovery_rate"] <= 0.1).sum() <= 1


def test_a_rate_is_that_of_benjamini_and_hochberg_over_every_pair() -> None:
    from scipy.stats import false_discovery_control

    from assets.statistics.luck import luck_p_values

    generator = np.random.default_rng(9)
    predictions = generator.integers(0, 3, 60)
    activations = generator.standard_normal((1, 9, 60)).astype(np.float32)  # fewer neurons than a token has rows: all pairs are told
    counted, null = (screened(activations, np.roll(predictions, by).tolist(), [1, 2]) for by in (0, 20))
    table = token_neuron_screen(Histograms({**counted.tensors, "screen_null_sum": null["screen_sum"]}, 60, ()), TEXTS, 1)
    by_luck = {
        token: np.array([slow_row(activations, np.roll(predictions, 20).tolist(), token, 0, n)["variance_explained"] for n in range(9)])
        for token in (1, 2)
    }
    p_values = [float(luck_p_values(np.array(row["variance_explained"]), by_luck[row["token_id"]])) for row in table.iter_rows(named=True)]
    np.testing.assert_allclose(table["false_discovery_rate"], false_discovery_control(p_values))
