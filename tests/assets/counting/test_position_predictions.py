"""The predictions that a pass keeps: each where it stood in the text, whatever the order of batches and however late they arrive."""

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from assets.contracts import POSITION_PREDICTIONS
from assets.counting.position_predictions import PositionPredictions
from tests.assets.counting.made_batches import made_batch, random_batches


class OfGpu(PositionPredictions):
    """Waits for predictions as for those of a GPU: they are on the host when they are asked for, and not before."""

    def _to_host(self, predictions: torch.Tensor) -> Any:
        here = torch.full_like(predictions, -1)
        return here, Arrival(here, predictions.clone())


class Arrival:
    """What says that predictions have arrived."""

    def __init__(self, here: torch.Tensor, predictions: torch.Tensor) -> None:
        self.here, self.predictions = here, predictions

    def synchronize(self) -> None:
        """They are there from now on."""
        self.here.copy_(self.predictions)


def made(seed: int) -> list[tuple[Any, np.ndarray]]:
    return [(batch, predictions) for batch, _, predictions in random_batches(seed, 1, 1, 5)]


def slow_rows(batches: list[tuple[Any, np.ndarray]]) -> list[tuple[int, int, list[int]]]:
    """By the words: of every window as many predictions as it has tokens, in the order of the corpus."""
    return sorted(
        (int(batch.documents[row]), int(batch.windows[row]), [int(entry) for entry in predictions[row][:length]])
        for batch, predictions in batches
        for row, length in enumerate(batch.lengths)
        if length > 0
    )


def kept(batches: list[tuple[Any, np.ndarray]], kind: type[PositionPredictions] = PositionPredictions) -> pl.DataFrame:
    found = kind()
    for batch, predictions in batches:
        given = torch.from_numpy(predictions.copy())
        found.add(batch, given)
        given.fill_(-7)  # the tensor is the model's again
    return found.frame()


@pytest.mark.parametrize("kind", [PositionPredictions, OfGpu])
@pytest.mark.parametrize("seed", range(4))
def test_every_window_has_the_predictions_of_its_own_tokens_in_any_order_of_batches(seed: int, kind: type[PositionPredictions]) -> None:
    batches = made(seed)
    expected = slow_rows(batches)
    assert len(expected) > 5
    for order in (batches, batches[::-1]):
        assert kept(order, kind).rows() == expected


def test_nothing_gives_an_empty_table_and_a_window_of_one_token_has_one_prediction() -> None:
    assert PositionPredictions().frame().schema == POSITION_PREDICTIONS.schema
    batch = made_batch([[0, 9, 9], [0, 0, 0]], [1, 0], [4, -1], [2, 0])
    assert kept([(batch, np.array([[5, 6, 6], [6, 6, 6]]))]).rows() == [(4, 2, [5])]
