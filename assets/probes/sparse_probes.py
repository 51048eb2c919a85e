"""How much of what a model is about to say can be read off one neuron, a few, a whole layer, or the residual stream.

For each tracked token and outcome, logistic probes on the kept positions: neurons, scaling and penalty are chosen on the discovery half of
the documents alone, and average precision is told on the other. Weights make the case-control sample stand for the corpus. After
Gurnee et al., Finding Neurons in a Haystack: Case Studies with Sparse Probing (2023): a preselection by difference of means, then
adaptive thresholding. Differs from it in a second preselection, by what the first leaves unexplained: neurons that tell nothing alone but
sharpen others. Holds the table; reads activations a layer at a time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from assets.contracts import TABLES
from assets.counting.histograms import Histograms
from assets.probes.average_precision import average_precision, class_weights, interval
from assets.probes.fitting import PENALTY, STRONG, by_one_thread, fit, scaling
from assets.probes.kept_cases import Cases, cases_of, kept_of
from assets.probes.preselection import ROUNDS, Preselection, layer_of, preselected
from assets.progress import Tally, Told

SIZES = (16, 8, 4, 2, 1)
HALVINGS = (64, 32)  # on the way down to these
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of a whole layer's probe: one is chosen by cross-validation
STEPS = 60  # of the optimizer for a whole layer: more change the third digit
PROBES_WEIGH = 60  # layers of 1,536 neurons read for all tokens take as long as the fits of one
NEURONS, LAYER, RESIDUAL, FREQUENCY = "neurons", "layer", "residual", "frequency"


@dataclass(frozen=True)
class Probe:
    """One probe's scores of all positions of its Cases, and what it was made of."""

    kind: str
    size: int
    layer: int | None
    scores: np.ndarray
    neurons: tuple[tuple[int, int], ...] = ()
    weights: tuple[float, ...] = ()
    penalty: float | None = None


@dataclass(frozen=True)
class Probes:
    """The two tables of the stage."""

    probes: pl.DataFrame
    neurons: pl.DataFrame


def sparse_probes(histograms: Histograms, texts: Mapping[int, str], progress: Told | None = None) -> Probes:
    """Tables sparse_probes and probe_neurons. Tokens with fewer than LEAST_CASES cases in a half have one row, of kind `frequency`.

    `progress` is told layers read for all tokens and outcomes, and the fits of one as PROBES_WEIGH of these.
    """
    with by_one_thread():
        return _sparse_probes(histograms, texts, progress)


def _sparse_probes(histograms: Histograms, texts: Mapping[int, str], progress: Told | None) -> Probes:
    kept = kept_of(histograms)
    every = cases_of(histograms, kept)
    told = [cases for cases in every if cases.are_enough]
    tally = Tally(progress, (histograms.layers * (ROUNDS + 1) + len(told) * PROBES_WEIGH) if told else 0)
    chosen = preselected(histograms, len(kept), told, tally) if told else {}
    rows, members = [], []
    for cases in every:
        key = {"outcome": cases.outcome, "token_id": cases.token_id, "token": texts[cases.token_id]}
        probes = list(_probes(histograms, len(kept), cases, chosen[cases.outcome, cases.token_id])) if cases.are_enough else []
        if cases.are_enough:
            tally.add(PROBES_WEIGH)
        for probe in probes:
            rows.append({**key, **_told(probe, cases)})
            members += [
                {**key, "size": probe.size, "rank": place + 1, "layer": neuron[0], "neuron": neuron[1], "weight": weight}
                for place, (neuron, weight) in enumerate(zip(probe.neurons, probe.weights, strict=True))
            ]
        if len(kept):
            rows.append({**key, **_frequency(cases)})
    return Probes(pl.DataFrame(rows, schema=TABLES["sparse_probes"].schema), pl.DataFrame(members, schema=TABLES["probe_neurons"].schema))


def _told(probe: Probe, cases: Cases) -> dict[str, Any]:
    """Average precision in both halves, with its interval where it is told."""
    halves = {}
    for half, is_half in (("discovery", ~cases.is_telling), ("telling", cases.is_telling)):
        weights = class_weights(cases.is_case[is_half], cases.base_rate)
        halves[half] = float(average_precision(probe.scores[is_half], cases.is_case[is_half], weights))
    there = cases.is_telling
    low, high = interval(probe.scores[there], cases.is_case[there], cases.documents[there], cases.base_rate)
    return {
        "kind": probe.kind,
        "size": probe.size,
        "layer": probe.layer,
        "discovery_average_precision": halves["discovery"],
        "average_precision": halves["telling"],
        "average_precision_low": low,
        "average_precision_high": high,
        "penalty": probe.penalty,
        **cases.counts(),
    }


