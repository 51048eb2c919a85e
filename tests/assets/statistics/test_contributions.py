"""Contributions against direct logit attribution in plain code, position by position; signs, ends, and who writes in planted models."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from assets.histograms.activation_bins import fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.statistics.contributions import NEURONS_OF_END, WRITES, WRITES_AGAINST, contributions
from assets.study import FixedBins
from tests.assets.congruence.tiny_models import FAMILIES, tiny_model
from tests.assets.counting.made_batches import windows_frame
from tests.planted import PLANTED, planted_corpus, planted_model, planted_token_id
from tests.told import steps_told

TRACKED = [2, 6, 4]


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("contributions") / request.param, request.param)


def random_windows() -> pl.DataFrame:
    generator = torch.Generator().manual_seed(5)
    return windows_frame(
        [[0, *torch.randint(1, 30, (length,), generator=generator).tolist()] for length in (9, 20, 31, 14, 27, 30, 31, 31)]
    )


def counted(
    model: LanguageModel, windows: pl.DataFrame, tracked: list[int], screened: range, min_count: int = 1
) -> tuple[pl.DataFrame, pl.DataFrame]:
    facts = model.facts
    bins = fixed_bins(facts.layers, facts.neurons, FixedBins())
    with torch.inference_mode():
        histograms = count_windows(
            model, windows, bins, tracked, count_bos=False, examples=1, batch_positions=128, screened_ids=screened
        )  # fmt: skip
    found = contributions(model, histograms, tracked, min_count)
    return found.every, found.screen


def plain_norm(model: Any) -> Any:
    """The norm behind the last block of plain code."""
    base = model.base_model
    return next(getattr(base, name) for name in ("ln_f", "norm", "final_layer_norm") if hasattr(base, name))


def direct_effects(folder: Path, windows: pl.DataFrame) -> tuple[np.ndarray, list[int]]:
    """What each neuron adds to each logit at every position, float64 [position, layer, neuron, token], and the predictions there.

    The final norm is a linear map once its scale is fixed: what a neuron writes is sent through it and the unembedding by itself.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(folder), attn_implementation="eager", dtype=torch.float32).eval()
    names = ("mlp.c_proj", "mlp.down_proj", "mlp.dense_4h_to_h")
    maps = [module for name, module in model.named_modules() if name.endswith(names)]
    seen: list[torch.Tensor] = []
    for module in (*maps, plain_norm(model)):
        module.register_forward_pre_hook(lambda module, given: seen.append(given[0][0].double()))
    writes = [
        module.weight.double() if type(module).__name__ == "Conv1D" else module.weight.double().T for module in maps
    ]  # [neuron, width]
    norm, unembedding = plain_norm(model), model.get_output_embeddings().weight.double()
    gain = norm.weight.double() + (1 if "Gemma" in type(norm).__name__ else 0)
    effects, predictions = [], []
    with torch.no_grad():
        for ids in windows["token_ids"].to_list():
            seen.clear()
            predictions += model(torch.tensor([ids])).logits[0, 1:].argmax(-1).tolist()
            *activations, stream = seen
            for position in range(1, len(ids)):
                here = stream[position]
                centre = here.mean() if isinstance(norm, torch.nn.LayerNorm) else 0.0
                epsilon = norm.eps if hasattr(norm, "eps") else norm.variance_epsilon
                scale = ((here - centre).square().mean() + epsilon).sqrt()
                by_layer = []
                for layer, weights in enumerate(writes):
                    written = activations[layer][position][:, None] * weights  # [neuron, width]
                    if isinstance(norm, torch.nn.LayerNorm):
                        written = written - written.mean(-1, keepdim=True)
                    by_layer.append((written / scale * gain) @ unembedding.T)
                effects.append(torch.stack(by_layer).numpy())
    return np.stack(effects), predictions


