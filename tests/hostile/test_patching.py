"""Models in which patching and ablation could be wrong without a word: refused with the reason, or right after all."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from assets.ablation.donors import Donors, Neurons, donors_of_windows
from assets.ablation.neuron_ablation import neuron_ablation
from assets.ablation.prompt_ablation import prompt_ablation
from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.model.refusals import UnsupportedModelError
from assets.prompts import continuation
from assets.prompts.activation_patching import activation_patching
from assets.prompts.logit_lens import logit_lens
from assets.prompts.neuron_inputs import neuron_inputs, prompt_contexts
from assets.prompts.neuron_patching import neuron_patching
from assets.prompts.prompts import EncodedPrompt, encode_prompts
from tests.assets.ablation.small_corpus import pairs_of, sampled_at, windows_of
from tests.assets.prompts.conftest import fruit_prompt
from tests.hostile.tiny_models import COMMON, GROUPED, tiny_model
from tests.slow_patching import plain_model


def loaded(folder: Path, family: str, **fields: object) -> LanguageModel:
    load.cache_clear()
    return load(tiny_model(folder / "model", family, **fields), device="cpu")


def prompt_of(model: LanguageModel) -> EncodedPrompt:
    """Eight words, of which the fifth differs."""
    return encode_prompts(model, [fruit_prompt()])[0]


@pytest.fixture
def whole_text_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if attention saw all that came before, and added nothing by distance, in every model."""
    monkeypatch.setattr(continuation, "seen_positions", lambda model, length: [None] * model.facts.layers)


def test_attention_of_which_it_is_not_known_what_it_sees_is_refused_by_either_patching(tmp_path: Path, whole_text_seen: None) -> None:
    model = loaded(tmp_path, "mistral", **GROUPED, sliding_window=3)
    for patching in (activation_patching, neuron_patching):
        with pytest.raises(
            UnsupportedModelError, match=r"patching .* in a plain forward pass .* attention sees other positions than is known"
        ):
            patching(model, [prompt_of(model)])


def test_attention_in_a_window_is_patched_whether_it_holds_the_prompt_or_not(tmp_path: Path) -> None:
    for window in (3, 9):
        model = loaded(tmp_path, "mistral", **GROUPED, sliding_window=window)
        assert activation_patching(model, [prompt_of(model)]).height > 0
        assert neuron_patching(model, [prompt_of(model)]).height > 0


def test_attention_that_is_not_known_to_see_less_than_a_corpus_window_is_refused_though_the_first_position_is_within_it(
    tmp_path: Path, whole_text_seen: None
) -> None:
    model = loaded(tmp_path, "mistral", **GROUPED, sliding_window=6)
    long = [0, *torch.randint(2, 25, (24,), generator=torch.Generator().manual_seed(1)).tolist()]
    windows = windows_of([long])
    statistics = pl.DataFrame(
        {
            "layer": pl.Series([0] * 24 + [1] * 24, dtype=pl.Int32),
            "neuron": pl.Series(list(range(24)) * 2, dtype=pl.Int32),
            "mean": 0.0,
            "share_above_zero": 0.5,
        }
    )
    with torch.inference_mode():
        predictions = model.bridge(torch.tensor([long]), use_cache=False)[0].argmax(-1)
    early = int(predictions[2])  # a token that is predicted where the attention still sees everything
    positions = [position for position in range(1, 23) if int(predictions[position]) == early]
    sampled = sampled_at([("top_prediction", early, 0, 0, position) for position in positions])
    told = windows.select("document", "window_in_document", predictions=pl.Series([predictions.tolist()])).lazy()

    def donors_of(chosen: Neurons) -> Donors:
        return donors_of_windows(model, windows, chosen, 256)

    with pytest.raises(
        UnsupportedModelError, match=r"ablating layer 0 neuron \d+ changes a logit by .* attention sees other positions than"
    ):
        neuron_ablation(model, windows.lazy(), told, sampled, pairs_of([(early, 0, 3)]), statistics, 24, donors_of, controls=3)


def test_a_model_that_takes_no_mask_of_its_own_form_is_refused_in_a_sentence(tmp_path: Path, whole_text_seen: None) -> None:
    model = loaded(tmp_path, "bloom", hidden_size=16, n_layer=2, n_head=2)
    for patching in (activation_patching, neuron_patching):
        with pytest.raises(UnsupportedModelError, match=r"model BloomForCausalLM: its code does not take a mask .*; choose another model"):
            patching(model, [prompt_of(model)])


def test_a_norm_without_gain_and_without_a_named_epsilon_is_read_all_the_same(tmp_path: Path) -> None:
    model = loaded(tmp_path, "olmo", **{**COMMON, "num_key_value_heads": 2})
    prompt, plain = prompt_of(model), plain_model(tmp_path / "model")
    seen = []
    handle = plain.model.layers[1].mlp.gate_proj.register_forward_hook(lambda module, args, output: seen.append(output[0, -1]))
    with torch.inference_mode():
        logits = plain(torch.tensor([list(prompt.clean)]), use_cache=False).logits[0, -1]
    handle.remove()
    sums = neuron_inputs(model, prompt_contexts([prompt], [(1, 4)]))["neuron_inputs"].filter(variant="clean")["contribution"].sum()
    assert sums == pytest.approx(float(seen[0][4]), abs=1e-4)
    last = logit_lens(model, [prompt]).filter(variant="clean", layer=1, point="mlp")
    difference = float(logits[prompt.answer_id] - logits[prompt.wrong_answer_id])
    assert last["difference"].to_list() == pytest.approx([difference] * 3, abs=1e-4)


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("bloom", {"hidden_size": 16, "n_layer": 2, "n_head": 2}),  # takes no mask of the continuation's form
        ("mistral", {**GROUPED, "sliding_window": 3}),  # its attention sees less than the prompt
    ],
)
def test_on_prompts_a_model_that_the_shortcut_does_not_fit_is_ablated_by_plain_forward_passes(
    tmp_path: Path, family: str, fields: dict[str, object], whole_text_seen: None
) -> None:
    model = loaded(tmp_path, family, **fields)
    prompt, layer, neuron = prompt_of(model), 0, 3
    statistics = pl.DataFrame({"layer": [0] * 4, "neuron": list(range(4)), "mean": [0.25] * 4})
    drawn = Donors({0: torch.tensor([[0.5]])}, np.array([7]), {0: [neuron]})
    made = prompt_ablation(model, [prompt], [5, 9], {layer: [neuron]}, statistics, drawn)
    for positions in ("all", "last"):

        def replace(activations: torch.Tensor, hook: object, positions: str = positions) -> torch.Tensor:
            activations[:, 0 if positions == "all" else -1 :, neuron] = 0.25
            return activations

        with torch.inference_mode(), model.bridge.hooks(fwd_hooks=[(model.neuron_hook(layer), replace)]):
            after = model.bridge(torch.tensor([list(prompt.clean)]), use_cache=False)[0, -1].softmax(-1)
        rows = made.filter(variant="clean", ablation="mean", positions=positions)
        assert rows["after"].to_list() == pytest.approx(after[[5, 9]].tolist(), abs=1e-6)
        assert rows["after"].to_list() != pytest.approx(rows["before"].to_list(), abs=1e-6)
