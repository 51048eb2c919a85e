"""Sums of activations over the final norm's scale under further outcomes: where a tracked token comes next, and by its probability.

From these and the weights follows what a neuron adds to the token's logit there (statistics.contributions). In whole numbers of 2^-30, as
the sums by predicted token, beside which they are taken from the same kept activations. The last row of the next token's is that of
positions without one.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from assets.counting.batch_counter import Answers
from assets.counting.batches import Batch
from assets.counting.histograms import NEXT_TOKEN, PROBABILITY
from assets.counting.outcome_counts import following_tokens, required_probabilities, rows_of_next_tokens
from assets.counting.sending import sent
from assets.counting.token_sum_units import LARGEST, SCALED_UNITS

if TYPE_CHECKING:
    import torch


class OutcomeSums:
    """Running sums int64 [layer, token (+ 1), neuron] on the device that holds the activations: compiled loops on `threads` threads of the
    CPU, or with none tensor operations, which wait for nothing."""

    def __init__(
        self,
        outcomes: Collection[str],
        token_ids: Sequence[int],
        vocabulary: int,
        layers: int,
        neurons: int,
        *,
        device: "torch.device",
        threads: int,
    ) -> None:
        import torch

        def zeros(tokens: int) -> torch.Tensor:
            return torch.zeros((layers, tokens, neurons), dtype=torch.int64, device=device)

        self._token_ids, self._vocabulary, self._device = tuple(token_ids), vocabulary, device
        self._next = zeros(len(token_ids) + 1) if NEXT_TOKEN in outcomes else None
        self._probability = zeros(len(token_ids)) if PROBABILITY in outcomes else None
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="outcome sums") if threads else None

    def add(self, batch: Batch, counted: np.ndarray, activations: "Sequence[torch.Tensor]", answers: Answers) -> None:
        """One batch: `counted` its counted positions, flattened, int64; activations of each layer, [row, position, neuron]."""
        if answers.inverse_scale is None:
            raise ValueError("sums under outcomes: 1 over the final norm's scale must be given with each batch")
        scale = answers.inverse_scale.reshape(-1)
        if self._next is not None:
            rows = rows_of_next_tokens(following_tokens(batch).reshape(-1)[counted], self._token_ids, self._vocabulary)
            self._add_next(self._next, activations, counted[rows >= 0], rows[rows >= 0], scale)
        if self._probability is not None and self._token_ids:
            places = sent(counted, self._device)
            given = required_probabilities(answers.probabilities).reshape(-1, len(self._token_ids)).index_select(0, places)
            self._add_by_probability(self._probability, activations, counted, given * scale.index_select(0, places).double()[:, None])

    def _add_next(
        self, sums: "torch.Tensor", activations: "Sequence[torch.Tensor]", places: np.ndarray, rows: np.ndarray, scale: "torch.Tensor"
    ) -> None:
        import assets.counting.outcome_loops as outcome_loops

        def on_cpu(layer: int) -> None:
            values = activations[layer].flatten(0, 1).float().contiguous().numpy()
            held = sums[layer].numpy()
            outcome_loops.add_scaled(values, scale.numpy(), places, rows, held[:-1], held[-1])

        if self._pool is not None:
            self._on_threads(on_cpu, len(activations))
            return
        here, row = sent(places, self._device), sent(rows, self._device)
        by = scale.index_select(0, here).double()[:, None]
        for layer, kept in enumerate(activations):
            sums[layer].index_add_(0, row, _units(_within(kept.flatten(0, 1).index_select(0, here).double()) * by))

    def _add_by_probability(
        self, sums: "torch.Tensor", activations: "Sequence[torch.Tensor]", places: np.ndarray, weights: "torch.Tensor"
    ) -> None:
        """weights: float64 [counted, token], probability over the scale."""
        import assets.counting.outcome_loops as outcome_loops

        def on_cpu(layer: int) -> None:
            values = activations[layer].flatten(0, 1).float().contiguous().numpy()
            outcome_loops.add_by_probability(values, places, weights.numpy(), sums[layer].numpy())

        if self._pool is not None:
            self._on_threads(on_cpu, len(activations))
            return
        here = sent(places, self._device)
        for layer, kept in enumerate(activations):
            values = _within(kept.flatten(0, 1).index_select(0, here).double())
            for token in range(weights.shape[1]):
                sums[layer, token] += _units(values * weights[:, token, None]).sum(0)

    def _on_threads(self, add_layer: Callable[[int], None], layers: int) -> None:
        assert self._pool is not None
        for done in [self._pool.submit(add_layer, layer) for layer in range(layers)]:
            done.result()

    def tensors(self) -> dict[str, np.ndarray]:
        """Under their names in the contract, copied to the host."""
        found: dict[str, np.ndarray] = {}
        if self._next is not None:
            held = self._next.cpu().numpy()
            found |= {"next_token_scaled": held[:, :-1], "no_next_token_scaled": held[:, -1]}
        if self._probability is not None:
            found["probability_scaled"] = self._probability.cpu().numpy()
        return found


def _within(values: "torch.Tensor") -> "torch.Tensor":
    """Float64 within what is summed; NaN adds nothing."""
    return values.nan_to_num(0.0, LARGEST, -LARGEST).clamp(-LARGEST, LARGEST)


def _units(scaled: "torch.Tensor") -> "torch.Tensor":
    return (scaled.clamp(-LARGEST, LARGEST) * SCALED_UNITS).round().long()
