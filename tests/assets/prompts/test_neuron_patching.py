"""Neuron patching against one whole forward pass for every neuron, and what it must leave alone."""

import hashlib
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from assets.contracts import NEURON_PATCHING
from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.model.refusals import ModelError
from assets.prompts import neuron_patching as module
from assets.prompts.continuation import fast_activation
from assets.prompts.neuron_patching import neuron_patching
from assets.prompts.prompts import EncodedPrompt, PromptError, encode_prompts
from assets.prompts.replaced_forward import replaced_forward
from assets.study import Prompt
from tests import slow_patching as slow
from tests.assets.prompts.conftest import Loaded
from tests.assets.prompts.tiny_models import LAYERS, NEURONS
from tests.planted import DEFAULT, INDIRECT, PLANTED, SILENT
from tests.real_inputs import SHARED_REAL
from tests.told import steps_told


def assert_same_as_slow(plain: Any, frame: pl.DataFrame, prompt: EncodedPrompt) -> None:
    corrupt_ids, answers = prompt.corrupt or (), (prompt.answer_id, prompt.wrong_answer_id)
    clean, corrupt = (slow.difference(plain, ids, answers) for ids in (prompt.clean, corrupt_ids))
    for row in frame.iter_rows(named=True):
        patched = slow.neuron_difference(plain, prompt.clean, corrupt_ids, answers, row["layer"], row["neuron"], row["positions"])
        assert row["difference"] == pytest.approx(patched, abs=1e-4)
        assert row["improvement"] == pytest.approx(slow.improvement(patched, clean, corrupt), abs=1e-4, rel=1e-4)


