"""How many positions of each neuron lie below which activation, in two studies: cumulative counts of a layer, and the levels that both know.

A study counts into bins of its own, so below which levels positions were counted differs between studies. Where an edge of a bin is the same
activation in both, both counts below it are exact, whatever the bins between; of bins of power-of-two widths the finer ones fold exactly into
the coarser. Holds whole numbers; what is made of them is in neuron_differences and curve_differences.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from assets.counting.histograms import ActivationBins, Histograms

NO_EDGE = -1


@dataclass(frozen=True)
class Edges:
    """The edges of one neuron's bins: edge i is the activation (first + i) / per_unit."""

    first: int
    per_unit: float
    count: int

    @property
    def negated(self) -> "Edges":
        """The edges of the negated neuron, lowest first again."""
        return Edges(-(self.first + self.count - 1), self.per_unit, self.count)

    @property
    def zero(self) -> int:
        """Place of the edge 0; NO_EDGE where the bins do not have it."""
        return -self.first if 0 <= -self.first < self.count else NO_EDGE

    def at(self, places: np.ndarray) -> np.ndarray:
        """Activations of the edges at these places, float64."""
        return (places + self.first) / self.per_unit


def shared_edges(one: Edges, other: Edges) -> tuple[np.ndarray, np.ndarray]:
    """Places of the edges that both have, in the one and in the other, lowest first.

    Compared as whole numbers times the other's per_unit, which float64 holds exactly: of 24 bits each, as float32 and the counter know them.
    """
    ours = (np.arange(one.count, dtype=np.float64) + one.first) * other.per_unit  # [edge]
    theirs = (np.arange(other.count, dtype=np.float64) + other.first) * one.per_unit
    _, places, facing_places = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
    return places, facing_places


@dataclass(frozen=True)
class Levels:
    """One layer. `below` int64 [neuron, edge]: positions with an activation below the edge; `up_to_zero` int64 [neuron]: at or below 0, NO_EDGE
    where that is not told in both signs; `positions` int64 [neuron]: all but NaN; `edges` by neuron."""

    below: np.ndarray
    up_to_zero: np.ndarray
    positions: np.ndarray
    edges: tuple[Edges, ...]

    @property
    def negated(self) -> "Levels":
        """The levels of the negated neurons, as far as the counters tell: a position exactly on an edge other than 0 is counted above it in
        either sign, though negated it lies below."""
        below = self.positions[:, None] - self.below[:, ::-1]
        edges, up_to_zero = tuple(own.negated for own in self.edges), self.up_to_zero.copy()
        for neuron, own in enumerate(self.edges):
            if own.zero != NO_EDGE:
                below[neuron, edges[neuron].zero] = self.positions[neuron] - self.up_to_zero[neuron]
                up_to_zero[neuron] = self.positions[neuron] - self.below[neuron, own.zero]
        return Levels(below, up_to_zero, self.positions, edges)

    def alike(self, other: "Levels") -> Iterator[tuple[np.ndarray, Edges, Edges]]:
        """The neurons that have the same edges in this and the same in the other, together: their numbers [neuron], and both edges."""
        together: dict[tuple[Edges, Edges], list[int]] = {}
        for neuron, pair in enumerate(zip(self.edges, other.edges, strict=True)):
            together.setdefault(pair, []).append(neuron)
        for (own, facing), neurons in together.items():
            yield np.asarray(neurons), own, facing


def edges_of(bins: ActivationBins, layer: int, neuron: int) -> Edges:
    """The edges of a neuron's bins."""
    return Edges(int(bins.first_bin[layer, neuron]), float(bins.per_unit[layer, neuron]), bins.bins + 1)


def layer_levels(histograms: Histograms, bins: ActivationBins, layer: int) -> Levels:
    """The levels of a layer, from its counters."""
    counts = np.asarray(histograms["count"][layer])  # [neuron, bin]
    underflow, overflow = np.asarray(histograms["outside"][layer])[:, :2].T  # [neuron] each
    first = underflow[:, None]
    below = np.concatenate([first, first + np.cumsum(counts, axis=1)], axis=1)  # [neuron, edge]
    positions = below[:, -1] + overflow
    edges = tuple(edges_of(bins, layer, neuron) for neuron in range(len(counts)))
    has_zero = np.asarray([own.zero != NO_EDGE for own in edges])
    up_to_zero = np.where(has_zero, positions - np.asarray(histograms["above_zero"][layer]), NO_EDGE)
    return Levels(below, up_to_zero, positions, edges)
