"""Predictions by slices of the vocabulary are the argmax of the model's whole logits."""

import pytest
import torch

from assets.model.language_model import LanguageModel
from assets.predictions import top_predictions
from assets.predictions.top_predictions import Unembedding, largest_logits, linear_unembedding, predictor


@pytest.mark.parametrize("name", ["stories", "planted"])
def test_sliced_predictions_equal_the_argmax_of_the_models_logits(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top_predictions, "SLICE", 7)
    model: LanguageModel = request.getfixturevalue(name)
    token_ids = torch.randint(0, model.facts.vocabulary, (3, 24), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert linear_unembedding(model) is not None
        expected = model.plain(token_ids, use_cache=False).logits.argmax(-1)
        assert torch.equal(predictor(model)(token_ids), expected)


def test_of_equal_logits_the_first_entry_is_the_prediction_within_and_across_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_predictions, "SLICE", 2)
    weight = torch.tensor([[0.0], [1.0], [2.0], [2.0], [2.0], [1.0], [-3.0]])  # one-dimensional: logits = hidden x weight
    assert largest_logits(torch.tensor([[1.0], [-1.0], [0.0]]), Unembedding(weight, None)).tolist() == [2, 6, 0]


def test_a_bias_is_added_before_the_largest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_predictions, "SLICE", 2)
    weight, bias = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([0.0, 5.0, 0.0])
    assert largest_logits(torch.tensor([[1.0], [9.0]]), Unembedding(weight, bias)).tolist() == [1, 2]


def test_a_model_that_scales_its_logits_hands_out_its_whole_logits(planted: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = planted.plain.lm_head.register_forward_hook(lambda module, given, output: 30 * torch.tanh(output / 30))
    try:
        assert top_predictions._tried_unembedding(planted) is None
    finally:
        handle.remove()
    assert top_predictions._tried_unembedding(planted) is not None


def test_the_operations_for_other_devices_give_the_same_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_predictions, "SLICE", 7)
    generator = torch.Generator().manual_seed(1)
    unembedding = Unembedding(torch.randint(-2, 3, (40, 3), generator=generator).float())  # whole numbers: many ties
    hidden = torch.randint(-2, 3, (200, 3), generator=generator).float()
    expected = largest_logits(hidden, unembedding)
    monkeypatch.setattr(top_predictions, "_raise_on_cpu", top_predictions._raise_on_device)
    assert torch.equal(largest_logits(hidden, unembedding), expected)
    assert torch.equal(expected, (hidden @ unembedding.weight.t()).argmax(-1))
