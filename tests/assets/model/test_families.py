"""Families that depart from GPT-2's build, against plain Hugging Face code: counts, direct effects, patching, ablation, what feeds a neuron.

All others are tried by the slow test of docs/models.md (tests/test_models_page.py).
"""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from assets.histograms.activation_bins import fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.model.direct_effect import refuse_indirect
from assets.model.loading import load
from assets.prompts.activation_patching import activation_patching
from assets.prompts.neuron_inputs import neuron_inputs, prompt_contexts
from assets.prompts.neuron_patching import neuron_patching
from assets.statistics.contributions import contributions
from assets.study import FixedBins
from tests.family_checks import CHECKS, PROMPT, Case, windows
from tests.hostile.tiny_models import tiny_model
from tests.model_families import FAMILIES
from tests.models_page import ALLOWED

TRACKED = list(range(2, 34))
QUICK = ("Gemma 2", "OLMo 2", "Granite", "Cohere", "GPT-Neo", "MPT")  # a way of each kind in which a model departs from GPT-2's
"""Norms on both sides with local attention and a cap; norms behind alone; factors; a scaled unembedding; windows kept in the model; ALiBi."""


@pytest.fixture(scope="module", params=QUICK)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    family = FAMILIES[request.param]
    return Case.of(tiny_model(tmp_path_factory.mktemp("family") / "model", family.kind, **family.fields))


@pytest.mark.parametrize("check", CHECKS)
def test_a_family_is_measured_as_plain_code_measures_it(case: Case, check: str) -> None:
    assert CHECKS[check](case) <= ALLOWED


@pytest.mark.parametrize("name", ["Gemma 2", "Granite"])
def test_negating_a_gated_neurons_weights_changes_nothing_but_signs(name: str, tmp_path: Path) -> None:
    """Into its up projection and out of it: the model is the same, so contributions and what patching gives are."""
    family, negated = FAMILIES[name], [3, 5, 11]
    folder = tiny_model(tmp_path / "model", family.kind, **family.fields)
    first = Case.of(folder)
    weights = load_file(folder / "model.safetensors")
    for part, rows in (("up_proj", np.s_[negated]), ("down_proj", np.s_[:, negated])):
        for key in [key for key in weights if key.endswith(f"mlp.{part}.weight")]:
            weights[key][rows] *= -1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    second = Case.of(folder)
    layers, neurons = first.plain.layers, first.model.facts.neurons
    found = []
    for case in (first, second):
        histograms = count_windows(
            case.model, windows(), fixed_bins(layers, neurons, FixedBins()), TRACKED, count_bos=False, examples=1, batch_positions=128,
            screened_ids=range(34),
        )  # fmt: skip
        patching = neuron_patching(case.model, [PROMPT])
        found.append((contributions(case.model, histograms, TRACKED, 1).every, patching))
    for name_of_value, (one, other) in zip(("contribution", "difference"), zip(*found, strict=True), strict=True):
        np.testing.assert_allclose(one[name_of_value].to_numpy(), other[name_of_value].to_numpy(), rtol=0, atol=1e-6)
    assert found[0][0].height
    signs = np.where(np.isin(np.arange(neurons), negated), -1, 1)
    congruence = [frame.sort("token_id", "layer", "neuron")["congruence"].to_numpy().reshape(-1, neurons) for frame, _ in found]
    np.testing.assert_allclose(congruence[0] * signs, congruence[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["Gemma 2", "Granite", "MPT"])
def test_in_half_precision_nothing_is_refused_for_its_rounding(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    model = load.__wrapped__(tiny_model(tmp_path / "model", family.kind, **family.fields), "bfloat16", "cpu")
    refuse_indirect(model)
    assert neuron_patching(model, [PROMPT]).height
    assert activation_patching(model, [PROMPT]).height
    assert neuron_inputs(model, prompt_contexts([PROMPT], [(1, 2)]))["neuron_inputs"].height