def test_contributions_are_those_of_direct_logit_attribution_position_by_position(folder: Path) -> None:
    windows, model = random_windows(), load.__wrapped__(folder, device="cpu")
    every, screen = counted(model, windows, TRACKED, range(len(model.token_texts)))
    effects, predictions = direct_effects(folder, windows)
    predicted = np.array(predictions)
    there_is = [token for token in TRACKED if 0 < (predicted == token).sum() < len(predicted)]
    assert every["token_id"].unique(maintain_order=True).to_list() == there_is
    for token in sorted(set(predictions)):
        is_here = predicted == token
        there, elsewhere = effects[is_here, :, :, token].mean(0), effects[~is_here, :, :, token].mean(0)
        expected = {"contribution_where_predicted": there, "contribution_elsewhere": elsewhere, "contribution": there - elsewhere}
        for frame in (every, screen):
            rows = frame.filter(token_id=token)
            for name, values in expected.items():
                found = rows[name].to_numpy()
                at = values[rows["layer"].to_numpy(), rows["neuron"].to_numpy()]
                np.testing.assert_allclose(found, at, atol=2e-5 * np.abs(effects).max(), err_msg=f"{token} {name}")
        # The ends are the largest and the smallest of all neurons, in order.
        for end, sign in ((WRITES, 1), (WRITES_AGAINST, -1)):
            best = np.sort(sign * (there - elsewhere).reshape(-1))[::-1][:NEURONS_OF_END]
            rows = screen.filter(token_id=token, end=end).sort("rank")
            np.testing.assert_allclose(
                sign * rows["contribution"].to_numpy(), best[best > 0][: rows.height], atol=2e-5 * np.abs(effects).max()
            )
            assert rows["rank"].to_list() == list(range(1, rows.height + 1))


def test_without_a_screen_and_for_tokens_predicted_nowhere_there_is_none(folder: Path) -> None:
    model = load.__wrapped__(folder, device="cpu")
    for frame in counted(model, random_windows(), TRACKED, range(0)):
        assert frame.is_empty()


def test_rare_tokens_stand_in_no_screen_but_a_tracked_one_is_told(tmp_path: Path) -> None:
    model = load.__wrapped__(tiny_model(tmp_path / "gpt2", "gpt2"), device="cpu")
    every, screen = counted(model, random_windows(), list(range(30)), range(30), min_count=12)
    rare = set(every["token_id"]) - set(screen["token_id"])
    assert rare
    assert set(screen["predictions"].to_list()) <= set(range(12, 1000))


def test_negating_the_weights_into_and_out_of_gated_neurons_changes_no_contribution(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    windows, found = random_windows(), []
    for place in range(2):
        folder = tiny_model(tmp_path / str(place), "llama")
        if place:
            model = AutoModelForCausalLM.from_pretrained(str(folder))
            with torch.no_grad():
                for layer in model.model.layers:
                    flipped = torch.arange(layer.mlp.up_proj.out_features) % 2 == 0
                    layer.mlp.up_proj.weight[flipped] *= -1
                    layer.mlp.down_proj.weight[:, flipped] *= -1
            model.save_pretrained(str(folder))
        found.append(counted(load.__wrapped__(folder, device="cpu"), windows, TRACKED, range(30)))
    for one, other in zip(*found, strict=True):
        flips = pl.when(pl.col("neuron") % 2 == 0).then(-pl.col("congruence")).otherwise(pl.col("congruence"))
        assert one.with_columns(congruence=flips).equals(other)


def test_the_planted_neuron_writes_its_token(tmp_path: Path) -> None:
    model = load.__wrapped__(planted_model(tmp_path / "model"), device="cpu")
    texts = pl.read_ndjson(planted_corpus(tmp_path))["text"]
    windows = windows_frame([[0, *model.tokenizer(text, add_special_tokens=False)["input_ids"]] for text in texts])
    every, screen = counted(model, windows, [planted_token_id(" an")], range(len(model.token_texts)), min_count=5)
    first, second = screen.filter(token=" an", end=WRITES).sort("rank").head(2).iter_rows(named=True)
    assert (first["layer"], first["neuron"]) == (PLANTED.layer, PLANTED.neuron)
    assert first["contribution"] > 3 * second["contribution"]
    assert every.height == model.facts.layers * model.facts.neurons


def test_progress_counts_layers(tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "gpt2", "gpt2"), device="cpu")
    layers = model.facts.layers
    bins = fixed_bins(layers, model.facts.neurons, FixedBins())
    windows = random_windows()
    histograms = count_windows(model, windows, bins, [2], count_bos=False, examples=1, batch_positions=128, screened_ids=range(4))
    steps = steps_told(lambda progress: contributions(model, histograms, [2], 1, progress))
    assert steps == list(range(1, layers + 1))
