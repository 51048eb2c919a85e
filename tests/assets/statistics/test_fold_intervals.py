"""Intervals that respect documents: what they cover where documents share label and activation, beside Wilson's, and by hand."""

from typing import NamedTuple

import numpy as np
import pytest
from scipy.stats import t

from assets.statistics.fold_counts import FoldLevels, without_each
from assets.statistics.fold_intervals import Interval, degrees_of, jackknife_variance, proportion_interval, share_interval, value_interval
from assets.statistics.fold_scores import aurocs, average_precisions, contributions_of
from assets.statistics.half_scores import Halves
from assets.statistics.proportion_curves import wilson_interval
from tests.simulated_counters import LEVELS, Corpora, corpora

DEPENDENT = {"label": 2.0, "activation": 2.0, "shared": 0.6}
UP = np.ones((1, 1), np.int8)
HALVES = Halves((0, 1, 2, 3), (4, 5, 6, 7))
CORPORA, BATCH = 3000, 250


class Truth(NamedTuple):
    """What a corpus without end holds."""

    auroc: float
    average_precision: float
    contribution: float
    proportions: np.ndarray


def contributions(drawn: Corpora, unions: np.ndarray) -> np.ndarray:
    """[corpus, union], as if a unit of activation added 1 to the token's logit at a scale of 1."""
    found = [
        contributions_of(
            np.ones((1, 1)), (unions @ own)[:, None, None], (unions @ every)[:, None], (unions @ cases)[:, None], unions @ count
        )
        for own, every, cases, count in zip(
            drawn.case_sums, drawn.sums, drawn.levels.cases[:, 0].sum(-1), drawn.levels.positions.sum(-1), strict=True
        )
    ]
    return np.stack(found)[..., 0]


def truth() -> Truth:
    generator = np.random.default_rng(0)
    parts = [corpora(generator, 40, 4000, 30, **DEPENDENT) for _ in range(8)]
    levels = FoldLevels(*(sum(getattr(part.levels, name).sum(0, keepdims=True) for part in parts) for name in ("cases", "positions")))  # type: ignore[arg-type]
    sums, case_sums = (sum(getattr(part, name).sum(0, keepdims=True) for part in parts) for name in ("sums", "case_sums"))
    every = np.ones((1, 8))
    return Truth(
        aurocs(levels, every).item(),
        average_precisions(levels, every, UP).item(),
        contributions(Corpora(levels, sums, case_sums), every).item(),  # type: ignore[arg-type]
        levels.cases.sum((0, 1, 2)) / levels.positions.sum((0, 1)),
    )


class Covered:
    """How often intervals held the truth."""

    def __init__(self) -> None:
        self.held: dict[str, list[np.ndarray]] = {}

    def add(self, name: str, interval: Interval | tuple[np.ndarray, np.ndarray], true: float | np.ndarray) -> None:
        low, high = interval
        known = np.isfinite(low)
        self.held.setdefault(name, []).append(((low <= true) & (true <= high))[known])

    def share(self, name: str) -> float:
        return float(np.concatenate(self.held[name]).mean())


