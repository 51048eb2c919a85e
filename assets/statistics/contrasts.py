"""The table `contrasts`: two tokens against each other. Which neurons tell the positions of the one from those of the other, and which
move the difference of their logits.

A token against all other text is told by much that has nothing to do with it (what kind of word comes next, say). Against the token
that could stand in its place only what decides between the two is left. For tokens A and B under one outcome:

- AUROC = the chance that the activation is higher at a position of A than at one of B, ties counting half; direction and separation as
  in token_neuron_scores. Under probability positions are weighted by the probability of A and of B.
- contribution = (congruence with A - congruence with B) x (mean of activation / final norm's scale at positions of A - the same of B):
  what the neuron adds to logit A - logit B where A is, less where B is. Negating a gated neuron's weights changes nothing.

Intervals leave out one fold of documents after the other (fold_intervals).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from assets.contracts import CONTRASTS, conform
from assets.counting.histograms import PROBABILITY, Histograms
from assets.model.direct_effect import refuse_indirect
from assets.model.language_model import LanguageModel
from assets.statistics.contributions import scaled_sums
from assets.statistics.direct_effects import congruence_by_layer
from assets.statistics.fold_counts import FoldLevels, filled, fold_cases_by_level, fold_scaled_sums, fold_totals, has_folds, without_each
from assets.statistics.fold_intervals import degrees_of, share_interval, value_interval
from assets.statistics.fold_scores import aurocs
from assets.statistics.outcomes import cases_of, in_tracked_order, token_levels
from assets.statistics.token_neuron_scores import area_under_roc, with_direction
from assets.study import Prompt, TrackedToken

INTERVALS = ("auroc_low", "auroc_high", "contribution_low", "contribution_high")


class Contrast(NamedTuple):
    """Two tracked tokens, by id."""

    token_id: int
    other_id: int


def contrasted(
    tokens: pl.DataFrame, named: Sequence[tuple[TrackedToken, TrackedToken]] | None, prompts: Sequence[Prompt]
) -> list[Contrast]:
    """The pairs that the study names; where it names none, the answer and wrong answer of each prompt, as far as both are tracked.

    tokens: tracked_tokens. A pair that several prompts share is taken once.
    """
    if named is not None:
        by_name = dict(tokens.select("given", "token_id").iter_rows())
        return [Contrast(by_name[str(token)], by_name[str(other)]) for token, other in named]
    by_text = dict(tokens.select("token", "token_id").iter_rows())
    pairs = [(by_text.get(prompt.answer), by_text.get(prompt.wrong_answer)) for prompt in prompts]
    return list(dict.fromkeys(Contrast(*pair) for pair in pairs if None not in pair))  # type: ignore[arg-type]


def contrasts(model: LanguageModel, histograms: Histograms, pairs: Sequence[Contrast]) -> pl.DataFrame:
    """One row per pair, outcome that was counted, layer and neuron.

    Missing where nothing can be said: AUROC where one of the two has no position, contribution then too, and without a screen.
    Raises UnsupportedModelError for a model whose output weights do not say what a neuron adds to the logits.
    """
    frames = [pl.DataFrame(schema=CONTRASTS.schema)]
    if pairs:
        refuse_indirect(model)
        rows = {entry: place for place, entry in enumerate(histograms.token_ids)}
        places = np.array([[rows[entry] for entry in pair] for pair in pairs])  # [pair, 2]
        cases = {outcome: cases_of(histograms, outcome) for outcome in histograms.outcomes}
        for layer, congruence in congruence_by_layer(model, np.asarray(histograms.token_ids)):
            frames += [
                _of_layer(histograms, outcome, layer, cases[outcome], pairs, places, congruence, model.token_texts)
                for outcome in histograms.outcomes
            ]
    ordered = in_tracked_order(pl.concat(frames, how="vertical_relaxed"), histograms.token_ids)
    return conform(CONTRASTS, ordered)


def _of_layer(
    histograms: Histograms,
    outcome: str,
    layer: int,
    cases: np.ndarray,
    pairs: Sequence[Contrast],
    places: np.ndarray,
    congruence: np.ndarray,
    token_texts: Sequence[str],
) -> pl.DataFrame:
    """Every pair's rows of one outcome and layer. cases: of the outcome [token]; places: rows of the two tokens [pair, 2]; congruence:
    float64 [token, neuron]."""
    used = np.unique(places)
    levels = {row: token_levels(histograms, outcome, slice(row, row + 1), layer)[0] for row in used}  # float64 [neuron, level]
    means = _scaled_means(histograms, outcome, layer, cases)
    folds = _Folds(histograms, outcome, layer) if has_folds(histograms) else None
    frames = []
    for pair, (one, other) in zip(pairs, places, strict=True):
        auroc, error = area_under_roc(levels[one], levels[other])
        difference = congruence[one] - congruence[other]
        ends = folds.intervals(one, other, difference) if folds else dict.fromkeys(INTERVALS, np.full_like(auroc, np.nan))
        frames.append(
            pl.DataFrame(
                {
                    "token_id": np.full(len(auroc), pair.token_id, np.int32),
                    "token": [token_texts[pair.token_id]] * len(auroc),
                    "other_id": np.full(len(auroc), pair.other_id, np.int32),
                    "other": [token_texts[pair.other_id]] * len(auroc),
                    "outcome": [outcome] * len(auroc),
                    "layer": np.full(len(auroc), layer, np.int32),
                    "neuron": np.arange(len(auroc), dtype=np.int32),
                    "auroc": auroc,
                    "auroc_standard_error": np.full_like(auroc, np.nan) if outcome == PROBABILITY else error,
                    "congruence": difference,
                    "contribution": difference * (means[one] - means[other]),
                    **ends,
                }
            )
        )
    found = pl.concat(frames).with_columns(pl.col("auroc", "auroc_standard_error", "contribution", *INTERVALS).fill_nan(None))
    return with_direction(found).select(CONTRASTS.schema.names())


def _scaled_means(histograms: Histograms, outcome: str, layer: int, cases: np.ndarray) -> np.ndarray:
    """Float64 [token, neuron]: mean activation over the final norm's scale where each tracked token has the outcome; NaN where none has it,
    and without a screen."""
    if not histograms.screened_ids.size:
        return np.full((len(cases), histograms.neurons), np.nan)
    here, _ = scaled_sums(histograms, outcome, layer)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(cases[:, None] > 0, here / cases[:, None], np.nan)


class _Folds:
    """Counters by fold of one outcome and layer."""

    def __init__(self, histograms: Histograms, outcome: str, layer: int) -> None:
        self._histograms, self._outcome, self._layer = histograms, outcome, layer
        self._totals = fold_totals(histograms, outcome)
        self._unions = without_each(filled(self._totals.positions))
        scaled = fold_scaled_sums(histograms, outcome, layer)[0] if histograms.screened_ids.size else np.full((1, 1, 1), np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):  # [union, token, neuron]
            united = np.einsum("uf,ftn->utn", self._unions, np.broadcast_to(scaled, (self._unions.shape[1], *scaled.shape[1:])))
            self._means = united / (self._unions @ self._totals.cases.T)[..., None]

    def intervals(self, one: int, other: int, difference: np.ndarray) -> dict[str, np.ndarray]:
        """INTERVALS [neuron] of the pair in rows `one` and `other`; difference: of their congruence [neuron]."""
        own, against = (
            fold_cases_by_level(self._histograms, self._outcome, slice(row, row + 1), self._layer)[:, 0] for row in (one, other)
        )
        area = aurocs(FoldLevels(own[:, None], own + against), self._unions)[:, 0]  # [neuron, union]
        rare = degrees_of(self._totals.cases[[one, other]]).min()  # of the token that fewer folds hold
        moved = (difference * (self._means[:, one] - self._means[:, other])).T
        moved = np.broadcast_to(moved, area.shape)
        found = (
            *share_interval(area[:, 0], [area[:, 1:]], rare),
            *value_interval(moved[:, 0], [moved[:, 1:]], rare),
        )
        return dict(zip(INTERVALS, found, strict=True))
