"""95 % intervals that respect documents: by leaving out one fold of documents after the other (the delete-a-group jackknife).

Positions of a document go together, so intervals that take them for independent are too narrow, several times over. Documents are whole in
a fold; estimates without each fold in turn tell how far one would move with other documents.

With g folds that hold positions and theta_k the estimate without fold k, the variance is (g - 1) / g x sum (theta_k - their mean)^2
(Tukey; Kott, The Delete-a-Group Jackknife, Journal of Official Statistics 17, 2001), and the interval's half-width is Student's t with g - 1
degrees of freedom times its root: eight folds say little of a variance, and t says how little.

- Areas and precisions are taken on the scale of log(x / (1 - x)), which keeps the ends within 0 and 1 and is nearer to normal. An estimate
  at 0 or 1 itself has no spread to see: its interval is Wilson's with the folds as trials.
- A proportion's interval is Wilson's with the effective number of positions, n / deff (Dean and Pagano, Evaluating Confidence Interval
  Methods for Binomial Proportions in Clustered Surveys, Journal of Survey Statistics and Methodology 3, 2015). The design effect deff is the
  variance over folds, g / (g - 1) x sum (y_k - p n_k)^2 / n^2, the same jackknife to first order, over that of independent positions. A
  level with few cases, or few others, shows no spread of its own and takes the design effect of its whole curve.
- The telling half has half the folds; what its variance is, is seen in both halves, and the mean of the two has twice the degrees.

Missing with fewer than FEWEST folds that hold a case: two say nothing of a spread.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FEWEST = 3  # folds with cases
FEW_CASES = 16  # of a level, or as many others: below, its design effect is that of the curve
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Float64 [...], NaN where nothing can be said."""

    low: np.ndarray
    high: np.ndarray


def quantile(degrees: np.ndarray) -> np.ndarray:
    """Of Student's t, two-sided CONFIDENCE; NaN below one degree of freedom."""
    from scipy.stats import t

    return np.asarray(t.ppf((1 + CONFIDENCE) / 2, np.where(degrees >= 1, degrees, np.nan)))


def jackknife_variance(left_out: np.ndarray) -> np.ndarray:
    """Variance [...] of an estimate from the estimates without each fold, [..., fold]; NaN where one of these is, and below two folds."""
    folds = left_out.shape[-1]
    if folds < 2:
        return np.full(left_out.shape[:-1], np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        return (folds - 1) / folds * ((left_out - left_out.mean(-1, keepdims=True)) ** 2).sum(-1)


def degrees_of(cases: np.ndarray) -> np.ndarray:
    """Degrees of freedom [...]: folds that hold a case, less one; -1 below FEWEST of them. `cases` [..., fold]."""
    held = (cases > 0).sum(-1)
    return np.where(held >= FEWEST, held - 1, -1)


def value_interval(estimate: np.ndarray, left_out: Sequence[np.ndarray], degrees: np.ndarray) -> Interval:
    """Of a number on a plain scale. estimate [...]; left_out: one array [..., fold] for each half, or one alone; degrees broadcasts to [...]."""
    width = quantile(degrees) * np.sqrt(_mean_variance(left_out))
    return Interval(estimate - width, estimate + width)


def share_interval(estimate: np.ndarray, left_out: Sequence[np.ndarray], degrees: np.ndarray) -> Interval:
    """Of an area or a precision, between 0 and 1; arguments as of value_interval."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        centre, spread = logit(estimate), _mean_variance([logit(part) for part in left_out])
        width = quantile(degrees) * np.sqrt(spread)
        low, high = _shares(centre - width), _shares(centre + width)
        seen = np.isfinite(centre) & np.isfinite(spread)
        trials = np.where(degrees >= 1, degrees + 1.0, np.nan)
        known = np.isfinite(estimate) & np.isfinite(_mean_variance(left_out))
        bounds = effective_wilson(estimate, np.broadcast_to(trials, estimate.shape), np.broadcast_to(quantile(degrees), estimate.shape))
    return Interval(*(np.where(seen, inner, np.where(known, outer, np.nan)) for inner, outer in zip((low, high), bounds, strict=True)))


def logit(share: np.ndarray) -> np.ndarray:
    """log(share / (1 - share)), infinite at 0 and 1."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(share) - np.log1p(-share)


def _shares(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def _mean_variance(left_out: Sequence[np.ndarray]) -> np.ndarray:
    return np.mean([jackknife_variance(part) for part in left_out], axis=0)  # type: ignore[no-any-return]


def proportion_interval(cases: np.ndarray, count: np.ndarray) -> Interval:
    """Of the proportion of each level of a curve, [..., level]: cases and count are [..., fold, level].

    Missing where fewer than FEWEST folds hold a position of the level.
    """
    held = (count > 0).sum(-2)
    degrees = np.where(held >= FEWEST, held - 1, -1)
    positions, own = count.sum(-2), cases.sum(-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = own / positions
        squares = held / np.maximum(held - 1, 1) * ((cases - share[..., None, :] * count) ** 2).sum(-2)
        expected = positions * share * (1 - share)  # of the squares, were positions independent
        is_seen = np.isfinite(expected) & (degrees >= 1)
        whole = np.where(is_seen, squares, 0).sum(-1, keepdims=True) / np.where(is_seen, expected, 0).sum(-1, keepdims=True)
        whole = np.where(whole > 0, whole, 1.0)
        is_rich = np.minimum(own, positions - own) >= FEW_CASES
        is_rich &= squares > 0
        effect = np.where(is_rich, squares / expected, np.maximum(whole, 1.0))
        # All levels together tell the curve's design effect well enough to take it for known.
        width = quantile(np.where(is_rich | (degrees < 1), degrees, np.inf))
        return effective_wilson(share, positions / effect, width)


def effective_wilson(share: np.ndarray, trials: np.ndarray, width: np.ndarray | float) -> Interval:
    """Wilson's score interval of a share of so many, not necessarily whole, trials; `width` in standard errors."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shrink = 1 + width**2 / trials
        centre = (share + width**2 / (2 * trials)) / shrink
        half = width / shrink * np.sqrt(share * (1 - share) / trials + width**2 / (4 * trials**2))
        # The ends are 0 at no success and 1 at no failure; rounding would leave 1e-17 beyond the share there.
        return Interval(np.clip(centre - half, 0, share), np.clip(centre + half, share, 1))
