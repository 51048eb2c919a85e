"""Probabilities of some tokens beside the top predictions: those of a whole softmax in float64, and the same integers as without them."""

from pathlib import Path

import pytest
import torch

from assets.model.loading import load
from assets.predictions import token_probabilities
from assets.predictions.token_probabilities import entries_and_probabilities, predictor_with_probabilities
from assets.predictions.top_predictions import SLICE, Unembedding, predictor
from tests.assets.congruence.tiny_models import FAMILIES, tiny_model


@pytest.mark.parametrize("has_bias", [False, True])
def test_slices_give_the_argmax_and_the_softmax_of_whole_logits(has_bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    vocabulary = 2 * SLICE + 77
    hidden, weight = torch.randn(9, 16, generator=generator) * 0.7, torch.randn(vocabulary, 16, generator=generator)
    bias = torch.randn(vocabulary, generator=generator) if has_bias else None
    wanted = torch.tensor([vocabulary - 1, 0, SLICE, SLICE - 1, 4100])
    entries, found = entries_and_probabilities(hidden, Unembedding(weight, bias), wanted)
    logits = hidden.double() @ weight.double().T + (0 if bias is None else bias.double())
    torch.testing.assert_close(found, logits.softmax(-1)[:, wanted], rtol=1e-5, atol=1e-12)
    assert torch.equal(entries, logits.argmax(-1))
    assert found.max() > 1e-3


def test_the_first_of_equal_logits_is_the_top_prediction() -> None:
    hidden, weight = torch.ones(2, 4), torch.ones(SLICE + 3, 4)
    entries, found = entries_and_probabilities(hidden, Unembedding(weight), torch.tensor([1]))
    assert entries.tolist() == [0, 0]
    torch.testing.assert_close(found, torch.full((2, 1), 1 / (SLICE + 3), dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("is_linear", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_predictions_are_those_without_probabilities_and_these_are_plain_codes(
    tmp_path: Path, family: str, is_linear: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    folder = tiny_model(tmp_path / family, family)
    model = load.__wrapped__(folder, device="cpu")
    ids = torch.randint(0, 30, (3, 7), generator=torch.Generator().manual_seed(1))
    if not is_linear:
        monkeypatch.setattr(token_probabilities, "linear_unembedding", lambda model: None)
    with torch.inference_mode():
        predictions, found = predictor_with_probabilities(model, [3, 29])(ids)
        assert torch.equal(predictions, predictor(model)(ids))
        plain = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
        expected = plain(ids).logits.double().softmax(-1)[..., [3, 29]]
        assert found is not None
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)
        assert predictor_with_probabilities(model, [])(ids)[1] is None
