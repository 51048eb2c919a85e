"""The models of these tests are those of the histograms' tests."""

import pytest
import torch

from tests.assets.histograms.conftest import one_thread, planted, planted_folder, stories, stories_windows

__all__ = ["numbers_arrive", "one_thread", "planted", "planted_folder", "stories", "stories_windows"]


class Arrival:
    """What says that numbers have been copied while the host went on."""

    def synchronize(self) -> None:
        """They are there."""


@pytest.fixture
def numbers_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many examples are new, which a GPU copies to the host beside its work and which is asked for in the next batch: some number."""
    monkeypatch.setattr("assets.counting.device_contexts.returned", lambda numbers: (torch.full(numbers.shape, 4), Arrival()))
