"""The table `atlas_texts`: the corpus in pieces, those that an example of the atlas reaches into, each once however many examples do.

An example is told by its place alone; its tokens, and what the model predicts after each, are cut out of the pieces (Texts). So the text of
a small corpus stands once, not half a million times, and of a large one hardly more than the examples show. The corpus is read a few windows
at a time, and pieces, 512 bytes each, wait in files that are mapped into memory: what is held does not grow with the corpus.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from assets.contracts import ATLAS_TEXTS, conform
from assets.counting.histograms import AFTER, BEFORE, HistogramError

PIECE = 64  # positions: an example, of at most 53, reaches into one or two
WINDOW = ("document", "window_in_document")
PLACE = (*WINDOW, "position")
KEY = (*WINDOW, "first_position")
OUTSIDE = -1  # where a piece reaches beyond its window
AT_ONCE = 2**16  # pieces that are cut out of windows, or written, in one step
_LISTS = ("token_ids", "prediction_ids")


@dataclass(frozen=True)
class Pieces:
    """`table` holds KEY, ascending; row i of the arrays, int32 [piece, PIECE], is piece i."""

    table: pl.DataFrame
    token_ids: np.ndarray
    predictions: np.ndarray

    @property
    def lengths(self) -> pl.DataFrame:
        """WINDOW, and `length`: how far the pieces of each window reach. What is around an example ends there or before."""
        blocks = (self.token_ids[start : start + AT_ONCE] for start in range(0, self.table.height, AT_ONCE))
        tokens = np.concatenate([np.zeros(0, np.int64), *((block != OUTSIDE).sum(axis=1) for block in blocks)])
        reached = self.table.select(*WINDOW, length=pl.col("first_position") + pl.Series(tokens, dtype=pl.Int32))
        return reached.group_by(WINDOW, maintain_order=True).agg(pl.col("length").max())

    def frames(self) -> Iterator[pl.DataFrame]:
        """The table atlas_texts, some pieces at a time."""
        for start in range(0, self.table.height, AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            is_within = self.token_ids[rows] != OUTSIDE
            lists = {name: _lists(of[rows][is_within], is_within.sum(axis=1)) for name, of in self._arrays.items()}
            yield conform(ATLAS_TEXTS, self.table[rows].with_columns(**lists))

    @property
    def _arrays(self) -> dict[str, np.ndarray]:
        return dict(zip(_LISTS, (self.token_ids, self.predictions), strict=True))


def pieces_around(places: pl.DataFrame, windows: Iterable[pl.DataFrame], predictions: Iterable[pl.DataFrame], folder: Path) -> Pieces:
    """The pieces that the text around distinct `places` (PLACE) reaches into.

    `windows` and `predictions` are the tables token_windows and position_predictions, in parts; no part is empty. Two files are made in
    `folder`, which must stay as long as the pieces are read. Raises HistogramError for a place that is in no window, or has no prediction.
    """
    wanted = _reached(places)
    token_ids = _looked_up(wanted, windows, "token_ids", folder)
    found = _looked_up(wanted, predictions, "predictions", folder)
    for missing, what in ((token_ids, "token ids"), (found, "predictions")):
        _refuse_lost(places, wanted, missing[:, 0] == OUTSIDE, what)
    is_there = token_ids[:, 0] != OUTSIDE  # what lies behind a window's end is none of its pieces
    if not is_there.all():
        wanted, token_ids, found = wanted.filter(pl.Series(is_there)), token_ids[is_there], found[is_there]
    return Pieces(wanted, token_ids, found)


def piece_of(position: pl.Expr) -> pl.Expr:
    """The first position of the piece that holds a position."""
    return position // PIECE * PIECE


@dataclass(frozen=True)
class Texts:
    """The table atlas_texts as one run of tokens: `begins` holds KEY and where each piece begins in the lists, int32 [token]."""

    begins: pl.DataFrame
    lists: dict[str, np.ndarray]

    @classmethod
    def of(cls, table: pl.DataFrame) -> "Texts":
        """Of the whole table, in its order."""
        lengths = table["token_ids"].list.len().cast(pl.Int64)
        lists = {name: table[name].explode(empty_as_null=False, keep_nulls=False).to_numpy() for name in _LISTS}
        return cls(table.select(KEY).with_columns(begin=lengths.cum_sum() - lengths), lists)

    def around(self, examples: pl.DataFrame) -> pl.DataFrame:
        """Rows of atlas_examples with `token_ids` and `prediction_ids`, as long as their `activations`.

        Raises HistogramError where the pieces hold no text of an example.
        """
        placed = examples.select(*WINDOW, "first_position", piece=piece_of(pl.col("first_position"))).join(
            self.begins, left_on=(*WINDOW, "piece"), right_on=KEY, how="left", maintain_order="left"
        )
        if placed["begin"].null_count():
            raise HistogramError(f"atlas: {placed['begin'].null_count()} of {examples.height} examples have no text in atlas_texts; the tables "
                                 "are of two runs: materialize the atlas again")  # fmt: skip
        lengths = examples["activations"].list.len().to_numpy().astype(np.int64)
        begins = (placed["begin"] + placed["first_position"] - placed["piece"]).to_numpy()
        tokens = np.repeat(begins - (lengths.cumsum() - lengths), lengths) + np.arange(
            lengths.sum()
        )  # the piece that follows stands behind it
        return examples.with_columns(**{name: _lists(of[tokens], lengths) for name, of in self.lists.items()})


def _reached(places: pl.DataFrame) -> pl.DataFrame:
    """KEY of every piece that the text around a place may reach into, each once, ascending."""
    ends = (
        places.select(*WINDOW, first_position=piece_of(end)) for end in ((pl.col("position") - BEFORE).clip(0), pl.col("position") + AFTER)
    )
    return pl.concat(ends).unique().sort(KEY)


def _refuse_lost(places: pl.DataFrame, wanted: pl.DataFrame, is_missing: np.ndarray, what: str) -> None:
    """Raise HistogramError where the piece that holds a place itself was not found."""
    lost = places.with_columns(first_position=piece_of(pl.col("position"))).join(wanted.filter(pl.Series(is_missing)), on=KEY, how="semi")
    if lost.height:
        raise HistogramError(f"atlas: {lost.height} of {places.height} places of examples have no {what}; the counters are of another corpus: "
                             "materialize the shards again")  # fmt: skip


def _looked_up(wanted: pl.DataFrame, parts: Iterable[pl.DataFrame], column: str, folder: Path) -> np.ndarray:
    """Int32 [piece, PIECE] of the lists in `column`; OUTSIDE beyond a window's end, and where there is no such window."""
    found = np.memmap(folder / column, np.int32, "w+", shape=(wanted.height + 1, PIECE))  # an empty file cannot be mapped: one row more
    found[:] = OUTSIDE
    numbered, documents = wanted.with_row_index("row"), wanted["document"].to_numpy()
    for part in parts:
        # Pieces are in the order of documents, and a part holds a few: all others need not be looked at.
        held = part["document"].to_numpy()
        first, stop = int(np.searchsorted(documents, held.min(), "left")), int(np.searchsorted(documents, held.max(), "right"))
        for rows, tokens in _cut(numbered[first:stop], part, column):
            found[rows] = tokens
    return found[:-1]


def _cut(pieces: pl.DataFrame, windows: pl.DataFrame, column: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows of pieces that are in these windows, and their tokens, int32 [piece, PIECE], AT_ONCE at a time."""
    lists = windows[column]
    flat, lengths = lists.explode(empty_as_null=False, keep_nulls=False).to_numpy(), lists.list.len().to_numpy().astype(np.int64)
    placed = windows.select(*WINDOW, begin=pl.Series(np.cumsum(lengths) - lengths), length=pl.Series(lengths))
    wanted = pieces.join(placed, on=WINDOW, how="inner", maintain_order="left")
    for block in wanted.iter_slices(AT_ONCE):
        first, begin, length = (block[name].to_numpy()[:, None] for name in ("first_position", "begin", "length"))
        position = first + np.arange(PIECE)  # [piece, PIECE], in the window
        is_within = position < length
        yield block["row"].to_numpy(), np.where(is_within, flat[np.where(is_within, begin + position, 0)], OUTSIDE)


def _lists(values: np.ndarray, lengths: np.ndarray) -> pl.Series:
    """Values, one behind another, as lists of these lengths."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return pl.Series(pl.from_arrow(pa.LargeListArray.from_arrays(offsets, pa.array(values))))
