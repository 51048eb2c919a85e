"""Predictions by the embedding as tables: by hand, and as proportion_curves would count them."""

import dataclasses

import numpy as np
import polars as pl

from assets.contracts import EMBEDDING_CURVES, EMBEDDING_PREDICTIONS, conform
from assets.counting.histograms import ActivationBins, Histograms
from assets.statistics.embedding_predictions import embedding_curves, embedding_predictions
from assets.statistics.proportion_curves import proportion_curves
from assets.statistics.token_counts import token_counts
from assets.statistics.token_neuron_scores import token_neuron_scores
from tests.candidate_choice import pairs_of
from tests.slow_statistics import Recording, count_slowly, random_recording

TEXTS = ["<s>", " a", " an", " the", " of"]
TRACKED = (1, 4)
BINS = ActivationBins(np.full((2, 3), 2, np.float32), np.full((2, 3), -4, np.int32), 8)  # some activations lie outside


def both_countings() -> tuple[Histograms, Histograms]:
    """One recording counted by its predictions and, beside these, by others; and counted by the others alone."""
    recording = random_recording(seed=5)
    others = random_recording(seed=6).predictions
    own = count_slowly(recording, BINS, TRACKED, 5)
    by_others = count_slowly(Recording(recording.activations, recording.tokens, others), BINS, TRACKED, 5)
    embedding = {f"embedding_prediction_{part}": by_others[f"top_prediction_{part}"] for part in ("count", "outside")}
    tensors = {**own.tensors, **embedding, "embedding_predictions": by_others["predictions"]}
    return dataclasses.replace(own, tensors=tensors), by_others


def test_every_entry_has_its_count_and_every_curve_the_levels_of_its_own_pair() -> None:
    both, by_others = both_countings()
    counts = token_counts(both, TEXTS)
    table = embedding_predictions(both, counts)
    assert conform(EMBEDDING_PREDICTIONS, table).equals(table)
    assert table["predictions"].to_list() == by_others["predictions"].tolist() != counts["predictions"].to_list()
    assert table["token"].to_list() == TEXTS

    pairs = pairs_of(token_neuron_scores(both, BINS, TEXTS, min_count=2), TRACKED, [(1, 2), (0, 1)], best=2)
    assert pairs.select("layer", "token_id").n_unique() == 4
    own, expected = (proportion_curves(counted, BINS, pairs, TEXTS, min_count=2) for counted in (both, by_others))
    curves = embedding_curves(both, own)
    assert conform(EMBEDDING_CURVES, curves).equals(curves)
    same = curves.rename({"embedding_prediction_count": "top_prediction_count"})
    assert same.equals(expected.select(same.columns))
    assert not same["top_prediction_count"].equals(own["top_prediction_count"])


def test_where_nothing_was_counted_or_no_pair_is_studied_the_tables_are_empty() -> None:
    both, alone = both_countings()
    pairs = pl.DataFrame(
        {"layer": [0], "neuron": [1], "token_id": [4]}, schema_overrides=dict.fromkeys(("layer", "neuron", "token_id"), pl.Int32)
    )
    curves = proportion_curves(alone, BINS, pairs, TEXTS, min_count=2)
    assert embedding_predictions(alone, token_counts(alone, TEXTS)).is_empty()
    assert embedding_curves(alone, curves).is_empty()
    assert embedding_curves(alone, curves).schema == embedding_curves(both, curves.clear()).schema == EMBEDDING_CURVES.schema