def _frequency(cases: Cases) -> dict[str, Any]:
    """What guessing reaches: the share of positions that are cases."""
    same = dict.fromkeys(("discovery_average_precision", "average_precision"), cases.base_rate)
    return {"kind": FREQUENCY, "size": 0, **same, **cases.counts()}


def _probes(histograms: Histograms, rows: int, cases: Cases, chosen: Preselection) -> Iterator[Probe]:
    yield from _sparse(cases, chosen)
    layer = chosen.neurons[0][0]
    yield _dense(cases, LAYER, layer, layer_of(histograms, layer, rows)[cases.places])
    residual = np.asarray(histograms["kept_residual"][:rows])[cases.places]
    if residual.any():
        yield _dense(cases, RESIDUAL, None, residual)


def _sparse(cases: Cases, chosen: Preselection) -> Iterator[Probe]:
    """From all candidates down to one neuron: each size is refitted, and the next keeps its largest weights. The single neuron is the one
    of largest average precision in the discovery half."""
    is_here = ~cases.is_telling
    weights = class_weights(cases.is_case[is_here], cases.base_rate)
    kept = np.arange(len(chosen.neurons))
    for size in sorted({min(size, kept.size) for size in (*HALVINGS, *SIZES)}, reverse=True):
        if size > 1:
            penalty = STRONG if kept.size > SIZES[0] else PENALTY
            fitted = fit(chosen.values[is_here][:, kept], cases.is_case[is_here], weights, penalty)
            kept = kept[np.argsort(-np.abs(fitted), kind="stable")[:size]]
        else:
            kept = kept_best(chosen.values[is_here], cases.is_case[is_here], weights)
        if size > SIZES[0]:
            continue
        final = fit(chosen.values[is_here][:, kept], cases.is_case[is_here], weights, PENALTY)
        order = np.argsort(-np.abs(final), kind="stable")
        yield Probe(
            NEURONS,
            size,
            None,
            chosen.values[:, kept] @ final,
            tuple(chosen.neurons[place] for place in kept[order]),
            tuple(float(weight) for weight in final[order]),
            PENALTY,
        )


def kept_best(values: np.ndarray, is_case: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Int64 [1]: the feature that, read in its better direction, has the largest average precision; ties to the first."""
    reached = [
        max(float(average_precision(sign * values[:, place], is_case, weights)) for sign in (1, -1)) for place in range(values.shape[1])
    ]
    return np.array([int(np.argmax(reached))])


def _dense(cases: Cases, kind: str, layer: int | None, values: np.ndarray) -> Probe:
    """All features, the penalty chosen by average precision over folds of the discovery half left out in turn."""
    is_here = ~cases.is_telling
    weights = class_weights(cases.is_case[is_here], cases.base_rate)
    own = scaling(values[is_here], weights).of(values)
    penalty = chosen_penalty(own[is_here], cases.is_case[is_here], cases.fold[is_here], cases.base_rate)
    return Probe(kind, values.shape[1], layer, own @ fit(own[is_here], cases.is_case[is_here], weights, penalty, STEPS), penalty=penalty)


def chosen_penalty(values: np.ndarray, is_case: np.ndarray, fold: np.ndarray, base_rate: float) -> float:
    """Of PENALTIES the one whose probes reach the largest average precision where they were not fitted; ties to the stronger."""
    reached = np.zeros(len(PENALTIES))
    for left_out in np.unique(fold):
        there = fold == left_out
        if is_case[there].all() or not is_case[there].any() or not is_case[~there].any():
            continue
        weights, tried = class_weights(is_case[~there], base_rate), class_weights(is_case[there], base_rate)
        for place, penalty in enumerate(PENALTIES):
            fitted = fit(values[~there], is_case[~there], weights, penalty, STEPS)
            reached[place] += float(average_precision(values[there] @ fitted, is_case[there], tried)) * is_case[there].sum()
    return PENALTIES[int(np.argmax(reached))]
