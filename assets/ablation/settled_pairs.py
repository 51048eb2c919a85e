"""How many controls a pair of token and neuron is compared with: few where they already settle that it is nothing rare, else all.

Nearly all that ablation costs is controls, and most pairs are nothing out of the ordinary. So a pair's controls come in a seeded order. The
first FIRST_DRAWN are run; where at least SETTLED_BY of them go as far as the neuron in what is told, the pair is settled: no more are drawn, and
p = (1 + as far) / (1 + drawn). Else all are run, and p_values says how rare the effect is.

**Why that is no cheating** (Besag and Clifford, Sequential Monte Carlo p-values, Biometrika 78, 1991, with one look instead of many). A
settled pair's p is at least (1 + 8) / (1 + 25) = 0.35. So at any level a below that, a pair has p <= a only if all controls were drawn and the
p-value of all of them is at most a, which for a neuron like its controls has a probability of a at most: stopping takes away, and adds
nothing. It can only cost power, and that where 8 of 25 go as far as a neuron beyond all but a few of 100.

**What must be settled** is what is told: the change of the log-probability with the activation at its mean, at the token's own positions. The
other rows of a settled pair are counted among the drawn as well. Of these p <= a may hold by either count, so in at most 2 a of pairs like
their controls, and that only if they had hardly anything to do with what is told.
"""

import numpy as np

from assets.ablation.p_values import PValues, counted_p_values, p_values
from assets.ablation.position_effects import MEASURES
from assets.ablation.replacements import ABLATIONS, TOLD_ABLATION

FIRST_DRAWN, SETTLED_BY = 25, 8
TOLD_MEASURE = "log_probability"

_TOLD = (..., ABLATIONS.index(TOLD_ABLATION), MEASURES.index(TOLD_MEASURE))


def is_settled(effect: np.ndarray, controls: np.ndarray) -> bool:
    """Whether the pair needs no more controls: `effect` [kind of position, ablation, measure] at the token's own positions, `controls`
    [control, ...] the drawn ones."""
    as_far = (np.abs(controls) >= np.abs(effect)).sum(axis=0)  # [kind, ablation, measure]; what is no number goes as far as nothing
    return bool((as_far[_TOLD] >= SETTLED_BY).all())


def drawn_p_values(effect: np.ndarray, drawn: np.ndarray, chosen: int) -> PValues:
    """How rare `effect` [...] is among the `drawn` controls [control, ...] of `chosen`: counted where the pair was settled by fewer."""
    return (p_values if len(drawn) == chosen else counted_p_values)(effect, drawn)
