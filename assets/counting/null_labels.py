"""Null labels: which position's label each position gets where labels must tell nothing of the neurons.

In each window the labels are rotated among its own positions by a seeded shift, so a token keeps its number of positions in every
document and its runs stay together, while label and activation come from places far apart. What is common to a whole window, its topic for
one, stays on the side of the null. The shift depends on document and window alone: any order and sharding gives the same labels.
Knows nothing of counters.
"""

from dataclasses import dataclass

import numpy as np

from assets.counting.batches import Batch
from assets.counting.position_samples import position_hash

SEED = 20240821


def shifts(documents: np.ndarray, windows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Int64 [window]: by how many of its `numbers` positions each window's labels are rotated, from a quarter to three quarters of them."""
    least, most = -(-numbers // 4), 3 * numbers // 4
    drawn = position_hash(documents, windows, 0, SEED) % np.maximum(most - least + 1, 1).astype(np.uint64)
    return (least + drawn.astype(np.int64)) % np.maximum(numbers, 1)  # a single position has nowhere to go


def rotated(batch: Batch, counted: np.ndarray, with_next_token: bool = False) -> np.ndarray:
    """Int64 [counted]: the place in `counted` from which each counted position gets its label; a permutation within windows.

    `counted` as Batch.counted gives it. `with_next_token`: only positions that have one change places, all but a window's last.
    """
    rows = counted // batch.token_ids.shape[1]
    numbers = np.bincount(rows, minlength=len(batch.lengths))
    starts = np.cumsum(numbers) - numbers
    own = np.maximum(numbers - with_next_token, 0)
    shift = shifts(batch.documents, batch.windows, own)
    rank = np.arange(counted.size) - starts[rows]
    turned = (rank + shift[rows]) % np.maximum(own, 1)[rows]
    return starts[rows] + np.where(rank < own[rows], turned, rank)


@dataclass(frozen=True)
class CountedPositions:
    """The counted positions of a batch, int64 [counted]: `places` flattened, the token and the block of each, and `source`, the place in
    `places` from which each gets its null label."""

    places: np.ndarray
    token_ids: np.ndarray
    blocks: np.ndarray
    source: np.ndarray

    @classmethod
    def of(cls, batch: Batch, count_bos: bool) -> "CountedPositions":
        """Of one batch."""
        places = batch.counted(count_bos)
        return cls(places, batch.token_ids.reshape(-1)[places], batch.blocks_of(places), rotated(batch, places))
