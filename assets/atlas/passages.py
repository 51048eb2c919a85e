"""Passages: the tokens around places of the corpus, and what the model predicts after each, looked up once for all neurons.

The corpus is read a few windows at a time, and passages, 424 bytes each, stand in files that are mapped into memory: what is held does
not grow with the corpus, nor with the model but for 24 bytes a place.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from assets.counting.histograms import BEFORE, CONTEXT, HistogramError

WINDOW = ("document", "window_in_document")
PLACE = (*WINDOW, "position")
OUTSIDE = -1  # where a passage reaches beyond its window
AT_ONCE = 2**16  # passages that are cut out of windows in one step


@dataclass(frozen=True)
class Passages:
    """`places` holds PLACE and `row`; row i of the arrays, int32 [place, CONTEXT], is the passage from BEFORE tokens before place i on."""

    places: pl.DataFrame
    token_ids: np.ndarray
    predictions: np.ndarray

    def rows_of(self, examples: pl.DataFrame) -> np.ndarray:
        """The row of each example's passage, int64 [example]; `examples` has PLACE."""
        return examples.join(self.places, on=PLACE, how="left", maintain_order="left")["row"].to_numpy()

    def within(self, values: np.ndarray, rows: np.ndarray) -> pl.Series:
        """Values [example, CONTEXT] as lists of what lies within each example's window; `rows` as rows_of gives them."""
        is_within = self.token_ids[rows] != OUTSIDE
        begins, lengths = is_within.argmax(axis=1), is_within.sum(axis=1)
        lists = pl.DataFrame({"whole": pl.Series(values).arr.to_list(), "begin": begins, "length": lengths})
        return lists.select(pl.col("whole").list.slice("begin", "length")).to_series()


def passages_around(places: pl.DataFrame, windows: Iterable[pl.DataFrame], predictions: Iterable[pl.DataFrame], folder: Path) -> Passages:
    """The passages around distinct `places`. `windows` and `predictions` are the tables token_windows and position_predictions, in parts.

    Two files are made in `folder`, which must stay as long as the passages are read. Raises HistogramError for a place that is in no
    window, or has no prediction. No part is empty.
    """
    numbered = places.sort(PLACE).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    token_ids = _looked_up(numbered, windows, "token_ids", folder)
    return Passages(numbered, token_ids, _looked_up(numbered, predictions, "predictions", folder))


def _looked_up(places: pl.DataFrame, parts: Iterable[pl.DataFrame], column: str, folder: Path) -> np.ndarray:
    """Int32 [place, CONTEXT] of the lists in `column`; OUTSIDE beyond a window's ends."""
    found = np.memmap(folder / column, np.int32, "w+", shape=(places.height + 1, CONTEXT))  # an empty file cannot be mapped: one row more
    is_found, documents = np.zeros(places.height, bool), places["document"].to_numpy()
    for part in parts:
        # Places are in the order of documents, and a part holds a few: all others need not be looked at.
        held = part["document"].to_numpy()
        first, stop = int(np.searchsorted(documents, held.min(), "left")), int(np.searchsorted(documents, held.max(), "right"))
        for rows, passages in _cut(places[first:stop], part, column):
            found[rows] = passages
            is_found[rows] = passages[:, BEFORE] != OUTSIDE
    missing = int((~is_found).sum())
    if missing:
        raise HistogramError(f"atlas: {missing} of {places.height} places of examples have no {column.replace('_', ' ')}; the counters are of "
                             "another corpus: materialize the shards again")  # fmt: skip
    return found


def _cut(places: pl.DataFrame, windows: pl.DataFrame, column: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows of places that are in these windows, and their passages, int32 [place, CONTEXT], AT_ONCE at a time."""
    lists = windows[column]
    flat, lengths = lists.explode(empty_as_null=False, keep_nulls=False).to_numpy(), lists.list.len().to_numpy().astype(np.int64)
    placed = windows.select(*WINDOW, begin=pl.Series(np.cumsum(lengths) - lengths), length=pl.Series(lengths))
    wanted = places.join(placed, on=WINDOW, how="inner", maintain_order="left")
    for block in wanted.iter_slices(AT_ONCE):
        position, begin, length = (block[name].to_numpy()[:, None] for name in ("position", "begin", "length"))
        offset = position + np.arange(-BEFORE, CONTEXT - BEFORE)  # [place, CONTEXT]: position in the window
        is_within = (offset >= 0) & (offset < length)
        yield block["row"].to_numpy(), np.where(is_within, flat[np.where(is_within, begin + offset, 0)], OUTSIDE)
