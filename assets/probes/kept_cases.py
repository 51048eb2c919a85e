"""The kept positions as a case-control sample: which of them are cases of a token, which are not, and to which half each belongs.

Cases are the kept positions of lowest hash that have the outcome, so many as were kept for it (and all of the background's, which come
before or are among these); the others are the background without them. Both are then drawn evenly from the corpus: what was kept for
another token is left out. Holds the rows and their labels; activations stay in the store.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.counting.document_blocks import TELLING, fold_of
from assets.counting.histograms import PREDICTIONS, Histograms
from assets.counting.kept_positions import LABELS, KeptRows, first_of_tokens, quotas, rows_of_tensors

LEAST_CASES = 20  # in each half: below it an average precision is a matter of luck


@dataclass(frozen=True)
class Kept:
    """The used rows of the kept positions; arrays [row], lowest hash first."""

    rows: KeptRows
    is_background: np.ndarray
    is_telling: np.ndarray
    fold: np.ndarray  # int64

    def __len__(self) -> int:
        return len(self.rows)


def kept_of(histograms: Histograms) -> Kept:
    """The kept positions of histograms; no rows where the study keeps none."""
    tensors: Any = histograms.tensors
    if not histograms.keeps_positions:
        tensors = {name: np.empty(0, np.int64) for name in ("kept_document", "kept_window", "kept_position", *LABELS.values())}
        tensors["kept_is_background"] = np.empty(0, np.uint8)
    rows = rows_of_tensors(tensors)
    fold = fold_of(rows.document)
    return Kept(rows, np.asarray(tensors["kept_is_background"][: len(rows)]).astype(bool), fold >= TELLING.start, fold)


@dataclass(frozen=True)
class Cases:
    """The positions that a token is told from others by, under one outcome: places int64 [position] among the kept rows, ascending.

    `base_rate`: the share of the corpus' positions that are cases.
    """

    outcome: str
    token_id: int
    places: np.ndarray
    is_case: np.ndarray
    is_telling: np.ndarray
    fold: np.ndarray
    documents: np.ndarray
    base_rate: float

    def counts(self) -> dict[str, int]:
        """Cases and other positions of each half."""
        halves = {"discovery": ~self.is_telling, "telling": self.is_telling}
        return {
            f"{half}_{what}": int((is_half & (self.is_case == is_case)).sum())
            for half, is_half in halves.items()
            for what, is_case in (("cases", True), ("others", False))
        }

    @property
    def are_enough(self) -> bool:
        """Whether both halves have LEAST_CASES, and as many others."""
        return min(self.counts().values()) >= LEAST_CASES


def cases_of(histograms: Histograms, kept: Kept) -> list[Cases]:
    """Each tracked token under each outcome that a position has by itself and that was counted, those with too few cases included."""
    found = []
    counted = [outcome for outcome in LABELS if outcome in histograms.outcomes]
    share = quotas(histograms.kept_positions, histograms.token_ids, counted)
    for outcome in counted:
        label = kept.rows.label(outcome)
        is_known = label >= 0
        is_drawn = kept.is_background | first_of_tokens(label, share)
        whole = np.asarray(histograms[PREDICTIONS[outcome]][:])
        for token in histograms.token_ids:
            is_case = label == token
            places = np.flatnonzero(is_known & np.where(is_case, is_drawn, kept.is_background))
            rate = float(whole[token] / max(1, whole.sum()))
            found.append(
                Cases(outcome, token, places, is_case[places], kept.is_telling[places], kept.fold[places], kept.rows.document[places], rate)
            )
    return found
