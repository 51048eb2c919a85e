"""The gated planted model does what the ungated one does: the same predictions, its neurons' activations silu for gelu, signs free."""

import json
from pathlib import Path

import pytest

from assets.model.loading import load
from tests import planted
from tests.planted_gated import planted_gated_model
from tests.test_planted import _activations, _logits, _predictions


@pytest.mark.parametrize("extra", [(), (planted.FALLING,), (planted.OPPOSED,)], ids=["plain", "falling", "opposed"])
def test_predictions_are_those_of_the_ungated_model_with_and_without_more_roles(extra: tuple[planted.Role, ...], tmp_path: Path) -> None:
    plain, gated = (
        load.__wrapped__(folder, device="cpu")
        for folder in (planted.planted_model(tmp_path / "gelu", extra=extra), planted_gated_model(tmp_path / "gated", extra=extra))
    )
    texts = {json.loads(line)["text"] for line in planted.planted_corpus(tmp_path).read_text().splitlines()}
    every = [word for text in sorted(texts) for word in _predictions(plain, text)]
    assert every == [word for text in sorted(texts) for word in _predictions(gated, text)]
    assert {" an", " a", " up", " the"} == set(every)
    assert (plain.facts.is_gated, gated.facts.is_gated) == (False, True)


def test_activations_are_as_worked_out_and_a_negated_role_changes_nothing_but_its_sign(tmp_path: Path) -> None:
    plain, negated = (
        load.__wrapped__(planted_gated_model(tmp_path / name, extra=(planted.FALLING,), negated=roles), device="cpu")
        for name, roles in (("plain", ()), ("negated", (planted.PLANTED,)))
    )
    *others, clean = _activations(plain, planted.CLEAN_PROMPT, planted.PLANTED)
    assert clean == pytest.approx(4.16, abs=0.05)
    assert max(others) < 0.01
    falling = _activations(plain, planted.CLEAN_PROMPT, planted.FALLING)
    assert falling[-1] == pytest.approx(-0.28, abs=0.02)
    assert min(falling[:-1]) > 0.7
    assert _activations(negated, planted.CLEAN_PROMPT, planted.PLANTED) == pytest.approx([-value for value in (*others, clean)], abs=1e-6)
    assert _logits(negated, planted.CLEAN_PROMPT).equal(_logits(plain, planted.CLEAN_PROMPT))


def test_the_falling_neuron_of_the_ungated_model_is_as_worked_out(tmp_path: Path) -> None:
    model = load.__wrapped__(planted.planted_model(tmp_path, extra=(planted.FALLING,)), device="cpu")
    *others, clean = _activations(model, planted.CLEAN_PROMPT, planted.FALLING)
    assert clean == pytest.approx(-0.14, abs=0.02)
    assert min(others) > 0.9
