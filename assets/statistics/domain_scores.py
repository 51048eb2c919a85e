"""The tables `domain_scores`, `domain_curves` and `domain_tests`: what a studied neuron does in each domain of the corpus, and whether it
does the same in all.

A domain's numbers are those of the whole corpus over its documents alone, with intervals over its folds. Whether domains differ is tested
with Welch's test of means of unequal variance (Welch, On the Comparison of Several Mean Values, Biometrika 38, 1951): the means are the
domains' AUROC or average precision, on the scale of log(x / (1 - x)), or contribution; their variances those of the jackknife over folds,
with as many degrees of freedom as the domain has folds with a case, less one. A domain in which nothing can be said, or at 0 or 1, has no
part in the test. Empty where the corpus has one domain.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from assets.contracts import DOMAIN_CURVES, DOMAIN_SCORES, DOMAIN_TESTS, conform
from assets.counting.histograms import ActivationBins, Histograms
from assets.model.language_model import LanguageModel
from assets.statistics.direct_effects import congruence_by_layer, has_contributions
from assets.statistics.fold_contributions import told
from assets.statistics.fold_counts import (
    FoldLevels,
    FoldTotals,
    domains_of,
    filled,
    fold_cases_by_level,
    fold_positions_by_level,
    fold_scaled_sums,
    fold_totals,
    has_folds,
    without_each,
)
from assets.statistics.fold_intervals import degrees_of, jackknife_variance, logit, share_interval, value_interval
from assets.statistics.fold_scores import aurocs, average_precisions, contributions_of
from assets.statistics.grouped_histograms import with_groups
from assets.statistics.half_scores import AVERAGE_PRECISION, CONTRIBUTION
from assets.statistics.levels import TokenTexts, lower_edges

AUROC = "auroc"
MEASURES = (AUROC, AVERAGE_PRECISION, CONTRIBUTION)
_PAIR = ("layer", "neuron", "token_id")


class DomainTables(NamedTuple):
    """The tables domain_scores, domain_curves and domain_tests."""

    scores: pl.DataFrame
    curves: pl.DataFrame
    tests: pl.DataFrame


class Welch(NamedTuple):
    """Welch's statistic of k means: F with k - 1 and `degrees_within` degrees of freedom, and its p-value."""

    statistic: float
    degrees: int
    degrees_within: float
    p_value: float


def domain_scores(
    model: LanguageModel,
    histograms: Histograms,
    bins: ActivationBins,
    pairs: pl.DataFrame,
    groups: Mapping[int, list[int]],
    names: Mapping[int, str],
    token_texts: TokenTexts,
) -> DomainTables:
    """The three tables of the studied pairs (candidates.studied_pairs), by every outcome that was counted.

    histograms: of the tracked tokens alone. names: of the domains, by number; a domain without one is called by its number. Average precision
    is read in the direction of the whole corpus, the same in all domains. Contributions are missing where they cannot be told.
    """
    scores, curves, tests = ([pl.DataFrame(schema=table.schema)] for table in (DOMAIN_SCORES, DOMAIN_CURVES, DOMAIN_TESTS))
    if has_folds(histograms) and domains_of(histograms) > 1:
        grouped, members = with_groups(histograms, groups), told(histograms, groups)
        texts = {entry: token_texts[entry] for entry in members}
        is_told = has_contributions(model, histograms)
        layers = dict(congruence_by_layer(model, np.asarray(histograms.token_ids))) if is_told else {}
        for (layer,), part in sorted(pairs.partition_by("layer", as_dict=True).items()):
            studied = _Studied(int(str(layer)), part.sort("neuron", "token_id"), list(members), names)
            for outcome in histograms.outcomes:
                directions = _directions(grouped, outcome, studied)
                found = [
                    _of_domain(histograms, grouped, members, outcome, domain, studied, directions, layers.get(studied.layer))
                    for domain in range(domains_of(histograms))
                ]
                scores.append(_scores(found, studied, outcome, texts))
                curves.append(_curves(found, studied, outcome, bins))
                tests.append(_tests(found, studied, outcome))
    return DomainTables(
        *(
            conform(table, pl.concat(frames, how="vertical_relaxed"))
            for table, frames in ((DOMAIN_SCORES, scores), (DOMAIN_CURVES, curves), (DOMAIN_TESTS, tests))
        )
    )


