"""Blocks of documents: into which of a few parts of the corpus a document's positions are counted.

A document's fold is a seeded hash of its number in the corpus, so it depends on nothing else: not on shards, order or size of the
corpus. Where a corpus has domains, a block is one domain's documents of one fold. Folds 0 to 3 are the discovery half, in which neurons may
be looked for, 4 to 7 the telling half, in which what was found is measured. Holds the division alone; counters by block are made in
batch_counter and device_counter.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.counting.position_samples import position_hash

FOLDS = 8
DISCOVERY, TELLING = range(FOLDS // 2), range(FOLDS // 2, FOLDS)  # folds of the two halves
SEED = 20240517
MOST = 2**31 - 1  # counted positions of a block: its counters are int32


def fold_of(documents: Any) -> np.ndarray:
    """Int64 of the shape of `documents`, their numbers in the corpus: 0 to FOLDS - 1."""
    return (position_hash(documents, 0, 0, SEED) % np.uint64(FOLDS)).astype(np.int64)


def block_of(documents: Any, domains: Any) -> np.ndarray:
    """Int64: the block of each document; `domains`, of the same shape, are counted from 0."""
    return np.asarray(domains, np.int64) * FOLDS + fold_of(documents)


def fold_of_block(block: Any) -> Any:
    """The fold of a block, or of each in an array."""
    return block % FOLDS


def is_telling(block: Any) -> Any:
    """Whether a block, or each in an array, belongs to the telling half."""
    return fold_of_block(block) >= TELLING.start


def blocks_of_half(half: range, blocks: int) -> list[int]:
    """The blocks, of so many, whose fold is in `half`: DISCOVERY or TELLING."""
    return [block for block in range(blocks) if fold_of_block(block) in half]


@dataclass(frozen=True)
class BlockSizes:
    """How many blocks there are, and the most counted positions that one block, and all of the telling half, may hold while counting."""

    blocks: int = FOLDS
    largest: int = MOST
    telling: int = MOST

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """Of a counter by block on the host: half the memory where no block can hold more than 65,535 positions."""
        return smallest_counter(self.largest)

    @property
    def null_dtype(self) -> type[np.unsignedinteger]:
        """Of a counter over the whole telling half on the host."""
        return smallest_counter(self.telling)


UNKNOWN_SIZES = BlockSizes()  # one domain, and as many positions as can be counted


def smallest_counter(positions: int) -> type[np.unsignedinteger]:
    """The smaller of two dtypes that can count so many positions."""
    return np.uint16 if positions <= np.iinfo(np.uint16).max else np.uint32


def sizes_of_blocks(documents: np.ndarray, domains: np.ndarray, positions: np.ndarray, number_of_domains: int = 1) -> BlockSizes:
    """Sizes for windows of these documents and domains, which hold so many counted positions each."""
    blocks = block_of(documents, domains)
    held = np.zeros(number_of_domains * FOLDS, np.int64)
    np.add.at(held, blocks, positions)
    telling = is_telling(np.arange(held.size))
    return BlockSizes(held.size, int(held.max()), int(held[telling].sum()))
