"""Neurons patched together: every set against a plain forward pass with hooks, the choice against trying all, and what is left alone."""

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from assets.contracts import PATCHED_NEURON_SETS
from assets.model.language_model import LanguageModel
from assets.model.refusals import ModelError
from assets.prompts import patched_neuron_sets as module
from assets.prompts.continuation import Continuation
from assets.prompts.neuron_patching import neuron_patching
from assets.prompts.patched_neuron_sets import LARGEST_SET, SMALLEST_ADDED, joint_differences, patched_neuron_sets
from assets.prompts.prompt_runs import PairRuns, residual_before, run_pair
from assets.prompts.prompts import EncodedPrompt, prompt_pairs
from tests import slow_patching as slow
from tests.assets.prompts.conftest import Loaded
from tests.assets.prompts.test_neuron_patching import PAIRS, fingerprint
from tests.assets.prompts.tiny_models import LAYERS, NEURONS
from tests.planted import PLANTED


def sets_of(model: LanguageModel, prompts: list[EncodedPrompt], layers: list[int] | None = None) -> pl.DataFrame:
    return patched_neuron_sets(model, prompts, neuron_patching(model, prompts, layers))


def ends(tiny: Loaded, prompt: EncodedPrompt) -> tuple[float, float]:
    """Logit difference of the clean run and of the corrupt one."""
    answers = (prompt.answer_id, prompt.wrong_answer_id)
    return slow.difference(tiny.plain, prompt.clean, answers), slow.difference(tiny.plain, prompt.corrupt or (), answers)


def slow_share(tiny: Loaded, prompt: EncodedPrompt, neurons: list[tuple[int, int]]) -> float:
    answers = (prompt.answer_id, prompt.wrong_answer_id)
    return slow.improvement(slow.joint_difference(tiny.plain, prompt.clean, prompt.corrupt or (), answers, neurons), *ends(tiny, prompt))


@pytest.mark.parametrize("pair", PAIRS)
def test_every_set_restores_what_a_plain_forward_pass_restores(tiny: Loaded, pair: str) -> None:
    text, corrupt = PAIRS[pair]
    prompt = tiny.encode(text=text, corrupt=corrupt)
    frame = sets_of(tiny.model, [prompt])
    assert frame.schema == PATCHED_NEURON_SETS.schema
    assert frame["size"].to_list() == list(range(1, frame.height + 1))
    neurons = list(frame.select("layer", "neuron").iter_rows())
    clean, corrupt_end = ends(tiny, prompt)
    for row in frame.iter_rows(named=True):
        # 1e-5 of a logit in the patched run and in the ends: a share of a small difference enlarges rounding.
        allowed = 1e-5 * (1 + row["restored"]) / abs(clean - corrupt_end)
        assert row["restored"] == pytest.approx(slow_share(tiny, prompt, neurons[: row["size"]]), abs=allowed, rel=0)
        assert row["alone"] == pytest.approx(slow_share(tiny, prompt, [neurons[row["size"] - 1]]), abs=allowed, rel=0)


