"""How rare an effect is among those of control neurons: counted where controls go as far, and beyond them by the tail they have.

Counting alone gives no p-value below 1 / (1 + controls): 0.0099 with a hundred. Among sixty pairs not one could then stand out,
whatever it does. So where few controls go as far, the tail of their effects is modelled.

**The model.** The largest quarter of the controls' absolute effects above a threshold u is taken for a Pareto tail: the logarithm of
effect / u has an exponential distribution, of unknown mean (Hill, A Simple General Approach to Inference About the Tail of a
Distribution, Annals of Statistics 3, 1975): the generalised Pareto tail of Knijnenburg et al. (Fewer permutations, more accurate
P-values, Bioinformatics 25, 2009, i161), its shape bound to be positive and its scale to be shape x u. With t effects above u, whose
mean logarithm is h, one more neuron of their like goes beyond x with the probability

    p = (t + 1) / (m + 1) x (1 + log(x / u) / (t h)) ** -t

The first factor is that of going beyond u among m controls; the second, which is not exp(-log(x / u) / h), allows exactly for h being
known from t effects alone. So p is exact for Pareto tails, and too large, never too small, for every tail that thins out faster than
theirs: normal, exponential, log-normal, Student's t. No shape is fitted: on 25 effects a fitted one would end the tail beyond the
last of them every other time, and call what lies farther impossible.

**The floor.** Nothing below 1 / (1 + m)^2 is told, 0.0001 with a hundred controls: as far beyond the rarest that was seen as that is
beyond the commonplace. Farther, nothing speaks for the tail going on.
"""

from dataclasses import dataclass

import numpy as np

MODELLED, MOST_MODELLED = 25, 4  # modelled where fewer than 1 / MODELLED of the controls go as far, and at most fewer than MOST_MODELLED
TAIL, SHORTEST_TAIL = 8, 5  # the largest 1 / TAIL of the controls are the tail, and at least so many

COUNTED, TAIL_MODEL, FLOOR = "counted", "tail", "floor"
SOURCES = (COUNTED, TAIL_MODEL, FLOOR)


@dataclass(frozen=True)
class PValues:
    """How rare effects are: `p_value` float64 [...], `source` one of SOURCES [...], `times_largest` float64 [...].

    `times_largest`: the effect's size over that of the largest control's; NaN where no control has an effect.
    """

    p_value: np.ndarray
    source: np.ndarray
    times_largest: np.ndarray


def p_values(effect: np.ndarray, controls: np.ndarray) -> PValues:
    """`effect` is [...], `controls` [control, ...]. How far from 0 counts, not on which side.

    Counted, (1 + controls at least as far) / (1 + controls), where MODELLED_BELOW or the whole tail go as far, where controls tie (a
    share of few positions), and where all but one have no effect. Modelled p-values are never above the least that counting then gives.
    """
    counted = counted_p_values(effect, controls)
    size, ordered = np.abs(effect), -np.sort(-np.abs(controls), axis=0)  # [control, ...], largest first
    amount = len(ordered)
    as_far = (ordered >= size).sum(axis=0)
    tail = np.minimum(max(amount // TAIL, SHORTEST_TAIL), (ordered > 0).sum(axis=0) - 1)  # [...], controls above the threshold
    enough = np.minimum(min(max(amount // MODELLED, 1), MOST_MODELLED), tail + 1)  # as far: from so many on it is counted
    is_modelled = (tail >= 1) & (as_far < enough) & np.isfinite(size)
    if not is_modelled.any():
        return counted
    last = np.maximum(tail, 0)
    is_modelled &= _are_distinct(ordered, last)
    modelled = np.minimum(_tail_probability(size, ordered, last), (1 + enough) / (1 + amount))
    least = (1 + amount) ** -2.0
    source = np.where(is_modelled, np.where(modelled < least, FLOOR, TAIL_MODEL), COUNTED)
    return PValues(np.where(is_modelled, np.maximum(modelled, least), counted.p_value), source, counted.times_largest)


def counted_p_values(effect: np.ndarray, controls: np.ndarray) -> PValues:
    """The same without a model of the tail: (1 + controls at least as far) / (1 + controls)."""
    size, sizes = np.abs(effect), np.abs(controls)
    p_value = (1 + (sizes >= size).sum(axis=0)) / (1 + len(sizes))
    largest = sizes.max(axis=0) if len(sizes) else np.zeros(size.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        times_largest = np.where(largest > 0, size / largest, np.nan)
    return PValues(p_value, np.full(size.shape, COUNTED), times_largest)


def _are_distinct(ordered: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Bool [...]: whether the values 0 to `last` of each column all differ, and are numbers."""
    ties = np.cumsum(~(ordered[:-1] > ordered[1:]), axis=0)  # [control - 1, ...]
    return np.take_along_axis(ties, np.maximum(last - 1, 0)[None], axis=0)[0] == 0


def _tail_probability(size: np.ndarray, ordered: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """The probability p of the module's model; anything where it does not apply."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(ordered)
        threshold = np.take_along_axis(logs, tail[None], axis=0)[0]
        total = np.take_along_axis(np.cumsum(logs, axis=0), np.maximum(tail - 1, 0)[None], axis=0)[0] - tail * threshold  # t x h
        return (tail + 1) / (len(ordered) + 1) * (1 + (np.log(size) - threshold) / total) ** -tail.astype(float)
