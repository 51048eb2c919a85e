"""Sparse probes on planted truths: one neuron, a pair that only works together, nothing at all; and what a sign or a scale may not change."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from assets.contracts import TABLES, conform
from assets.counting.document_blocks import TELLING, fold_of
from assets.probes.kept_cases import cases_of, kept_of
from assets.probes.sparse_probes import PROBES_WEIGH, Probes, sparse_probes
from tests.assets.probes.made_kept import OTHER, TOKEN, Corpus
from tests.told import steps_told

TEXTS = {TOKEN: " an", OTHER: " the"}


def one(activations: np.ndarray, is_case: np.ndarray, rows: Any, random: Any) -> None:
    """Neuron (1, 7) tells the token; (2, 3) a little."""
    activations[:, 1, 7] += 5 * is_case
    activations[:, 2, 3] += is_case


def pair(activations: np.ndarray, is_case: np.ndarray, rows: Any, random: Any) -> None:
    """(0, 4) holds the token under a noise that (2, 9) holds alone: neither tells it, their sum does."""
    noise = random.normal(0, 6, len(is_case))
    activations[:, 0, 4] = noise + 3 * is_case + 0.5 * activations[:, 0, 4]
    activations[:, 2, 9] = -noise


def probes_of(plant: Any, seed: int = 0) -> Probes:
    found = sparse_probes(Corpus(seed).kept(plant), TEXTS)
    conform(TABLES["sparse_probes"], found.probes)
    conform(TABLES["probe_neurons"], found.neurons)
    return found


def reached(found: Probes) -> dict[tuple[str, int], float]:
    rows = found.probes.filter(outcome="top_prediction", token_id=TOKEN)
    return {(row["kind"], row["size"]): row["average_precision"] for row in rows.iter_rows(named=True)}


def members(found: Probes, size: int) -> set[tuple[int, int]]:
    return set(found.neurons.filter(outcome="top_prediction", token_id=TOKEN, size=size).select("layer", "neuron").iter_rows())


def test_a_token_that_one_neuron_carries_needs_no_more() -> None:
    found = probes_of(one)
    told = reached(found)
    assert members(found, 1) == {(1, 7)}
    assert told["neurons", 1] > 0.9
    assert told["neurons", 16] < told["neurons", 1] + 0.05
    assert (1, 7) in members(found, 2)
    assert found.probes.filter(kind="layer")["layer"].to_list() == [1]
    assert told["residual", 8] > 0.9
    assert told["frequency", 0] == pytest.approx(0.04, abs=0.01)


def test_two_neurons_that_only_work_together_are_found_at_size_two() -> None:
    found = probes_of(pair)
    told = reached(found)
    assert members(found, 2) == {(0, 4), (2, 9)}
    assert told["neurons", 1] < 0.2
    assert told["neurons", 2] > 0.8


@pytest.mark.parametrize("seed", range(4))
def test_a_token_that_nothing_tells_stays_at_its_frequency_where_it_is_told(seed: int) -> None:
    found = probes_of(None, seed)
    rows = found.probes.filter(pl.col("kind").is_in(["neurons", "layer"]))
    assert rows.height == 6
    assert rows["average_precision"].max() < 0.1  # type: ignore[operator]
    assert (rows["average_precision_low"] < 0.06).all()
    fitted = rows.filter(kind="neurons", size=16)["discovery_average_precision"].item()
    assert fitted > rows.filter(kind="neurons", size=16)["average_precision"].item()  # chosen by luck, and so not told where it was chosen


def test_negating_or_scaling_neurons_changes_nothing_but_the_sign_of_their_weights() -> None:
    def turned(activations: np.ndarray, is_case: np.ndarray, rows: Any, random: Any) -> None:
        pair(activations, is_case, rows, random)
        activations[:, :, ::2] *= -1
        activations[:, 1] *= 4

    plain, other = probes_of(pair), probes_of(turned)
    assert_frame_equal(plain.probes, other.probes, rel_tol=1e-3, abs_tol=1e-3)
    flipped = pl.when(pl.col("neuron") % 2 == 0).then(-pl.col("weight")).otherwise("weight")
    assert_frame_equal(plain.neurons, other.neurons.with_columns(weight=flipped), rel_tol=1e-2, abs_tol=1e-3)


def test_a_token_with_few_cases_has_its_frequency_alone() -> None:
    found = probes_of(one)
    rows = found.probes.filter(token_id=OTHER)
    assert rows["kind"].to_list() == ["frequency", "frequency"]
    assert rows["telling_cases"].to_list() == [0, 0]


def test_without_kept_positions_both_tables_are_empty() -> None:
    kept = Corpus(0, 400).kept()
    nothing = type(kept)(
        {name: values for name, values in kept.tensors.items() if not name.startswith("kept_")}, kept.positions, kept.token_ids
    )
    found = sparse_probes(nothing, TEXTS)
    assert (found.probes.height, found.neurons.height) == (0, 0)


def test_cases_and_others_are_an_even_sample_whatever_else_was_kept() -> None:
    """Where another token comes next at half of a token's cases, and now and then elsewhere, rows that were kept for it must not count."""
    corpus = Corpus(3)
    is_other = np.where(corpus.is_case, np.arange(len(corpus.rows)) % 2 == 0, np.arange(len(corpus.rows)) % 400 == 0)
    corpus.rows.next_token[is_other] = OTHER
    kept = corpus.kept(room=1024)
    rows = kept_of(kept)
    own = next(of for of in cases_of(kept, rows) if (of.outcome, of.token_id) == ("top_prediction", TOKEN))
    assert own.base_rate == pytest.approx(corpus.is_case.mean())
    assert rows.is_background[own.places[~own.is_case]].all()
    lowest = np.sort(corpus.rows.hash[corpus.is_case])[: own.is_case.sum()]
    np.testing.assert_array_equal(rows.rows.hash[own.places[own.is_case]], lowest)
    assert (rows.rows.prediction == TOKEN).sum() > own.is_case.sum()


