"""Streams near a known one, read with a few of their logits: against the whole logits of each, in double precision."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from assets.ablation import near_readout
from assets.ablation.near_readout import LONGEST_HEAD, NearReadout
from assets.ablation.readout import Readout, Target, read_stream

WIDTH, VOCABULARY = 48, 12_000
TARGET = Target(position=3, token_id=11_000, next_token_id=5)


class Known:
    """A made-up unembedding, and a stream whose probabilities fall off as a model's do: `sharpness` tells how fast."""

    def __init__(self, sharpness: float, cap: float | None = None, factor: float = 1.0) -> None:
        random = torch.Generator().manual_seed(3)
        cfg = SimpleNamespace(output_logits_soft_cap=cap)

        def transformed(product: torch.Tensor) -> torch.Tensor:
            product = product * factor
            return product if cap is None else cap * torch.tanh(product / cap)

        bridge = SimpleNamespace(cfg=cfg, adapter=SimpleNamespace(apply_output_logits_transform=transformed))
        model: Any = SimpleNamespace(bridge_if_known=bridge, bridge=bridge)
        unembedding = torch.randn(WIDTH, VOCABULARY, generator=random) / WIDTH**0.5
        bias = torch.randn(VOCABULARY, generator=random) / 10
        self.readout = Readout(model, lambda stream: stream * 2 / stream.norm(dim=-1, keepdim=True) * sharpness, unembedding, bias)
        self.stream = torch.randn(WIDTH, generator=random)
        self.near = NearReadout.of(self.readout, self.stream, self.readout.logits(self.stream[None])[0], TARGET)

    def moved(self, sizes: torch.Tensor) -> torch.Tensor:
        """Streams [variant, width], each moved by a length of its own in a direction of its own."""
        directions = torch.randn(len(sizes), WIDTH, generator=torch.Generator().manual_seed(4))
        return self.stream + sizes[:, None] * directions / directions.norm(dim=1, keepdim=True)

    def exactly(self, streams: torch.Tensor) -> np.ndarray:
        """The same from whole logits in double precision, [variant, READ]."""
        readout = self.readout
        double = Readout(readout.model, readout.norm, readout.unembedding.double(), readout.bias.double())
        normed = readout.norm(streams.double())
        logits = readout.model.bridge.adapter.apply_output_logits_transform(normed @ double.unembedding + double.bias)
        whole, own, following = logits.logsumexp(-1), logits[:, TARGET.token_id], logits[:, TARGET.next_token_id]
        return torch.stack([own - whole, logits.argmax(-1).double(), whole - following, own], dim=1).numpy()


@pytest.fixture
def wholly_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many variants each call read whole."""
    counts: list[int] = []

    def counted(readout: Readout, stream: torch.Tensor, target: Target) -> torch.Tensor:
        counts.append(len(stream))
        return read_stream(readout, stream, target)

    monkeypatch.setattr(near_readout, "read_stream", counted)
    return counts


@pytest.mark.parametrize("factor", [1.0, 0.25])
@pytest.mark.parametrize("sharpness", [2.0, 4.0, 8.0])
def test_variants_of_any_size_read_as_their_whole_logits_do(sharpness: float, factor: float, wholly_read: list[int]) -> None:
    known = Known(sharpness / factor, factor=factor)
    streams = known.moved(torch.logspace(-5, 1, 400) * known.stream.norm() / 10)
    assert known.near is not None
    found, exact = known.near.read(streams).numpy(), known.exactly(streams)
    np.testing.assert_allclose(found[:, [0, 2, 3]], exact[:, [0, 2, 3]], rtol=0, atol=3e-6)
    np.testing.assert_array_equal(found[:, 1], exact[:, 1])
    assert 20 < sum(wholly_read) < 380  # the largest are read whole, the smallest are not


def test_a_token_of_the_rest_that_becomes_the_top_prediction_is_seen(wholly_read: list[int]) -> None:
    """Where the rest has next to no probability, its variance cannot tell."""
    known = Known(100.0)
    assert known.near is not None
    assert known.near.share < 1e-12
    unlikely = next(entry for entry in range(VOCABULARY) if entry not in known.near.head)
    streams = torch.stack([known.readout.unembedding[:, unlikely], known.stream])
    read = known.near.read(streams)
    assert read[0, 1] == unlikely
    assert wholly_read == [1]
    np.testing.assert_allclose(read.numpy(), known.exactly(streams), atol=1e-3)


def test_what_is_no_number_is_read_whole_as_ever(wholly_read: list[int]) -> None:
    known = Known(4.0)
    assert known.near is not None
    read = known.near.read(torch.stack([known.stream, torch.full((WIDTH,), torch.nan)]))
    assert wholly_read == [1]
    assert torch.isnan(read[1, [0, 2, 3]]).all()
    assert torch.isfinite(read[0]).all()


def test_capped_logits_and_small_vocabularies_are_read_whole() -> None:
    assert Known(4.0, cap=30.0).near is None
    known = Known(4.0)
    few = Readout(
        known.readout.model, known.readout.norm, known.readout.unembedding[:, : LONGEST_HEAD * 2], known.readout.bias[: LONGEST_HEAD * 2]
    )
    target = Target(3, 5, 7)
    assert NearReadout.of(few, known.stream, few.logits(known.stream[None])[0], target) is None
