"""Dagster assets of the statistics stage: counts, moments, scores, curves and contexts, all from the merged histograms."""

from typing import Any

import dagster as dg
import polars as pl

from assets.counting.histograms import TOP_PREDICTION, ActivationBins, Histograms
from assets.histograms.histogram_store import read_histograms
from assets.model.loading import model_of
from assets.model.vocabulary import is_named_by_text
from assets.progress import Progress
from assets.statistics.candidates import candidates, discovered_by, studied_pairs
from assets.statistics.congruence_agreement import congruence_agreement
from assets.statistics.contrasts import contrasted, contrasts
from assets.statistics.contributions import WRITES, contributions, group_contributions, outcome_contributions
from assets.statistics.corpus_growth import corpus_growth
from assets.statistics.domain_scores import domain_scores
from assets.statistics.embedding_predictions import embedding_curves, embedding_predictions
from assets.statistics.fold_contributions import told
from assets.statistics.grouped_histograms import members_of, with_groups
from assets.statistics.half_agreement import half_agreement
from assets.statistics.half_curves import half_curves
from assets.statistics.half_scores import SEPARATION, CurveReading, half_scores, halves_of, outcome_halves
from assets.statistics.neuron_contexts import extreme_contexts, neuron_contexts
from assets.statistics.neuron_statistics import neuron_statistics
from assets.statistics.outcome_scores import outcome_scores
from assets.statistics.outcomes import token_outcomes
from assets.statistics.proportion_curves import outcome_curves, proportion_curves
from assets.statistics.proposed_pairs import proposed_pairs
from assets.statistics.random_contexts import random_contexts, random_places
from assets.statistics.token_counts import token_counts
from assets.statistics.token_neuron_scores import token_neuron_scores
from assets.statistics.token_neuron_screen import screen_coverage, token_neuron_screen
from assets.study import Study
from assets.wiring import study_asset
from assets.work import Work


def statistics_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's assets of this stage."""
    return [
        study_asset(study, "token_counts", _token_counts),
        study_asset(study, "neuron_statistics", _neuron_statistics),
        study_asset(study, "token_neuron_scores", _token_neuron_scores, page="index.html"),
        study_asset(study, "outcome_scores", _outcome_scores, page="index.html"),
        study_asset(study, "token_neuron_screen", _token_neuron_screen, page="screen.html"),
        study_asset(study, "contributions", _contributions, page="screen.html"),
        study_asset(study, "congruence_agreement", _congruence_agreement, page="congruence.html"),
        study_asset(study, "contrasts", _contrasts, page="index.html"),
        study_asset(study, "half_scores", _half_scores, page="index.html"),
        study_asset(study, "corpus_growth", _corpus_growth, page="index.html"),
        study_asset(study, "candidates", _candidates, page="index.html"),
        study_asset(study, "proportion_curves", _proportion_curves, page="index.html"),
        study_asset(study, "domain_scores", _domain_scores, page="index.html"),
        study_asset(study, "embedding_predictions", _embedding_predictions, page="scorecard.html"),
        study_asset(study, "neuron_contexts", _neuron_contexts, page="index.html"),
    ]


def _token_counts(work: Work) -> None:
    work.write("token_counts", token_counts(read_histograms(work.fetched("merged_histograms")), model_of(work).token_texts))


def _neuron_statistics(work: Work) -> None:
    statistics = neuron_statistics(read_histograms(work.fetched("merged_histograms")), work.fact("model_snapshot", "is_gated"))
    work.write("neuron_statistics", statistics)
    work.show(dead_neurons=int(statistics["is_dead"].sum()))


def _token_neuron_scores(work: Work) -> None:
    scores = token_neuron_scores(
        _histograms(work),
        ActivationBins.from_frame(work.read("activation_bins")),
        _texts(work),
        work.study.min_count,
        Progress(work.tell, "scores", "readings of layers"),
    )
    work.write("token_neuron_scores", scores)
    ordered = scores.drop_nulls("separation").sort("separation", descending=True, maintain_order=True)
    best = ordered.group_by("token", maintain_order=True).first()
    work.show(best_neurons={row["token"]: _told(row) for row in best.iter_rows(named=True)})