@pytest.fixture(scope="module")
def covered() -> Covered:
    """Over CORPORA corpora of 400 documents of 30 positions, of which those of a document go together."""
    true, found, generator = truth(), Covered(), np.random.default_rng(1)
    common = np.arange(10, 22)  # levels with two dozen cases and more
    for _ in range(CORPORA // BATCH):
        drawn = corpora(generator, BATCH, 400, 30, **DEPENDENT)
        levels, cases = drawn.levels, drawn.levels.cases[:, 0].sum(-1)
        for unions, half in ((without_each(range(8)), ""), (HALVES.unions, "telling ")):
            area, precision = aurocs(levels, unions)[:, 0], average_precisions(levels, unions, np.ones((BATCH, 1), np.int8))[:, 0]
            added = contributions(drawn, unions)
            for name, values, interval in (
                ("auroc", area, share_interval),
                ("average_precision", precision, share_interval),
                ("contribution", added, value_interval),
            ):
                if half:
                    _, estimate, left_out = HALVES.split(values)
                    ends = interval(estimate, left_out, HALVES.degrees(cases))
                else:
                    ends = interval(values[:, 0], [values[:, 1:]], degrees_of(cases))
                found.add(half + name, ends, getattr(true, name))
        ends = proportion_interval(levels.cases[:, 0], levels.positions)
        wilson = wilson_interval(levels.cases[:, 0].sum(1), levels.positions.sum(1))
        found.add("proportion", Interval(*(end[:, common] for end in ends)), true.proportions[common])
        found.add("wilson", (wilson[0][:, common], wilson[1][:, common]), true.proportions[common])
        # DeLong's error takes positions for independent as Wilson's interval does.
    return found


@pytest.mark.parametrize(
    "name",
    [
        "auroc",
        "average_precision",
        "contribution",
        "proportion",
        "telling auroc",
        "telling average_precision",
        "telling contribution",
    ],
)
def test_intervals_cover_what_they_promise_where_positions_of_a_document_go_together(covered: Covered, name: str) -> None:
    assert 0.93 <= covered.share(name) <= 0.97


def test_the_interval_that_takes_positions_for_independent_covers_far_less(covered: Covered) -> None:
    assert covered.share("wilson") < 0.85


def test_where_documents_share_nothing_intervals_are_as_wide_as_independent_positions_ask() -> None:
    generator, found = np.random.default_rng(2), Covered()
    nothing = {"label": 0.0, "activation": 0.0, "shared": 0.0}
    share = 1 / (1 + np.exp(2.5))
    drawn = corpora(generator, 1000, 200, 20, **nothing)
    # Of every level the same curve, all levels as one: the frequency of the token.
    cases, count = (counted.sum(-1, keepdims=True) for counted in (drawn.levels.cases[:, 0], drawn.levels.positions))
    found.add("frequency", proportion_interval(cases, count), share)
    assert 0.93 <= found.share("frequency") <= 0.97
    low, high = proportion_interval(cases, count)
    wilson = wilson_interval(cases.sum(1), count.sum(1))
    assert np.mean(high - low) / np.mean(wilson[1] - wilson[0]) == pytest.approx(t.ppf(0.975, 7) / 1.96, rel=0.07)


def test_variance_and_ends_worked_out_by_hand() -> None:
    # Without each of four folds: 1, 2, 3, 6; mean 3; squares 4 + 1 + 0 + 9 = 14; 3 / 4 of it.
    left_out = np.array([1.0, 2.0, 3.0, 6.0])
    assert jackknife_variance(left_out) == pytest.approx(10.5)
    low, high = value_interval(np.array(3.0), [left_out], np.array(3))
    assert (low, high) == pytest.approx((3 - 3.182446 * 10.5**0.5, 3 + 3.182446 * 10.5**0.5))
    # The mean of two halves' variances, with the degrees of both.
    both = value_interval(np.array(3.0), [left_out, np.zeros(4)], np.array(6))
    assert both.high == pytest.approx(3 + 2.446912 * 5.25**0.5)


def test_of_a_mean_the_jackknife_is_the_variance_of_the_folds_means() -> None:
    values = np.random.default_rng(3).standard_normal(8)
    left_out = (values.sum() - values) / 7
    assert jackknife_variance(left_out) == pytest.approx(values.var(ddof=1) / 8)


def test_a_fold_without_positions_is_left_out_and_fewer_than_three_with_cases_say_nothing() -> None:
    assert degrees_of(np.array([[1, 0, 2, 3], [0, 0, 2, 3], [1, 1, 1, 1]])).tolist() == [2, -1, 3]
    known = np.array([0.6, 0.7, 0.65, 0.62])
    assert np.isnan(share_interval(np.array(0.64), [known], np.array(-1))).all()
    assert np.isnan(value_interval(np.array(0.64), [known], np.array(-1))).all()
    cases, count = np.array([[1.0], [2.0], [0.0]]), np.array([[4.0], [3.0], [0.0]])
    assert np.isnan(proportion_interval(cases, count)).all()
    assert not np.isnan(proportion_interval(np.vstack([cases, [[1.0]]]), np.vstack([count, [[5.0]]]))).any()


def test_an_area_of_one_has_an_interval_though_no_fold_tells_of_a_spread() -> None:
    low, high = share_interval(np.array(1.0), [np.ones(8)], np.array(7))
    expected = wilson_interval(np.array(8.0), np.array(8.0), float(t.ppf(0.975, 7)))
    assert (low, high) == pytest.approx((float(expected[0]), 1.0))
    mirrored = share_interval(np.array(0.0), [np.zeros(8)], np.array(7))
    assert (mirrored.low, mirrored.high) == pytest.approx((0.0, 1 - float(expected[0])))


def test_a_level_without_a_case_takes_the_design_effect_of_its_curve() -> None:
    generator = np.random.default_rng(4)
    drawn = corpora(generator, 1, 400, 30, **DEPENDENT)
    cases, count = drawn.levels.cases[0, 0], drawn.levels.positions[0]
    cases = np.where(np.arange(LEVELS) == 9, 0.0, cases)  # [fold, level]
    low, high = proportion_interval(cases, count)
    wilson = wilson_interval(cases.sum(0), count.sum(0))
    assert low[9] == 0
    assert high[9] > 1.5 * wilson[1][9] > 0


def test_ends_stay_within_zero_and_one_and_hold_the_estimate() -> None:
    generator = np.random.default_rng(5)
    drawn = corpora(generator, 200, 24, 6, **DEPENDENT)
    low, high = proportion_interval(drawn.levels.cases[:, 0], drawn.levels.positions)
    with np.errstate(invalid="ignore"):
        share = drawn.levels.cases[:, 0].sum(1) / drawn.levels.positions.sum(1)
    known = np.isfinite(low)
    assert ((low >= 0) & (low <= share) & (share <= high) & (high <= 1))[known].all()
    area = aurocs(drawn.levels, without_each(range(8)))[:, 0]
    low, high = share_interval(area[:, 0], [area[:, 1:]], degrees_of(drawn.levels.cases[:, 0].sum(-1)))
    known = np.isfinite(low)
    assert known.any()
    assert ((low >= 0) & (low <= area[:, 0]) & (area[:, 0] <= high) & (high <= 1))[known].all()
