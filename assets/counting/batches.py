"""From windows to batches of padded token ids whose shape depends on a window's own length alone.

A matrix product may round differently in a batch of another shape, so a window must always run in the same shape, however
the corpus is cut into shards. Its length is rounded up to a step of a fixed ladder, and every batch of that step has the
same number of rows, the last one fewer where that was seen to change no bit; rows that no window fills are dummies. Whether a
window's row, or the number of rows, can change its bits is tested in row_independence. Runs no model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import gcd

import numpy as np
import polars as pl

from assets.counting.document_blocks import MOST, BlockSizes, block_of, sizes_of_blocks
from assets.counting.histograms import HistogramError

SHORTEST_STEP = 8  # lengths up to 128 go up in eights; above, eight steps an octave: at most a ninth of a long batch is padding
QUARTERS = 4  # a last batch has one, two or three quarters of the rows of the others, or all
VECTOR = 32  # float32 numbers that PyTorch's unrolled AVX-512 loops handle at once; what is left over takes a scalar path


@dataclass(frozen=True)
class Batch:
    """Windows that run together, right-padded. Dummy rows have length 0 and document -1."""

    token_ids: np.ndarray  # int64 [row, position]
    lengths: np.ndarray  # int64 [row]
    documents: np.ndarray  # int64 [row]
    windows: np.ndarray  # int32 [row]: window of the document
    domains: np.ndarray | None = None  # int64 [row]: domain of the document; absent: all are of domain 0

    @property
    def blocks(self) -> np.ndarray:
        """Int64 [row]: the block of each window's document."""
        return block_of(self.documents, np.zeros_like(self.documents) if self.domains is None else self.domains)

    def blocks_of(self, places: np.ndarray) -> np.ndarray:
        """Int64, the shape of `places`, indexes into the flattened [row, position]: the block of each."""
        return self.blocks[places // self.token_ids.shape[1]]

    def counted(self, count_bos: bool) -> np.ndarray:
        """Indexes into the flattened [row, position] of the positions that are counted, in ascending order."""
        rows, positions = self.token_ids.shape
        places = np.arange(positions)
        is_counted = (places < self.lengths[:, None]) & (places >= first_counted(count_bos))
        return np.flatnonzero(is_counted)


def first_counted(count_bos: bool) -> int:
    """First counted position of a window: position 0 holds the beginning-of-sequence token."""
    return 0 if count_bos else 1


def padded_lengths(lengths: np.ndarray, context_length: int) -> np.ndarray:
    """Int64 [window]: the step of the ladder at or above each length, never above the context length."""
    octave = np.floor(np.log2(np.maximum(lengths - 1, 1))).astype(np.int64)
    step = np.maximum(SHORTEST_STEP, 2 ** np.maximum(octave - 3, 0))
    return np.minimum(-(-lengths // step) * step, context_length)


def rows_of_batch(padded_length: int, batch_positions: int, threads: int, neurons: int) -> int:
    """Rows of every batch of one padded length: about `batch_positions` positions.

    A layer's activations, `neurons` at each position, are made a multiple of VECTOR x threads where that many fit, so that each thread's
    share of an elementwise operation ends on whole vectors: SiLU, for one, rounds differently in the scalar path that handles a remainder.
    """
    rows = max(1, batch_positions // padded_length)
    multiple = _multiple(padded_length, threads, neurons)
    return rows // multiple * multiple or rows


def lower_rows(rows: int, padded_length: int, threads: int, neurons: int) -> list[int]:
    """Rows that a last batch may have instead of `rows`, ascending: quarters of them, in whole vectors for each thread as well."""
    multiple = _multiple(padded_length, threads, neurons)
    wanted = {-(-rows * quarter // (QUARTERS * multiple)) * multiple for quarter in range(1, QUARTERS)}
    return sorted(lower for lower in wanted if lower < rows)


def _multiple(padded_length: int, threads: int, neurons: int) -> int:
    """The smallest number of rows of this length whose activations are a multiple of VECTOR x threads."""
    return VECTOR * threads // gcd(VECTOR * threads, padded_length * neurons)


def batches(
    windows: pl.DataFrame, context_length: int, padding_id: int, rows: Mapping[int, int], last_rows: Mapping[int, int] | None = None
) -> Iterator[Batch]:
    """Batches of a frame of `token_windows`, longest first, each padded length in the order of the frame.

    `rows` holds the rows of a batch of each padded length, `last_rows` those of its last batch, the same if absent. A column `domain` may
    say of which domain each document is. Only the batch that is asked for is padded: memory does not grow with the corpus beyond its ids.
    Raises HistogramError where a window exceeds the context length or contradicts its own length.
    """
    flat = windows["token_ids"].explode(empty_as_null=False, keep_nulls=False).to_numpy() if windows.height else np.empty(0, np.int32)
    lengths = windows["length"].to_numpy().astype(np.int64)
    _check_lengths(windows, lengths, context_length)
    starts = np.cumsum(lengths) - lengths
    documents = windows["document"].to_numpy().astype(np.int64)
    numbers = windows["window_in_document"].to_numpy().astype(np.int32)
    domains = domains_of(windows)
    padded = padded_lengths(lengths, context_length)
    for padded_length in np.unique(padded)[::-1].tolist():
        chosen = np.flatnonzero(padded == padded_length)
        height = rows[padded_length]
        for first in range(0, chosen.size, height):
            is_last = first + height >= chosen.size
            held = last_rows[padded_length] if is_last and last_rows is not None else height
            yield _padded(
                chosen[first : first + height], held, padded_length, padding_id, flat, starts, lengths, documents, numbers, domains
            )


def domains_of(windows: pl.DataFrame) -> np.ndarray:
    """Int64 [window]: the column `domain`, or 0 where there is none."""
    return windows["domain"].to_numpy().astype(np.int64) if "domain" in windows.columns else np.zeros(windows.height, np.int64)


def block_sizes(windows: pl.DataFrame, domains: int, count_bos: bool) -> BlockSizes:
    """What the blocks of these windows hold, `domains` of them with eight folds each.

    Raises HistogramError for a domain beyond them, and for a block of more positions than its counters can count.
    """
    of_window = domains_of(windows)
    if of_window.size and not 0 <= of_window.min() <= of_window.max() < domains:
        raise HistogramError(f"token_windows: domains {of_window.min()} to {of_window.max()}, allowed are 0 to {domains - 1}; "
                             "materialize corpus_documents and token_windows again")  # fmt: skip
    positions = windows["length"].to_numpy().astype(np.int64) - first_counted(count_bos)
    sizes = sizes_of_blocks(windows["document"].to_numpy(), of_window, np.maximum(positions, 0), domains)
    refuse_large_blocks("token_windows", max(sizes.largest, sizes.telling))
    return sizes


def refuse_large_blocks(name: str, positions: int) -> None:
    """Raise HistogramError where a block, or the telling half of a shard, has more positions than its counters can count."""
    if positions > MOST:
        raise HistogramError(f"{name}: {positions} positions would be counted in one block of documents, at most {MOST} can be; "
                             "use a smaller corpus")  # fmt: skip


def _padded(
    chosen: np.ndarray,
    height: int,
    padded_length: int,
    padding_id: int,
    flat: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    documents: np.ndarray,
    numbers: np.ndarray,
    domains: np.ndarray,
) -> Batch:
    places = np.arange(padded_length)
    is_token = places < lengths[chosen][:, None]  # [window, position]
    token_ids = np.full((height, padded_length), padding_id, dtype=np.int64)
    token_ids[: chosen.size][is_token] = flat[(starts[chosen][:, None] + places)[is_token]]
    none = np.zeros(height, np.int64)
    batch = Batch(token_ids, none, np.full(height, -1, np.int64), np.zeros(height, np.int32), none.copy())
    batch.lengths[: chosen.size] = lengths[chosen]
    batch.documents[: chosen.size] = documents[chosen]
    batch.windows[: chosen.size] = numbers[chosen]
    if batch.domains is not None:
        batch.domains[: chosen.size] = domains[chosen]
    return batch


def _check_lengths(windows: pl.DataFrame, lengths: np.ndarray, context_length: int) -> None:
    held = windows["token_ids"].list.len().to_numpy()
    if not np.array_equal(held, lengths):
        worst = int(np.flatnonzero(held != lengths)[0])
        raise HistogramError(f"token_windows: row {worst} holds {held[worst]} token ids but says length {lengths[worst]}; "
                             "materialize token_windows again")  # fmt: skip
    if lengths.size and (lengths.max() > context_length or lengths.min() < 1):
        raise HistogramError(f"token_windows: windows have {lengths.min()} to {lengths.max()} tokens, the model reads 1 to {context_length}; "
                             "lower corpus.context_length in the study")  # fmt: skip