def _outcome_scores(work: Work) -> None:
    histograms, bins = _histograms(work), ActivationBins.from_frame(work.read("activation_bins"))
    leading = token_outcomes(histograms, _texts(work), work.study.outcome, work.study.min_count)
    work.write("token_outcomes", leading)
    progress = Progress(work.tell, "scores of further outcomes", "readings of layers")
    work.write("outcome_scores", outcome_scores(histograms, bins, _texts(work), work.study.min_count, progress))
    work.show(leading_outcomes={row["token"]: row["outcome"] for row in leading.filter("leads").iter_rows(named=True)})


def _told(row: dict[str, Any]) -> str:
    downwards = f", read downwards {row['separation']:.4f}" if row["direction"] == -1 else ""
    return f"layer {row['layer']} neuron {row['neuron']}, AUROC {row['auroc']:.4f}{downwards}"


def _token_neuron_screen(work: Work) -> None:
    histograms = read_histograms(work.fetched("merged_histograms"))
    work.write("token_neuron_screen", token_neuron_screen(histograms, model_of(work).token_texts, work.study.min_count))
    work.state(**screen_coverage(histograms, work.study.min_count))


def _contributions(work: Work) -> None:
    tokens = work.read("tracked_tokens").sort("row")["token_id"].to_list()
    model, histograms = model_of(work), read_histograms(work.fetched("merged_histograms"))
    found = contributions(model, histograms, tokens, work.study.min_count, Progress(work.tell, "contributions", "layers"))
    of_groups = group_contributions(model, histograms, work.read("token_groups"))
    published = of_groups.filter(outcome=TOP_PREDICTION).drop("outcome")
    work.write("contributions", pl.concat([found.every, published]))
    work.write("contribution_screen", found.screen)
    pairs = proposed_pairs(histograms, found.screen, found.mutual, tokens, lambda entry: is_named_by_text(model, entry))
    work.write("proposed_pairs", pairs)
    further = of_groups.filter(pl.col("outcome") != TOP_PREDICTION)
    work.write("outcome_contributions", pl.concat([outcome_contributions(model, histograms, tokens), further]))
    first = found.screen.filter(end=WRITES, rank=1).filter(pl.col("token_id").is_in(tokens))
    named = {
        row["token"]: f"layer {row['layer']} neuron {row['neuron']}, {row['contribution']:+.4f} logits"
        for row in first.iter_rows(named=True)
    }
    work.show(writers=named)


def _congruence_agreement(work: Work) -> None:
    agreement = congruence_agreement(
        work.read("congruence_tokens"),
        work.read("congruence_mutual_pairs"),
        work.read("strongest_neurons"),
        work.read("contribution_screen"),
        work.fact("model_snapshot", "is_gated"),
    )
    work.write("congruence_agreement", agreement)


def _contrasts(work: Work) -> None:
    pairs = contrasted(work.read("tracked_tokens"), work.study.contrasts, work.study.prompts)
    work.write("contrasts", contrasts(model_of(work), read_histograms(work.fetched("merged_histograms")), pairs))
    work.show(contrasts=len(pairs))


def _half_scores(work: Work) -> None:
    model, histograms = model_of(work), read_histograms(work.fetched("merged_histograms"))
    groups = members_of(work.read("token_groups"))
    reading = CurveReading(ActivationBins.from_frame(work.read("activation_bins")), work.study.min_count)
    progress = Progress(work.tell, "both halves", "pairs of token and neuron")
    found, members, texts = outcome_halves(model, histograms, groups, reading, progress), told(histograms, groups), _texts(work)
    work.write("half_scores", half_scores(found, texts, members))
    agreement = half_agreement(found, halves_of(histograms), texts, members)
    work.write("half_agreement", agreement)
    beyond = agreement.filter(outcome=TOP_PREDICTION, measure=SEPARATION).select("token", "beyond_luck").drop_nulls()
    work.show(beyond_luck=dict(beyond.iter_rows()))


def _corpus_growth(work: Work) -> None:
    bins = ActivationBins.from_frame(work.read("activation_bins"))
    histograms, groups = read_histograms(work.fetched("merged_histograms")), members_of(work.read("token_groups"))
    progress = Progress(work.tell, "corpus growth", "pairs of token and neuron")
    work.write("corpus_growth", corpus_growth(model_of(work), histograms, bins, groups, _texts(work), work.study.min_count, progress))


