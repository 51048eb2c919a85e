"""Proposed pairs against a search over direct effects in plain code, on planted neurons, and under negated signs of gated neurons."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from assets.contracts import PROPOSED_PAIRS
from assets.counting.histograms import Histograms
from assets.histograms.activation_bins import fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.model.loading import load
from assets.statistics.contributions import WRITES, contributions
from assets.statistics.proposed_pairs import PROPOSALS, proposed_pairs
from assets.study import FixedBins
from tests.assets.congruence.tiny_models import tiny_model
from tests.assets.counting.made_batches import windows_frame
from tests.assets.statistics.test_contributions import direct_effects, random_windows
from tests.assets.statistics.test_token_neuron_screen import TEXTS, screened, slow_row
from tests.planted import DEFAULT, PLANTED, RELAY, VOCABULARY, planted_corpus, planted_model, planted_token_id

EVERY = range(len(VOCABULARY))


def proposed(folder: Path, windows: pl.DataFrame, tracked: list[int], min_count: int = 1, screened_ids: range = EVERY) -> pl.DataFrame:
    model = load.__wrapped__(folder, device="cpu")
    bins = fixed_bins(model.facts.layers, model.facts.neurons, FixedBins())
    with torch.inference_mode():
        histograms = count_windows(
            model, windows, bins, tracked, count_bos=False, examples=1, batch_positions=256, screened_ids=screened_ids
        )  # fmt: skip
    found = contributions(model, histograms, tracked, min_count)
    return proposed_pairs(histograms, found.screen, found.mutual, tracked, lambda entry: entry != planted_token_id(" up"))


def pairs_of(frame: pl.DataFrame) -> list[tuple[int, int, int]]:
    return frame.select("token_id", "layer", "neuron").rows()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_pairs_are_those_of_a_search_over_every_token_and_neuron_in_plain_code(tmp_path: Path, family: str) -> None:
    folder, windows, tracked = tiny_model(tmp_path / family, family), random_windows(), [2]
    effects, predictions = direct_effects(folder, windows)  # [position, layer, neuron, token]
    predicted = np.array(predictions)
    size = {
        token: effects[predicted == token, :, :, token].mean(0) - effects[predicted != token, :, :, token].mean(0)
        for token in sorted(set(predictions))
    }
    expected = {}
    for token, of_token in size.items():
        layer, neuron = np.unravel_index(of_token.argmax(), of_token.shape)
        if token not in tracked and of_token[layer, neuron] == max(other[layer, neuron] for other in size.values()):
            expected[token, int(layer), int(neuron)] = of_token[layer, neuron]
    found = proposed(folder, windows, tracked)
    ordered = sorted(expected, key=lambda pair: -expected[pair])[:PROPOSALS]
    assert pairs_of(found) == ordered
    assert len(ordered) > 1
    np.testing.assert_allclose(found["contribution"], [expected[pair] for pair in ordered], atol=2e-5 * np.abs(effects).max())
    assert found["rank"].to_list() == list(range(1, found.height + 1))


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_nothing_changes_when_the_weights_into_and_out_of_gated_neurons_are_negated(tmp_path: Path, seed: int) -> None:
    from transformers import AutoModelForCausalLM

    folder, generator = tiny_model(tmp_path / "llama", "llama"), torch.Generator().manual_seed(seed)
    one = proposed(folder, random_windows(), [2])
    model = AutoModelForCausalLM.from_pretrained(str(folder))
    flips = torch.rand((model.config.num_hidden_layers, model.config.intermediate_size), generator=generator) < 0.5
    with torch.no_grad():
        for layer, of_layer in zip(model.model.layers, flips, strict=True):
            layer.mlp.up_proj.weight[of_layer] *= -1
            layer.mlp.down_proj.weight[:, of_layer] *= -1
    model.save_pretrained(str(folder))
    other = proposed(folder, random_windows(), [2])
    is_turned = pl.Series([bool(flips[layer, neuron]) for _, layer, neuron in pairs_of(one)])
    assert is_turned.any()
    assert one["direction"].n_unique() == 2
    sign = pl.when(is_turned).then(-1).otherwise(1)
    turned = one.with_columns(pl.col("direction") * sign, pl.col("standardized_difference") * sign)
    streamed = ["standardized_difference", "variance_explained"]  # the last bits of a streamed mean are not mirrored
    assert turned.drop(streamed).cast({"direction": pl.Int8}).equals(other.drop(streamed))
    for name in streamed:
        np.testing.assert_allclose(turned[name], other[name], rtol=1e-9)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pl.DataFrame]:
    folder = tmp_path_factory.mktemp("planted")
    tokenizer = load.__wrapped__(planted_model(folder / "model"), device="cpu").tokenizer
    texts = pl.read_ndjson(planted_corpus(folder))["text"]
    return folder / "model", windows_frame([[0, *tokenizer(text, add_special_tokens=False)["input_ids"]] for text in texts])


def test_planted_writers_are_proposed_with_their_tokens_unless_these_are_tracked(planted: tuple[Path, pl.DataFrame]) -> None:
    found = proposed(*planted, [planted_token_id(" the")], min_count=5)
    pairs = {row["token"]: (row["layer"], row["neuron"]) for row in found.iter_rows(named=True)}
    writers = {" an": PLANTED, " a": DEFAULT, " up": RELAY}
    assert {token: pairs[token] for token in writers} == {token: (role.layer, role.neuron) for token, role in writers.items()}
    assert found.filter(token=" an")["standardized_difference"][0] > 5
    assert found["direction"].to_list()[:3] == [1, 1, 1]
    assert dict(found.select("token", "is_named_by_text").iter_rows())[" up"] is False
    assert " an" not in proposed(*planted, [planted_token_id(" an")], min_count=5)["token"]


def test_rare_tokens_and_a_study_without_a_screen_propose_nothing(planted: tuple[Path, pl.DataFrame]) -> None:
    assert proposed(*planted, [planted_token_id(" the")], min_count=10_000).is_empty()
    without = proposed(*planted, [planted_token_id(" the")], screened_ids=range(0))
    assert without.is_empty()
    assert without.schema == PROPOSED_PAIRS.schema


def chosen(histograms: Histograms, token: int) -> dict:
    """The proposal of one pair, layer 0 neuron 0, as if it had been chosen."""
    screen = pl.DataFrame(
        [(token, TEXTS[token], 10, WRITES, 1, 0, 0, 1.0, 1.5, 0.0, 1.5)],
        schema=["token_id", "token", "predictions", "end", "rank", "layer", "neuron", "congruence", "contribution_where_predicted",
                "contribution_elsewhere", "contribution"], orient="row",
    )  # fmt: skip
    return proposed_pairs(histograms, screen, screen.select("token_id", "layer", "neuron"), [], lambda entry: True).row(0, named=True)


def test_how_far_a_pair_stands_out_is_the_slow_loops_number_and_a_falling_neuron_keeps_its_sign() -> None:
    predictions = [1] * 10 + [0] * 10
    activations = -np.array([[[1.0, 1.2] * 5 + [0.0, 0.1] * 5]], np.float32)
    row, slow = chosen(screened(activations, predictions, [0, 1]), 1), slow_row(activations, predictions, 1, 0, 0)
    assert row["direction"] == -1
    assert row["standardized_difference"] == pytest.approx(slow["standardized_difference"], rel=1e-5)
    assert row["variance_explained"] == pytest.approx(slow["variance_explained"], rel=1e-5)


def test_a_neuron_that_hardly_varies_or_varies_between_the_groups_alone_has_no_difference() -> None:
    predictions = [1, 1, 0, 0]
    still = chosen(screened(np.array([[[1e-9, 1e-9, 0, 0]]], np.float32), predictions, [1]), 1)
    assert (still["direction"], still["standardized_difference"], still["variance_explained"]) == (None, None, None)
    apart = chosen(screened(np.array([[[2, 2, 1, 1]]], np.float32), predictions, [1]), 1)
    assert (apart["direction"], apart["standardized_difference"], apart["variance_explained"]) == (1, None, 1.0)
