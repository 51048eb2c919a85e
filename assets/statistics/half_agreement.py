"""The table `half_agreement`: how far the two halves of the documents rank neurons alike, and whether the first is beyond luck.

One row for each token, outcome and measure. Holds what is said of all neurons together; of each, half_scores says it. `largest_by_luck` is
what the best of all neurons reaches in the telling half where labels say nothing, read in whichever direction, or sign, suits it.
"""

import numpy as np
import polars as pl

from assets.contracts import HALF_AGREEMENT, conform
from assets.statistics.fold_contributions import Members
from assets.statistics.half_scores import CONTRIBUTION, MEASURES, SEPARATION, TESTED, Halves, OutcomeHalves, signed_contributions
from assets.statistics.levels import TokenTexts
from assets.statistics.luck import DISCOVERY_RATE

FIRST = 10  # neurons of either half that are compared


def half_agreement(found: list[OutcomeHalves], halves: Halves, token_texts: TokenTexts, members: Members) -> pl.DataFrame:
    """One row per outcome, told token and measure. Missing where nothing can be said, as in half_scores."""
    rows = []
    for one in found:
        sizes = _sizes(one, halves)
        for place, token_id in enumerate(members):
            for measure in MEASURES:
                numbers = {name: values[place] for name, values in sizes.items()}
                rows.append(
                    {"outcome": one.outcome, "token_id": token_id, "token": token_texts[token_id], "measure": measure, **numbers}
                    | _agreement(one, place, measure)
                )
    return conform(HALF_AGREEMENT, pl.DataFrame(rows, schema=HALF_AGREEMENT.schema))


def _sizes(one: OutcomeHalves, halves: Halves) -> dict[str, list[float]]:
    """Positions and cases of either half, by token."""
    tokens = len(one.totals.cases)
    found: dict[str, list[float]] = {}
    for name, folds in (("discovery", halves.discovery), ("telling", halves.telling)):
        found[f"{name}_positions"] = [int(one.totals.positions[list(folds)].sum())] * tokens
        found[f"{name}_cases"] = one.totals.cases[:, list(folds)].sum(1).tolist()
    return found


def _agreement(one: OutcomeHalves, place: int, measure: str) -> dict[str, float | int | None]:
    shape = one.scores["direction"].shape[1:]
    first_half, second_half = (one.scores[f"{half}_{measure}"][place].reshape(-1) for half in ("discovery", "telling"))
    known = np.isfinite(first_half) & np.isfinite(second_half)
    luck = _largest_by_luck(one, place, measure)
    beyond = signed_contributions(one)[0][place].reshape(-1) if measure == CONTRIBUTION else second_half
    empty = dict.fromkeys(
        ("rank_correlation", "common_of_ten", "largest", "first_layer", "first_neuron", "first_discovery", "first_telling", "beyond_luck")
    )
    if not known.any():
        return {**empty, "largest_by_luck": luck, "discoveries": None}
    order = [np.argsort(-np.where(known, values, -np.inf), kind="stable")[:FIRST] for values in (first_half, second_half)]
    first = int(order[0][0])
    return {
        "rank_correlation": _rank_correlation(first_half[known], second_half[known]),
        "common_of_ten": len(np.intersect1d(order[0], order[1])),
        "largest_by_luck": luck,
        "largest": float(second_half[known].max()),
        "first_layer": first // shape[1],
        "first_neuron": first % shape[1],
        "first_discovery": float(first_half[first]),
        "first_telling": float(second_half[first]),
        "beyond_luck": None if luck is None else int((beyond[known] > luck).sum()),
        "discoveries": _discoveries(one, place, measure),
    }


def _largest_by_luck(one: OutcomeHalves, place: int, measure: str) -> float | None:
    null = one.null[measure][place]
    null = null[np.isfinite(null)]
    if not null.size:
        return None
    if measure == SEPARATION:
        return float(0.5 + np.abs(null - 0.5).max())
    return float(np.abs(null).max()) if measure == CONTRIBUTION else float(null.max())


def _discoveries(one: OutcomeHalves, place: int, measure: str) -> int | None:
    if measure not in TESTED or not np.isfinite(one.scores[f"{measure}_q"][place]).any():
        return None
    with np.errstate(invalid="ignore"):
        return int((one.scores[f"{measure}_q"][place] <= DISCOVERY_RATE).sum())


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's; None where one of them does not vary."""
    from scipy.stats import spearmanr

    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)
