"""The model's own top prediction at every position of a pass, 4 bytes each: the table position_predictions of one shard.

What is counted of the predictions stands in the counters; here they stay where they are in the text, so that nothing has to run the
model again to know them. A GPU is waited for a batch later, when the next one is on its way.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.contracts import POSITION_PREDICTIONS, conform
from assets.counting.batches import Batch
from assets.counting.sending import returned

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class _Waiting:
    """A batch whose predictions are on their way to the host. `arrived` is None where they are there."""

    batch: Batch
    predictions: "torch.Tensor"  # int32 on the host, [row, position]
    arrived: "torch.cuda.Event | None"


class PositionPredictions:
    """Predictions of the windows that were added, each as many as the window has tokens."""

    def __init__(self) -> None:
        self._documents: list[int] = []
        self._windows: list[int] = []
        self._predictions: list[np.ndarray] = []  # of each window, int32 [position]
        self._waiting: _Waiting | None = None

    def add(self, batch: Batch, predictions: "torch.Tensor") -> None:
        """Keep a batch's predictions, int64 [row, position]; the tensor is the caller's again after the call."""
        self._take()
        self._waiting = _Waiting(batch, *self._to_host(predictions.int()))
        if self._waiting.arrived is None:
            self._take()

    def frame(self) -> pl.DataFrame:
        """The table `position_predictions`, in the order of the corpus, whatever the order of the batches."""
        self._take()
        frame = pl.DataFrame(
            {"document": self._documents, "window_in_document": self._windows, "predictions": self._predictions},
            schema=POSITION_PREDICTIONS.schema,
        )
        return conform(POSITION_PREDICTIONS, frame.sort(POSITION_PREDICTIONS.key))

    def _to_host(self, predictions: "torch.Tensor") -> "tuple[torch.Tensor, torch.cuda.Event | None]":
        return returned(predictions)

    def _take(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        if waiting.arrived is not None:
            waiting.arrived.synchronize()
        predictions, batch = waiting.predictions.numpy(), waiting.batch
        for row in np.flatnonzero(batch.lengths):
            self._documents.append(int(batch.documents[row]))
            self._windows.append(int(batch.windows[row]))
            self._predictions.append(predictions[row, : batch.lengths[row]].copy())  # not a view that holds the padding too
