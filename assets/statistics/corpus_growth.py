"""The table `corpus_growth`: how the first neurons of a token, and where their curves reach one half, moved as documents were added.

A step adds one fold of documents: step 8 is the whole corpus. An answer that still moves at the last steps asks for more documents. Holds
separation and contribution of every neuron at every step in memory, [step, token, layer, neuron], one outcome at a time.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from assets.contracts import CORPUS_GROWTH, conform
from assets.counting.document_blocks import FOLDS
from assets.counting.histograms import ActivationBins, Histograms
from assets.histograms.layers_at_once import layer_by_layer
from assets.model.language_model import LanguageModel
from assets.progress import Tally, Told
from assets.statistics.fold_contributions import told, union_contributions
from assets.statistics.fold_counts import FoldTotals, fold_cases_by_level, fold_counters, fold_positions_by_level, fold_totals
from assets.statistics.fold_scores import aurocs
from assets.statistics.grouped_histograms import with_groups
from assets.statistics.half_scores import CONTRIBUTION, SEPARATION
from assets.statistics.levels import TokenTexts, lower_edges
from assets.statistics.token_neuron_scores import half_activations

FIRST = 10  # neurons of each step
STEPS = np.tril(np.ones((FOLDS, FOLDS)))  # [step, fold]


def corpus_growth(
    model: LanguageModel,
    histograms: Histograms,
    bins: ActivationBins,
    groups: Mapping[int, list[int]],
    token_texts: TokenTexts,
    min_count: int,
    progress: Told | None = None,
) -> pl.DataFrame:
    """One row per outcome, told token, measure, step and rank: the FIRST neurons by separation, and by contribution, of that many documents.

    histograms: of the tracked tokens alone. Steps at which nothing can be said have no row. `progress` is told pairs of token and neuron, under
    each outcome. Contributions are missing where they cannot be told.
    """
    grouped, members = with_groups(histograms, groups), told(histograms, groups)
    frames = [pl.DataFrame(schema=CORPUS_GROWTH.schema)]
    tally = Tally(progress, len(histograms.outcomes) * len(members) * histograms.layers * histograms.neurons)
    for outcome in histograms.outcomes:
        totals = fold_totals(grouped, outcome)
        separations = _separations(grouped, outcome, tally)
        values = {SEPARATION: separations, CONTRIBUTION: _contributions(model, histograms, members, outcome)}
        ranked = pl.concat(
            [pl.DataFrame(schema=_RANKED), *(frame for measure, held in values.items() for frame in _first(measure, held, totals))]
        )
        found = _with_half_activations(grouped, bins, outcome, ranked, min_count)
        ids = pl.Series(list(members), dtype=pl.Int32)
        texts = pl.Series([token_texts[entry] for entry in members], dtype=pl.String)
        rows = found["row"].to_numpy()
        named = found.with_columns(outcome=pl.lit(outcome), token_id=ids.gather(rows), token=texts.gather(rows)).drop("row")
        frames.append(named.select(CORPUS_GROWTH.schema.names()))
    return conform(CORPUS_GROWTH, pl.concat(frames, how="vertical_relaxed"))


_RANKED = pl.Schema(
    {
        "row": pl.Int32, "measure": pl.String, "step": pl.Int32, "positions": pl.Int64, "cases": pl.Float64, "rank": pl.Int32,
        "layer": pl.Int32, "neuron": pl.Int32, "value": pl.Float64,
    }
)  # fmt: skip


def _separations(histograms: Histograms, outcome: str, tally: Tally) -> np.ndarray:
    """Float64 [token, step, layer, neuron]."""
    found = np.full((len(histograms.token_ids), FOLDS, histograms.layers, histograms.neurons), np.nan)

    def of_layer(layer: int) -> None:
        for block, levels in fold_counters(histograms, outcome, layer):
            area = aurocs(levels, STEPS)  # [neuron, token, step]
            found[block.tokens, :, layer, block.neurons] = np.maximum(area, 1 - area).transpose(1, 2, 0)

    for _ in layer_by_layer(histograms.layers, of_layer):
        tally.add(len(found) * histograms.neurons)
    return found


def _contributions(model: LanguageModel, histograms: Histograms, members: Mapping[int, list[int]], outcome: str) -> np.ndarray:
    """Float64 [token, step, layer, neuron]; NaN without a screen."""
    found = np.full((len(members), FOLDS, histograms.layers, histograms.neurons), np.nan)
    for part in union_contributions(model, histograms, members, [outcome], STEPS):
        found[:, :, part.layer] = part.unions
    return found


def _first(measure: str, values: np.ndarray, totals: FoldTotals) -> Iterator[pl.DataFrame]:
    """Columns of _RANKED: for each token and step the neurons of the largest values; ties go to the lower layer, then neuron."""
    neurons = values.shape[-1]
    positions, cases = totals.positions.cumsum(), totals.cases.cumsum(1)
    for row, step in np.ndindex(values.shape[:2]):
        flat = values[row, step].reshape(-1)
        known = int(np.isfinite(flat).sum())
        order = largest(flat, min(FIRST, known))
        amount = len(order)
        yield pl.DataFrame(
            {
                "row": [row] * amount,
                "measure": [measure] * amount,
                "step": [step + 1] * amount,
                "positions": [int(positions[step])] * amount,
                "cases": [float(cases[row, step])] * amount,
                "rank": range(1, amount + 1),
                "layer": order // neurons,
                "neuron": order % neurons,
                "value": flat[order],
            },
            schema=_RANKED,
        )


def largest(values: np.ndarray, amount: int) -> np.ndarray:
    """Places of the `amount` largest of values [n], largest first, the lower of equals; NaN are none of them."""
    held = np.where(np.isfinite(values), values, -np.inf)
    if amount < 1:
        return np.empty(0, np.int64)
    least = np.partition(held, len(held) - amount)[len(held) - amount]
    among = np.flatnonzero(held >= least)
    return among[np.argsort(-held[among], kind="stable")[:amount]]


def _with_half_activations(
    histograms: Histograms, bins: ActivationBins, outcome: str, ranked: pl.DataFrame, min_count: int
) -> pl.DataFrame:
    """The rows with half_activation of their curve at their step, in the order they had."""
    parts = [ranked.clear().with_columns(half_activation=pl.lit(None, pl.Float64), place=pl.lit(0, pl.UInt32))]
    for (layer,), part in ranked.with_row_index("place").partition_by("layer", as_dict=True).items():
        neurons, own = np.unique(part["neuron"].to_numpy(), return_inverse=True)
        positions = STEPS @ fold_positions_by_level(histograms, outcome, int(str(layer)), neurons)  # [neuron, step, level]
        cases = STEPS @ fold_cases_by_level(histograms, outcome, slice(None), int(str(layer)), neurons)
        step, row = part["step"].to_numpy() - 1, part["row"].to_numpy()
        edges = lower_edges(bins, int(str(layer)), neurons)[own]
        halves = half_activations(cases[own, row, step], positions[own, step], edges, min_count)
        parts.append(part.with_columns(half_activation=pl.Series(halves, dtype=pl.Float64).fill_nan(None)).select(parts[0].columns))
    return pl.concat(parts).sort("place").drop("place")
