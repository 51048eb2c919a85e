"""All tables of the difference of two studies, from what both have published: no model is loaded, and nothing is counted again."""

import polars as pl

from assets.counting.histograms import ActivationBins
from assets.histograms.histogram_store import read_histograms
from assets.study_difference.curve_differences import Curves, curve_differences
from assets.study_difference.fact_differences import fact_differences
from assets.study_difference.neuron_differences import Counted, neuron_differences
from assets.study_difference.studies import Compared
from assets.study_difference.token_differences import MEASURES, token_differences


def study_difference(one: Compared, other: Compared) -> dict[str, pl.DataFrame]:
    """The tables of STUDY_DIFFERENCE_TABLES by name; study A is the one, study B the other."""
    ours, theirs = _counted(one), _counted(other)
    written = (one.reading.read("congruence_neurons"), other.reading.read("congruence_neurons"))
    neurons = neuron_differences(ours, theirs, written, is_gated=one.reading.fact("model_snapshot", "is_gated"))
    tokens, token_neurons = token_differences(_scores(one), _scores(other))
    pairs, curves = curve_differences(_curves(one, ours), _curves(other, theirs), neurons)
    return {
        "study_difference_facts": fact_differences(one.facts, other.facts),
        "study_difference_neurons": neurons,
        "study_difference_tokens": tokens,
        "study_difference_token_neurons": token_neurons,
        "study_difference_pairs": pairs,
        "study_difference_curves": curves,
    }


def _counted(study: Compared) -> Counted:
    bins = ActivationBins.from_frame(study.reading.read("activation_bins"))
    return read_histograms(study.reading.files("merged_histograms")), bins


def _scores(study: Compared) -> dict[str, pl.DataFrame]:
    return {name: study.reading.read(name) for name in ("token_counts", *(measure.table for measure in MEASURES))}


def _curves(study: Compared, counted: Counted) -> Curves:
    return Curves(study.reading.read("proportion_curves"), counted[1], study.reading.study.min_count)