def test_nothing_of_the_telling_half_reaches_what_is_chosen_and_fitted() -> None:
    def changed(activations: np.ndarray, is_case: np.ndarray, rows: Any, random: Any) -> None:
        pair(activations, is_case, rows, random)
        telling = np.isin(fold_of(rows.document), TELLING)
        activations[telling, :, 20:] += 9 * is_case[telling, None, None]

    plain, other = probes_of(pair), probes_of(changed)
    assert_frame_equal(plain.neurons, other.neurons)
    told = ["discovery_average_precision", "penalty", "kind", "size"]
    assert_frame_equal(plain.probes.select(told), other.probes.select(told))
    assert not plain.probes["average_precision"].equals(other.probes["average_precision"])


def test_a_model_with_fewer_neurons_than_candidates_has_probes_of_all_sizes_that_it_can() -> None:
    kept = Corpus(0).kept(one)
    few = type(kept)({**kept.tensors, "kept_activations": kept["kept_activations"][:, :2, 5:10]}, kept.positions, kept.token_ids)
    few.tensors["count"] = kept["count"][:2, 5:10]  # type: ignore[index]
    found = sparse_probes(few, TEXTS)
    sizes = found.probes.filter(outcome="top_prediction", token_id=TOKEN, kind="neurons")["size"].to_list()
    assert sizes == [10, 8, 4, 2, 1]
    assert members(found, 1) == {(1, 2)}


def test_progress_counts_each_reading_of_a_layer_and_the_fits_of_each_token_as_sixty_more() -> None:
    histograms = Corpus(0).kept(one)
    steps = steps_told(lambda progress: sparse_probes(histograms, TEXTS, progress))
    probed = sum(cases.are_enough for cases in cases_of(histograms, kept_of(histograms)))
    assert probed
    assert steps[-1] == 3 * histograms.layers + probed * PROBES_WEIGH
    assert steps[0] == 1
