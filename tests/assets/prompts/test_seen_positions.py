"""What attention sees, heard from the model: windows by their definition, ALiBi by its slopes, and nothing where all is seen."""

from pathlib import Path

import pytest
import torch

from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.prompts.seen_positions import own_window, own_windows_open, seen_positions
from tests.hostile.tiny_models import tiny_model
from tests.model_families import FAMILIES, WINDOW

LENGTH = 11


def loaded(folder: Path, name: str) -> LanguageModel:
    family = FAMILIES[name]
    return load.__wrapped__(tiny_model(folder / "model", family.kind, **family.fields), device="cpu")


def window_of(positions: int, seen: int) -> torch.Tensor:
    """Bool [query, key]: each position sees itself and those right before it, `seen` in all."""
    apart = torch.arange(positions)[:, None] - torch.arange(positions)
    return (apart >= 0) & (apart < seen)


@pytest.mark.parametrize(
    ("name", "is_local"),
    [
        ("GPT-2", [False, False]),
        ("Mistral", [True, True]),
        ("GPT-Neo", [False, True]),
        ("Gemma 2", [True, False]),
        ("OLMo 2", [False, False]),
    ],
)
def test_each_block_sees_its_window_and_nothing_is_kept_of_those_that_see_everything(
    tmp_path: Path, name: str, is_local: list[bool]
) -> None:
    found = seen_positions(loaded(tmp_path, name), LENGTH)
    assert [seen is not None for seen in found] == is_local
    for seen in found:
        if seen is not None:
            assert len(seen.is_seen) >= LENGTH
            assert torch.equal(seen.is_seen, window_of(len(seen.is_seen), WINDOW))
            assert seen.added is None


def test_alibi_of_mpt_falls_by_its_slopes_for_each_position_between(tmp_path: Path) -> None:
    for seen in seen_positions(loaded(tmp_path, "MPT"), LENGTH):
        assert seen is not None
        assert torch.equal(seen.is_seen, window_of(len(seen.is_seen), len(seen.is_seen)))
        bias = seen.key_biases["position_bias"]  # [head, 1, key]; only differences between keys matter
        slopes = torch.tensor([2.0**-4, 2.0**-8])  # of 2 heads: 2^(-8 h / 2)
        assert torch.allclose(bias.diff(dim=-1), slopes[:, None, None].expand(2, 1, bias.shape[-1] - 1))


def test_a_longer_text_is_listened_to_again_and_a_shorter_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded(tmp_path, "Mistral")
    first = seen_positions(model, 5)
    longer = seen_positions(model, 9)
    assert [len(one[0].is_seen) for one in (first, longer) if one[0] is not None] == [8, 16]
    assert seen_positions(model, 5) is longer


def test_windows_that_a_model_keeps_of_its_own_are_put_back_after_a_failure(tmp_path: Path) -> None:
    model = loaded(tmp_path, "GPT-Neo")
    before = [own_window(block) for block in model.bridge.blocks]
    kept = [window.clone() for window in before if window is not None]

    def fail() -> None:
        with own_windows_open(model):
            opened = [window for block in model.bridge.blocks if (window := own_window(block)) is not None]
            assert all(bool(window[0, 0, :32, :32].all()) for window in opened)
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        fail()
    after = [own_window(block) for block in model.bridge.blocks]
    assert [one is other for one, other in zip(before, after, strict=True)] == [True, True]
    assert all(torch.equal(one, other) for one, other in zip(kept, after, strict=True) if other is not None)
