"""Activation patching against one whole forward pass for every cell."""

from collections.abc import Mapping

import polars as pl
import pytest
import torch

from assets.contracts import ACTIVATION_PATCHING
from assets.model.refusals import ModelError
from assets.prompts.activation_patching import activation_patching, head_changes
from assets.prompts.prompt_runs import attention_output, head_outputs, run_pair
from assets.prompts.prompts import EncodedPrompt, PromptError, prompt_pairs
from tests import slow_patching as slow
from tests.assets.prompts.conftest import Loaded
from tests.assets.prompts.tiny_models import LAYERS
from tests.told import steps_told

HEADS = 4  # of each tiny model; in the gated one, two share their keys and values


def cell(frame: pl.DataFrame, component: str, layer: int, position: int, head: int | None = None) -> float:
    rows = frame.filter(component=component, layer=layer, position=position).filter(pl.col("head").eq_missing(head))
    return float(rows["improvement"].item())


def assert_same_as_slow(tiny: Loaded, prompt: EncodedPrompt) -> None:
    corrupt_ids, answers = prompt.corrupt or (), (prompt.answer_id, prompt.wrong_answer_id)
    clean, corrupt = (slow.difference(tiny.plain, ids, answers) for ids in (prompt.clean, corrupt_ids))
    frame = activation_patching(tiny.model, [prompt])
    assert frame.schema == ACTIVATION_PATCHING.schema
    assert frame.select(ACTIVATION_PATCHING.key).unique().height == frame.height == (3 + HEADS) * LAYERS * len(prompt.clean)
    for row in frame.iter_rows(named=True):
        runs, place = (tiny.plain, prompt.clean, corrupt_ids, answers), (row["layer"], row["position"])
        if row["component"] == "head":
            patched = slow.heads_difference(*runs, [row["head"]], *place)
        else:
            patched = slow.component_difference(*runs, row["component"], *place)
        assert row["difference"] == pytest.approx(patched, abs=1e-5)
        assert row["improvement"] == pytest.approx(slow.improvement(patched, clean, corrupt), abs=1e-4, rel=1e-4)
        assert row["token"] == prompt.clean_texts[row["position"]]


def test_every_cell_equals_its_own_forward_pass(tiny: Loaded) -> None:
    assert_same_as_slow(tiny, tiny.encode())


def test_every_cell_equals_its_own_forward_pass_when_only_the_last_token_differs(tiny: Loaded) -> None:
    assert_same_as_slow(tiny, tiny.encode(text="I climbed up the apple", corrupt="I climbed up the lemon"))


def test_every_cell_equals_its_own_forward_pass_when_all_tokens_differ(tiny: Loaded) -> None:
    assert_same_as_slow(tiny, tiny.encode(text="I climbed up the apple tree", corrupt=" the pear was ripe, though"))


def test_all_heads_patched_at_once_are_the_attention_output_patched(tiny: Loaded) -> None:
    prompt = tiny.encode()
    frame = activation_patching(tiny.model, [prompt]).filter(component="attention")
    runs = (tiny.plain, prompt.clean, prompt.corrupt or (), (prompt.answer_id, prompt.wrong_answer_id))
    for row in frame.iter_rows(named=True):
        assert row["difference"] == pytest.approx(slow.heads_difference(*runs, range(HEADS), row["layer"], row["position"]), abs=1e-5)


def test_what_the_heads_write_differently_adds_up_to_what_attention_writes_differently(tiny: Loaded) -> None:
    (pair,) = prompt_pairs([tiny.encode()])
    for layer in range(LAYERS):
        module = slow.attention(tiny.plain, layer)
        expected = slow.output_of(tiny.plain, module, pair.clean) - slow.output_of(tiny.plain, module, pair.corrupt)
        runs = run_pair(tiny.model, pair, [head_outputs(layer), attention_output(layer)])
        changes = head_changes(tiny.model, runs, layer)
        assert changes.shape == (HEADS, pair.positions, 16)
        torch.testing.assert_close(changes.sum(0), expected, atol=1e-5, rtol=1e-5)
        assert float(changes.abs().amax((1, 2)).min()) > 0.01  # every head has a part


def test_a_model_with_something_between_its_heads_and_the_stream_is_refused(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    (pair,) = prompt_pairs([tiny.encode()])
    runs = run_pair(tiny.model, pair, [head_outputs(1), attention_output(1)])
    monkeypatch.setitem(dict_of(runs.clean.values), attention_output(1), 1.5 * runs.clean.values[attention_output(1)])
    with pytest.raises(
        ModelError, match=r"what the heads of layer 1 write is up to .* single heads cannot be patched; choose another model"
    ):
        head_changes(tiny.model, runs, 1)


def dict_of(values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    assert isinstance(values, dict)
    return values


def test_positions_before_the_first_difference_are_exactly_0(tiny: Loaded) -> None:
    frame = activation_patching(tiny.model, [tiny.encode()])
    assert frame.filter(pl.col("position") < 5)["improvement"].unique().to_list() == [0.0]


def test_the_planted_path_runs_from_the_fruit_through_attention_to_the_neuron(planted: Loaded) -> None:
    frame = activation_patching(planted.model, [planted.encode()])
    fruit, last = 5, 8
    for component, layer, position in (
        ("residual", 0, fruit),  # the only token that differs: everything follows from it
        ("attention", 0, last),  # head 0 brings `vowel fruit` to the last position
        ("residual", 1, last),
        ("mlp", 1, last),  # the planted neuron writes " an"
        ("residual", 2, last),
    ):
        # Patched and clean streams differ in one direction of equal length only, `vowel fruit` or `consonant fruit`.
        assert cell(frame, component, layer, position) == pytest.approx(1, abs=0.02)
    assert [cell(frame, "head", 0, last, head) for head in range(2)] == pytest.approx([1, 0], abs=0.02)
    for component, layer, position in (("residual", 1, fruit), ("attention", 1, last), ("mlp", 1, fruit), ("mlp", 2, last)):
        assert cell(frame, component, layer, position) == pytest.approx(0, abs=0.02)  # seeded noise of the other neurons


def test_a_pair_that_does_not_move_the_answer_is_refused_before_anything_is_patched(
    planted: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("patched before every prompt was looked at")

    monkeypatch.setattr("assets.prompts.activation_patching._patch_pair", never)
    same = planted.encode(name="same", text="I rested", corrupt=" I rested")  # no layer looks back at the first word
    with pytest.raises(PromptError, match=r"prompt same: the logit difference .* is undefined: choose a corrupt text"):
        activation_patching(planted.model, [planted.encode(), same])


def test_prompts_without_a_corrupt_partner_give_an_empty_table(planted: Loaded) -> None:
    assert activation_patching(planted.model, []).schema == ACTIVATION_PATCHING.schema


def test_progress_counts_what_each_layer_costs(tiny: Loaded) -> None:
    steps = steps_told(lambda progress: activation_patching(tiny.model, [tiny.encode()], progress))
    costs = [after - before for before, after in zip([0, *steps], steps, strict=False)]
    assert len(costs) == LAYERS
    assert [cost / costs[-1] for cost in costs] == list(range(LAYERS, 0, -1))
