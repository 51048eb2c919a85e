"""The table `half_curves`: the curves of proportion_curves and outcome_curves in either half of the documents, with intervals by document.

A curve that was chosen by what it looks like is told by documents that had no say (half_scores); the other half stands beside it. Which
pairs have curves is in candidates, how intervals are made in fold_intervals.
"""

import numpy as np
import polars as pl

from assets.contracts import HALF_CURVES, conform
from assets.counting.document_blocks import DISCOVERY, TELLING
from assets.counting.histograms import ActivationBins, Histograms
from assets.statistics.fold_counts import fold_cases_by_level, fold_positions_by_level, has_folds
from assets.statistics.fold_intervals import proportion_interval
from assets.statistics.levels import lower_edges

HALVES = {"discovery": DISCOVERY, "telling": TELLING}


def half_curves(histograms: Histograms, bins: ActivationBins, pairs: pl.DataFrame, min_count: int) -> pl.DataFrame:
    """One row per outcome that was counted, pair (candidates.studied_pairs), half and level, underflow first and overflow last.

    histograms: with a row for each group of tokens. None where counters were not kept by block.
    """
    frames = [pl.DataFrame(schema=HALF_CURVES.schema)]
    by_layer = sorted(pairs.partition_by("layer", as_dict=True).items()) if has_folds(histograms) else []
    for (layer,), part in by_layer:
        studied = part.sort("neuron", "token_id")
        frames += [_curves(histograms, bins, outcome, int(str(layer)), studied, min_count) for outcome in histograms.outcomes]
    return conform(HALF_CURVES, pl.concat(frames, how="vertical_relaxed"))


def _curves(histograms: Histograms, bins: ActivationBins, outcome: str, layer: int, pairs: pl.DataFrame, min_count: int) -> pl.DataFrame:
    """Both halves of one outcome's curves in one layer."""
    neurons = pairs["neuron"].to_numpy()
    rows = pairs["token_id"].replace_strict(histograms.token_ids, range(len(histograms.token_ids))).to_numpy()
    cases = fold_cases_by_level(histograms, outcome, slice(None), layer, neurons)[np.arange(len(rows)), rows]  # [pair, fold, level]
    counts = fold_positions_by_level(histograms, outcome, layer, neurons)
    left = lower_edges(bins, layer, neurons)  # [pair, level]
    right = np.concatenate([left[:, 1:], np.full((len(left), 1), np.inf)], axis=1)
    repeated = pairs.select("layer", "neuron", "token_id").select(pl.all().repeat_by(left.shape[1]).explode(empty_as_null=False))
    halves = []
    for half, folds in HALVES.items():
        own, count = cases[:, list(folds)], counts[:, list(folds)]
        low, high = proportion_interval(own, count)
        numbers = {
            "bin_left": left,
            "bin_right": right,
            "count": count.sum(1),
            "cases": own.sum(1),
            "document_low": low,
            "document_high": high,
        }
        halves.append(
            repeated.with_columns(
                outcome=pl.lit(outcome), half=pl.lit(half), **{name: pl.Series(values.reshape(-1)) for name, values in numbers.items()}
            )
        )
    found = pl.concat(halves)
    return found.with_columns(
        pl.col("document_low", "document_high").fill_nan(None),
        proportion=pl.when(pl.col("count") > 0).then(pl.col("cases") / pl.col("count")),
        reliable=pl.col("count") >= min_count,
    ).select(HALF_CURVES.schema.names())
