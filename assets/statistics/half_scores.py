"""The table `half_scores`: every neuron looked for in one half of the documents and told in the other, beside what luck gives.

The best of 46,080 neurons is shown too good by the very scores that it was chosen by. So whatever chooses (direction, order, who is studied)
reads the discovery half alone, and what is told as evidence comes from the telling half, which had no say:

- telling separation = AUROC of the telling half, read in the discovery half's direction: from 0 to 1, about one half for a neuron that
  was chosen by luck, below it for one that tells the opposite. Average precision in the same direction; contribution with its own sign.
- intervals by leaving out folds of documents (fold_intervals); p-values and false discovery rates against the same numbers of all
  neurons where labels say nothing (luck). A p-value is one-sided: as much in the discovery half's direction, or sign, as this.

Holds the table alone; how far the halves agree is in half_agreement. Memory: a dozen numbers for every token and neuron of an outcome, and
what fold_counts reads at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from assets.contracts import HALF_SCORES, conform
from assets.counting.document_blocks import DISCOVERY, TELLING
from assets.counting.histograms import ActivationBins, Histograms
from assets.histograms.histogram_store import CounterBlock
from assets.histograms.layers_at_once import layer_by_layer
from assets.model.language_model import LanguageModel
from assets.progress import Tally, Told
from assets.statistics.fold_contributions import LayerContributions, Members, told, union_contributions
from assets.statistics.fold_counts import FoldLevels, FoldTotals, filled, fold_counters, fold_totals, without_each
from assets.statistics.fold_intervals import degrees_of, share_interval, value_interval
from assets.statistics.fold_scores import average_precisions, deviations, directions_of
from assets.statistics.grouped_histograms import with_groups
from assets.statistics.levels import TokenTexts, lower_edges
from assets.statistics.luck import luck_p_values, q_values
from assets.statistics.token_neuron_scores import proportion_scores

SEPARATION, AVERAGE_PRECISION, CONTRIBUTION = "separation", "average_precision", "contribution"
MEASURES = (SEPARATION, AVERAGE_PRECISION, CONTRIBUTION)
TESTED = (SEPARATION, CONTRIBUTION)
LEAST_WIDTH = 0.05  # quantile of the widths of a token's intervals that is added to each


@dataclass(frozen=True)
class Halves:
    """The folds of each half that hold positions, and as unions: each half whole, then without each of its folds."""

    discovery: tuple[int, ...]
    telling: tuple[int, ...]

    @property
    def unions(self) -> np.ndarray:
        """Float64 [union, fold]: those of the discovery half, then those of the telling half."""
        return np.concatenate([without_each(self.discovery), without_each(self.telling)])

    def split(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """From values [..., union]: those of the discovery half and of the telling half, [...], and each half's without its folds."""
        first = len(self.discovery) + 1
        return values[..., 0], values[..., first], [values[..., first + 1 :], values[..., 1:first]]

    def degrees(self, cases: np.ndarray) -> np.ndarray:
        """Degrees of freedom [...] of the spread within both halves, of cases [..., fold]; -1 where either half has too few folds."""
        both = np.stack([degrees_of(cases[..., list(folds)]) for folds in (self.discovery, self.telling)])
        return np.where((both > 0).all(0), both.sum(0), -1)


class OutcomeHalves(NamedTuple):
    """Of one outcome, float64 [token, layer, neuron] under the table's names, and what luck gives: `null` by measure, of the same shape."""

    outcome: str
    totals: FoldTotals
    scores: dict[str, np.ndarray]
    null: dict[str, np.ndarray]


def halves_of(histograms: Histograms) -> Halves:
    """The folds of the corpus' two halves."""
    positions = fold_totals(histograms, histograms.outcomes[0]).positions
    return Halves(filled(positions, DISCOVERY), filled(positions, TELLING))


@dataclass(frozen=True)
class CurveReading:
    """How curves are read: the bins, and from how many positions on a bin is reliable."""

    bins: ActivationBins
    min_count: int


