"""Counters by block of documents in memory: small unsigned numbers, read as the whole numbers that the contract promises.

While counting, a counter takes 16 or 32 bits a block; what is stored of it, and the sum over blocks, is formed where it is read, a layer
at a time, so that memory never holds both. Holds the reading alone.
"""

from typing import Any

import numpy as np


class ReadCounters:
    """Counters read in another dtype: indexed like an array of `dtype`, which each index makes anew."""

    def __init__(self, counters: np.ndarray, dtype: Any) -> None:
        self._counters, self.dtype = counters, np.dtype(dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array's."""
        return self._counters.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self._counters[index]).astype(self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        made = self[...]
        return made if dtype is None else made.astype(dtype, copy=False)


class SumOfBlocks(ReadCounters):
    """The sum of counters [block, ...] over blocks, an array [...]."""

    def __init__(self, counters: np.ndarray, dtype: Any = np.int64) -> None:
        super().__init__(counters, dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array's: that of one block."""
        return self._counters.shape[1:]

    def __getitem__(self, index: Any) -> np.ndarray:
        own = index if isinstance(index, tuple) else (index,)
        return np.asarray(self._counters[(slice(None), *own)].sum(axis=0, dtype=self.dtype))


def by_block_and_whole(name: str, counters: np.ndarray, bins: int, dtype: Any = np.int32) -> dict[str, Any]:
    """Four tensors of the contract, <name>_count and _outside and the same by block, of counters [block, ..., slot] whose first `bins`
    slots are bins. `dtype` is that by block; "" names the counters of all positions."""
    beginning = f"{name}_" if name else ""
    parts = {"count": counters[..., :bins], "outside": counters[..., bins:]}
    whole = {f"{beginning}{part}": SumOfBlocks(held) for part, held in parts.items()}
    return whole | {f"block_{beginning}{part}": ReadCounters(held, dtype) for part, held in parts.items()}


def null_counts(outcome: str, counters: np.ndarray, bins: int) -> dict[str, Any]:
    """The two tensors of an outcome's null labels, of counters [token, layer, neuron, slot]."""
    parts = {"count": counters[..., :bins], "outside": counters[..., bins:]}
    return {f"null_{outcome}_{part}": ReadCounters(held, np.int32) for part, held in parts.items()}
