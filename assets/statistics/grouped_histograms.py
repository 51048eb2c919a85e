"""Groups of tracked tokens, told as one: the counters of a group are the sum of its members', exactly.

A position has one top prediction and one next token, so members never share a case, and probabilities add up. A group is called by a
number behind the vocabulary's entries (table `token_groups`); what reads histograms by token id reads a group as it reads a token.
Nothing is counted here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from assets.counting.histograms import PREDICTIONS, Histograms

Members = Mapping[int, Sequence[int]]  # token ids of the members by the group's number


def members_of(token_groups: pl.DataFrame) -> dict[int, list[int]]:
    """Members of each group, in the study's order."""
    return {
        int(str(group)): rows["member_id"].to_list()
        for (group,), rows in token_groups.partition_by("token_id", as_dict=True, maintain_order=True).items()
    }


def with_groups(histograms: Histograms, members: Members) -> Histograms:
    """The histograms with a row more for each group behind those of the tracked tokens. Without groups, the same histograms.

    Counters of tracked tokens are then GroupedRows, and counters of the vocabulary are as long as the largest number needs.
    """
    if not members:
        return histograms
    rows = {entry: place for place, entry in enumerate(histograms.token_ids)}
    groups = [[rows[entry] for entry in own] for own in members.values()]
    tensors = dict(histograms.tensors)
    for name in (*histograms.token_sums, *(name for name in histograms.outcome_sums if _is_by_token(name))):
        tensors[name] = GroupedRows(histograms[name], groups, axis=0 if name in histograms.token_sums else 1)
    for name in histograms.tensors:
        axis = _axis_of_tokens(name)
        if axis is not None:
            tensors[name] = GroupedRows(histograms[name], groups, axis)
    for name in dict.fromkeys(histograms.prediction_kinds.values()):
        tensors[name] = _lengthened(np.asarray(histograms[name][:]), members)
    return Histograms(tensors, histograms.positions, (*histograms.token_ids, *members))


def _is_by_token(name: str) -> bool:
    return name.endswith("_scaled") and not name.startswith("no_")


def _axis_of_tokens(name: str) -> int | None:
    """Of counters by block and of null labels; None where they are by no token."""
    if name.startswith("block_no_") or not name.startswith(
        tuple(f"{kind}_{outcome}_" for kind in ("block", "null") for outcome in PREDICTIONS)
    ):
        return None
    return int(name.startswith("block_")) + int(name.endswith("_scaled"))


def _lengthened(counts: np.ndarray, members: Members) -> np.ndarray:
    """Int64 [number]: counts by vocabulary entry, and behind them those of the groups."""
    longer = np.zeros(max(members) + 1, np.int64)
    longer[: len(counts)] = counts
    for group, own in members.items():
        longer[group] = counts[list(own)].sum()
    return longer


class GroupedRows:
    """An array by tracked token with the sums of some rows behind it; read by indexing, as the array itself."""

    def __init__(self, array: Any, groups: Sequence[Sequence[int]], axis: int) -> None:
        """`axis` is the array's axis of tokens."""
        self._array, self._groups, self._axis = array, [list(group) for group in groups], axis
        self._rows = array.shape[axis]
        self.shape = (*array.shape[:axis], self._rows + len(groups), *array.shape[axis + 1 :])
        self.dtype = array.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        keys = [*(key if isinstance(key, tuple) else (key,))]
        keys += [slice(None)] * (self._axis + 1 - len(keys))
        before, wanted, after = keys[: self._axis], keys[self._axis], keys[self._axis + 1 :]
        if isinstance(wanted, int | np.integer):
            return self._row(int(wanted), before, after)
        chosen = np.arange(self.shape[self._axis])[wanted]
        if not chosen.size or chosen.max() < self._rows:
            return np.asarray(self._array[(*before, wanted, *after)])
        # Stored rows share chunks: all that are needed are read once.
        members = [self._members(int(row)) for row in chosen]
        first, last = min(map(min, members)), max(map(max, members))
        held = np.asarray(self._array[(*before, slice(first, last + 1), *after)])
        axis = sum(not isinstance(key, int | np.integer) for key in before)  # what is indexed by a number is no axis any more
        rows = np.moveaxis(held, axis, 0)
        return np.stack([_sum([rows[one - first] for one in own]) for own in members], axis=axis)

    def _members(self, row: int) -> list[int]:
        return [row] if row < self._rows else self._groups[row - self._rows]

    def _row(self, row: int, before: list[Any], after: list[Any]) -> np.ndarray:
        return _sum([np.asarray(self._array[(*before, one, *after)]) for one in self._members(row)])


def _sum(rows: Sequence[np.ndarray]) -> np.ndarray:
    """In the rows' own dtype: members share no position, so their sum counts no more positions than there are."""
    return sum(rows[1:], rows[0])
