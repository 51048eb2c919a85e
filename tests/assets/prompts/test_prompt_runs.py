"""Prompts that are run together, filled up at their ends, against each run alone."""

import pytest
import torch

from assets.prompts.prompt_runs import attention_output, residual_after, run_prompt, run_prompts
from tests.assets.prompts.conftest import Loaded
from tests.assets.prompts.tiny_models import LAYERS

TEXTS = [(1, 5, 6, 7, 8), (1, 9), (1, 2, 3, 4, 5, 6, 7, 8, 9)]


def test_prompts_run_together_are_as_each_alone(tiny: Loaded) -> None:
    hooks = [residual_after(0), attention_output(1), tiny.model.neuron_hook(LAYERS - 1)]
    together = run_prompts(tiny.model, TEXTS, hooks, keep_keys_values=True)
    for ids, found in zip(TEXTS, together, strict=True):
        alone = run_prompt(tiny.model, ids, hooks, keep_keys_values=True)
        torch.testing.assert_close(found.logits, alone.logits, atol=1e-5, rtol=1e-5)
        assert found.values.keys() == alone.values.keys() == set(hooks)
        for name, values in found.values.items():
            assert len(values) == len(ids)
            torch.testing.assert_close(values, alone.values[name], atol=1e-5, rtol=1e-5)
        assert sorted(found.keys_values) == list(range(LAYERS))
        for layer, pair in found.keys_values.items():
            for own, expected in zip(pair, alone.keys_values[layer], strict=True):
                torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("keeps", [False, True])
def test_keys_and_values_are_kept_where_they_are_wanted(tiny: Loaded, keeps: bool) -> None:
    assert bool(run_prompt(tiny.model, TEXTS[0], [], keep_keys_values=keeps).keys_values) == keeps
