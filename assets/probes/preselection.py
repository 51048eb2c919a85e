"""Which neurons a token's sparse probes choose from, looked for in the discovery half of its cases.

First those of the largest difference of means, standardized; then, ROUNDS times, those whose activation goes along most with what a probe on
the ones before leaves unexplained: the gradient of its loss, which is 0 for what tells nothing beyond them. Both are a weighted sum over
positions, so all tokens and outcomes are looked for at once: their weights are the columns of one matrix over the kept positions, and a
layer's means, deviations and sums are three products of matrices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from assets.counting.histograms import Histograms
from assets.probes.average_precision import class_weights
from assets.probes.fitting import STRONG, Scaling, fit
from assets.probes.kept_cases import Cases
from assets.progress import Tally

PRESELECTED = 64  # neurons by difference of means: four times the largest probe
ADDED = 32  # neurons by what is left unexplained, in each of ROUNDS
ROUNDS = 2
ROUNDING = 1e-5  # of the mean square: a smaller variance is what rounding leaves of none

Neuron = tuple[int, int]  # layer, neuron


@dataclass(frozen=True)
class Preselection:
    """Candidates for the sparse probes of one token: their standardized activations float32 [position, neuron] at its Cases.

    The first has the largest difference of means.
    """

    neurons: tuple[Neuron, ...]
    values: np.ndarray

    def with_neurons(self, others: "Preselection") -> "Preselection":
        """These candidates, then those."""
        return Preselection(self.neurons + others.neurons, np.hstack([self.values, others.values]))


class LayerSums(NamedTuple):
    """Of one layer, float32 [cases, neuron]: mean and deviation as in the corpus, and the standardized activations' sums by the contrasts."""

    mean: np.ndarray
    deviation: np.ndarray
    sums: np.ndarray


def preselected(histograms: Histograms, rows: int, every: Sequence[Cases], tally: Tally) -> dict[tuple[str, int], Preselection]:
    """The candidates of each token and outcome. `rows`: of the kept positions, that are used; `tally` is given each layer that is read."""
    telling = [_contrast(cases, cases.is_case - cases.base_rate) for cases in every]
    found = _strongest(histograms, rows, every, telling, PRESELECTED, [frozenset()] * len(every), tally)
    for _ in range(ROUNDS):
        left = [_contrast(cases, _unexplained(cases, chosen)) for cases, chosen in zip(every, found, strict=True)]
        taken = [frozenset(chosen.neurons) for chosen in found]
        more = _strongest(histograms, rows, every, left, ADDED, taken, tally)
        found = [chosen.with_neurons(added) for chosen, added in zip(found, more, strict=True)]
    return {(cases.outcome, cases.token_id): chosen for cases, chosen in zip(every, found, strict=True)}


def layer_of(histograms: Histograms, layer: int, rows: int) -> np.ndarray:
    """Activations of a layer at the kept positions that are used, float16 [row, neuron]."""
    return np.asarray(histograms["kept_activations"][:rows, layer])


def layer_sums(slab: np.ndarray, weights: np.ndarray, contrasts: np.ndarray) -> LayerSums:
    """Of activations float16 [row, neuron], by weights that sum to 1 and by contrasts, float32 [cases, row] each.

    All is told from the mean of all rows, so that sums of single precision lose nothing to a large mean. A feature that is constant where
    weights are not 0 has a deviation and sums of 0.
    """
    middle = slab.mean(axis=0, dtype=np.float64).astype(np.float32)
    values = slab.astype(np.float32) - middle
    mean, sums = weights @ values, contrasts @ values
    values *= values
    square = weights @ values
    variance = square - mean**2
    deviation = np.sqrt(np.where(variance > ROUNDING * square, variance, 0))
    standardized = (sums - contrasts.sum(1, dtype=np.float64)[:, None] * mean) / np.where(deviation > 0, deviation, np.inf)
    return LayerSums(mean + middle, deviation, np.asarray(standardized, np.float32))


def _contrast(cases: Cases, left: np.ndarray) -> np.ndarray:
    """Float64 [position]: weight times what is to be gone along with; 0 in the telling half."""
    return _in_discovery(cases, _weights(cases) * left[~cases.is_telling])


