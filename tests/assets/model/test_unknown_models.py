"""Models that TransformerLens does not know, each number against plain Hugging Face code that shares nothing with the product."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from assets.histograms.activation_bins import fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.histograms.row_independence import are_rows_independent
from assets.model.direct_effect import indirect_reason, refuse_indirect
from assets.model.loading import load
from assets.model.refusals import ModelError, UnsupportedModelError
from assets.model.text_activations import text_activations
from assets.prompts.prompt_predictions import prompt_predictions
from assets.statistics.contributions import contributions
from assets.study import FixedBins
from assets.trial.model_parity import model_parity
from tests.family_checks import CHECKS, CLEAN, PROMPT, Case, windows
from tests.hostile.tiny_models import tiny_model
from tests.model_families import FAMILIES
from tests.models_page import ALLOWED

UNKNOWN = ("Helium", "Persimmon", "BioGPT", "Ministral")  # gated; squared ReLU; no module for the MLP; a window
STAND = ("counts", "congruence", "contribution")
REFUSED = tuple(name for name in CHECKS if name not in STAND)
DOES_NOT_KNOW = (
    "TransformerLens, through which this would be run, does not know this class of models; all that is counted stands without it, and another "
    "model can be chosen for the rest"
)


def folder_of(name: str, folder: Path) -> Path:
    """A family's tiny model."""
    return tiny_model(folder / "model", FAMILIES[name].kind, **FAMILIES[name].fields)


@pytest.fixture(scope="module", params=UNKNOWN)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case.of(folder_of(request.param, tmp_path_factory.mktemp("unknown")))


@pytest.mark.parametrize("check", STAND)
def test_what_needs_no_bridge_is_what_plain_code_computes(case: Case, check: str) -> None:
    assert case.model.bridge_if_known is None
    assert CHECKS[check](case) <= ALLOWED


def test_counts_are_those_of_a_slow_loop_over_plain_codes_activations(case: Case) -> None:
    given, facts = windows(), case.model.facts
    bins = fixed_bins(facts.layers, facts.neurons, FixedBins(per_unit=2.0, low=-4.0, high=4.0))
    histograms = count_windows(case.model, given, bins, [3], count_bos=False, examples=1, batch_positions=128)
    expected = np.zeros((facts.layers, facts.neurons, 16), np.int64)
    predicted = np.zeros(facts.vocabulary, np.int64)
    for ids in given["token_ids"].to_list():
        for layer, values in enumerate(case.plain.inputs(ids, [case.plain.down(layer) for layer in range(facts.layers)])):
            for row in values[1:].tolist():
                for neuron, value in enumerate(row):
                    if -4 <= value < 4:
                        expected[layer, neuron, int(np.floor(value * 2)) + 8] += 1
        np.add.at(predicted, case.plain.logits(ids)[1:].argmax(-1).numpy(), 1)
    np.testing.assert_array_equal(histograms["count"], expected)
    np.testing.assert_array_equal(histograms[histograms.prediction_kinds["top_prediction"]], predicted)


@pytest.mark.parametrize("check", REFUSED)
def test_what_runs_through_the_bridge_is_refused_with_one_sentence(case: Case, check: str) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        CHECKS[check](case)
    assert str(caught.value) == f"model {case.model.facts.architecture}: {DOES_NOT_KNOW}"


def test_prompts_are_predicted_and_read_token_by_token_in_plain_code(case: Case) -> None:
    logits = case.plain.logits(CLEAN)
    table = prompt_predictions(case.model, [PROMPT]).filter(variant="clean").sort("rank")
    order = logits[-1].argsort(descending=True, stable=True)[:10]
    assert table["token_id"].to_list()[:10] == order.tolist()
    np.testing.assert_allclose(table["probability"].to_numpy()[:10], logits[-1].double().softmax(-1)[order].numpy(), rtol=1e-5)
    shown = text_activations(case.model, CLEAN, [(1, 5), (0, 2)])
    (last,) = case.plain.inputs(CLEAN, [case.plain.down(1)])
    np.testing.assert_allclose(shown.filter(row=0)["activation"].to_numpy(), last[:, 5].numpy(), rtol=1e-5)
    assert shown.filter(row=1)["prediction_id"].to_list() == logits.argmax(-1).tolist()


