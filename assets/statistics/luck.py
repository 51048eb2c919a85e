"""What luck gives: how rare a number is among those of all neurons where labels say nothing, and false discovery rates from that.

The pass counts every tracked token a second time, with labels that were turned within their windows (assets/counting/null_labels.py): as
many, as close together, in the same documents, at positions that have nothing to do with them. What neurons reach there is what luck
gives. A p-value of a neuron is the share of all neurons that reach as much there: not the chance that this one would, but that of a neuron
of which nothing is known, and the false discovery rates that follow are those of a search through all of them (Tusher, Tibshirani and Chu,
Significance Analysis of Microarrays, PNAS 98, 2001: one null distribution for all).

**Beyond the largest.** With 46,080 neurons nothing below 2 in 100,000 can be counted, and a search through nine tokens asks for less. So the
largest few of the null values are taken for a Pareto tail, of unknown mean excess (Hill 1975), exactly as assets/ablation/p_values.py
tells: with t of m values above u, and h the mean of log(value / u) of these,

    p = (t + 1) / (m + 1) x (1 + log(x / u) / (t h)) ** -t.

It is exact for Pareto tails and too large for those that thin out faster, as normal ones do. The tail is a 400th of all neurons rather than
an eighth: the farther out it begins, the less a thin tail is overrated. Where values tie, and where fewer than FEW go beyond u, values are
counted. Nothing below 1 / (1 + m)^2 is told.
"""

import numpy as np

TAIL, SHORTEST, LONGEST = 400, 10, 100  # one in TAIL of the null values is the tail, so many at least and at most
DISCOVERY_RATE = 0.1  # of false ones among the pairs that are called discoveries


def tail_length(amount: int) -> int:
    """How many of so many null values are modelled."""
    return min(max(amount // TAIL, SHORTEST), LONGEST, amount // 8)


def luck_p_values(values: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Float64 [...]: how rare values as large are among `null` [neuron]. NaN where a value is; null values that are NaN do not count."""
    ordered = np.sort(null[np.isfinite(null)])  # ascending
    as_large = ordered.size - np.searchsorted(ordered, values, side="left")
    tail = tail_length(ordered.size)
    counted = (1 + as_large) / (1 + ordered.size)
    found = np.minimum(counted, beyond_tail(values, ordered[::-1][: tail + 1], ordered.size)) if tail else counted
    return np.where(np.isfinite(values) & (ordered.size > 0), np.where(as_large < tail, found, counted), np.nan)


def beyond_tail(values: np.ndarray, largest: np.ndarray, amount: int) -> np.ndarray:
    """p of the module's model [...]. `largest` [..., tail + 1]: the largest of `amount` null values, largest first; the last is u.

    1 where nothing can be modelled: u not above 0, or values that all tie.
    """
    tail, threshold = largest.shape[-1] - 1, largest[..., -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.log(largest[..., :-1] / threshold[..., None]).sum(-1)  # t x h
        modelled = (tail + 1) / (amount + 1) * (1 + np.log(np.maximum(values, threshold) / threshold) / total) ** -float(tail)
    is_modelled = (threshold > 0) & (total > 0) & (values > threshold)
    return np.where(is_modelled, np.maximum(modelled, (1.0 + amount) ** -2), 1.0)


def q_values(p_values: np.ndarray) -> np.ndarray:
    """Float64 of the same shape: Benjamini-Hochberg adjusted over all that are given; NaN where p is, which is not looked at."""
    from scipy.stats import false_discovery_control

    found = np.full(p_values.shape, np.nan)
    known = np.isfinite(p_values)
    if known.any():
        found[known] = false_discovery_control(p_values[known], method="bh")
    return found


def q_values_of_least(p_values: np.ndarray, looked_at: int) -> np.ndarray:
    """The same where only the least p-values [row] of a larger search are known: too large, never too small, where others are as small."""
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * looked_at / np.arange(1, len(order) + 1)
    found = np.empty_like(p_values)
    found[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return found
