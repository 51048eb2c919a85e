"""Prepacked linear maps: the same numbers to rounding in every family, counted exactly as they are, and refused where they do not exist."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.pytorch_utils import Conv1D

from assets.errors import InputError
from assets.histograms.activation_bins import fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.model.plain_model import last_hidden, neurons_reported, whole_logits
from assets.model.prepacked_maps import prepacked_map, with_prepacked_maps
from assets.study import FixedBins
from benchmarks.setting import random_windows
from tests.assets.prompts.tiny_models import FAMILIES, save_tiny_model
from tests.planted import planted_model


def activations(model: LanguageModel, ids: torch.Tensor) -> list[torch.Tensor]:
    kept: list[torch.Tensor] = []
    with torch.inference_mode(), neurons_reported(model, lambda layer, values: kept.append(values.clone())):
        last_hidden(model, ids)
    return kept


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, LanguageModel]:
    """The same files with plain and with prepacked maps."""
    folder = planted_model(tmp_path_factory.mktemp("planted") / "model")
    return load.__wrapped__(folder, "float32", "cpu"), load.__wrapped__(folder, "float32", "cpu", "prepacked")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_plain_codes_numbers_to_rounding(family: str, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path, family)
    plain, prepacked = load.__wrapped__(folder, device="cpu"), load.__wrapped__(folder, device="cpu", linear_maps="prepacked")
    ids = torch.randint(0, plain.facts.vocabulary, (2, 9), generator=torch.Generator().manual_seed(0))
    for ours, theirs in zip(activations(prepacked, ids), activations(plain, ids), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    with torch.inference_mode():
        torch.testing.assert_close(whole_logits(prepacked, ids), whole_logits(plain, ids), atol=1e-4, rtol=1e-4)


def test_every_map_but_the_unembedding_is_prepacked_and_the_bridge_keeps_its_own(planted: tuple[LanguageModel, LanguageModel]) -> None:
    _, model = planted
    left = [name for name, module in model.plain.named_modules() if isinstance(module, torch.nn.Linear | Conv1D)]
    assert left == ["lm_head"]
    assert [type(block.mlp.act).__name__ for block in model.plain.transformer.h] == ["Identity"] * 3  # the product applies GELU
    held = {weights.data_ptr() for weights in model.bridge.original_model.parameters()}
    assert model.plain.transformer.wte.weight.data_ptr() in held


@pytest.mark.parametrize("gelu", ["tanh", "none"])
def test_gelu_is_the_one_that_was_asked_for(gelu: str) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias, given = (torch.randn(*shape, generator=generator) for shape in ((24, 16), (24,), (40, 16)))
    exact = torch.nn.functional.gelu(given.double() @ weight.double().T + bias.double(), approximate=gelu)
    with torch.inference_mode():
        torch.testing.assert_close(prepacked_map(weight, bias, gelu)(given).double(), exact, atol=1e-5, rtol=1e-4)
        assert prepacked_map(weight, None)(given[:0]).shape == (0, 24)


def test_the_counts_are_those_of_the_activations_that_it_reports_however_the_windows_are_cut(
    planted: tuple[LanguageModel, LanguageModel],
) -> None:
    _, model = planted
    windows = random_windows(model, 6, 24)
    bins = fixed_bins(model.facts.layers, model.facts.neurons, FixedBins())
    how: dict[str, Any] = {"count_bos": False, "examples": 2, "batch_positions": 96}
    whole = count_windows(model, windows, bins, [3], **how)
    halves = [count_windows(model, part, bins, [3], **how) for part in (windows.head(2), windows.tail(4))]
    for name in ("count", "top_prediction_count", "predictions"):
        np.testing.assert_array_equal(whole[name][:], halves[0][name][:] + halves[1][name][:])
    ids = torch.tensor(windows["token_ids"].to_list())
    for layer, values in enumerate(activations(model, ids)):
        slots = np.floor(values[:, 1:].reshape(-1, model.facts.neurons).numpy() * np.float32(5)).astype(int) + 5
        expected = np.stack([np.bincount(column, minlength=80) for column in np.clip(slots, 0, 79).T])
        np.testing.assert_array_equal(whole["count"][layer] + outside_at_the_ends(whole["outside"][layer]), expected)


def outside_at_the_ends(outside: np.ndarray) -> np.ndarray:
    """[neuron, 80]: what lies below and above the bins, in the first and in the last."""
    ends = np.zeros((outside.shape[0], 80), np.int64)
    ends[:, 0], ends[:, -1] = outside[:, 0], outside[:, 1]
    return ends


def test_half_precision_is_refused_with_what_to_set(planted: tuple[LanguageModel, LanguageModel]) -> None:
    with pytest.raises(InputError, match="model.linear_maps: 'prepacked' needs float32 on a CPU with oneDNN; the model is bfloat16 on cpu"):
        with_prepacked_maps(torch.nn.Linear(2, 2).bfloat16())