class _Studied:
    """The studied pairs of a layer: `neurons` [pair] and `rows` [pair], of the tokens."""

    def __init__(self, layer: int, pairs: pl.DataFrame, token_ids: Sequence[int], names: Mapping[int, str]) -> None:
        self.layer, self.pairs, self._names = layer, pairs, names
        self.neurons = pairs["neuron"].to_numpy()
        self.rows = pairs["token_id"].replace_strict(token_ids, range(len(token_ids)), return_dtype=pl.Int64).to_numpy()

    def name(self, domain: int) -> str:
        return self._names.get(domain, str(domain))


class _Domain(NamedTuple):
    """Of one domain: totals; `cases` and `every`, positions, float64 [pair, fold, level]; each measure's estimate [pair], without each fold [pair, fold],
    and degrees of freedom [pair]."""

    totals: FoldTotals
    cases: np.ndarray
    every: np.ndarray
    values: dict[str, tuple[np.ndarray, np.ndarray]]
    degrees: np.ndarray


def _of_domain(
    histograms: Histograms,
    grouped: Histograms,
    members: Mapping[int, Sequence[int]],
    outcome: str,
    domain: int,
    studied: _Studied,
    directions: np.ndarray,
    congruence: np.ndarray | None,
) -> _Domain:
    """congruence: of the layer, float64 [token, neuron]; without, contributions are NaN."""
    layer, neurons, rows = studied.layer, studied.neurons, studied.rows
    totals = fold_totals(grouped, outcome, domain)
    unions = without_each(filled(totals.positions))
    count = fold_positions_by_level(grouped, outcome, layer, neurons, domain)
    cases = fold_cases_by_level(grouped, outcome, slice(None), layer, neurons, domain)[np.arange(len(rows)), rows]
    levels = FoldLevels(cases[:, None], count)
    values = {AUROC: aurocs(levels, unions)[:, 0], AVERAGE_PRECISION: average_precisions(levels, unions, directions[:, None])[:, 0]}
    values[CONTRIBUTION] = np.full_like(values[AUROC], np.nan)
    if congruence is not None:
        here, total = fold_scaled_sums(histograms, outcome, layer, domain)
        own = fold_totals(histograms, outcome, domain).cases @ unions.T  # [token, union]
        told_rows = list(members.values())
        for pair, (row, neuron) in enumerate(zip(rows, neurons, strict=True)):
            mine, only = list(told_rows[row]), slice(neuron, neuron + 1)
            sums = np.einsum("uf,ftn->utn", unions, here[:, mine, only])
            values[CONTRIBUTION][pair] = contributions_of(
                congruence[mine, only], sums, unions @ total[:, only], own[mine].T, unions @ totals.positions
            )[:, 0]
    return _Domain(totals, cases, count, {name: (held[:, 0], held[:, 1:]) for name, held in values.items()}, degrees_of(totals.cases)[rows])


def _directions(histograms: Histograms, outcome: str, studied: _Studied) -> np.ndarray:
    """1 or -1 [pair], of the whole corpus."""
    count = fold_positions_by_level(histograms, outcome, studied.layer, studied.neurons)
    cases = fold_cases_by_level(histograms, outcome, slice(None), studied.layer, studied.neurons)
    levels = FoldLevels(cases[np.arange(len(studied.rows)), studied.rows][:, None], count)
    area = aurocs(levels, np.ones((1, count.shape[1])))[:, 0, 0]
    return np.where(area < 0.5, -1, 1)


