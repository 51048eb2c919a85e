"""The merged counters by fold of documents: what intervals, halves, growth and domains are read off.

The pass counts every block of documents by itself; a block is a domain and a fold (assets/counting/document_blocks.py). Holds how the
blocks of one domain, or of all, become folds: levels of activation, positions, cases, and sums over the final norm's scale. Which folds
are compared, and what follows, is decided by those who read. A document lies in one fold whole, so folds are independent of each other
where documents are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from assets.counting.document_blocks import FOLDS
from assets.counting.histograms import NEXT_TOKEN, NO_NEXT_TOKEN, PROBABILITY, PROBABILITY_UNITS, TOP_PREDICTION, Histograms
from assets.counting.token_sum_units import SCALED_UNITS
from assets.histograms.histogram_store import CounterBlock, counter_blocks
from assets.statistics.levels import ascending_levels
from assets.statistics.outcomes import Index

COUNTERS = 2**19  # numbers [neuron, token, fold, level] at once: 4 MiB of float64
NULL_OUTCOMES = (TOP_PREDICTION, NEXT_TOKEN)  # whose labels are also counted where they say nothing


def has_folds(histograms: Histograms) -> bool:
    """Whether the counters were kept by block; without, nothing can be said of how far documents differ."""
    return "block_positions" in histograms.tensors


def domains_of(histograms: Histograms) -> int:
    """How many domains the corpus has: 1 where it has none of its own."""
    return histograms.blocks // FOLDS


def by_fold(blocks: np.ndarray, domain: int | None = None) -> np.ndarray:
    """[fold, ...] of a domain, or of all domains together, from [block, ...]."""
    folds = blocks.reshape(-1, FOLDS, *blocks.shape[1:])
    return folds[domain] if domain is not None else folds.sum(0, dtype=np.int64)


@dataclass(frozen=True)
class FoldLevels:
    """Counters of some neurons of a layer: `cases` float64 [neuron, token, fold, level], `positions` float64 [neuron, fold, level].

    `null` is float64 [neuron, token, level], the telling half's positions where labels that say nothing put the outcome; None where not asked for.
    """

    cases: np.ndarray
    positions: np.ndarray
    null: np.ndarray | None = None


@dataclass(frozen=True)
class FoldTotals:
    """Of an outcome: `positions` float64 [fold] that it is read over, and `cases` float64 [token, fold] of these."""

    positions: np.ndarray
    cases: np.ndarray


def fold_totals(histograms: Histograms, outcome: str, domain: int | None = None) -> FoldTotals:
    """Positions and cases of every fold, NaN activations included."""
    positions = by_fold(np.asarray(histograms["block_positions"][:]), domain).astype(np.float64)
    if outcome == NEXT_TOKEN:
        positions = positions - _of_any_neuron(histograms, f"block_{NO_NEXT_TOKEN}", domain)
    cases = _of_any_neuron(histograms, f"block_{outcome}", domain, slice(None)).T
    return FoldTotals(positions, cases / (PROBABILITY_UNITS if outcome == PROBABILITY else 1))


def _of_any_neuron(histograms: Histograms, name: str, domain: int | None, *tokens: slice) -> np.ndarray:
    """Float64 [fold, ...]: what the counters of a neuron, as of any other, add up to."""
    parts = (np.asarray(histograms[f"{name}_{part}"][(slice(None), *tokens, 0, 0)]) for part in ("count", "outside"))
    return by_fold(sum(part.sum(-1, dtype=np.int64) for part in parts), domain).astype(np.float64)  # type: ignore[arg-type]


def fold_positions_by_level(
    histograms: Histograms, outcome: str, layer: int, neurons: Index = slice(None), domain: int | None = None
) -> np.ndarray:
    """Float64 [neuron, fold, level]: the positions that the outcome is read over, by fold and level."""
    every = _levels(histograms, "block", domain, neurons, layer)
    if outcome == NEXT_TOKEN:
        every = every - _levels(histograms, f"block_{NO_NEXT_TOKEN}", domain, neurons, layer)
    return np.ascontiguousarray(np.moveaxis(every, 0, 1), dtype=np.float64)


def fold_cases_by_level(
    histograms: Histograms, outcome: str, tokens: slice, layer: int, neurons: Index = slice(None), domain: int | None = None
) -> np.ndarray:
    """Float64 [neuron, token, fold, level]: of these, the positions with the outcome; under probability how many are expected."""
    found = _levels(histograms, f"block_{outcome}", domain, neurons, tokens, layer)  # [fold, token, neuron, level]
    ordered = np.ascontiguousarray(found.transpose(2, 1, 0, 3), dtype=np.float64)
    return ordered / PROBABILITY_UNITS if outcome == PROBABILITY else ordered


def _levels(histograms: Histograms, name: str, domain: int | None, neurons: Index, *before: int | slice) -> np.ndarray:
    """[fold, ..., neuron, level] of the counters `name`, read one domain at a time; `before` indexes the axes between block and neuron."""
    run, picked = _run_of(neurons)
    total: np.ndarray | None = None
    for one in [domain] if domain is not None else range(domains_of(histograms)):
        blocks = slice(one * FOLDS, (one + 1) * FOLDS)
        parts = [np.asarray(histograms[f"{name}_{part}"][(blocks, *before, run)])[..., picked, :] for part in ("count", "outside")]
        levels = ascending_levels(*parts)
        total = levels if total is None else total.astype(np.int64) + levels
    assert total is not None
    return total


def _run_of(neurons: Index) -> tuple[slice, Index]:
    """The run of neurons that holds those asked for, and these within it: stored arrays are read in runs alone."""
    if isinstance(neurons, slice):
        return neurons, slice(None)
    first, last = (int(neurons.min()), int(neurons.max())) if neurons.size else (0, -1)
    return slice(first, last + 1), neurons - first


def fold_counters(
    histograms: Histograms, outcome: str, layer: int, *, with_null: bool = False
) -> Iterator[tuple[CounterBlock, FoldLevels]]:
    """A layer's counters by fold, some neurons and tokens at a time: at most COUNTERS numbers, or those of one neuron.

    `with_null`: those under labels that say nothing as well, of which the outcome must have some.
    """
    for block in counter_blocks(histograms, layer):
        if block.is_first_of_tokens:
            positions = fold_positions_by_level(histograms, outcome, block.layer, block.neurons)
        cases = fold_cases_by_level(histograms, outcome, block.tokens, block.layer, block.neurons)
        null = null_levels(histograms, outcome, block.tokens, block.layer, block.neurons) if with_null else None
        for part, neurons in parts_of(block, cases[0].size if len(cases) else 1):
            levels = FoldLevels(cases[part], positions[part], None if null is None else null[part])
            yield CounterBlock(block.layer, neurons, block.tokens), levels


def parts_of(block: CounterBlock, numbers_of_neuron: int) -> Iterator[tuple[slice, slice]]:
    """Ranges of the block's neurons whose counters are at most COUNTERS numbers: counted in the block, and in the layer."""
    width, start, stop = max(1, COUNTERS // max(numbers_of_neuron, 1)), block.neurons.start, block.neurons.stop
    for first in range(start, stop, width):
        last = min(first + width, stop)
        yield slice(first - start, last - start), slice(first, last)


def null_levels(histograms: Histograms, outcome: str, tokens: slice, layer: int, neurons: Index = slice(None)) -> np.ndarray:
    """Float64 [neuron, token, level]: the telling half's positions by level where labels that say nothing put the outcome."""
    parts = (np.asarray(histograms[f"null_{outcome}_{part}"][tokens, layer, neurons]) for part in ("count", "outside"))
    return np.ascontiguousarray(np.moveaxis(ascending_levels(*parts), 0, 1), dtype=np.float64)


def fold_scaled_sums(histograms: Histograms, outcome: str, layer: int, domain: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Sums of activation over the final norm's scale of a layer, by fold: where each token has the outcome, float64 [fold, token, neuron],
    and over all positions that the outcome is read over, [fold, neuron]."""
    total = by_fold(np.asarray(histograms["block_scaled"][:, layer]), domain)
    if outcome == NEXT_TOKEN:
        total = total - by_fold(np.asarray(histograms[f"block_{NO_NEXT_TOKEN}_scaled"][:, layer]), domain)
    here = by_fold(np.asarray(histograms[f"block_{outcome}_scaled"][:, layer]), domain)
    return here / SCALED_UNITS, total / SCALED_UNITS


def without_each(folds: np.ndarray | range | tuple[int, ...]) -> np.ndarray:
    """Float64 [len(folds) + 1, FOLDS]: which folds are taken together. First all of `folds`, then all but each of them."""
    chosen = np.zeros((len(folds) + 1, FOLDS))
    chosen[:, list(folds)] = 1
    for row, fold in enumerate(folds, 1):
        chosen[row, fold] = 0
    return chosen


def filled(positions: np.ndarray, folds: tuple[int, ...] | range = range(FOLDS)) -> tuple[int, ...]:
    """Those of `folds` that hold a position; `positions` [fold]."""
    return tuple(fold for fold in folds if positions[fold] > 0)
