"""Average precision of a score over weighted positions, for many sets of weights at once: how a bootstrap draws documents again.

Holds the measure and its interval. Which positions, and what they weigh, is the caller's choice.
"""

import numpy as np

DRAWS = 400
SEED = 20240613
INTERVAL = (0.025, 0.975)


def average_precision(scores: np.ndarray, is_case: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Float64 [...]: the mean precision over cases, read from the highest score down, positions of equal score together.

    scores float [position], is_case bool [position], weights float [..., position], some of them positive for a case. As
    sklearn.metrics.average_precision_score, which takes one set of weights.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)  # the last position of each score
    sorted_weights = weights[..., order]
    cases = np.cumsum(sorted_weights * is_case[order], axis=-1)[..., ends]
    positions = np.cumsum(sorted_weights, axis=-1)[..., ends]
    found = np.diff(cases, axis=-1, prepend=0.0)
    precision = np.divide(cases, positions, out=np.zeros_like(cases), where=positions > 0)
    return np.minimum((precision * found).sum(-1) / cases[..., -1], 1.0)  # a perfect score's sum may round to above 1


def class_weights(is_case: np.ndarray, base_rate: float, times: np.ndarray | None = None) -> np.ndarray:
    """Float64 [..., position]: weights that sum to 1, with which cases are `base_rate` of all; `times` [..., position] that each is taken."""
    times = np.ones(is_case.shape) if times is None else times
    cases, others = times * is_case, times * ~is_case
    shared = cases * (base_rate / _at_least_some(cases)) + others * ((1 - base_rate) / _at_least_some(others))
    return np.asarray(shared)


def _at_least_some(times: np.ndarray) -> np.ndarray:
    return np.maximum(times.sum(-1, keepdims=True), np.finfo(np.float64).tiny)


def interval(scores: np.ndarray, is_case: np.ndarray, documents: np.ndarray, base_rate: float, draws: int = DRAWS) -> tuple[float, float]:
    """Ends of the 95 % interval of the average precision at `base_rate`, documents drawn again with replacement (seeded percentiles).

    documents int64 [position]. A draw without a case, or of cases alone, says nothing and is left out; (nan, nan) where all are.
    """
    names, place = np.unique(documents, return_inverse=True)
    random = np.random.default_rng(SEED)
    times = random.multinomial(names.size, np.full(names.size, 1 / names.size), size=draws)[:, place].astype(np.float64)
    is_mixed = ((times * is_case).sum(-1) > 0) & ((times * ~is_case).sum(-1) > 0)
    if not is_mixed.any():
        return np.nan, np.nan
    drawn = average_precision(scores, is_case, class_weights(is_case, base_rate, times[is_mixed]))
    low, high = np.quantile(drawn, INTERVAL)
    return float(low), float(high)
