"""The table `proportion_curves`: at each level of a neuron's activation, how often a token is the top prediction, and how surely.

Holds which (token, neuron) pairs are worth a curve and the curves themselves, with the interval of Wilson (1927), which takes positions for
independent, and one that respects documents (fold_intervals). Every level is a row, empty ones too, so that the counts of a curve add up to
the counted positions that are not NaN.
"""

import numpy as np
import polars as pl

from assets.contracts import OUTCOME_CURVES, PROPORTION_CURVES, conform
from assets.counting.histograms import PROBABILITY, TOP_PREDICTION, ActivationBins, Histograms
from assets.statistics.fold_counts import fold_cases_by_level, fold_positions_by_level, has_folds
from assets.statistics.fold_intervals import Interval, effective_wilson, proportion_interval
from assets.statistics.levels import TokenTexts, lower_edges
from assets.statistics.outcomes import all_levels, token_levels

QUANTILE_95 = 1.959963984540054  # of the standard normal distribution, two-sided 95 %


def proportion_curves(
    histograms: Histograms, bins: ActivationBins, pairs: pl.DataFrame, token_texts: TokenTexts, min_count: int
) -> pl.DataFrame:
    """One row per pair and level, underflow first and overflow last; `pairs` as candidates.studied_pairs gives them.

    Raises ValueError for a pair whose token was not tracked or whose neuron the histograms do not hold.
    """
    found = _curves(histograms, bins, TOP_PREDICTION, pairs, token_texts, min_count)
    return conform(PROPORTION_CURVES, found.rename({"cases": "top_prediction_count"}))


def outcome_curves(
    histograms: Histograms, bins: ActivationBins, pairs: pl.DataFrame, token_texts: TokenTexts, min_count: int
) -> pl.DataFrame:
    """The table of that name: the same curves for each further outcome that was counted. Under probability without an interval."""
    frames = [
        _curves(histograms, bins, outcome, pairs, token_texts, min_count).with_columns(outcome=pl.lit(outcome))
        for outcome in histograms.outcomes[1:]
    ]
    found = pl.concat(frames) if frames else pl.DataFrame(schema=OUTCOME_CURVES.schema)
    ends = [pl.when(pl.col("outcome") != PROBABILITY).then(end).alias(end) for end in ("ci_low", "ci_high")]
    return conform(OUTCOME_CURVES, found.with_columns(*ends))


def _curves(
    histograms: Histograms, bins: ActivationBins, outcome: str, pairs: pl.DataFrame, token_texts: TokenTexts, min_count: int
) -> pl.DataFrame:
    """The columns of outcome_curves but `outcome`."""
    _refuse_unknown(histograms, pairs)
    parts = [
        _layer_curves(histograms, bins, outcome, layer, part.sort("neuron", "token_id"), token_texts)
        for (layer,), part in sorted(pairs.partition_by("layer", as_dict=True).items())
    ]
    counted = pl.concat(parts) if parts else pl.DataFrame(schema=_COUNTED)
    low, high = wilson_interval(counted["cases"].to_numpy(), counted["count"].to_numpy())
    return counted.with_columns(
        proportion=pl.when(pl.col("count") > 0).then(pl.col("cases") / pl.col("count")),
        ci_low=pl.Series(low, dtype=pl.Float64).fill_nan(None),
        ci_high=pl.Series(high, dtype=pl.Float64).fill_nan(None),
        document_low=pl.col("document_low").fill_nan(None),
        document_high=pl.col("document_high").fill_nan(None),
        reliable=pl.col("count") >= min_count,
    )


_ENDS = ("document_low", "document_high")
_COUNTED = pl.Schema([*list(OUTCOME_CURVES.schema.items())[1:9], *((end, pl.Float64) for end in _ENDS)])  # up to the two counts, and these


def _layer_curves(
    histograms: Histograms, bins: ActivationBins, outcome: str, layer: int, pairs: pl.DataFrame, token_texts: TokenTexts
) -> pl.DataFrame:
    """The counts of one layer's pairs, long."""
    neurons, tokens = pairs["neuron"].to_numpy(), pairs["token_id"]
    rows = tokens.replace_strict(histograms.token_ids, range(len(histograms.token_ids))).to_numpy()  # row of the tracked token
    texts = tokens.replace_strict(histograms.token_ids, [token_texts[token] for token in histograms.token_ids], return_dtype=pl.String)
    all_counts = all_levels(histograms, outcome, layer)
    cases = token_levels(histograms, outcome, slice(None), layer)
    left = lower_edges(bins, layer, neurons)  # [pair, level]
    levels = left.shape[1]
    repeated = pairs.select(pl.all().repeat_by(levels).explode(empty_as_null=False))
    return repeated.select(
        "layer",
        "neuron",
        "token_id",
        token=texts.gather(np.repeat(np.arange(len(tokens)), levels)),
        bin_left=pl.Series(left.reshape(-1)),
        bin_right=pl.Series(np.concatenate([left[:, 1:], np.full((len(left), 1), np.inf)], axis=1).reshape(-1)),
        count=pl.Series(all_counts[neurons].reshape(-1)),
        cases=pl.Series(cases[rows, neurons].reshape(-1)),
        **dict(
            zip(_ENDS, (pl.Series(end.reshape(-1)) for end in _document_interval(histograms, outcome, layer, neurons, rows)), strict=True)
        ),
    )


def _document_interval(histograms: Histograms, outcome: str, layer: int, neurons: np.ndarray, rows: np.ndarray) -> Interval:
    """Of each pair's proportions, [pair, level]; NaN where counters were not kept by block."""
    if not has_folds(histograms):
        nothing = np.full((len(neurons), histograms.bins + 2), np.nan)
        return Interval(nothing, nothing)
    cases = fold_cases_by_level(histograms, outcome, slice(None), layer, neurons)  # [pair, token, fold, level]
    return proportion_interval(cases[np.arange(len(rows)), rows], fold_positions_by_level(histograms, outcome, layer, neurons))


def wilson_interval(successes: np.ndarray, trials: np.ndarray, quantile: float = QUANTILE_95) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end [...] of the Wilson score interval of a proportion; NaN where there are no trials."""
    with np.errstate(invalid="ignore", divide="ignore"):
        proportion = successes / trials
    return effective_wilson(proportion, trials, quantile)


def _refuse_unknown(histograms: Histograms, pairs: pl.DataFrame) -> None:
    untracked = pairs.filter(~pl.col("token_id").is_in(list(histograms.token_ids)))
    if untracked.height:
        raise ValueError(
            f"token id {untracked['token_id'][0]} was not tracked; tracked are {list(histograms.token_ids)}: add it to the study's tokens"
        )
    absent = pairs.filter(~(pl.col("layer").is_between(0, histograms.layers - 1) & pl.col("neuron").is_between(0, histograms.neurons - 1)))
    if absent.height:
        raise ValueError(
            f"neuron (layer {absent['layer'][0]}, neuron {absent['neuron'][0]}) does not exist; layers go from 0 to "
            f"{histograms.layers - 1}, neurons from 0 to {histograms.neurons - 1}"
        )
