"""Sums of activations over the final norm's scale, by block of documents, under every outcome of a tracked token, and under null labels.

Where the token is the top prediction, where it comes next, and by its probability. From these and the weights follows what a neuron adds
to the token's logit there (statistics.contributions). In whole numbers of 2^-30, as the sums by predicted token, beside which they are
taken from the same kept activations. Sums by probability are apart: every position belongs to every token there.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.counting.batch_counter import Answers
from assets.counting.batches import Batch
from assets.counting.block_counts import SumOfBlocks
from assets.counting.document_blocks import FOLDS, is_telling
from assets.counting.histograms import NEXT_TOKEN, NO_NEXT_TOKEN, PROBABILITY, TOP_PREDICTION
from assets.counting.inverse_scales import inverse_scales, of_layer
from assets.counting.null_labels import CountedPositions, rotated
from assets.counting.number_formats import singles
from assets.counting.outcome_counts import following_tokens, required_probabilities, rows_of_next_tokens
from assets.counting.sending import sent
from assets.counting.token_sum_units import LARGEST, SCALED_UNITS

if TYPE_CHECKING:
    import torch

NO_ROW = -1


class OutcomeSums:
    """Running sums int64 [layer, row, neuron] on the device that holds the activations: compiled loops on `threads` threads of the CPU, or
    with none tensor operations, which wait for nothing.

    Rows, in this order: of each block and token where it is the top prediction, of each token under null labels; and where next tokens are
    counted, of each block the tokens and then positions without one, and of each token under null labels.
    """

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
        blocks: int = FOLDS,
    ) -> None:
        import torch

        tokens = len(token_ids)
        self._token_ids, self._vocabulary, self._device, self._blocks = tuple(token_ids), vocabulary, device, blocks
        self._counts_next = NEXT_TOKEN in outcomes
        self._first_next = (blocks + 1) * tokens
        rows = self._first_next + (blocks * (tokens + 1) + tokens if self._counts_next else 0)
        self._sums = torch.zeros((layers, rows, neurons), dtype=torch.int64, device=device)
        by_probability = (layers, blocks, tokens, neurons)
        self._probability = torch.zeros(by_probability, dtype=torch.int64, device=device) if PROBABILITY in outcomes else None
        row_of_token = np.full(vocabulary, NO_ROW, np.int64)
        row_of_token[list(token_ids)] = np.arange(tokens)
        self._row_of_token = torch.from_numpy(row_of_token).to(device)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="outcome sums") if threads else None

    def add(self, batch: Batch, counted: CountedPositions, activations: "Sequence[torch.Tensor]", answers: Answers) -> None:
        """One batch; activations of each layer, [row, position, neuron]."""
        import torch

        if answers.inverse_scale is None:
            raise ValueError("sums under outcomes: 1 over the final norm's scale must be given with each batch")
        scale = inverse_scales(answers.inverse_scale)  # [1 or layer, row x position]
        places, rows = self._predicted(counted, answers.predictions.reshape(-1))
        if self._counts_next:
            next_places, next_rows = (sent(array, self._device) for array in self._followed(batch, counted))
            places, rows = torch.cat([places, next_places]), torch.cat([rows, next_rows])
        self._add_rows(self._sums, activations, places, rows, scale)
        if self._probability is not None and self._token_ids:
            given = required_probabilities(answers.probabilities).reshape(-1, len(self._token_ids))
            self._add_by_probability(self._probability, activations, counted, given, scale)

    def _predicted(self, counted: CountedPositions, predictions: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
        """Flattened places and rows of the top predictions, then of their null labels; NO_ROW where no tracked token is predicted."""
        import torch

        tokens = len(self._token_ids)
        telling = np.flatnonzero(is_telling(counted.blocks))
        places, null_places, source, first = (
            sent(array, self._device)
            for array in (counted.places, counted.places[telling], counted.source[telling], counted.blocks * tokens)
        )
        label = self._row_of_token.index_select(0, predictions.index_select(0, places))
        null = label.index_select(0, source)
        rows = torch.where(label >= 0, label + first, NO_ROW), torch.where(null >= 0, null + self._blocks * tokens, NO_ROW)
        return torch.cat([places, null_places]), torch.cat(rows)

    def _followed(self, batch: Batch, counted: CountedPositions) -> tuple[np.ndarray, np.ndarray]:
        """Flattened places and rows of the next tokens and of positions without one, then of their null labels; known to the host."""
        tokens, first = len(self._token_ids), self._first_next
        rows = rows_of_next_tokens(following_tokens(batch).reshape(-1)[counted.places], self._token_ids, self._vocabulary)
        null = np.where(is_telling(counted.blocks), rows[rotated(batch, counted.places, with_next_token=True)], NO_ROW)
        is_null, is_row = (null >= 0) & (null < tokens), rows >= 0
        by_block = first + counted.blocks * (tokens + 1) + rows
        places = np.concatenate([counted.places[is_row], counted.places[is_null]])
        return places, np.concatenate([by_block[is_row], first + self._blocks * (tokens + 1) + null[is_null]])

    def _add_rows(
        self, sums: "torch.Tensor", activations: "Sequence[torch.Tensor]", places: "torch.Tensor", rows: "torch.Tensor", scale: "torch.Tensor"
    ) -> None:  # fmt: skip
        """places, rows: int64, a flattened position and one row that it belongs to; NO_ROW is none."""
        if self._pool is not None:
            self._add_rows_on_cpu(sums, activations, places.numpy(), rows.numpy(), scale)
            return
        row, is_row = rows.clamp(min=0), (rows != NO_ROW)[:, None]
        by = scale.index_select(1, places).double()[..., None] * is_row
        for layer, kept in enumerate(activations if sums.shape[1] else ()):
            sums[layer].index_add_(0, row, _units(_within(kept.flatten(0, 1).index_select(0, places).double()) * of_layer(by, layer)))

    def _add_rows_on_cpu(
        self, sums: "torch.Tensor", activations: "Sequence[torch.Tensor]", places: np.ndarray, rows: np.ndarray, scale: "torch.Tensor"
    ) -> None:  # fmt: skip
        import assets.counting.token_sum_loops as loops

        is_row = np.flatnonzero(rows != NO_ROW)
        order = is_row[np.argsort(places[is_row], kind="stable")]  # one position is read once
        here, row = places[order], rows[order]

        def add_layer(layer: int) -> None:
            values = singles(activations[layer])
            loops.add_scaled(values, of_layer(scale, layer).numpy(), here, row, sums[layer].numpy())

        self._on_threads(add_layer, len(activations))

    def _add_by_probability(
        self, sums: "torch.Tensor", activations: "Sequence[torch.Tensor]", counted: CountedPositions, given: "torch.Tensor", scale: "torch.Tensor"
    ) -> None:  # fmt: skip
        """given: float64 [row x position, token]; sums: int64 [layer, block, token, neuron]."""
        for block in np.unique(counted.blocks).tolist():
            own = counted.places[counted.blocks == block]
            here = sent(own, self._device)
            weights = given.index_select(0, here) * scale.index_select(1, here).double()[..., None]
            self._add_weighted(sums[:, block], activations, own, here, weights)

    def _add_weighted(
        self, sums: "torch.Tensor", activations: "Sequence[torch.Tensor]", places: np.ndarray, here: "torch.Tensor", weights: "torch.Tensor"
    ) -> None:  # fmt: skip
        """weights: float64 [1 or layer, place, token], probability over the scale; `here` are the places on the device; sums: [layer, token, neuron]."""
        import assets.counting.token_sum_loops as loops

        def on_cpu(layer: int) -> None:
            values = singles(activations[layer])
            loops.add_by_probability(values, places, of_layer(weights, layer).numpy(), sums[layer].numpy())

        if self._pool is not None:
            self._on_threads(on_cpu, len(activations))
            return
        for layer, kept in enumerate(activations):
            values = _within(kept.flatten(0, 1).index_select(0, here).double())
            own = of_layer(weights, layer)
            for token in range(own.shape[1]):
                sums[layer, token] += _units(values * own[:, token, None]).sum(0)

    def _on_threads(self, add_layer: Callable[[int], None], layers: int) -> None:
        assert self._pool is not None
        for done in [self._pool.submit(add_layer, layer) for layer in range(layers)]:
            done.result()

    def tensors(self) -> dict[str, Any]:
        """Under their names in the contract, copied to the host."""
        held = self._sums.cpu().numpy()
        tokens, blocks = len(self._token_ids), self._blocks

        def by_block(first: int, width: int) -> np.ndarray:
            """Int64 [block, layer, row, neuron]: so many rows of each block, from the first on."""
            own = held[:, first : first + blocks * width]
            return own.reshape(len(held), blocks, width, held.shape[2]).swapaxes(0, 1)

        found: dict[str, Any] = {
            f"block_{TOP_PREDICTION}_scaled": by_block(0, tokens),
            f"null_{TOP_PREDICTION}_scaled": held[:, blocks * tokens : self._first_next],
        }
        if self._counts_next:
            following = by_block(self._first_next, tokens + 1)
            found |= _by_block_and_whole(NEXT_TOKEN, following[:, :, :-1]) | _by_block_and_whole(NO_NEXT_TOKEN, following[:, :, -1])
            found[f"null_{NEXT_TOKEN}_scaled"] = held[:, self._first_next + blocks * (tokens + 1) :]
        if self._probability is not None:
            found |= _by_block_and_whole(PROBABILITY, self._probability.cpu().numpy().swapaxes(0, 1))
        return found


def _by_block_and_whole(name: str, sums: np.ndarray) -> dict[str, Any]:
    """Two tensors of the contract of sums [block, layer, ...]."""
    return {f"{name}_scaled": SumOfBlocks(sums), f"block_{name}_scaled": sums}


def _within(values: "torch.Tensor") -> "torch.Tensor":
    """Float64 within what is summed; NaN adds nothing."""
    return values.nan_to_num(0.0, LARGEST, -LARGEST).clamp(-LARGEST, LARGEST)


def _units(scaled: "torch.Tensor") -> "torch.Tensor":
    return (scaled.clamp(-LARGEST, LARGEST) * SCALED_UNITS).round().long()
