"""The outcomes of single checks on frames and counters at hand, without outputs around them. Holds no test."""

from collections.abc import Mapping, Sequence

import polars as pl

from assets.contracts import TABLES, Table
from assets.counting.histograms import ActivationBins, Histograms
from assets.quality import table_violations
from assets.quality.check import Check
from assets.quality.checks import causes, counters, inputs, probes, statistics
from assets.quality.checks.contracts import contract_check
from assets.quality.every_check import checks_of
from assets.quality.expectations import Outcome
from assets.quality.prediction_violations import prediction_violations
from assets.quality.prompt_set_violations import prompt_set_violations
from assets.quality.sample_violations import sample_violations


def check(name: str, asset: str) -> Check:
    """The declared check of an asset."""
    (found,) = (one for one in checks_of(asset) if one.name == name)
    return found


def histogram_quality(histograms: Histograms, asset: str = "merged_histograms") -> list[Outcome]:
    return check("bin_counts", asset).judged(counters.bin_count_frames(histograms))


def screen_quality(histograms: Histograms, asset: str = "merged_histograms") -> list[Outcome]:
    return check("screen", asset).judged(counters.screen_frames(histograms))


def block_quality(histograms: Histograms, asset: str = "merged_histograms") -> list[Outcome]:
    return check("blocks", asset).judged(counters.block_frames(histograms))


def merge_quality(expected: Sequence[str], merged: Sequence[str], positions: Sequence[int], histograms: Histograms) -> list[Outcome]:
    return check("merge", "merged_histograms").judged(counters.merge_frames(expected, merged, positions, histograms.positions))


def sample_quality(histograms: Histograms, token_windows: pl.DataFrame) -> list[Outcome]:
    return check("position_samples", "merged_histograms").judged({"samples": sample_violations(histograms, token_windows.lazy())})


def example_context_quality(histograms: Histograms, bins: ActivationBins, asset: str = "merged_histograms") -> list[Outcome]:
    return check("example_contexts", asset).judged(counters.context_frames(histograms, bins.to_frame()))


def prediction_quality(position_predictions: pl.DataFrame, token_windows: pl.DataFrame, histograms: Histograms) -> list[Outcome]:
    found = prediction_violations(position_predictions, token_windows.lazy(), histograms, count_bos=False)
    return check("position_predictions", "activation_histograms").judged({"predictions": found})


def kept_quality(histograms: Histograms, token_windows: pl.DataFrame, asked: int = 0) -> list[Outcome]:
    return check("kept_positions", "merged_histograms").judged(probes.kept_frames(histograms, token_windows.lazy(), asked))


def probe_quality(sparse_probes: pl.DataFrame, probe_neurons: pl.DataFrame) -> list[Outcome]:
    return check("probe_values", "sparse_probes").judged(probes.probe_frames(sparse_probes, probe_neurons))


def behaviour_quality(neuron_bands: pl.DataFrame, neuron_band_tokens: pl.DataFrame) -> list[Outcome]:
    return check("behaviour_values", "neuron_behaviour").judged(probes.behaviour_frames(neuron_bands, neuron_band_tokens))


def table_quality(table: Table, frame: pl.DataFrame, grid: Mapping[str, Sequence[int | str]] | None = None) -> list[Outcome]:
    return contract_check(table).judged(table_violations.of_contract(table, frame, grid))


def parity_quality(model_parity: pl.DataFrame, tolerance: float = inputs.PARITY_TOLERANCE["float32"]) -> list[Outcome]:
    return check("hugging_face_parity", "model_parity").judged(inputs.parity_frames(model_parity, tolerance))


def corpus_quality(documents: int, duplicates: int, empty: int = 0) -> list[Outcome]:
    return check("documents", "corpus_documents").judged(inputs.corpus_frames(documents, duplicates, empty))


def domain_quality(corpus_domains: pl.DataFrame, corpus_documents: pl.DataFrame) -> list[Outcome]:
    return check("domains", "corpus_documents").judged(inputs.domain_frames(corpus_domains, corpus_documents.lazy()))


def curve_quality(proportion_curves: pl.DataFrame, positions: int) -> list[Outcome]:
    return check("curve_values", "proportion_curves").judged(statistics.curve_frames(proportion_curves, positions))


def embedding_curve_quality(embedding_curves: pl.DataFrame, positions: int) -> list[Outcome]:
    return check("embedding_values", "embedding_predictions").judged(statistics.embedding_curve_frames(embedding_curves, positions))


def neuron_quality(neuron_statistics: pl.DataFrame) -> list[Outcome]:
    return check("neuron_activity", "neuron_statistics").judged({"layers": table_violations.neurons(neuron_statistics)})


def score_quality(token_neuron_scores: pl.DataFrame) -> list[Outcome]:
    return check("score_values", "token_neuron_scores").judged({"tokens": table_violations.scores(token_neuron_scores)})


def screen_table_quality(token_neuron_screen: pl.DataFrame, min_count: int, left_out: tuple[int, int]) -> list[Outcome]:
    frames = statistics.screen_table_frames(token_neuron_screen, min_count, *left_out)
    return check("screen_values", "token_neuron_screen").judged(frames)


def contribution_quality(
    contributions: pl.DataFrame, contribution_screen: pl.DataFrame, proposed_pairs: pl.DataFrame | None = None
) -> list[Outcome]:
    """Without pairs, none are proposed."""
    pairs = pl.DataFrame(schema=TABLES["proposed_pairs"].schema) if proposed_pairs is None else proposed_pairs
    frames = statistics.contribution_frames(contributions, contribution_screen, pairs)
    return check("contribution_values", "contributions").judged(frames)


def candidate_quality(candidates: pl.DataFrame) -> list[Outcome]:
    return check("candidate_values", "candidates").judged({"lines": table_violations.candidates(candidates)})


def patching_quality(activation_patching: pl.DataFrame, layers: int) -> list[Outcome]:
    return check("patching_values", "activation_patching").judged({"prompts": table_violations.patching(activation_patching, layers)})


def neuron_set_quality(patched_neuron_sets: pl.DataFrame, neuron_patching: pl.DataFrame) -> list[Outcome]:
    frames = {"prompts": table_violations.neuron_sets(patched_neuron_sets, neuron_patching)}
    return check("neuron_set_values", "patched_neuron_sets").judged(frames)


def prompt_set_quality(prompt_sets: pl.DataFrame, prompt_set_pairs: pl.DataFrame, prompt_set_patching: pl.DataFrame) -> list[Outcome]:
    frames = {"sets": prompt_set_violations(prompt_sets, prompt_set_pairs, prompt_set_patching)}
    return check("prompt_set_values", "prompt_set_patching").judged(frames)


def context_quality(neuron_contexts: pl.DataFrame) -> list[Outcome]:
    return check("context_values", "neuron_contexts").judged({"neurons": table_violations.contexts(neuron_contexts)})


def ablation_quality(neuron_ablation: pl.DataFrame, ablation_controls: pl.DataFrame, tracked: int, wanted: int) -> list[Outcome]:
    return check("ablation_values", "neuron_ablation").judged(causes.ablation_frames(neuron_ablation, ablation_controls, tracked, wanted))
