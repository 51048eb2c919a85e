"""What a tracked token is counted by: its top predictions, where it comes next in the text, the probability that the model gives it.

Holds how each outcome is read off the merged counters, which one leads for a token, and the table `token_outcomes`. Scores, curves and
contributions read their counts through here, so that all mean the same positions by an outcome:

- `top_prediction`: all counted positions; the token is the top prediction or not. What the published work counts.
- `next_token`: the counted positions that have a next token; it is the token or not. The last position of a window has none.
- `probability`: all counted positions; each counts for the token by the probability that the model gives it, and by the rest against it.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from assets.contracts import TOKEN_OUTCOMES, conform
from assets.counting.histograms import NEXT_TOKEN, NO_NEXT_TOKEN, PREDICTIONS, PROBABILITY, PROBABILITY_UNITS, TOP_PREDICTION, Histograms
from assets.statistics.levels import TokenTexts, ascending_levels

OUTCOMES = (TOP_PREDICTION, NEXT_TOKEN, PROBABILITY)  # in the order in which one stands in for another
Index = slice | np.ndarray


def positions_of(histograms: Histograms, outcome: str) -> int:
    """The positions that an outcome is read over."""
    if outcome != NEXT_TOKEN:
        return histograms.positions
    without = sum(int(np.asarray(histograms[f"{NO_NEXT_TOKEN}_{part}"][0, 0]).sum()) for part in ("count", "outside"))  # of any neuron
    return histograms.positions - without


def cases_of(histograms: Histograms, outcome: str) -> np.ndarray:
    """Float64 [token]: at how many positions each tracked token has the outcome; under probability how many are expected."""
    whole = np.asarray(histograms[PREDICTIONS[outcome]][:])[list(histograms.token_ids)].astype(np.float64)
    return whole / PROBABILITY_UNITS if outcome == PROBABILITY else whole


def all_levels(histograms: Histograms, outcome: str, layer: int, neurons: Index = slice(None)) -> np.ndarray:
    """Int64 [neuron, level]: the positions that the outcome is read over, by level."""
    every = ascending_levels(*(np.asarray(histograms[part][layer, neurons]) for part in ("count", "outside")))
    if outcome != NEXT_TOKEN:
        return every
    return every - ascending_levels(*(np.asarray(histograms[f"{NO_NEXT_TOKEN}_{part}"][layer, neurons]) for part in ("count", "outside")))


def token_levels(histograms: Histograms, outcome: str, tokens: slice, layer: int, neurons: Index = slice(None)) -> np.ndarray:
    """Float64 [token, neuron, level]: of these, the positions with the outcome, by level; under probability how many are expected."""
    counted = ascending_levels(*(np.asarray(histograms[f"{outcome}_{part}"][tokens, layer, neurons]) for part in ("count", "outside")))
    return counted / PROBABILITY_UNITS if outcome == PROBABILITY else counted.astype(np.float64)


def token_outcomes(histograms: Histograms, token_texts: TokenTexts, wanted: str, min_count: int) -> pl.DataFrame:
    """One row per tracked token and outcome that was counted.

    `wanted` leads where the token has it at `min_count` positions at least; else the first of the others that is as frequent; else
    `wanted` all the same.
    """
    rows = []
    cases = {outcome: cases_of(histograms, outcome) for outcome in OUTCOMES if outcome in histograms.outcomes}
    for place, token_id in enumerate(histograms.token_ids):
        common = [outcome for outcome in (wanted, *cases) if cases[outcome][place] >= min_count]
        for outcome, counted in cases.items():
            positions = positions_of(histograms, outcome)
            rows.append(
                {
                    "token_id": token_id,
                    "token": token_texts[token_id],
                    "outcome": outcome,
                    "positions": positions,
                    "cases": counted[place],
                    "share": counted[place] / positions if positions else 0.0,
                    "leads": outcome == (common[0] if common else wanted),
                }
            )
    return conform(TOKEN_OUTCOMES, pl.DataFrame(rows, schema=TOKEN_OUTCOMES.schema))


def in_tracked_order(frame: pl.DataFrame, token_ids: Sequence[int]) -> pl.DataFrame:
    """The rows by outcome, then in the order of the tracked tokens, layer and neuron."""
    place = pl.col("token_id").replace_strict(list(token_ids), range(len(token_ids)), return_dtype=pl.Int32)
    order = pl.col("outcome").replace_strict(list(OUTCOMES), range(len(OUTCOMES)), return_dtype=pl.Int32)
    return frame.sort(order, place, "layer", "neuron", maintain_order=True)
