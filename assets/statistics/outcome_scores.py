"""The table `outcome_scores`: token_neuron_scores again, for the outcomes beside top predictions that the study counts.

Every formula is that of token_neuron_scores. Under probability a position counts by its probability for the token and by the rest
against it, so AUROC and average precision are those of weighted positions; a standard error needs more than these sums, and is missing.
"""

import polars as pl

from assets.contracts import OUTCOME_SCORES, conform
from assets.counting.histograms import PROBABILITY, ActivationBins, Histograms
from assets.progress import Tally, Told
from assets.statistics.levels import TokenTexts
from assets.statistics.token_neuron_scores import READINGS, scores_of


def outcome_scores(
    histograms: Histograms, bins: ActivationBins, token_texts: TokenTexts, min_count: int, progress: Told | None = None
) -> pl.DataFrame:
    """One row per further outcome, tracked token and neuron; none where the study counts top predictions alone. `progress` is told layers, under
    each outcome once for their scores and once for the intervals of these."""
    further = histograms.outcomes[1:]
    tally = Tally(progress, READINGS * histograms.layers * len(further))
    frames = [
        scores_of(histograms, bins, outcome, token_texts, min_count, tally).with_columns(outcome=pl.lit(outcome)) for outcome in further
    ]
    found = pl.concat(frames) if frames else pl.DataFrame(schema=OUTCOME_SCORES.schema)
    error = pl.when(pl.col("outcome") != PROBABILITY).then("auroc_standard_error")
    return conform(OUTCOME_SCORES, found.with_columns(auroc_standard_error=error))