def test_the_pass_is_compared_with_plain_code_where_there_is_no_bridge(case: Case, tmp_path: Path) -> None:
    folder = Path(case.plain.model.config.name_or_path)
    parity = model_parity(case.model, folder, windows().head(2))
    assert parity["largest_logit_difference"].to_list() == [0.0, 0.0]
    assert parity.select(pl.sum_horizontal(pl.col("prediction_disagreements", "float32_bin_disagreements").sum())).item() == 0


def test_rows_of_a_batch_are_tried_without_the_bridge(case: Case) -> None:
    assert isinstance(are_rows_independent(case.model, 4, 16), bool)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", UNKNOWN)
def test_in_half_precision_nothing_is_refused_for_its_rounding(name: str, dtype: str, tmp_path: Path) -> None:
    refuse_indirect(load.__wrapped__(folder_of(name, tmp_path), dtype, "cpu"))


def test_rearranged_maps_give_the_same_neurons(tmp_path: Path) -> None:
    folder = folder_of("Persimmon", tmp_path)
    plain, packed = (text_activations(load.__wrapped__(folder, "float32", "cpu", maps), CLEAN, [(1, 5)]) for maps in ("plain", "prepacked"))
    np.testing.assert_allclose(plain["activation"].to_numpy(), packed["activation"].to_numpy(), rtol=1e-4, atol=1e-6)


def test_negating_a_gated_neurons_weights_changes_nothing_but_signs(tmp_path: Path) -> None:
    folder, negated, found = folder_of("Helium", tmp_path), [3, 5, 11], []
    for sign in (1, -1):
        weights = load_file(folder / "model.safetensors")
        for part, rows in (("up_proj", np.s_[negated]), ("down_proj", np.s_[:, negated])):
            for key in [key for key in weights if key.endswith(f"mlp.{part}.weight")]:
                weights[key][rows] *= sign
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        model = load.__wrapped__(folder, "float32", "cpu")
        bins = fixed_bins(2, model.facts.neurons, FixedBins())
        tracked = list(range(2, 34))
        histograms = count_windows(
            model, windows(), bins, tracked, count_bos=False, examples=1, batch_positions=128, screened_ids=range(34)
        )
        found.append(contributions(model, histograms, tracked, 1).every.sort("token_id", "layer", "neuron"))
    first, second = found
    assert first.height
    np.testing.assert_allclose(first["contribution"].to_numpy(), second["contribution"].to_numpy(), rtol=0, atol=1e-6)
    signs = np.where(np.isin(first["neuron"].to_numpy(), negated), -1, 1)
    np.testing.assert_allclose(first["congruence"].to_numpy() * signs, second["congruence"].to_numpy(), rtol=0, atol=1e-6)


def test_a_model_that_scales_what_its_mlps_write_is_counted_and_its_direct_effects_are_refused(tmp_path: Path) -> None:
    case = Case.of(folder_of("Granite, windows", tmp_path))
    assert CHECKS["counts"](case) <= ALLOWED
    assert indirect_reason(case.model).startswith(
        "raising neuron 0 of layer 0 does not move the residual stream by its output weights (off by 50%)"
    )


def test_an_unembedding_that_is_bent_afterwards_is_noticed(tmp_path: Path) -> None:
    model = load.__wrapped__(folder_of("Helium", tmp_path), "float32", "cpu")
    model.plain.lm_head.register_forward_hook(lambda module, given, output: 2 * torch.tanh(output / 2))
    assert indirect_reason(model).startswith("its logits are not its final norm's output times its unembedding")


def test_a_model_without_neurons_is_refused_whole_with_what_to_choose(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", "xlm", emb_dim=16, n_layers=2, n_heads=2)
    with pytest.raises(ModelError) as caught:
        load.__wrapped__(folder, "float32", "cpu")
    assert str(caught.value) == (
        f"model {folder}: TransformerLens does not know XLMWithLMHeadModel, and neurons are not found in its code, for it has 2 lists of blocks "
        "(transformer.attentions, transformer.ffns) where there must be one; choose a decoder model with one list of neurons a layer"
    )
