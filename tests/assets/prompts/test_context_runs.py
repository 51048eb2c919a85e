"""Texts that are run together: each is read once, where a run of its own would read it, and nothing runs further than it is read."""

import pytest
import torch

from assets.prompts.context_runs import context_batches, values_read
from assets.prompts.prompt_runs import head_outputs, mlp_output, residual_before, run_prompt
from tests.assets.prompts.conftest import Loaded

TEXTS = [(0, 3, 4), (0, 7, 8, 9, 10), (0, 3, 4, 5, 6), (0, 3), (0, 7, 8, 9, 10), (0, 9)]


def test_a_text_that_another_begins_with_is_read_in_its_run() -> None:
    batches = context_batches(TEXTS, [0] * len(TEXTS))
    assert sorted(ids for batch in batches for ids in batch.texts) == [(0, 3, 4, 5, 6), (0, 7, 8, 9, 10), (0, 9)]
    found = {text: batch.texts[row] for batch in batches for text, row in zip(batch.read, batch.rows, strict=True)}
    assert sorted(found) == list(range(len(TEXTS)))
    assert all(ids[: len(TEXTS[text])] == TEXTS[text] for text, ids in found.items())


@pytest.mark.parametrize("positions", [1, 5, 7, 10, 100])
def test_a_batch_holds_at_most_so_many_positions_and_every_text_is_read_once(positions: int) -> None:
    batches = context_batches(TEXTS, [0, 1, 2, 0, 1, 2], positions)
    assert sorted(text for batch in batches for text in batch.read) == list(range(len(TEXTS)))
    assert all(len(batch.texts) * batch.length <= positions or len(batch.texts) == 1 for batch in batches)


def test_a_batch_goes_as_deep_as_the_deepest_of_its_texts() -> None:
    (batch,) = context_batches(TEXTS, [0, 1, 0, 2, 0, 0])
    assert batch.last_layer == 2
    shallow, deep = context_batches(TEXTS, [0, 1, 0, 2, 0, 0], positions=10)
    assert (shallow.last_layer, deep.last_layer) == (1, 2)
    assert set(shallow.texts) == {(0, 9), (0, 7, 8, 9, 10)}


def test_no_texts_no_batches() -> None:
    assert context_batches([], []) == []


@pytest.mark.parametrize("positions", [5, 100])
def test_values_are_those_of_a_run_of_each_text_alone(tiny: Loaded, positions: int) -> None:
    hooks = [residual_before(0), head_outputs(0), mlp_output(0), residual_before(1)]
    for batch in context_batches(TEXTS, [1] * len(TEXTS), positions):
        values = values_read(tiny.model, batch, [len(ids) for ids in TEXTS], hooks, residual_before(1))
        assert set(values) == set(hooks)
        for value, text in enumerate(batch.read):
            alone = run_prompt(tiny.model, TEXTS[text], hooks).values
            for hook in hooks:
                torch.testing.assert_close(values[hook][value], alone[hook][-1], atol=1e-5, rtol=1e-5)


def test_nothing_runs_behind_what_is_read(tiny: Loaded) -> None:
    ran: list[int] = []
    handles = [
        block.register_forward_hook(lambda *_, layer=layer: ran.append(layer)) for layer, block in enumerate(tiny.model.bridge.blocks)
    ]
    try:
        (batch,) = context_batches(TEXTS, [1] * len(TEXTS))
        values_read(tiny.model, batch, [len(ids) for ids in TEXTS], [residual_before(1)], residual_before(1))
    finally:
        for handle in handles:
            handle.remove()
    assert ran == [0]
    assert not any(point.fwd_hooks for point in tiny.model.bridge.hook_dict.values())
