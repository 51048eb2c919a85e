"""Counts per vocabulary entry."""

import numpy as np
import pytest

from assets.contracts import TOKEN_COUNTS, conform
from assets.counting.histograms import Histograms
from assets.statistics.token_counts import token_counts

COUNTED = Histograms(
    {
        "occurrences": np.array([3, 0, 1], dtype=np.int64),
        "predictions": np.array([1, 3, 0], dtype=np.int64),
        "correct_predictions": np.array([1, 0, 0], dtype=np.int64),
    },
    positions=4,
    token_ids=(1,),
)


def test_every_vocabulary_entry_has_a_row_whether_tracked_or_not() -> None:
    frame = token_counts(COUNTED, [" a", " an", ""])
    assert conform(TOKEN_COUNTS, frame).equals(frame)
    assert frame.rows() == [(0, " a", 3, 1, 1), (1, " an", 0, 3, 0), (2, "", 1, 0, 0)]


def test_texts_of_another_vocabulary_are_refused() -> None:
    with pytest.raises(ValueError, match="2 token texts were given for 3 counted vocabulary entries"):
        token_counts(COUNTED, [" a", " an"])
