"""What candidates are chosen by, against plain loops over each token's own positions."""

import numpy as np
import pytest

from assets.probes.fitting import scaling
from assets.probes.preselection import layer_sums

ROWS, NEURONS, CASES = 500, 30, 3


@pytest.fixture
def given() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations of which some lie far from 0; weights that are 0 at other positions for each token; contrasts of the same positions."""
    random = np.random.default_rng(0)
    slab = (random.normal(size=(ROWS, NEURONS)) * 2 + random.normal(size=NEURONS) * 20).astype(np.float16)
    weights = random.random((CASES, ROWS)) * (random.random((CASES, ROWS)) < 0.4)
    weights /= weights.sum(1, keepdims=True)
    return slab, weights.astype(np.float32), (weights * random.normal(size=(CASES, ROWS))).astype(np.float32)


def test_sums_of_all_tokens_at_once_are_those_of_each_ones_own_positions(given: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    slab, weights, contrasts = given
    found = layer_sums(slab, weights, contrasts)
    for place in range(CASES):
        here = weights[place] > 0
        own = scaling(slab[here], weights[place, here])
        np.testing.assert_allclose(found.mean[place], own.mean, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.deviation[place], own.deviation, rtol=1e-4)
        np.testing.assert_allclose(found.sums[place], contrasts[place, here] @ own.of(slab[here]), atol=2e-5)


def test_a_feature_that_never_varies_where_it_is_looked_at_tells_nothing(given: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    slab, weights, contrasts = given
    slab[:, 3] = 0.3337
    slab[weights[1] > 0, 4] = -7.7  # elsewhere it varies
    found = layer_sums(slab, weights, contrasts)
    assert found.deviation[:, 3].tolist() == found.sums[:, 3].tolist() == [0.0] * CASES
    assert found.deviation[1, 4] == found.sums[1, 4] == 0
    assert (found.deviation[[0, 2], 4] > 0).all()
