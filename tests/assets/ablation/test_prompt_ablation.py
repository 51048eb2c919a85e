"""Ablation on prompts against one plain forward pass each."""

from typing import Any

import numpy as np
import pytest
import torch
from polars.testing import assert_frame_equal

from assets.ablation import prompt_effects
from assets.ablation.ablated_positions import SEED
from assets.ablation.donors import donors_of_windows
from assets.ablation.prompt_ablation import prompt_ablation
from assets.contracts import PROMPT_ABLATION
from assets.prompts.prompts import encode_prompts
from tests import slow_ablation as slow
from tests import slow_patching
from tests.assets.ablation.small_corpus import Studied
from tests.assets.prompts.conftest import fruit_prompt
from tests.planted import PLANTED, planted_token_id

AN, A = planted_token_id(" an"), planted_token_id(" a")


def test_probabilities_equal_a_plain_forward_pass_for_each_neuron_and_way(tiny: Studied) -> None:
    neurons, statistics = {0: [2], 2: [5, 11]}, tiny.statistics
    drawn = donors_of_windows(tiny.model, tiny.windows, neurons, 512)
    frame = prompt_ablation(tiny.model, encode_prompts(tiny.model, [fruit_prompt()]), [AN, A], neurons, statistics, drawn)
    assert frame.schema == PROMPT_ABLATION.schema
    assert frame.height == 2 * 2 * 3 * 6 * 2
    prompt = encode_prompts(tiny.model, [fruit_prompt()])[0]
    for variant, ids, _ in prompt.variants:
        before = slow.logits_at(tiny.plain, ids, len(ids) - 1).softmax(-1)
        donor = drawn.drawn_for(np.full(len(ids), -1), np.random.default_rng([SEED, 4]))
        for layer, chosen in neurons.items():
            clean = slow_patching.input_of(tiny.plain, slow_patching.down_projection(tiny.plain, layer), ids)
            for place, neuron in enumerate(chosen):
                mean = statistics.filter(layer=layer, neuron=neuron)["mean"][0]
                values = {
                    "zero": [0.0] * len(ids),
                    "mean": [mean] * len(ids),
                    "resample": drawn.activations[layer][donor, place].tolist(),
                    "negation": (-clean[:, neuron]).tolist(),
                }
                for ablation, replaced in values.items():
                    for positions in ("all", "last"):
                        after = slow.prompt_probabilities(tiny.plain, ids, layer, neuron, replaced, positions)
                        rows = frame.filter(variant=variant, layer=layer, neuron=neuron, ablation=ablation, positions=positions)
                        assert rows["token_id"].to_list() == [AN, A]
                        assert rows["after"].to_list() == pytest.approx([float(after[AN]), float(after[A])], abs=1e-5)
                        assert rows["before"].to_list() == pytest.approx([float(before[AN]), float(before[A])], abs=1e-5)


def test_negated_input_weights_equal_a_plain_model_whose_weights_were_changed(tiny: Studied) -> None:
    neurons = {0: [2], 2: [5, 11]}
    drawn = donors_of_windows(tiny.model, tiny.windows, neurons, 512)
    prompt = encode_prompts(tiny.model, [fruit_prompt()])[0]
    frame = prompt_ablation(tiny.model, [prompt], [AN, A], neurons, tiny.statistics, drawn)
    moved = []
    for ablation, is_folded in (("input negation", False), ("folded input negation", True)):
        for layer, chosen in neurons.items():
            for neuron in chosen:
                changed = slow.with_negated_input(tiny.plain, layer, neuron, is_folded)
                after = slow.logits_at(changed, prompt.clean, len(prompt.clean) - 1).softmax(-1)
                # At the last position alone: what the neuron is in the changed model, whose layers below are the same.
                values = slow_patching.input_of(changed, slow_patching.down_projection(changed, layer), prompt.clean)[:, neuron].tolist()
                at_last = slow.prompt_probabilities(tiny.plain, prompt.clean, layer, neuron, values, "last")
                for positions, expected in (("all", after), ("last", at_last)):
                    rows = frame.filter(variant="clean", layer=layer, neuron=neuron, ablation=ablation, positions=positions)
                    assert rows["after"].to_list() == pytest.approx([float(expected[AN]), float(expected[A])], abs=1e-5)
                    moved += [abs(row["after"] - row["before"]) for row in rows.iter_rows(named=True)]
    assert max(moved) > 1e-3  # the negation did something


def test_without_the_planted_neuron_the_answer_is_gone(planted: Studied) -> None:
    neurons = {PLANTED.layer: [PLANTED.neuron]}
    drawn = donors_of_windows(planted.model, planted.windows, neurons, 512)
    frame = prompt_ablation(planted.model, encode_prompts(planted.model, [fruit_prompt()]), [AN, A], neurons, planted.statistics, drawn)
    clean = frame.filter(variant="clean", ablation="zero", token=" an")
    assert min(clean["before"].to_list()) > 0.9
    assert max(clean["after"].to_list()) < 0.01
    corrupt = frame.filter(variant="corrupt", ablation="zero", token=" an")
    assert corrupt["after"].to_list() == pytest.approx(corrupt["before"].to_list(), abs=1e-3)  # it does not fire there


def test_no_prompts_and_no_neurons_give_no_rows(planted: Studied) -> None:
    drawn = donors_of_windows(planted.model, planted.windows, {}, 512)
    assert prompt_ablation(planted.model, [], [AN], {}, planted.statistics, drawn).height == 0
    prompts = encode_prompts(planted.model, [fruit_prompt()])
    assert prompt_ablation(planted.model, prompts, [AN], {}, planted.statistics, drawn).height == 0


def test_plain_forward_passes_and_continued_runs_say_the_same(tiny: Studied, monkeypatch: pytest.MonkeyPatch) -> None:
    neurons, statistics = {0: [2], 1: [0, 7], 2: [5]}, tiny.statistics
    drawn = donors_of_windows(tiny.model, tiny.windows, neurons, 512)
    prompts, real, calls = encode_prompts(tiny.model, [fruit_prompt()]), prompt_effects._plain, []

    def plain(*args: Any) -> torch.Tensor:
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(prompt_effects, "_plain", plain)
    fast = prompt_ablation(tiny.model, prompts, [AN, A], neurons, statistics, drawn)
    assert not calls
    monkeypatch.setattr(prompt_effects, "_continued", lambda *args: 1.5 * torch.ones(6, 4, 2, 2))  # a wrong shortcut is not published
    slowly = prompt_ablation(tiny.model, prompts, [AN, A], neurons, statistics, drawn)
    assert len(calls) == 4
    assert_frame_equal(fast, slowly, abs_tol=1e-5)


def test_progress_is_told_in_tokens(planted: Studied) -> None:
    neurons, told = {PLANTED.layer: [PLANTED.neuron]}, list[tuple[int, int]]()
    drawn = donors_of_windows(planted.model, planted.windows, neurons, 512)
    prompts = encode_prompts(planted.model, [fruit_prompt()])
    prompt_ablation(planted.model, prompts, [AN], neurons, planted.statistics, drawn, lambda done, total: told.append((done, total)))
    lengths = [len(ids) for _, ids, _ in prompts[0].variants]
    assert told == [(lengths[0], sum(lengths)), (sum(lengths), sum(lengths))]
