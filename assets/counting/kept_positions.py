"""Which positions a pass keeps the activations of all neurons at, and how the kept positions of parts are merged.

Half of them are a background: the counted positions of lowest seeded hash. The other half is shared evenly among tracked tokens and the
outcomes that a position has by itself (it is the top prediction, it comes next): of each the positions of lowest hash. Whether a position
is kept follows from the rows that are kept, so the rule can be applied again to the rows of two parts: what is among the lowest of the
whole is among the lowest of its part. Holds the rule, the order of rows and the merge; KeptPositionCounter meets the activations.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.counting.position_samples import position_hash

SEED = 20240611  # another than that of the samples for ablation: the two must not keep the same positions
MOST_OF_A_TOKEN = 256  # positions of one token and outcome
NONE = -1  # no document: an unused row; no next token: the last position of a window

PLACE = ("kept_document", "kept_window", "kept_position")
LABELS = {"top_prediction": "kept_prediction", "next_token": "kept_next_token"}  # outcome -> the tensor that says which token has it
KEPT_ROWS = (*PLACE, *LABELS.values(), "kept_is_background")
KEPT_VALUES = ("kept_activations", "kept_residual")
KEPT_TENSORS = (*KEPT_ROWS, *KEPT_VALUES)
HALF_LARGEST = float(np.finfo(np.float16).max)
_DTYPES = dict(zip(KEPT_ROWS, (np.int64, np.int32, np.int32, np.int32, np.int32, np.uint8), strict=True))


@dataclass(frozen=True)
class Quotas:
    """How many positions are kept: `background` of all, `of_token` of each tracked token under each of `outcomes`."""

    background: int
    of_token: int
    token_ids: tuple[int, ...]
    outcomes: tuple[str, ...]


def quotas(kept: int, token_ids: Sequence[int], outcomes: Collection[str]) -> Quotas:
    """`kept` positions shared out. `outcomes` are those counted beside the top prediction; of a probability no position is a case."""
    counted = tuple(outcome for outcome in LABELS if outcome == "top_prediction" or outcome in outcomes)
    background = kept - kept // 2
    shared = (kept - background) // max(1, len(token_ids) * len(counted))
    return Quotas(background, min(MOST_OF_A_TOKEN, shared), tuple(token_ids), counted)


@dataclass(frozen=True)
class KeptRows:
    """Positions with what is known of each, arrays [row]: hash uint64, document int64, window, position, prediction, next_token int32."""

    hash: np.ndarray
    document: np.ndarray
    window: np.ndarray
    position: np.ndarray
    prediction: np.ndarray
    next_token: np.ndarray

    @classmethod
    def of(cls, document: Any, window: Any, position: Any, prediction: Any, next_token: Any) -> "KeptRows":
        """The rows of these positions, with their hashes."""
        place = np.asarray(document, np.int64), np.asarray(window, np.int32), np.asarray(position, np.int32)
        return cls(position_hash(*place, seed=SEED), *place, np.asarray(prediction, np.int32), np.asarray(next_token, np.int32))

    def __len__(self) -> int:
        return len(self.hash)

    def at(self, places: np.ndarray) -> "KeptRows":
        """Some of the rows, in the order of `places`."""
        return KeptRows(*(column[places] for column in self._columns))

    def with_rows(self, other: "KeptRows") -> "KeptRows":
        """These rows, then those."""
        return KeptRows(*(np.concatenate(pair) for pair in zip(self._columns, other._columns, strict=True)))

    def label(self, outcome: str) -> np.ndarray:
        """Int32 [row]: the token that has the outcome."""
        return self.prediction if outcome == "top_prediction" else self.next_token

    @property
    def _columns(self) -> tuple[np.ndarray, ...]:
        return (self.hash, self.document, self.window, self.position, self.prediction, self.next_token)


def no_rows() -> KeptRows:
    """Before any position."""
    return KeptRows.of([], [], [], [], [])


def chosen(rows: KeptRows, share: Quotas) -> tuple[np.ndarray, np.ndarray]:
    """Int64 places in `rows` that are kept, lowest hash first, and for each of these whether it is background, bool. Each row given once."""
    order = np.lexsort((rows.position, rows.window, rows.document, rows.hash))
    is_background = np.arange(order.size) < share.background
    is_kept = is_background.copy()
    for outcome in share.outcomes:
        is_kept |= first_of_tokens(rows.label(outcome)[order], share)
    return order[is_kept], is_background[is_kept]


def first_of_tokens(tokens: np.ndarray, share: Quotas) -> np.ndarray:
    """Bool [row]: the first `of_token` rows of each tracked token, the rows as they stand; `tokens` int32 [row]."""
    places = np.flatnonzero(np.isin(tokens, share.token_ids))
    by_token = places[np.argsort(tokens[places], kind="stable")]
    starts = np.flatnonzero(np.diff(tokens[by_token], prepend=-2))  # no token is -2
    turn = np.arange(by_token.size) - np.repeat(starts, np.diff(starts, append=by_token.size))
    is_first = np.zeros(tokens.size, bool)
    is_first[by_token[turn < share.of_token]] = True
    return is_first


def row_tensors(rows: KeptRows, is_background: np.ndarray, kept: int) -> dict[str, np.ndarray]:
    """KEPT_ROWS [kept] of rows in their final order, filled up with document -1."""
    columns = (rows.document, rows.window, rows.position, rows.prediction, rows.next_token, is_background)
    made = {name: np.full(kept, NONE if name == "kept_document" else 0, dtype) for name, dtype in _DTYPES.items()}
    for name, column in zip(KEPT_ROWS, columns, strict=True):
        made[name][: len(rows)] = column
    return made


def rows_of_tensors(tensors: Mapping[str, Any]) -> KeptRows:
    """Back from KEPT_ROWS; unused rows, which stand last, are left out."""
    columns = [np.asarray(tensors[name][:]) for name in KEPT_ROWS[:-1]]
    used = int((columns[0] >= 0).sum())
    return KeptRows.of(*(column[:used] for column in columns))


@dataclass(frozen=True)
class MergedRows:
    """The kept rows of several parts: their tensors, and from which part and which of its rows each comes, int64 [row]."""

    tensors: dict[str, np.ndarray]
    part: np.ndarray
    row: np.ndarray

    def values(self, read: Callable[[int, int], np.ndarray]) -> np.ndarray:
        """The rows of an array [kept, ...] of each part, in the merged order; zeros in unused rows.

        `read` gives the first so many rows of a part's array. Of many shards few rows each are read, one shard at a time.
        """
        empty = read(0, 0)
        merged = np.zeros((len(self.tensors["kept_document"]), *empty.shape[1:]), empty.dtype)
        for part in np.unique(self.part).tolist():
            places = np.flatnonzero(self.part == part)
            rows = self.row[places]
            merged[places] = read(part, int(rows.max()) + 1)[rows]
        return merged


def merged_rows(parts: Sequence[Mapping[str, Any]], share: Quotas) -> MergedRows:
    """What is kept of the positions of all parts, which must share none."""
    held = [rows_of_tensors(tensors) for tensors in parts]
    both = no_rows()
    for rows in held:
        both = both.with_rows(rows)
    places, is_background = chosen(both, share)
    part = np.repeat(np.arange(len(held)), [len(rows) for rows in held])[places]
    row = np.concatenate([np.arange(len(rows)) for rows in held])[places]
    return MergedRows(row_tensors(both.at(places), is_background, len(parts[0]["kept_document"])), part, row)


def merged_kept(a: Mapping[str, Any], b: Mapping[str, Any], token_ids: Sequence[int], outcomes: Collection[str]) -> dict[str, np.ndarray]:
    """KEPT_TENSORS of the positions of both."""
    rows = merged_rows([a, b], quotas(len(a["kept_document"]), token_ids, outcomes))
    values = {name: rows.values(lambda part, stop, name=name: np.asarray((a, b)[part][name][:stop])) for name in KEPT_VALUES}  # type: ignore[misc]
    return rows.tensors | values