def _scores(found: Sequence[_Domain], studied: _Studied, outcome: str, texts: Mapping[int, str]) -> pl.DataFrame:
    frames = []
    for domain, one in enumerate(found):
        columns: dict[str, np.ndarray] = {}
        for measure, (estimate, left_out) in one.values.items():
            interval = value_interval if measure == CONTRIBUTION else share_interval
            low, high = interval(estimate, [left_out], one.degrees)
            columns |= {measure: estimate, f"{measure}_low": low, f"{measure}_high": high}
        frames.append(
            studied.pairs.select(
                *_PAIR,
                token=pl.col("token_id").replace_strict(texts, return_dtype=pl.String),
                outcome=pl.lit(outcome),
                domain=pl.lit(domain, pl.Int32),
                name=pl.lit(studied.name(domain)),
                positions=pl.lit(int(one.totals.positions.sum()), pl.Int64),
                cases=pl.Series(one.totals.cases.sum(1)[studied.rows]),
                **{name: pl.Series(values) for name, values in columns.items()},
            )
        )
    return pl.concat(frames).with_columns(pl.col(pl.Float64).fill_nan(None)).select(DOMAIN_SCORES.schema.names())


def _curves(found: Sequence[_Domain], studied: _Studied, outcome: str, bins: ActivationBins) -> pl.DataFrame:
    left = lower_edges(bins, studied.layer, studied.neurons)  # [pair, level]
    right = np.concatenate([left[:, 1:], np.full((len(left), 1), np.inf)], axis=1)
    repeated = studied.pairs.select(pl.col(_PAIR).repeat_by(left.shape[1]).explode(empty_as_null=False))
    frames = []
    for domain, one in enumerate(found):
        count, cases = one.every.sum(1).reshape(-1), one.cases.sum(1).reshape(-1)
        frames.append(
            repeated.with_columns(
                outcome=pl.lit(outcome),
                domain=pl.lit(domain, pl.Int32),
                bin_left=pl.Series(left.reshape(-1)),
                bin_right=pl.Series(right.reshape(-1)),
                count=pl.Series(count),
                cases=pl.Series(cases),
            )
        )
    share = pl.when(pl.col("count") > 0).then(pl.col("cases") / pl.col("count"))
    return pl.concat(frames).with_columns(proportion=share).select(DOMAIN_CURVES.schema.names())


def _tests(found: Sequence[_Domain], studied: _Studied, outcome: str) -> pl.DataFrame:
    rows = []
    for place, pair in enumerate(studied.pairs.select(_PAIR).iter_rows(named=True)):
        for measure in MEASURES:
            estimates, variances = zip(*(_on_scale(measure, *one.values[measure]) for one in found), strict=True)
            degrees = np.array([one.degrees[place] for one in found], float)
            tested = welch(np.array([held[place] for held in estimates]), np.array([held[place] for held in variances]), degrees)
            rows.append({**pair, "outcome": outcome, "measure": measure, **(tested._asdict() if tested else {})})
    return pl.DataFrame(rows, schema=DOMAIN_TESTS.schema)


def _on_scale(measure: str, estimate: np.ndarray, left_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The estimates and their variances [pair], on the scale on which domains are compared."""
    if measure == CONTRIBUTION:
        return estimate, jackknife_variance(left_out)
    return logit(estimate), jackknife_variance(logit(left_out))


def welch(means: np.ndarray, variances: np.ndarray, degrees: np.ndarray) -> Welch | None:
    """The test that independent means [k] are equal; variances are of the means, with `degrees` of freedom each. None below two that are
    known and vary."""
    from scipy.stats import f

    with np.errstate(invalid="ignore"):
        used = np.isfinite(means) & np.isfinite(variances) & (variances > 0) & (degrees >= 1)
    means, weights, degrees = means[used], 1 / variances[used], degrees[used]
    k = len(means)
    if k < 2:
        return None
    whole = weights.sum()
    between = float((weights * (means - (weights @ means) / whole) ** 2).sum()) / (k - 1)
    spread = float(((1 - weights / whole) ** 2 / degrees).sum())
    statistic = between / (1 + 2 * (k - 2) / (k**2 - 1) * spread)
    within = (k**2 - 1) / (3 * spread)
    return Welch(statistic, k - 1, within, float(f.sf(statistic, k - 1, within)))
