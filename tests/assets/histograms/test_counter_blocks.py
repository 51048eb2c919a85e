"""Blocks of counters: every counter once, whatever their size, and the same results from many as from one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from assets.counting.histograms import ActivationBins, Histograms, empty_tensors
from assets.histograms import histogram_store
from assets.histograms.histogram_store import counter_blocks, read_histograms, write_histograms
from assets.quality.counter_violations import counter_violations
from assets.statistics.token_neuron_scores import token_neuron_scores

TOKENS, LAYERS, NEURONS, BINS, VOCABULARY = 5, 2, 7, 4, 9


@pytest.fixture
def histograms() -> Histograms:
    """Counters that break every rule: random ones."""
    generator = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        return generator.integers(-1, 30, shape)

    tensors = empty_tensors(LAYERS, NEURONS, BINS, TOKENS, VOCABULARY, 1) | {
        "count": drawn(LAYERS, NEURONS, BINS) + 40,
        "outside": drawn(LAYERS, NEURONS, 3) + 40,
        "top_prediction_count": drawn(TOKENS, LAYERS, NEURONS, BINS),
        "top_prediction_outside": drawn(TOKENS, LAYERS, NEURONS, 3),
        **{name: drawn(VOCABULARY) for name in ("occurrences", "predictions", "correct_predictions")},
    }
    return Histograms(tensors, positions=100, token_ids=(1, 3, 4, 6, 8))


def few_at_once(monkeypatch: pytest.MonkeyPatch, neurons: int, tokens: int) -> None:
    monkeypatch.setattr(histogram_store, "CHUNK_BYTES", neurons * BINS * 8)
    monkeypatch.setattr(histogram_store, "READ_AT_ONCE", neurons * tokens * BINS * 8)


@pytest.mark.parametrize(("neurons", "tokens"), [(1, 1), (3, 2), (7, 5), (100, 100)])
def test_every_counter_is_in_one_block_and_plain_counts_come_with_the_first_of_the_tokens(
    histograms: Histograms, monkeypatch: pytest.MonkeyPatch, neurons: int, tokens: int
) -> None:
    few_at_once(monkeypatch, neurons, tokens)
    seen, firsts = np.zeros((TOKENS, LAYERS, NEURONS), int), np.zeros((LAYERS, NEURONS), int)
    for block in counter_blocks(histograms):
        seen[block.tokens, block.layer, block.neurons] += 1
        firsts[block.layer, block.neurons] += block.is_first_of_tokens
    assert (seen == 1).all()
    assert (firsts == 1).all()
    assert [block.is_first_of_tokens for block in counter_blocks(replace(histograms, token_ids=()))][0]


@pytest.mark.parametrize(("neurons_of_chunk", "read", "chunk"), [(14, 21, (2, 1, 7, 4)), (28, 35, (4, 1, 7, 4)), (3, 7, (1, 1, 3, 4))])
def test_chunks_hold_as_many_tokens_as_fit_and_no_block_of_tokens_ends_within_one(
    histograms: Histograms, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, neurons_of_chunk: int, read: int, chunk: tuple[int, ...]
) -> None:
    monkeypatch.setattr(histogram_store, "CHUNK_BYTES", neurons_of_chunk * BINS * 8)
    monkeypatch.setattr(histogram_store, "READ_AT_ONCE", read * BINS * 8)
    write_histograms(tmp_path / "group", histograms)
    written = read_histograms(tmp_path / "group")
    assert written["top_prediction_count"].chunks == chunk
    assert np.array_equal(written["top_prediction_count"][:], histograms["top_prediction_count"])
    assert all(block.tokens.start % chunk[0] == 0 for block in counter_blocks(written))


def test_violations_and_scores_do_not_depend_on_the_size_of_blocks(histograms: Histograms, monkeypatch: pytest.MonkeyPatch) -> None:
    bins = ActivationBins(np.full((LAYERS, NEURONS), 2, np.float32), np.zeros((LAYERS, NEURONS), np.int32), BINS)
    texts = [str(entry) for entry in range(VOCABULARY)]
    whole, scores = counter_violations(histograms), token_neuron_scores(histograms, bins, texts, 1)
    assert whole.tokens["top_prediction"]["differing"].sum() > 0
    few_at_once(monkeypatch, 3, 2)
    cut = counter_violations(histograms)
    for name in ("tensors", "layers", "vocabulary"):
        assert_frame_equal(getattr(cut, name), getattr(whole, name))
    assert_frame_equal(cut.tokens["top_prediction"], whole.tokens["top_prediction"])
    assert_frame_equal(token_neuron_scores(histograms, bins, texts, 1), scores)
