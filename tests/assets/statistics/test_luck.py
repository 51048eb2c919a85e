"""How rare a number is by luck: counted, beyond the largest by the tail, and corrected for how many were looked at."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control, norm

from assets.statistics.luck import beyond_tail, luck_p_values, q_values, q_values_of_least, tail_length


def test_p_values_are_counted_among_the_neurons() -> None:
    null = np.array([0.1, 0.2, 0.3, 0.4, np.nan])
    found = luck_p_values(np.array([0.05, 0.1, 0.25, 0.4, 9.0, np.nan]), null)
    np.testing.assert_allclose(found, [1.0, 1.0, 3 / 5, 2 / 5, 1 / 5, np.nan])


def test_beyond_the_largest_the_tail_goes_on_and_never_jumps() -> None:
    null = np.abs(np.random.default_rng(1).standard_normal(46_080))
    values = np.linspace(2, 8, 500)
    found = luck_p_values(values, null)
    assert (np.diff(found) <= 1e-15).all()
    assert (found[1:] / found[:-1] > 0.4).all()
    assert found[-1] < 1e-7
    assert found[-1] >= (1 + 46_080) ** -2.0


def test_normal_tails_are_never_called_rarer_than_they_are() -> None:
    generator = np.random.default_rng(2)
    for far in (3.5, 4.5, 6.0):
        told = np.mean([np.log(luck_p_values(np.array(far), generator.standard_normal(5000))) for _ in range(50)])
        assert told > np.log(norm.sf(far))


def test_pareto_tails_are_told_exactly() -> None:
    """Of one more value of their like, the chance of a p-value below x is x."""
    generator = np.random.default_rng(3)
    found = []
    for _ in range(4000):
        drawn = generator.pareto(3.0, 401) + 1
        found.append(float(luck_p_values(drawn[0], drawn[1:])))
    for level in (0.02, 0.005, 0.001):
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=4 * (level / 4000) ** 0.5)


def test_where_null_values_tie_or_are_few_nothing_is_modelled() -> None:
    assert luck_p_values(np.array(5.0), np.ones(4000)) == pytest.approx(1 / 4001)
    assert tail_length(7) == 0
    assert luck_p_values(np.array(5.0), np.arange(7.0)) == pytest.approx(2 / 8 + 1 / 8)  # 5 and 6 are as large
    assert beyond_tail(np.array(5.0), np.array([0.0, -1.0, -2.0]), 100) == 1


def test_rates_are_those_of_benjamini_and_hochberg_over_all_that_are_known() -> None:
    p_values = np.array([[0.001, np.nan, 0.2], [0.01, 0.03, 0.9]])
    known = np.isfinite(p_values)
    found = q_values(p_values)
    np.testing.assert_allclose(found[known], false_discovery_control(p_values[known]))
    assert np.isnan(found[~known]).all()
    assert np.isnan(q_values(np.array([np.nan]))).all()


def test_rates_of_the_least_of_a_search_are_those_of_the_whole_search() -> None:
    p_values = np.random.default_rng(4).random(500) ** 3
    least = np.sort(p_values)[:60]
    np.testing.assert_allclose(q_values_of_least(least, 500), np.sort(false_discovery_control(p_values))[:60], rtol=0.2)
    assert (q_values_of_least(least, 500) >= np.sort(false_discovery_control(p_values))[:60] - 1e-12).all()
    np.testing.assert_allclose(q_values_of_least(p_values, 500), false_discovery_control(p_values))