def test_sets_of_many_layers_in_any_order_equal_a_plain_forward_pass(tiny: Loaded) -> None:
    prompt = tiny.encode()
    (pair,) = prompt_pairs([prompt])
    runs = run_pair(tiny.model, pair, [residual_before(0), *(tiny.model.neuron_hook(layer) for layer in range(LAYERS))])
    numbers = np.random.default_rng(3)
    sets = [[(int(numbers.integers(LAYERS)), int(numbers.integers(NEURONS))) for _ in range(1 + place % 6)] for place in range(21)]
    sets += [[(layer, neuron) for layer in (2, 1, 0) for neuron in range(NEURONS)]]  # every neuron there is
    found = joint_differences(tiny.model, runs, Continuation(tiny.model, runs, pair.positions - 1), sets)
    answers = (prompt.answer_id, prompt.wrong_answer_id)
    expected = [slow.joint_difference(tiny.plain, pair.clean, pair.corrupt, answers, one) for one in sets]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_each_neuron_is_the_one_that_restores_most_with_those_before_it(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CANDIDATES", 12)
    prompt = tiny.encode()
    patched = neuron_patching(tiny.model, [prompt]).filter(positions="last").sort("improvement", descending=True)
    tried = list(patched.head(12).select("layer", "neuron").iter_rows())
    frame = patched_neuron_sets(tiny.model, [prompt], neuron_patching(tiny.model, [prompt]))
    chosen = list(frame.select("layer", "neuron").iter_rows())
    assert len(chosen) >= 3
    assert chosen[0] == tried[0]
    for size in range(1, len(chosen)):
        shares = {other: slow_share(tiny, prompt, [*chosen[:size], other]) for other in tried if other not in chosen[:size]}
        assert max(shares, key=shares.__getitem__) == chosen[size]
    if len(chosen) < LARGEST_SET:
        further = max(slow_share(tiny, prompt, [*chosen, other]) for other in tried if other not in chosen)
        assert further - frame["restored"][-1] < SMALLEST_ADDED + 1e-5


def test_sets_end_at_ten_neurons_and_rows_say_what_was_added(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALLEST_ADDED", 1e-6)
    frame = sets_of(tiny.model, [tiny.encode()])
    assert frame.height == LARGEST_SET
    assert frame["added"].to_list() == pytest.approx([frame["restored"][0], *frame["restored"].diff()[1:]])
    assert frame["alone"][0] == frame["restored"][0]
    assert frame.select("layer", "neuron").n_unique() == LARGEST_SET
    first = int((frame["restored"] >= 0.9 * frame["restored"][-1]).arg_true()[0])
    assert frame["is_told"].to_list() == [place <= min(first, 3) for place in range(LARGEST_SET)]


def test_only_neurons_of_layers_that_were_patched_are_chosen(tiny: Loaded) -> None:
    assert set(sets_of(tiny.model, [tiny.encode()], [1])["layer"]) == {1}
    assert sets_of(tiny.model, [tiny.encode()], []).height == 0


def test_one_neuron_that_restores_the_answer_alone_is_a_set_of_one(planted: Loaded) -> None:
    frame = sets_of(planted.model, [planted.encode()])
    assert frame.select("size", "layer", "neuron", "is_told").row(0) == (1, PLANTED.layer, PLANTED.neuron, True)
    assert frame.filter("is_told").height == 1


def test_a_prompt_that_no_neuron_moves_has_no_set(planted: Loaded) -> None:
    prompt = planted.encode()
    unmoved = neuron_patching(planted.model, [prompt]).with_columns(pl.col("improvement").clip(upper_bound=0.009))
    assert patched_neuron_sets(planted.model, [prompt], unmoved).height == 0
    assert patched_neuron_sets(planted.model, [], unmoved).schema == PATCHED_NEURON_SETS.schema


def test_the_shared_model_is_left_as_it_was(tiny: Loaded) -> None:
    fingerprint(tiny.model)  # the first forward pass of a bridge wires hooks of its own
    before = fingerprint(tiny.model)
    sets_of(tiny.model, [tiny.encode()])
    assert fingerprint(tiny.model) == before


def test_a_set_that_a_plain_forward_pass_does_not_confirm_is_refused(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.joint_differences

    def wrong(model: LanguageModel, runs: PairRuns, *given: Any) -> torch.Tensor:
        return real(model, runs, *given) + 3 * (runs.clean_difference - runs.corrupt_difference)

    patched = neuron_patching(tiny.model, [tiny.encode()])
    monkeypatch.setattr(module, "joint_differences", wrong)
    with pytest.raises(ModelError, match=r"patching layer \d neuron \d+ and layer \d neuron \d+.* in a plain forward pass"):
        patched_neuron_sets(tiny.model, [tiny.encode()], patched)
