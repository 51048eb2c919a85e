"""What is counted of a tracked token's further outcomes: where it comes next in the text, and what probability the model gives it.

Holds the counters as arrays and their names in the contract. Which slots a batch's positions have is known to the counters of the
device (batch_counter, device_counter), which add to these; what activations add over the final norm's scale is in outcome_sums.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assets.counting.batches import Batch
from assets.counting.histograms import FURTHER_OUTCOMES, NO_NEXT_TOKEN, OUTCOME_SUMS

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class NextTokenCounts:
    """Counters of the next token. The last row of `count` is that of positions without one."""

    count: np.ndarray  # int64 [token + 1, layer, neuron, slot]
    next_tokens: np.ndarray  # int64 [vocabulary]

    def tensors(self, bins: int) -> dict[str, np.ndarray]:
        """Under their names in the contract; the first `bins` slots are bins."""
        return {
            "next_token_count": self.count[:-1, ..., :bins],
            "next_token_outside": self.count[:-1, ..., bins:],
            f"{NO_NEXT_TOKEN}_count": self.count[-1, ..., :bins],
            f"{NO_NEXT_TOKEN}_outside": self.count[-1, ..., bins:],
            "next_tokens": self.next_tokens,
        }


@dataclass(frozen=True)
class ProbabilityCounts:
    """Sums of the tracked tokens' probabilities, in units of 2^-32."""

    count: np.ndarray  # int64 [token, layer, neuron, slot]
    sums: np.ndarray  # int64 [vocabulary]

    def tensors(self, bins: int) -> dict[str, np.ndarray]:
        """Under their names in the contract."""
        return {
            "probability_count": self.count[..., :bins],
            "probability_outside": self.count[..., bins:],
            "probability_sums": self.sums,
        }


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


def empty_scaled(outcomes: Collection[str], layers: int, tokens: int, neurons: int) -> dict[str, np.ndarray]:
    """The sums over the final norm's scale of these outcomes where they are not taken (outcome_sums): zeros."""
    names = [name for outcome in FURTHER_OUTCOMES if outcome in outcomes for name in OUTCOME_SUMS[outcome] if name.endswith("_scaled")]
    return {name: np.zeros((layers, neurons) if name.startswith(NO_NEXT_TOKEN) else (layers, tokens, neurons), np.int64) for name in names}


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
