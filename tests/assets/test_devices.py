"""Prompts, ablation and contexts on another device than the CPU: no tensor is left behind on the wrong one, and the numbers are the same."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from assets.ablation.donors import Donors, Neurons, chosen_windows, donors_of_windows
from assets.ablation.neuron_ablation import neuron_ablation
from assets.ablation.prompt_ablation import prompt_ablation
from assets.contracts import TABLES
from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.prompts.activation_patching import activation_patching
from assets.prompts.attribution_patching import attribution_patching
from assets.prompts.logit_lens import logit_lens
from assets.prompts.neuron_inputs import neuron_inputs, prompt_contexts
from assets.prompts.neuron_patching import neuron_patching
from assets.prompts.patched_neuron_sets import patched_neuron_sets
from assets.prompts.prompt_activations import prompt_activations
from assets.prompts.prompt_predictions import prompt_predictions, prompt_tokens
from assets.prompts.prompt_set_patching import prompt_set_patching
from assets.prompts.prompt_sets import encode_prompt_sets
from assets.prompts.prompts import encode_prompts
from assets.statistics.neuron_contexts import neuron_contexts
from assets.statistics.random_contexts import random_contexts, random_places
from tests.assets.ablation.small_corpus import pairs_of, random_windows, sampled_at
from tests.assets.prompts.conftest import fruit_prompt, fruit_set
from tests.assets.prompts.tiny_models import FAMILIES, LAYERS, NEURONS, save_tiny_model
from tests.simulated_device import MixedDevicesError, simulated_device

STUDIED = [(0, 3), (1, 5), (2, 1)]


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / request.param, request.param)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def everything(model: LanguageModel) -> dict[str, pl.DataFrame]:
    """Every table of the prompts and the ablation stage, and the contexts, by name."""
    prompts, windows = encode_prompts(model, [fruit_prompt()]), random_windows(6)
    statistics = pl.DataFrame(
        {
            "layer": pl.Series([layer for layer in range(LAYERS) for _ in range(NEURONS)], dtype=pl.Int32),
            "neuron": pl.Series(list(range(NEURONS)) * LAYERS, dtype=pl.Int32),
            "mean": 0.1,
            "share_above_zero": [neuron / NEURONS for neuron in range(NEURONS)] * LAYERS,
        }
    )
    pairs = pairs_of([(token, *neuron) for token in range(2, 12) for neuron in STUDIED])
    texts = [(document, list(ids)) for document, ids in windows.select("document", "token_ids").iter_rows()]
    sampled = sampled_at([("top_prediction", ids[place + 1], document, 0, place) for document, ids in texts for place in (2, 3)])
    neurons = {layer: [neuron] for layer, neuron in STUDIED}
    nothing = windows.select("document", "window_in_document", predictions=pl.col("token_ids").list.eval(pl.element() * 0)).lazy()

    def donors_of(chosen: Neurons) -> Donors:
        return donors_of_windows(model, chosen_windows(windows.lazy(), 1000), chosen, 256)

    ablation = neuron_ablation(model, windows.lazy(), nothing, sampled, pairs, statistics, 2, donors_of, controls=4)
    patched = neuron_patching(model, prompts)
    drawn_contexts = random_contexts(model, random_places(windows.lazy(), 3, count_bos=False), STUDIED, windows.lazy())
    given = windows.lazy().select("document", "window_in_document", predictions="token_ids")
    return {
        "prompt_tokens": prompt_tokens(model, prompts),
        "prompt_predictions": prompt_predictions(model, prompts),
        "logit_lens": logit_lens(model, prompts),
        "activation_patching": activation_patching(model, prompts),
        "neuron_patching": patched,
        "patched_neuron_sets": patched_neuron_sets(model, prompts, patched),
        **prompt_set_patching(model, encode_prompt_sets(model, [fruit_set(fillers=("apple",))])),
        "attribution_patching": attribution_patching(model, prompts),
        "prompt_activations": prompt_activations(model, prompts, STUDIED),
        **neuron_inputs(model, prompt_contexts(prompts, STUDIED)),
        "neuron_contexts": neuron_contexts(drawn_contexts, windows.lazy(), given, model.token_texts),
        "neuron_ablation": ablation.effects,
        "ablation_controls": ablation.controls,
        "prompt_ablation": prompt_ablation(model, prompts, [4, 5], neurons, statistics, donors_of(neurons)),
    }


def assert_same(one: dict[str, pl.DataFrame], other: dict[str, pl.DataFrame]) -> None:
    """Equal keys and texts; numbers within the rounding of sums in another order. Ranks and p-values follow from the numbers."""
    assert one.keys() == other.keys()
    for name, frame in one.items():
        key = list(TABLES[name].key)
        assert frame.height > 0, name
        ours, theirs = (given.sort(key, nulls_last=True) for given in (frame, other[name]))
        assert ours.select(key).equals(theirs.select(key)), name
        for column in ours.columns:
            if ours[column].dtype.is_float() and column not in ("p_value", "q_value"):
                ours_at, theirs_at = (given[column].fill_null(0).to_list() for given in (ours, theirs))
                assert ours_at == pytest.approx(theirs_at, abs=1e-3, rel=1e-3), f"{name}.{column}"


def test_no_tensor_is_left_on_the_wrong_device(folder: Path) -> None:
    model = load(folder, device="cpu")
    plain = everything(model)
    with simulated_device(model.bridge) as device:
        watched = everything(model)
    assert device.judged > 10_000
    assert_same(watched, plain)


def test_the_simulated_device_refuses_what_a_real_one_refuses() -> None:
    layer = torch.nn.Linear(3, 3)
    with simulated_device(layer):
        here, there = torch.ones(2, 3), torch.ones(2, 3, device="cpu")
        assert layer(there).cpu().add(here).shape == (2, 3)
        assert there[torch.tensor([0])].shape == (1, 3)  # an index may stay on the CPU
        assert (there * torch.tensor(2.0)).shape == (2, 3)  # and so may a number
        for wrong in (
            lambda: layer(here),
            lambda: here + there,
            lambda: torch.cat([here, there]),
            lambda: there * torch.from_numpy(np.ones(3, np.float32)),
            lambda: here[torch.zeros(1, dtype=torch.int64, device="cpu")],
            lambda: there.__setitem__(torch.tensor([0]), here[:1]),
            lambda: layer(there).detach().numpy(),
        ):
            with pytest.raises(MixedDevicesError):
                wrong()
        there[0] = here[0]  # a copy between devices


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: torch.cuda.is_available() is False")
def test_a_gpu_gives_the_same_numbers_as_the_cpu(folder: Path) -> None:
    assert_same(everything(load(folder, device="cuda")), everything(load(folder, device="cpu")))