PAIRS = {
    "one token in the middle": ("I climbed up the apple tree and picked", "I climbed up the lemon tree and picked"),
    "the last token": ("I climbed up the apple", "I climbed up the lemon"),
    "every token": ("I climbed up the apple tree", " the pear was ripe, though"),
    "a single token": ("I", "An"),
    "sixteen tokens": (
        "I rested in the shade. I climbed up the tree and then I picked",
        "I rested under the shade. I climbed up the pear and then I ate",
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_every_neuron_equals_its_own_forward_pass(tiny: Loaded, pair: str) -> None:
    text, corrupt = PAIRS[pair]
    prompt = tiny.encode(text=text, corrupt=corrupt)
    frame = neuron_patching(tiny.model, [prompt])
    assert frame.schema == NEURON_PATCHING.schema
    assert frame.height == 2 * LAYERS * NEURONS
    assert_same_as_slow(tiny.plain, frame, prompt)


def test_activations_are_those_of_the_last_position(tiny: Loaded) -> None:
    prompt = tiny.encode()
    for row in neuron_patching(tiny.model, [prompt], [1]).iter_rows(named=True):
        for column, ids in (("clean_activation", prompt.clean), ("corrupt_activation", prompt.corrupt or ())):
            expected = slow.input_of(tiny.plain, slow.down_projection(tiny.plain, 1), ids)[-1, row["neuron"]]
            assert row[column] == pytest.approx(float(expected), abs=1e-5)


def test_the_size_of_a_batch_does_not_change_a_result(tiny: Loaded) -> None:
    prompts = [tiny.encode(), tiny.encode(name="other", text="I climbed", corrupt="I rested")]
    large, small = neuron_patching(tiny.model, prompts), neuron_patching(tiny.model, prompts, tokens_in_batch=1)
    assert large.drop("difference", "improvement").equals(small.drop("difference", "improvement"))
    assert large["improvement"].to_list() == pytest.approx(small["improvement"].to_list(), abs=1e-4)


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A few neurons are tried at a time; how many each time."""
    numbers: list[int] = []
    run = module._Patches.__call__

    def counted(patches: Any, neurons: torch.Tensor) -> torch.Tensor:
        numbers.append(len(neurons))
        return run(patches, neurons)

    monkeypatch.setattr(module._Patches, "__call__", counted)
    monkeypatch.setattr(module, "LEAST_TRIED", 8)
    monkeypatch.setattr(module, "LEAST_TOKENS", 8)
    return numbers


def almost_the_same(loaded: Loaded) -> EncodedPrompt:
    """A pair whose activations differ so little that most patches are linear: the clean run is the corrupt one but for its first token."""
    return loaded.encode(text="I climbed up the apple tree and picked", corrupt="An climbed up the apple tree and picked")


def test_patches_that_are_linear_to_within_what_is_allowed_are_told_by_their_gradient(
    tiny: Loaded, patched: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = almost_the_same(tiny)
    monkeypatch.setattr(module, "LINEAR", 0.0)
    whole = neuron_patching(tiny.model, [prompt])
    every = sum(patched)
    patched.clear()
    monkeypatch.setattr(module, "LINEAR", 1e-2)
    monkeypatch.setattr(module, "require_plain_forward_agrees", lambda *given: None)  # which would not allow so much
    some = neuron_patching(tiny.model, [prompt])
    assert 0 < sum(patched) < every
    assert max(patched) == 8
    assert 0 < (whole["difference"] - some["difference"]).abs().max() < 2e-2  # type: ignore[operator]


@pytest.mark.parametrize("wrong", [0.0, 3.0, float("nan")])
def test_a_gradient_that_does_not_hold_is_not_taken(
    tiny: Loaded, patched: list[int], monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    prompt, gradients = almost_the_same(tiny), module.neuron_gradients
    monkeypatch.setattr(module, "neuron_gradients", lambda model, runs: gradients(model, runs) * wrong)
    frame = neuron_patching(tiny.model, [prompt])
    monkeypatch.setattr(module, "LINEAR", 0.0)
    taken = sum(patched)
    neuron_patching(tiny.model, [prompt])
    assert sum(patched) == 2 * taken
    assert_same_as_slow(tiny.plain, frame, prompt)


def test_some_of_all_that_would_be_left_are_tried_beside_the_next() -> None:
    tried, left = module._next_and_some_beside(torch.arange(100), 8)
    assert tried.tolist() == [0, 1, 2, 3, 4, 5, 6, 99]
    assert left.tolist() == list(range(7, 99))
    for number in (1, 7, 8, 9):
        tried, left = module._next_and_some_beside(torch.arange(number), 8)
        assert sorted([*tried.tolist(), *left.tolist()]) == list(range(number))


def test_only_the_chosen_layers_are_patched_and_to_the_same_values(tiny: Loaded) -> None:
    prompt = tiny.encode()
    some, every = neuron_patching(tiny.model, [prompt], [2, 0]), neuron_patching(tiny.model, [prompt])
    assert some["layer"].unique().sort().to_list() == [0, 2]
    same = every.filter(pl.col("layer") != 1)
    assert some["neuron"].to_list() == same["neuron"].to_list()
    assert some["improvement"].to_list() == pytest.approx(same["improvement"].to_list(), abs=1e-5)


def test_the_planted_neuron_alone_restores_the_answer(planted: Loaded) -> None:
    frame = neuron_patching(planted.model, [planted.encode()])
    for positions in ("all", "last"):
        best = frame.filter(positions=positions).sort("improvement", descending=True)
        assert best.select("layer", "neuron").row(0) == (PLANTED.layer, PLANTED.neuron)
        # Length of the stream: " picked" and a fruit 1 each, " an" 4.22, "An" 2.11, " a" 2.26, " the" 1.5; gain 8 x 1.25.
        length = (2 + 4.22**2 + 2.11**2 + 2.26**2 + 1.5**2) ** 0.5
        assert best["difference"][0] == pytest.approx((4.22 - 2.26) * 10 / length, abs=0.1)
        assert best["improvement"][0] == pytest.approx(1, abs=0.02)
        assert best["improvement"][1] < 0.02
        assert (best["clean_activation"][0], best["corrupt_activation"][0]) == pytest.approx((4.22, 0), abs=0.05)


def test_neurons_that_do_the_same_in_both_prompts_change_nothing(planted: Loaded) -> None:
    frame = neuron_patching(planted.model, [planted.encode()])
    for role, noise in ((SILENT, 0), (INDIRECT, 0.001), (DEFAULT, 0.01)):  # the noise is what layer 0's seeded neurons make of the fruit
        rows = frame.filter(layer=role.layer, neuron=role.neuron)
        assert rows["improvement"].to_list() == pytest.approx([0, 0], abs=noise)


def fingerprint(model: LanguageModel) -> tuple[Any, ...]:
    """Weights, hooks, replaced methods and what the model computes."""
    weights = hashlib.sha256(b"".join(value.numpy().tobytes() for value in model.bridge.state_dict().values())).hexdigest()
    hooks = [
        (name, len(part._forward_hooks), len(part._forward_pre_hooks), "forward" in part.__dict__)
        for name, part in model.bridge.named_modules()
    ]
    points = [(name, len(point.fwd_hooks), len(point.bwd_hooks)) for name, point in model.bridge.hook_dict.items()]
    with torch.inference_mode():
        logits = model.bridge(torch.tensor([[0, 2, 12]]), use_cache=False)
    gradients = [parameter.requires_grad or parameter.grad is not None for parameter in model.bridge.parameters()]
    return weights, hooks, points, logits.numpy().tobytes(), any(gradients), torch.is_grad_enabled()


def test_the_shared_model_is_left_as_it_was(tiny: Loaded) -> None:
    fingerprint(tiny.model)  # the first forward pass of a bridge wires hooks of its own
    before = fingerprint(tiny.model)
    neuron_patching(tiny.model, [tiny.encode()])
    assert fingerprint(tiny.model) == before


def test_the_shared_model_is_left_as_it_was_after_an_exception(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprint(tiny.model)
    before = fingerprint(tiny.model)

    def fail(*_: object) -> None:
        with fast_activation(tiny.model), replaced_forward(dict.fromkeys(tiny.model.bridge.blocks, fail)):
            raise MemoryError

    monkeypatch.setattr("assets.prompts.continuation.answer_logits", fail)
    with pytest.raises(MemoryError):
        neuron_patching(tiny.model, [tiny.encode()])
    assert fingerprint(tiny.model) == before


def test_a_pair_that_does_not_move_the_answer_is_refused(planted: Loaded) -> None:
    same = planted.encode(name="same", text="I rested", corrupt=" I rested")
    with pytest.raises(PromptError, match="prompt same: .*undefined"):
        neuron_patching(planted.model, [same])


def test_a_layer_that_does_not_exist_is_refused(planted: Loaded) -> None:
    with pytest.raises(ModelError, match=r"layers \[3\] do not exist; the model has layers 0 to 2"):
        neuron_patching(planted.model, [planted.encode()], [1, 3])


def test_a_model_whose_neurons_do_not_write_by_their_output_weights_is_refused(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.activation_change
    monkeypatch.setattr(module, "activation_change", lambda *args: 1.5 * real(*args))
    with pytest.raises(ModelError, match=r"patching layer 0 neuron \d+ gives .* in a plain forward pass"):
        neuron_patching(tiny.model, [tiny.encode()])


def test_a_bfloat16_model_agrees_with_its_float32_twin_to_its_own_rounding(tiny: Loaded) -> None:
    rounded = load(tiny.folder, dtype="bfloat16", device="cpu")
    prompt = tiny.encode()
    exact, coarse = neuron_patching(tiny.model, [prompt]), neuron_patching(rounded, [prompt])
    largest = float(slow.logits(tiny.plain, prompt.clean).abs().max())
    assert float(np.abs(exact["difference"] - coarse["difference"]).max()) < 0.05 * largest  # bfloat16 keeps 8 bits: 0.4 % a step


@pytest.mark.skipif(not (SHARED_REAL / "stories260k").is_dir(), reason=f"no real model in {SHARED_REAL}; set NEURON_ATLAS_REAL")
def test_a_sample_of_a_real_gated_model_equals_one_forward_pass_per_neuron() -> None:
    folder = SHARED_REAL / "stories260k"
    model, plain = load(folder, device="cpu"), slow.plain_model(folder)
    start = "Once upon a time, there was a little"
    lily = Prompt(name="lily", text=f"{start} girl.", corrupt=f"{start} boy.", answer=" She", wrong_answer=" He")
    prompt = encode_prompts(model, [lily])[0]
    frame = neuron_patching(model, [prompt])
    assert frame.height == 2 * 5 * 172
    strongest = frame.sort(pl.col("improvement").abs(), descending=True).group_by("positions", "layer", maintain_order=True).head(3)
    assert_same_as_slow(plain, pl.concat([strongest.select(frame.columns), frame.sample(20, seed=1)]), prompt)


def test_progress_counts_what_each_layer_costs(tiny: Loaded) -> None:
    prompt = tiny.encode(text="I climbed up the apple tree and picked", corrupt="I climbed up the lemon tree and picked")
    changed = len(prompt.clean) - next(
        place for place, pair in enumerate(zip(prompt.clean, prompt.corrupt or (), strict=True)) if len(set(pair)) > 1
    )
    steps = steps_told(lambda progress: neuron_patching(tiny.model, [prompt], progress=progress))
    costs = [NEURONS * changed * blocks for blocks in range(LAYERS, 0, -1)] + [NEURONS * blocks for blocks in range(LAYERS, 0, -1)]
    assert steps == np.cumsum(costs).tolist()