def outcome_halves(
    model: LanguageModel,
    histograms: Histograms,
    groups: Mapping[int, list[int]],
    reading: CurveReading | None = None,
    progress: Told | None = None,
) -> list[OutcomeHalves]:
    """The scores of every outcome that was counted, of tracked tokens and behind them of groups (grouped_histograms.members_of).

    histograms: of the tracked tokens alone, with counters by block. Without a `reading`, what is read off the telling half's curves is missing.
    `progress` is told pairs of token and neuron, under each outcome. Contributions are missing where they cannot be told.
    """
    grouped, halves, members = with_groups(histograms, groups), halves_of(histograms), told(histograms, groups)
    tally = Tally(progress, len(histograms.outcomes) * len(members) * histograms.layers * histograms.neurons)
    found = [_separations(grouped, outcome, halves, reading, tally) for outcome in histograms.outcomes]
    of_outcome = {one.outcome: one for one in found}
    for part in union_contributions(model, histograms, members, histograms.outcomes, halves.unions, halves.telling):
        _add_contributions(of_outcome[part.outcome], part, halves)
    for one in found:
        _add_p_values(one)
    return found


def _separations(histograms: Histograms, outcome: str, halves: Halves, reading: CurveReading | None, tally: Tally) -> OutcomeHalves:
    """AUROC, separation and average precision; contributions and p-values are still NaN."""
    shape = (len(histograms.token_ids), histograms.layers, histograms.neurons)
    scores = {column.name: np.full(shape, np.nan) for column in HALF_SCORES.columns if column.dtype.is_float()}
    scores["direction"] = np.zeros(shape, np.int8)
    null = {measure: np.full(shape, np.nan) for measure in MEASURES}
    totals, has_null = fold_totals(histograms, outcome), f"null_{outcome}_count" in histograms.tensors
    unions, degrees = halves.unions, halves.degrees(totals.cases)
    telling = list(halves.telling)

    def of_layer(layer: int) -> None:
        for block, levels in fold_counters(histograms, outcome, layer, with_null=has_null):
            of_block(block, levels)

    def of_block(block: CounterBlock, levels: FoldLevels) -> None:
        place = (block.tokens, block.layer, block.neurons)
        deviation = deviations(levels, unions)  # [neuron, token, union]
        direction = directions_of(deviation[..., 0])
        precision = average_precisions(levels, unions, direction)
        of_token, is_lost = degrees[block.tokens], np.isnan(deviation[..., :1])  # nothing is read where the discovery half says nothing
        for name, scored in ((SEPARATION, 0.5 + direction[..., None] * deviation), (AVERAGE_PRECISION, precision)):
            values = np.where(is_lost, np.nan, scored)
            in_discovery, in_telling, left_out = halves.split(values)
            low, high = share_interval(in_telling, left_out, of_token)
            parts = {"discovery": in_discovery, "telling": in_telling, "low": low, "high": high}
            for part, held in parts.items():
                column = f"{part}_{name}" if part in ("discovery", "telling") else f"telling_{name}_{part}"
                scores[column][place] = held.T
        scores["direction"][place] = direction.T
        if reading is not None:
            edges = lower_edges(reading.bins, block.layer, block.neurons)
            own, every = levels.cases[:, :, telling].sum(2), levels.positions[:, None, telling].sum(2)
            every, edges = (np.broadcast_to(values, own.shape) for values in (every, edges[:, None]))
            for name, held in proportion_scores(own, every, edges, direction == -1, reading.min_count).items():
                scores[f"telling_{name}"][place] = held.T
        scores["discovery_auroc"][place], scores["telling_auroc"][place] = (0.5 + values.T for values in halves.split(deviation)[:2])
        if levels.null is not None:
            every = levels.positions[:, telling].sum(1, keepdims=True)
            _add_null(null, place, FoldLevels(levels.null[:, :, None], every), direction)

    for _ in layer_by_layer(histograms.layers, of_layer):
        tally.add(shape[0] * shape[2])
    return OutcomeHalves(outcome, totals, scores, null)


