"""Kept positions on a whole model: what it computes there, whatever the shards; and what a pass on another device than the CPU keeps."""

import functools

import numpy as np
import polars as pl
import pytest
import torch

from assets.counting.histograms import FURTHER_OUTCOMES, ActivationBins, Histograms, merge
from assets.counting.kept_positions import KEPT_TENSORS, quotas
from assets.histograms.activation_bins import calibrated_bins
from assets.histograms.activation_histograms import count_windows
from assets.model.language_model import LanguageModel
from assets.model.vocabulary import token_id
from assets.study import CalibratedBins

KEPT = 200


@pytest.fixture(scope="module")
def bins(stories: LanguageModel, stories_windows: pl.DataFrame) -> ActivationBins:
    return calibrated_bins(stories, stories_windows, CalibratedBins(), 256)


@pytest.fixture(scope="module")
def tracked(stories: LanguageModel) -> list[int]:
    return [token_id(stories, text) for text in (" the", " a", ".", " was")]


def count(model: LanguageModel, windows: pl.DataFrame, bins: ActivationBins, tracked: list[int]) -> Histograms:
    return count_windows(
        model, windows, bins, tracked, count_bos=False, examples=2, batch_positions=256, outcomes=FURTHER_OUTCOMES, kept_positions=KEPT
    )  # fmt: skip


def test_kept_activations_are_the_models_own_at_those_positions(
    stories: LanguageModel, stories_windows: pl.DataFrame, bins: ActivationBins, tracked: list[int]
) -> None:
    kept = count(stories, stories_windows, bins, tracked)
    ids = {(row["document"], row["window_in_document"]): row["token_ids"] for row in stories_windows.iter_rows(named=True)}
    activations: list[torch.Tensor] = []
    streams: list[torch.Tensor] = []
    hooks = [
        block.mlp.down_proj.register_forward_pre_hook(lambda module, given: activations.append(given[0]))
        for block in stories.plain.model.layers
    ] + [stories.plain.model.norm.register_forward_pre_hook(lambda module, given: streams.append(given[0]))]
    used = np.flatnonzero(kept["kept_document"] >= 0)
    assert used.size > 100
    for row in used[::9]:
        document, window, position = (int(kept[f"kept_{part}"][row]) for part in ("document", "window", "position"))
        activations.clear()
        streams.clear()
        with torch.inference_mode():
            logits = stories.plain(torch.tensor([ids[document, window]])).logits[0, position]
        own = torch.stack([layer[0, position] for layer in activations]).numpy()
        np.testing.assert_allclose(kept["kept_activations"][row], own, rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(kept["kept_residual"][row], streams[0][0, position].numpy(), rtol=1e-4, atol=1e-4)
        assert kept["kept_prediction"][row] == int(logits.argmax())
        follows = ids[document, window][position + 1] if position + 1 < len(ids[document, window]) else -1
        assert kept["kept_next_token"][row] == follows
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("number", [2, 5])
def test_any_shards_keep_the_same_bit_for_bit(
    stories: LanguageModel, stories_windows: pl.DataFrame, bins: ActivationBins, tracked: list[int], number: int
) -> None:
    whole = count(stories, stories_windows, bins, tracked)
    merged = functools.reduce(merge, [count(stories, stories_windows[start::number], bins, tracked) for start in range(number)])
    for name in KEPT_TENSORS:
        np.testing.assert_array_equal(merged[name], whole[name], err_msg=name)


def test_half_are_background_and_the_rest_is_shared_by_tokens_and_outcomes() -> None:
    assert (quotas(8192, range(4), ("next_token",)).background, quotas(8192, range(4), ("next_token",)).of_token) == (4096, 256)
    assert quotas(8192, range(20), ("next_token", "probability")).of_token == 102  # 4,096 / (20 tokens x 2 outcomes)
    assert quotas(8192, range(20), ()).of_token == 204
    assert quotas(1, [5], ()).background == 1
