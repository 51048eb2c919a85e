"""Contributions of tracked tokens and groups over unions of folds of documents, and their document intervals.

What a contribution is stands in contributions; how folds are put together in fold_scores. Nothing is told without a screen, which takes
the sums.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from assets.counting.histograms import Histograms
from assets.counting.token_sum_units import SCALED_UNITS
from assets.model.language_model import LanguageModel
from assets.statistics.direct_effects import congruence_by_layer, has_contributions
from assets.statistics.fold_counts import filled, fold_scaled_sums, fold_totals, has_folds, without_each
from assets.statistics.fold_intervals import degrees_of, value_interval
from assets.statistics.fold_scores import contributions_of

Members = Mapping[int, Sequence[int]]  # rows of the members of what is told, by its id; a token is its own one member
INTERVAL = ("contribution_low", "contribution_high")
_WIDTHS = pl.Schema({"outcome": pl.String, "token_id": pl.Int32, "layer": pl.Int32, "neuron": pl.Int32, "half_width": pl.Float64})


class LayerContributions(NamedTuple):
    """Of one outcome and layer, in logits: `unions` float64 [told, union, neuron]; `null` [told, neuron], of the telling half where labels
    say nothing, NaN where these were not counted."""

    outcome: str
    layer: int
    unions: np.ndarray
    null: np.ndarray


def told(histograms: Histograms, groups: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    """Members of every tracked token and, behind them, of every group; `groups` as grouped_histograms.members_of gives them."""
    rows = {entry: place for place, entry in enumerate(histograms.token_ids)}
    return {**{entry: [row] for entry, row in rows.items()}, **{group: [rows[entry] for entry in own] for group, own in groups.items()}}


def union_contributions(
    model: LanguageModel,
    histograms: Histograms,
    members: Members,
    outcomes: Sequence[str],
    unions: np.ndarray,
    telling: Sequence[int] = (),
) -> Iterator[LayerContributions]:
    """Layer by layer, each of the outcomes; `unions` [union, fold]. With `telling`, folds of the telling half, null labels too.

    None without a screen, and of a model whose weights do not say what neurons add.
    """
    if not has_contributions(model, histograms) or not has_folds(histograms):
        return
    totals = {outcome: fold_totals(histograms, outcome) for outcome in outcomes}
    for layer, congruence in congruence_by_layer(model, np.asarray(histograms.token_ids)):
        for outcome, of_folds in totals.items():
            here, total = fold_scaled_sums(histograms, outcome, layer)
            united = np.einsum("uf,ftn->utn", unions, here), unions @ total, unions @ of_folds.cases.T, unions @ of_folds.positions
            found = np.stack([_of(congruence, own, *united) for own in members.values()])
            null = np.full((len(members), histograms.neurons), np.nan)
            name = f"null_{outcome}_scaled"
            if telling and name in histograms.tensors:
                chosen = list(telling)
                turned = np.asarray(histograms[name][layer])[None] / SCALED_UNITS  # [1, token, neuron]
                sizes = of_folds.cases[:, chosen].sum(1)[None], of_folds.positions[chosen].sum()[None]
                null = np.stack([_of(congruence, own, turned, total[chosen].sum(0)[None], *sizes)[0] for own in members.values()])
            yield LayerContributions(outcome, layer, found, null)


def _of(
    congruence: np.ndarray, own: Sequence[int], here: np.ndarray, total: np.ndarray, cases: np.ndarray, positions: np.ndarray
) -> np.ndarray:
    rows = list(own)
    return contributions_of(congruence[rows], here[:, rows], total, cases[:, rows], positions)


def half_widths(model: LanguageModel, histograms: Histograms, members: Members, outcomes: Sequence[str]) -> pl.DataFrame:
    """One row per each of the outcomes, told token and neuron: outcome, token_id, layer, neuron and half_width of the interval over the
    whole corpus, missing where nothing can be said.

    histograms: of the tracked tokens alone. No row without a screen, or where counters were not kept by block.
    """
    frames = [pl.DataFrame(schema=_WIDTHS)]
    if not has_folds(histograms) or not outcomes:
        return frames[0]
    totals = {outcome: fold_totals(histograms, outcome) for outcome in outcomes}
    unions = without_each(filled(totals[outcomes[0]].positions))
    ids, neurons = np.asarray(list(members), np.int32), histograms.neurons
    for outcome, layer, found, _ in union_contributions(model, histograms, members, outcomes, unions):
        cases = np.stack([totals[outcome].cases[list(own)].sum(0) for own in members.values()])  # [told, fold]
        low, high = value_interval(found[:, 0], [np.moveaxis(found[:, 1:], 1, -1)], degrees_of(cases)[:, None])
        frames.append(
            pl.DataFrame(
                {
                    "outcome": [outcome] * low.size,
                    "token_id": np.repeat(ids, neurons),
                    "layer": np.full(low.size, layer, np.int32),
                    "neuron": np.tile(np.arange(neurons, dtype=np.int32), len(ids)),
                    "half_width": (high - low).reshape(-1) / 2,
                },
                schema=_WIDTHS,
            )
        )
    return pl.concat(frames).with_columns(pl.col("half_width").fill_nan(None))


def with_interval(contributions: pl.DataFrame, widths: pl.DataFrame) -> pl.DataFrame:
    """The frame, in its order, with INTERVAL about its own column contribution, whose congruence may be rounded otherwise in float32."""
    key = [name for name in ("outcome", "token_id", "layer", "neuron") if name in widths.columns]
    typed = contributions.cast({"token_id": pl.Int32, "layer": pl.Int32, "neuron": pl.Int32})
    value, width = pl.col("contribution"), pl.col("half_width")
    joined = typed.join(widths, on=key, how="left", maintain_order="left")
    return joined.with_columns(contribution_low=value - width, contribution_high=value + width).drop("half_width")
