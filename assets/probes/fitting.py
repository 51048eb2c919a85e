"""Logistic probes: how features are standardized and how a probe is fitted to them. Holds no choice of features or positions."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

PENALTY = 1.0  # C of a sparse probe on standardized activations
STRONG = 0.05  # C while there are more neurons than the largest probe has, nearly as many as cases


@contextmanager
def by_one_thread() -> Iterator[None]:
    """While open, linear algebra runs in one thread. The optimizer's vectors are so small that threads that share them wait for each other most of
    the time: a fit of 2,100 positions and 1,536 features takes 0.04 s in one, 0.44 s in two beside other work."""
    import sklearn.linear_model  # noqa: F401 - only libraries that are loaded already are limited

    with threadpool_limits(1):
        yield


@dataclass(frozen=True)
class Scaling:
    """Mean and deviation of features [feature] over the discovery half, as in the corpus. A constant feature becomes 0."""

    mean: np.ndarray
    deviation: np.ndarray

    def of(self, values: np.ndarray) -> np.ndarray:
        """Float32 [position, feature], standardized."""
        return np.asarray((values.astype(np.float32) - self.mean) / np.where(self.deviation > 0, self.deviation, np.inf), np.float32)


def scaling(values: np.ndarray, weights: np.ndarray) -> Scaling:
    """Of values [position, feature] of the discovery half, with weights [position] that sum to 1."""
    single = values.astype(np.float32)
    mean = weights.astype(np.float32) @ single
    return Scaling(mean, np.sqrt(np.maximum(weights.astype(np.float32) @ (single - mean) ** 2, 0)))


def fit(values: np.ndarray, is_case: np.ndarray, weights: np.ndarray, penalty: float, steps: int = 200) -> np.ndarray:
    """Float64 [feature]: the weights of a logistic probe with an L2 penalty 1 / (2 C); its intercept ranks nothing and is left out.

    values float32 [position, feature], standardized; weights as class_weights gives them.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    probe = LogisticRegression(C=penalty, max_iter=steps, tol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe that is nearly there ranks as well
        probe.fit(values, is_case, sample_weight=weights * len(is_case))
    return np.asarray(probe.coef_[0], np.float64)
