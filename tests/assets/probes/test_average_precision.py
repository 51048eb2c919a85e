"""Weighted average precision against scikit-learn's, and its interval against documents that are alike."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from assets.probes.average_precision import average_precision, class_weights, interval


@pytest.mark.parametrize("seed", range(8))
def test_it_is_scikit_learns_with_ties_and_weights(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, is_case = random.normal(0, 1, 200).round(seed % 3), random.random(200) < 0.2
    weights = random.random((3, 200)) * (random.random((3, 200)) < 0.7)
    expected = [average_precision_score(is_case, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(average_precision(scores, is_case, weights), expected, rtol=1e-12)


def test_weights_give_cases_their_share_of_the_corpus() -> None:
    is_case = np.array([True, True, False, False, False])
    weights = class_weights(is_case, 0.01)
    assert weights.sum() == pytest.approx(1)
    assert weights[:2].tolist() == [0.005, 0.005]
    np.testing.assert_allclose(class_weights(is_case, 0.5, np.array([[1, 3, 0, 2, 2]])), [[0.125, 0.375, 0, 0.25, 0.25]])


def test_the_interval_is_wider_where_a_documents_positions_are_alike() -> None:
    random = np.random.default_rng(1)
    is_case, documents = random.random(2000) < 0.3, np.arange(2000) // 50
    alone = is_case + random.normal(0, 1, 2000)
    together = is_case + random.normal(0, 1, 40)[documents]
    widths = [np.diff(interval(scores, is_case, documents, 0.1))[0] for scores in (alone, together)]
    assert widths[1] > 1.5 * widths[0] > 0
    low, high = interval(alone, is_case, documents, 0.1)
    assert low < average_precision(alone, is_case, class_weights(is_case, 0.1)) < high
    assert np.isnan(interval(alone, np.zeros(2000, bool), documents, 0.1)).all()
