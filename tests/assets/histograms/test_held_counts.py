"""Sums and broken rules of token counters, found in one reading, against NumPy's passes."""

import numpy as np
import pytest

from assets.histograms.held_counts import held_counts


@pytest.mark.parametrize("tokens", [0, 1, 5])
def test_one_reading_finds_what_separate_passes_find(tokens: int) -> None:
    generator = np.random.default_rng(tokens)
    counters = {"count": generator.integers(0, 9, (7, 11)), "outside": generator.integers(0, 3, (7, 3))}
    of_token = {part: generator.integers(-2, 9, (tokens, *values.shape)) for part, values in counters.items()}
    for part, found in held_counts(of_token, counters).items():
        np.testing.assert_array_equal(found.sums, of_token[part].sum(-1))
        np.testing.assert_array_equal(found.negative, (of_token[part] < 0).sum(-1))
        np.testing.assert_array_equal(found.above, (of_token[part] > counters[part]).sum(-1))


def test_views_of_wider_counters_are_read_as_they_are() -> None:
    """A counter's bins and outcomes lie side by side in memory; sums beyond 32 bits are whole."""
    wide = np.full((2, 3, 8), 2**40)
    found = held_counts({"count": wide[..., :5], "outside": wide[..., 5:]}, {"count": wide[0, :, :5], "outside": wide[0, :, 5:] - 1})
    assert found["count"].sums.tolist() == [[5 * 2**40] * 3] * 2
    assert found["count"].above.sum() == 0
    assert found["outside"].above.tolist() == [[3] * 3] * 2