def _weights(cases: Cases) -> np.ndarray:
    """Float64 [position of the discovery half]: what each weighs, as in the corpus."""
    return class_weights(cases.is_case[~cases.is_telling], cases.base_rate)


def _in_discovery(cases: Cases, values: np.ndarray) -> np.ndarray:
    """Values [position of the discovery half] among all positions, 0 elsewhere."""
    found = np.zeros(cases.places.size)
    found[~cases.is_telling] = values
    return found


def _unexplained(cases: Cases, chosen: Preselection) -> np.ndarray:
    """Float64 [position]: case less the probability that a probe on the candidates gives it; the weighted sum is 0."""
    from scipy.optimize import brentq
    from scipy.special import expit

    is_here, weights = ~cases.is_telling, _weights(cases)
    scores = chosen.values @ fit(chosen.values[is_here], cases.is_case[is_here], weights, STRONG)
    height = brentq(lambda offset: float(weights @ expit(scores[is_here] + offset)) - cases.base_rate, -700, 700)
    return np.asarray(cases.is_case - expit(scores + height))


def _strongest(
    histograms: Histograms, rows: int, every: Sequence[Cases], contrasts: Sequence[np.ndarray], number: int, taken: Sequence[frozenset[Neuron]],
    tally: Tally,
) -> list[Preselection]:  # fmt: skip
    """For each token the `number` neurons, none of them taken, whose standardized activation times the contrast sums to most in size."""
    best = [_Best(cases, number, own) for cases, own in zip(every, taken, strict=True)]
    weights = _over_rows(every, [_in_discovery(cases, _weights(cases)) for cases in every], rows)
    turned = _over_rows(every, contrasts, rows)
    for layer in range(histograms.layers):
        slab = layer_of(histograms, layer, rows)
        found = layer_sums(slab, weights, turned)
        for place, one in enumerate(best):
            one.add(layer, slab, LayerSums(*(of[place] for of in found)))
        tally.add(1)
    return [one.preselection() for one in best]


def _over_rows(every: Sequence[Cases], values: Sequence[np.ndarray], rows: int) -> np.ndarray:
    """Values of each one's positions among all kept rows, float32 [cases, row], 0 elsewhere."""
    found = np.zeros((len(every), rows), np.float32)
    for row, (cases, own) in enumerate(zip(every, values, strict=True)):
        found[row, cases.places] = own
    return found


class _Best:
    """The largest sums of one token so far, and the standardized activations of the neurons that have them."""

    def __init__(self, cases: Cases, number: int, taken: frozenset[Neuron]) -> None:
        self._cases, self._number, self._taken = cases, number, taken
        self._ranked: list[tuple[float, int, int]] = []  # negated size, layer, neuron: ascending, so that ties go to the first neuron
        self._columns: dict[Neuron, np.ndarray] = {}

    def add(self, layer: int, slab: np.ndarray, found: LayerSums) -> None:
        """Take in a layer: its activations [row, neuron], and of this token what is said of it, [neuron] each."""
        sizes = np.abs(found.sums)
        sizes[[neuron for at, neuron in self._taken if at == layer]] = -1
        first = np.argsort(-sizes, kind="stable")[: self._number]
        own = ((-float(sizes[neuron]), layer, int(neuron)) for neuron in first if sizes[neuron] >= 0)
        self._ranked = sorted([*self._ranked, *own])[: self._number]
        held = {(at, neuron) for _, at, neuron in self._ranked}
        self._columns = {name: column for name, column in self._columns.items() if name in held}
        new = [neuron for at, neuron in held if at == layer]
        values = Scaling(found.mean[new], found.deviation[new]).of(slab[self._cases.places[:, None], new])
        self._columns |= {(layer, neuron): values[:, place] for place, neuron in enumerate(new)}

    def preselection(self) -> Preselection:
        """Neurons, best first, with their columns; none where all neurons of a small model are taken."""
        neurons = [(layer, neuron) for _, layer, neuron in self._ranked]
        empty = np.empty((self._cases.places.size, 0), np.float32)
        return Preselection(tuple(neurons), np.stack([self._columns[neuron] for neuron in neurons], 1) if neurons else empty)
