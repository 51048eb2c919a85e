"""What ablating does at one position, against one plain forward pass for every neuron and way."""

import numpy as np
import pytest
import torch

from assets.ablation.plain_ablation import Ablated, require_plain_forward_agrees
from assets.ablation.position_effects import MEASURES, position_effects, run_window
from assets.ablation.readout import Target
from assets.ablation.replacements import ABLATIONS, replacements
from assets.model.refusals import ModelError
from tests import slow_ablation as slow
from tests import slow_patching
from tests.assets.ablation.small_corpus import Studied
from tests.assets.prompts.tiny_models import LAYERS


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_every_neuron_and_way_equals_its_own_forward_pass(tiny: Studied, place: str) -> None:
    ids = tiny.ids(0)
    position = {"first": 1, "middle": len(ids) // 2, "last": len(ids) - 2}[place]
    target = Target(position, token_id=12, next_token_id=ids[position + 1])
    chosen = list(range(0, 24, 5))
    neurons = {layer: torch.tensor(chosen) for layer in range(LAYERS)}
    run = run_window(tiny.model, ids, list(neurons))
    means, drawn = torch.linspace(-1, 1, len(chosen)), torch.linspace(2, -2, len(chosen))
    clean = {
        layer: slow_patching.input_of(tiny.plain, slow_patching.down_projection(tiny.plain, layer), ids)[position, chosen]
        for layer in neurons
    }
    changes = {layer: replacements(clean[layer], means, drawn) - clean[layer] for layer in neurons}
    effects = position_effects(tiny.model, run, target, neurons, changes)
    assert effects.shape == (len(ABLATIONS), LAYERS * len(chosen), len(MEASURES))
    np.testing.assert_allclose(effects[..., 3], effects[..., 4] + effects[..., 5], atol=1e-9)  # direct + mediated = the whole
    for layer in neurons:
        for place_of_neuron, neuron in enumerate(chosen):
            own = float(clean[layer][place_of_neuron])
            values = {"zero": 0.0, "mean": float(means[place_of_neuron]), "resample": float(drawn[place_of_neuron]), "negation": -own}
            for ablation, value in values.items():
                expected = slow.effects(tiny.plain, ids, position, layer, neuron, value, target.token_id, target.next_token_id)
                found = dict(zip(MEASURES, effects[ABLATIONS.index(ablation), layer * len(chosen) + place_of_neuron].tolist(), strict=True))
                assert found == pytest.approx(expected, abs=2e-4), (layer, neuron, ablation)


def test_the_tokens_after_the_position_have_no_part_in_it(tiny: Studied) -> None:
    ids = tiny.ids(0)
    target = Target(3, token_id=12, next_token_id=ids[4])
    changed = ({0: torch.tensor([1, 2])}, {0: torch.full((4, 2), 1.5)})
    whole = position_effects(tiny.model, run_window(tiny.model, ids, [0]), target, *changed)
    cut = position_effects(tiny.model, run_window(tiny.model, ids[:5], [0]), target, *changed)
    np.testing.assert_allclose(whole, cut, atol=1e-5)


def test_a_change_of_nothing_is_an_effect_of_exactly_nothing(tiny: Studied) -> None:
    ids = tiny.ids(0)
    changes = torch.zeros(4, 2)
    changes[1, 1] = 2.0
    effects = position_effects(tiny.model, run_window(tiny.model, ids, [1]), Target(2, 12, ids[3]), {1: torch.tensor([0, 7])}, {1: changes})
    moved = np.abs(effects).sum(-1) > 0
    assert moved.tolist() == [[False, False], [False, True], [False, False], [False, False]]


def test_after_the_last_block_nothing_is_mediated(tiny: Studied) -> None:
    ids = tiny.ids(0)
    run = run_window(tiny.model, ids, [LAYERS - 1])
    effects = position_effects(tiny.model, run, Target(2, 12, ids[3]), {LAYERS - 1: torch.arange(24)}, {LAYERS - 1: torch.ones(4, 24)})
    assert np.abs(effects[..., MEASURES.index("direct")]).max() > 0.1
    assert np.abs(effects[..., MEASURES.index("mediated")]).max() == 0


def test_a_model_that_computes_something_else_is_refused(tiny: Studied) -> None:
    ids = tiny.ids(0)
    target = Target(2, 12, ids[3])
    effect = position_effects(tiny.model, run_window(tiny.model, ids, [1]), target, {1: torch.tensor([4])}, {1: torch.full((4, 1), 2.0)})
    logit = float(effect[0, 0, MEASURES.index("logit")])
    right = Ablated(1, 4, 2.0, logit)
    require_plain_forward_agrees(tiny.model, ids, target, [right] * 20)
    with pytest.raises(ModelError, match=r"ablating layer 1 neuron 4 changes a logit by .* choose another model"):
        require_plain_forward_agrees(tiny.model, ids, target, [*[right] * 19, Ablated(1, 4, 2.0, logit + 0.1)])