def _domain_scores(work: Work) -> None:
    bins, pairs = ActivationBins.from_frame(work.read("activation_bins")), studied_pairs(work.read("candidates"))
    histograms, groups = read_histograms(work.fetched("merged_histograms")), members_of(work.read("token_groups"))
    names = dict(work.read("corpus_domains").select("domain", "name").iter_rows())
    found = domain_scores(model_of(work), histograms, bins, pairs, groups, names, _texts(work))
    work.write("domain_scores", found.scores)
    work.write("domain_curves", found.curves)
    work.write("domain_tests", found.tests)


def _candidates(work: Work) -> None:
    named = [(choice.layer, choice.neuron) for choice in work.study.neurons]
    answers = work.read("prompt_predictions").filter(role="answer").select("prompt", "token_id").unique()
    outcomes = work.read("token_outcomes")
    discovered = discovered_by(work.read("half_scores"), outcomes)
    chosen = candidates(
        _tokens(work),
        named,
        discovered,
        discovered,
        work.read("congruence_tracked_tokens"),
        work.read("neuron_patching").join(answers, on="prompt"),
        work.read("patched_neuron_sets").join(answers, on="prompt"),
        work.read("prompt_set_patching").join(work.read("prompt_sets").select("prompt_set", token_id="answer_id"), on="prompt_set"),
        work.read("contrasts").join(outcomes.filter("leads"), on=["token_id", "outcome"], how="semi"),
        work.read("token_neuron_screen"),
        work.study.best_neurons,
        work.fact("model_snapshot", "is_gated"),
    )
    work.write("candidates", chosen)
    work.show(neurons=chosen.select("layer", "neuron").n_unique())


def _proportion_curves(work: Work) -> None:
    histograms = _histograms(work)
    bins, pairs = ActivationBins.from_frame(work.read("activation_bins")), studied_pairs(work.read("candidates"))
    work.write("proportion_curves", proportion_curves(histograms, bins, pairs, _texts(work), work.study.min_count))
    work.write("outcome_curves", outcome_curves(histograms, bins, pairs, _texts(work), work.study.min_count))
    work.write("half_curves", half_curves(histograms, bins, pairs, work.study.min_count))


def _embedding_predictions(work: Work) -> None:
    histograms = _histograms(work)
    work.write(
        "embedding_predictions", embedding_predictions(read_histograms(work.fetched("merged_histograms")), work.read("token_counts"))
    )
    work.write("embedding_curves", embedding_curves(histograms, work.read("proportion_curves")))
    work.show(is_counted=histograms.counts_embedding_predictions)


def _neuron_contexts(work: Work) -> None:
    histograms = read_histograms(work.fetched("merged_histograms"))
    studied = work.read("proportion_curves").select("layer", "neuron").unique().sort("layer", "neuron").rows()
    windows = pl.concat([work.scan("token_windows", shard) for shard in work.shards_of("token_windows")])
    predictions = pl.concat([work.scan("position_predictions", shard) for shard in work.shards_of("activation_histograms")])
    model, places = model_of(work), random_places(windows, work.study.examples, work.study.count_bos)
    contexts = pl.concat([extreme_contexts(histograms, studied), random_contexts(model, places, studied, windows)])
    work.write("neuron_contexts", neuron_contexts(contexts, windows, predictions, model.token_texts))


def _texts(work: Work) -> dict[int, str]:
    """Of the tracked tokens and of groups, by id."""
    return dict(_tokens(work).select("token_id", "token").rows())


def _tokens(work: Work) -> pl.DataFrame:
    """row, token_id and token of the tracked tokens, and of the groups behind them."""
    tokens = work.read("tracked_tokens").sort("row").select("token_id", "token")
    groups = work.read("token_groups").select("token_id", "token").unique(maintain_order=True)
    return pl.concat([tokens, groups]).with_columns(row=pl.int_range(pl.len(), dtype=pl.Int32))


def _histograms(work: Work) -> Histograms:
    """The merged histograms, with a row for each group of tracked tokens."""
    return with_groups(read_histograms(work.fetched("merged_histograms")), members_of(work.read("token_groups")))