def _add_null(null: dict[str, np.ndarray], place: tuple[slice, int, slice], levels: FoldLevels, direction: np.ndarray) -> None:
    """What luck gives: separation in the direction of the discovery half, average precision in its own, as if chosen for it."""
    whole = np.ones((1, 1))
    deviation = deviations(levels, whole)[..., 0]
    null[SEPARATION][place] = (0.5 + direction * deviation).T
    null[AVERAGE_PRECISION][place] = average_precisions(levels, whole, directions_of(deviation))[..., 0].T


def _add_contributions(one: OutcomeHalves, part: LayerContributions, halves: Halves) -> None:
    in_discovery, in_telling, left_out = halves.split(np.moveaxis(part.unions, 1, -1))
    low, high = value_interval(in_telling, left_out, halves.degrees(one.totals.cases)[:, None])
    found = {
        "discovery_contribution": in_discovery,
        "telling_contribution": in_telling,
        "telling_contribution_low": low,
        "telling_contribution_high": high,
    }
    for name, values in found.items():
        one.scores[name][:, part.layer] = values
    one.null[CONTRIBUTION][:, part.layer] = part.null


def _add_p_values(one: OutcomeHalves) -> None:
    """Of separation and contribution, each against its own token's null values of all neurons; corrected over all pairs of the outcome."""
    for measure, beyond, turned in (
        (SEPARATION, one.scores["telling_separation"] - 0.5, one.null[SEPARATION] - 0.5),
        (CONTRIBUTION, *(values / _spread(one) for values in signed_contributions(one))),
    ):
        for row in range(len(beyond)):
            one.scores[f"{measure}_p"][row] = luck_p_values(beyond[row], turned[row].reshape(-1))
        one.scores[f"{measure}_q"][:] = q_values(one.scores[f"{measure}_p"])


def _spread(one: OutcomeHalves) -> np.ndarray:
    """What contributions are measured in before they are compared across neurons: the width of the pair's interval, plus the width that a
    twentieth of the token's fall below, so that no pair stands out by a width that happens to be small (s_0 of Tusher et al. 2001).
    1 without intervals.

    Neurons write in scales that differ by orders of magnitude: unmeasured, the loudest neurons' luck would hide every quiet writer.
    """
    width = one.scores["telling_contribution_high"] - one.scores["telling_contribution_low"]
    spread = np.ones_like(width)
    for row, own in enumerate(width):
        if np.isfinite(own).any():
            spread[row] = own + np.nanquantile(own, LEAST_WIDTH)
    return np.where(spread > 0, spread, np.nan)


def signed_contributions(one: OutcomeHalves) -> tuple[np.ndarray, np.ndarray]:
    """Of the telling half, and where labels say nothing: positive where they have the sign of the discovery half's."""
    sign = np.sign(one.scores["discovery_contribution"])
    return sign * one.scores["telling_contribution"], sign * one.null[CONTRIBUTION]


def half_scores(found: list[OutcomeHalves], token_texts: TokenTexts, members: Members) -> pl.DataFrame:
    """The table, by outcome, token, layer and neuron. Missing where nothing can be said: a token that has the outcome nowhere in a half, or
    everywhere; intervals with fewer than three folds of a half that hold a case; contributions without a screen; p-values and rates under
    probability, whose labels cannot be turned."""
    frames = [pl.DataFrame(schema=HALF_SCORES.schema)]
    ids = np.asarray(list(members), np.int32)
    texts = pl.Series([token_texts[entry] for entry in ids.tolist()], dtype=pl.String)
    for one in found:
        token, layer, neuron = (
            index.reshape(-1) for index in np.indices(one.scores["direction"].shape, dtype=np.int32)
        )  # fmt: skip
        values = {name: scores.reshape(-1) for name, scores in one.scores.items()}
        frame = pl.DataFrame({"token_id": ids[token], "layer": layer, "neuron": neuron, **values}).with_columns(
            outcome=pl.lit(one.outcome), token=texts.gather(token)
        )
        missing = pl.col("discovery_auroc").is_nan()
        frame = frame.with_columns(direction=pl.when(~missing).then("direction"))
        frames.append(frame.with_columns(pl.col(pl.Float64).fill_nan(None)).select(HALF_SCORES.schema.names()))
    return conform(HALF_SCORES, pl.concat(frames, how="vertical_relaxed"))
