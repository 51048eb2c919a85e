"""Document intervals of AUROC and average precision over the whole corpus, beside the scores of token_neuron_scores and outcome_scores.

Holds how the interval of every token and neuron comes from its folds; the intervals themselves are in fold_intervals.
"""

import numpy as np

from assets.counting.histograms import Histograms
from assets.histograms.layers_at_once import of_every_layer
from assets.progress import Tally
from assets.statistics.fold_counts import filled, fold_counters, fold_totals, has_folds, without_each
from assets.statistics.fold_intervals import degrees_of, share_interval
from assets.statistics.fold_scores import aurocs, average_precisions

INTERVALS = ("auroc_low", "auroc_high", "average_precision_low", "average_precision_high")


def score_intervals(histograms: Histograms, outcome: str, tally: Tally | None = None) -> dict[str, np.ndarray]:
    """INTERVALS, float64 [token, layer, neuron]; NaN where nothing can be said, and where counters were not kept by block. `tally` is given
    1 after each layer."""
    shape = (len(histograms.token_ids), histograms.layers, histograms.neurons)
    found = {name: np.full(shape, np.nan) for name in INTERVALS}
    if not has_folds(histograms):
        return found
    totals = fold_totals(histograms, outcome)
    unions, degrees = without_each(filled(totals.positions)), degrees_of(totals.cases)

    def of_layer(layer: int) -> None:
        for block, levels in fold_counters(histograms, outcome, layer):
            area = aurocs(levels, unions)  # [neuron, token, union]
            downwards = np.where(area[..., 0] < 0.5, -1, 1)
            precision = average_precisions(levels, unions, downwards)
            for name, values in (("auroc", area), ("average_precision", precision)):
                ends = share_interval(values[..., 0], [values[..., 1:]], degrees[block.tokens])
                for end, held in zip(("low", "high"), ends, strict=True):
                    found[f"{name}_{end}"][block.tokens, layer, block.neurons] = held.T

    of_every_layer(histograms.layers, of_layer, tally)
    return found
