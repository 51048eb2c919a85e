"""What is counted of a tracked token's further outcomes: where it comes next in the text, and what probability the model gives it.

Holds the counters as arrays, by block of documents, and their names in the contract. Which slots a batch's positions have is known to the counters of the
device (batch_counter, device_counter), which add to these; what activations add over the final norm's scale is in outcome_sums.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.contracts import histogram_tensors
from assets.counting.batches import Batch
from assets.counting.block_counts import by_block_and_whole, null_counts
from assets.counting.histograms import FURTHER_OUTCOMES, NEXT_TOKEN, NO_NEXT_TOKEN, PROBABILITY

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class NextTokenCounts:
    """Counters of the next token. The last row of a block is that of positions without one."""

    count: np.ndarray  # whole numbers [block, token + 1, layer, neuron, slot]
    null: np.ndarray  # whole numbers [token, layer, neuron, slot]: null labels of the telling half
    next_tokens: np.ndarray  # int64 [vocabulary]

    def tensors(self, bins: int) -> dict[str, Any]:
        """Under their names in the contract; the first `bins` slots are bins."""
        return {
            **by_block_and_whole(NEXT_TOKEN, self.count[:, :-1], bins),
            **by_block_and_whole(NO_NEXT_TOKEN, self.count[:, -1], bins),
            **null_counts(NEXT_TOKEN, self.null, bins),
            "next_tokens": self.next_tokens,
        }


@dataclass(frozen=True)
class ProbabilityCounts:
    """Sums of the tracked tokens' probabilities, in units of 2^-32."""

    count: np.ndarray  # int64 [block, token, layer, neuron, slot]
    sums: np.ndarray  # int64 [vocabulary]

    def tensors(self, bins: int) -> dict[str, Any]:
        """Under their names in the contract."""
        return {**by_block_and_whole(PROBABILITY, self.count, bins, np.int64), "probability_sums": self.sums}


def following_tokens(batch: Batch) -> np.ndarray:
    """Int64 [row, position]: the token after each position, -1 after a window's last."""
    following = np.full_like(batch.token_ids, -1)
    following[:, :-1] = batch.token_ids[:, 1:]
    following[np.arange(len(batch.lengths)), batch.lengths - 1] = -1
    return following


def rows_of_next_tokens(following: np.ndarray, token_ids: Sequence[int], vocabulary: int) -> np.ndarray:
    """Int64, the shape of `following`: the row of the tracked token that follows, len(token_ids) where nothing does, -1 for any other."""
    rows = np.full(vocabulary + 1, -1, np.int64)
    rows[list(token_ids)] = np.arange(len(token_ids))
    rows[vocabulary] = len(token_ids)
    return rows[np.where(following < 0, vocabulary, following)]


def empty_scaled(outcomes: Collection[str], layers: int, tokens: int, neurons: int, blocks: int) -> dict[str, np.ndarray]:
    """The sums over the final norm's scale where they are not taken (outcome_sums): zeros."""
    sizes = {"block": blocks, "layer": layers, "token": tokens, "neuron": neurons, "group": 0}
    return {
        tensor.name: np.zeros([sizes[name] for name in tensor.dimensions], np.int64)
        for tensor in histogram_tensors(False, outcomes)
        if tensor.name.endswith("_scaled")
    }


def refuse_unknown(outcomes: Collection[str]) -> None:
    """Raise ValueError for an outcome that no counter knows."""
    unknown = sorted(set(outcomes) - set(FURTHER_OUTCOMES))
    if unknown:
        raise ValueError(f"outcomes {unknown}: counted beside top predictions can be {', '.join(FURTHER_OUTCOMES)}")


def required_probabilities(probabilities: "torch.Tensor | None") -> "torch.Tensor":
    """The probabilities of a batch; raises ValueError where they were not handed over."""
    if probabilities is None:
        raise ValueError("probabilities are counted here: those of the tracked tokens must be given with each batch")
    return probabilities
