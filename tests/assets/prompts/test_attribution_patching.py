"""The gradient estimate against finite differences, and its agreement with exact values worked out by hand."""

import polars as pl
import pytest
import torch

from assets.contracts import ATTRIBUTION_PATCHING
from assets.prompts.attribution_patching import attribution_agreement, attribution_patching
from assets.prompts.neuron_patching import neuron_patching
from tests import slow_patching as slow
from tests.assets.prompts.conftest import Loaded
from tests.assets.prompts.tiny_models import LAYERS, NEURONS
from tests.planted import PLANTED


def test_every_value_is_the_slope_towards_the_clean_activation(tiny: Loaded) -> None:
    prompt = tiny.encode()
    corrupt_ids, answers = prompt.corrupt or (), (prompt.answer_id, prompt.wrong_answer_id)
    plain = slow.plain_model(tiny.folder).double()
    clean, corrupt = (slow.difference(plain, ids, answers) for ids in (prompt.clean, corrupt_ids))
    frame = attribution_patching(tiny.model, [prompt])
    assert frame.schema == ATTRIBUTION_PATCHING.schema
    assert frame.height == 2 * LAYERS * NEURONS
    step = 1e-2  # Llama's norm computes in float32 even here: a smaller step would drown in its rounding
    for row in frame.filter(pl.col("neuron") % 5 == 0).iter_rows(named=True):
        projection = slow.down_projection(plain, row["layer"])
        from_clean, from_corrupt = (slow.input_of(plain, projection, ids)[:, row["neuron"]] for ids in (prompt.clean, corrupt_ids))
        towards = from_clean - from_corrupt
        if row["positions"] == "last":
            towards[:-1] = 0

        def moved(share: float, neuron: int = row["neuron"], towards: torch.Tensor = towards, projection: object = projection) -> float:
            def change(activations: torch.Tensor) -> None:
                activations[:, neuron] += share * towards

            return slow.difference_with_input(plain, projection, change, corrupt_ids, answers)

        slope = (moved(step) - moved(-step)) / (2 * step) / (clean - corrupt)
        assert row["attribution"] == pytest.approx(slope, abs=1e-4)


def test_the_estimate_leaves_no_gradients_and_no_hooks_behind(tiny: Loaded) -> None:
    attribution_patching(tiny.model, [tiny.encode()])
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in tiny.model.bridge.parameters())
    assert not any(point.fwd_hooks for point in tiny.model.bridge.hook_dict.values())


def test_agreement_is_told_for_each_prompt_and_positions() -> None:
    # Strongest three exact: 5, -4, 3 (neurons 0, 1, 2). Strongest three of the estimates: -6, 5, 4 (neurons 1, 0, 3): two found.
    exact = frame("improvement", [5.0, -4.0, 3.0, 1.0, 0.0])
    estimates = frame("attribution", [5.0, -6.0, 2.0, 4.0, 0.0])
    row = attribution_agreement(exact, estimates, top=3).row(0, named=True)
    assert (row["prompt"], row["positions"], row["neurons"], row["top"], row["top_found"]) == ("fruit", "last", 5, 3, 2)
    # Ranks 5 1 4 3 2 against 5 1 3 4 2: 1 - 6 x (1 + 1) / (5 x 24) = 0.9.
    assert row["rank_correlation"] == pytest.approx(0.9)


def test_a_top_larger_than_the_model_is_all_of_it() -> None:
    exact, estimates = frame("improvement", [2.0, 1.0]), frame("attribution", [1.0, 2.0])
    assert attribution_agreement(exact, estimates).select("top", "top_found", "rank_correlation").row(0) == (2, 2, -1.0)


def frame(value: str, values: list[float]) -> pl.DataFrame:
    return pl.DataFrame({"prompt": "fruit", "positions": "last", "layer": 0, "neuron": range(len(values)), value: values})


def test_the_estimate_finds_the_planted_neuron_by_its_sign_but_underrates_it(planted: Loaded) -> None:
    exact = neuron_patching(planted.model, [planted.encode()]).filter(positions="last")
    estimates = attribution_patching(planted.model, [planted.encode()]).filter(positions="last")
    best = estimates.sort("attribution", descending=True)
    assert best.select("layer", "neuron").row(0) == (PLANTED.layer, PLANTED.neuron)
    # Exact 1; the gradient knows nothing of the stream that grows longer and shrinks " a": 4.22 x 10 / 3.06 of 10.87.
    assert best["attribution"][0] == pytest.approx(4.22 * 10 / 3.06 / 10.87, abs=0.05)
    agreement = attribution_agreement(exact, estimates).row(0, named=True)
    assert agreement["neurons"] == 48
    assert agreement["top_found"] == agreement["top"] == 48
