"""Sampling positions around another counter: the same steps a batch, and in the end two samples more for every tracked token.

No batch waits for its device: predictions stay there as int32 until about AT_ONCE positions have come together, and are then copied
to the host at once. What a sample is stands in position_samples.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.counting.batch_counter import Answers, Counter, following_tokens
from assets.counting.batches import Batch
from assets.counting.histograms import Histograms
from assets.counting.position_samples import NEXT_TOKEN, SAMPLE, SAMPLES, TOP_PREDICTION, candidates, extended, sample_arrays

if TYPE_CHECKING:
    import torch

AT_ONCE = 1 << 20  # positions whose predictions wait: a copy to the host about once a second on a fast GPU
BYTES_OF_POSITION = 32  # its id (8), prediction (4, and 4 once copied), and what is made of both while a batch is looked through


class PositionSampler:
    """Another counter, and where each tracked token is the top prediction, and the next token.

    The first position of a window (no token before it) and the last (no next token) are never sampled.
    """

    def __init__(self, counter: Counter, token_ids: Sequence[int], vocabulary: int, at_once: int = AT_ONCE) -> None:
        self._counter, self._tokens, self._at_once = counter, len(token_ids), at_once
        self._row_of_token = np.full(vocabulary, -1, np.int64)
        self._row_of_token[list(token_ids)] = np.arange(len(token_ids))
        self._samples = {outcome: pl.DataFrame(schema=SAMPLE) for outcome in SAMPLES}
        self._waiting: list[tuple[Batch, torch.Tensor]] = []

    def start(self, batch: Batch) -> None:
        """A new batch: its layers follow."""
        self._counter.start(batch)
        self._batch = batch

    def add_layer(self, layer: int, activations: "torch.Tensor") -> None:
        """Count a layer's activations, [row, position, neuron]."""
        self._counter.add_layer(layer, activations)

    def add_answers(self, answers: Answers) -> None:
        """Count what the model answered, and keep the top predictions until enough have come together."""
        self._counter.add_answers(answers)
        self._waiting.append((self._batch, answers.predictions.int()))
        if sum(batch.token_ids.size for batch, _ in self._waiting) >= self._at_once:
            self._look_through()

    def histograms(self) -> Histograms:
        """All that was counted so far, by the other counter and here."""
        self._look_through()
        inner = self._counter.histograms()
        samples: dict[str, np.ndarray] = {}
        for outcome, sample in self._samples.items():
            samples |= sample_arrays(outcome, sample, self._tokens)
        return Histograms({**inner.tensors, **samples}, inner.positions, inner.token_ids)

    def _look_through(self) -> None:
        import torch

        if not self._waiting:
            return
        predictions = torch.cat([kept.reshape(-1) for _, kept in self._waiting]).cpu().numpy()
        ends = np.cumsum([batch.token_ids.size for batch, _ in self._waiting])
        batches = [batch for batch, _ in self._waiting]
        self._waiting = []
        predicted = [flat.reshape(batch.token_ids.shape) for batch, flat in zip(batches, np.split(predictions, ends[:-1]), strict=True)]
        self._add(TOP_PREDICTION, zip(batches, predicted, strict=True))
        self._add(NEXT_TOKEN, ((batch, following_tokens(batch)) for batch in batches))

    def _add(self, outcome: str, answers: Iterable[tuple[Batch, np.ndarray]]) -> None:
        """Batches, each with the token of that outcome at every position [row, position]."""
        found = [self._candidates(batch, tokens) for batch, tokens in answers]
        self._samples[outcome] = extended(self._samples[outcome], pl.concat(found))

    def _candidates(self, batch: Batch, tokens: np.ndarray) -> pl.DataFrame:
        place = np.arange(tokens.shape[1])
        rows, positions = np.nonzero((place >= 1) & (place < batch.lengths[:, None] - 1))
        tracked = self._row_of_token[tokens[rows, positions]]
        is_tracked = tracked >= 0
        rows, positions = rows[is_tracked], positions[is_tracked]
        return candidates(tracked[is_tracked], batch.documents[rows], batch.windows[rows], positions)
