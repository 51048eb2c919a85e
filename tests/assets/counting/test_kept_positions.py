"""Kept positions: those that the words name, the same however they come by, with the activations that the counter was given."""

import functools
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.counting.batch_counter import Answers
from assets.counting.batches import Batch
from assets.counting.histograms import Histograms, merge
from assets.counting.kept_position_counter import KeptPositionCounter
from assets.counting.kept_positions import KEPT_TENSORS, SEED, quotas
from assets.histograms.histogram_store import read_histograms, write_histograms
from assets.histograms.merged_histograms import merge_histograms
from tests.assets.counting.made_batches import SCREENED, VOCABULARY, counter_of, made_bins, random_batches
from tests.slow_reimplementation import slow_hash

LAYERS, NEURONS, WIDTH, TRACKED, OUTCOMES = 2, 3, 5, (1, 2), ("next_token",)
Made = list[tuple[Batch, np.ndarray, np.ndarray]]


class OfGpu(KeptPositionCounter):
    """Waits for predictions as for those of a GPU: the batch is looked through while the next one's layers come."""

    def _to_host(self, predictions: torch.Tensor) -> Any:
        return predictions.clone(), Arrival()

    def _beside(self, waiting: Any) -> Any:
        return nullcontext()


class Arrival:
    """What says that predictions have arrived."""

    def synchronize(self) -> None:
        """They are there."""


def count(made: Made, kept: int, kind: type[KeptPositionCounter] = KeptPositionCounter) -> Histograms:
    """Histograms of batches, `kept` positions kept; the stream at a position is told by its place."""
    inner = counter_of("compiled", made_bins(LAYERS, NEURONS), TRACKED, screened=SCREENED, outcomes=OUTCOMES)
    share = quotas(kept, TRACKED, OUTCOMES)
    counter = kind(inner, kept, share, VOCABULARY, LAYERS, NEURONS, WIDTH, count_bos=False)
    for batch, activations, predictions in made:
        counter.start(batch)
        for layer in range(LAYERS):
            counter.add_layer(layer, torch.from_numpy(activations[layer]))
        scale = torch.ones(predictions.shape, dtype=torch.float32)
        counter.add_answers(Answers(torch.from_numpy(predictions), inverse_scale=scale, residual=torch.from_numpy(stream_of(activations))))
    return counter.histograms()


def stream_of(activations: np.ndarray) -> np.ndarray:
    """A made-up residual stream [row, position, WIDTH]."""
    return np.repeat(activations[0, ..., :1] * 3, WIDTH, -1) + np.arange(WIDTH, dtype=np.float32)


def batches_of(seed: int, number: int = 4) -> Made:
    made = random_batches(seed, LAYERS, NEURONS, number)
    return [(batch, np.nan_to_num(activations, nan=0.3), predictions) for batch, activations, predictions in made]


def slow_rows(made: Made, kept: int) -> list[tuple[Any, ...]]:
    """By the words: document, window, position, prediction, next token, is background, activations, of positions in the order of hashes."""
    seen = []
    for batch, activations, predictions in made:
        for row, length in enumerate(batch.lengths):
            for position in range(1, length):
                place = (int(batch.documents[row]), int(batch.windows[row]), position)
                follows = int(batch.token_ids[row, position + 1]) if position + 1 < length else -1
                seen.append((*place, int(predictions[row, position]), follows, activations[:, row, position]))
    seen.sort(key=lambda row: (slow_hash(row[:3], SEED), row[:3]))
    background = seen[: kept - kept // 2]
    of_token = kept // 2 // 4
    wanted = {row[:3] for row in background}
    for label in (3, 4):
        for token in TRACKED:
            wanted |= {row[:3] for row in [row for row in seen if row[label] == token][:of_token]}
    return [(*row[:5], row in background_of(background), row[5]) for row in seen if row[:3] in wanted]


class background_of:  # noqa: N801
    """Membership by place: rows hold arrays, which cannot be compared."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self.places = {row[:3] for row in rows}

    def __contains__(self, row: tuple[Any, ...]) -> bool:
        return row[:3] in self.places


@pytest.mark.parametrize("kept", [4, 16, 30, 400])
@pytest.mark.parametrize("seed", range(6))
def test_what_is_kept_is_what_the_words_name_with_the_activations_that_were_given(seed: int, kept: int) -> None:
    made = batches_of(seed, 6)
    found, expected = count(made, kept), slow_rows(made, kept)
    used = len(expected)
    names = ("kept_document", "kept_window", "kept_position", "kept_prediction", "kept_next_token", "kept_is_background")
    rows = list(zip(*(found[name][:used].tolist() for name in names), strict=True))
    assert rows == [row[:6] for row in expected]
    assert (found["kept_document"][used:] == -1).all()
    assert used <= kept
    np.testing.assert_array_equal(found["kept_activations"][:used], np.stack([row[6] for row in expected]).astype(np.float16))
    stream = np.stack([stream_of(row[6][:, None, None])[0, 0] for row in expected])
    np.testing.assert_array_equal(found["kept_residual"][:used], stream)
    assert not found["kept_activations"][used:].any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.sampled_from([4, 18, 40]), st.randoms(use_true_random=False))
def test_any_order_and_any_parts_keep_the_same_rows_and_activations_bit_for_bit(seed: int, parts: int, kept: int, random: Any) -> None:
    made = batches_of(seed, 5)
    whole = count(made, kept)
    shuffled = random.sample(made, len(made))
    counted = [count(shuffled[start::parts], kept) for start in range(parts)]
    for order in (counted, counted[::-1]):
        merged = functools.reduce(merge, order)
        for name in KEPT_TENSORS:
            np.testing.assert_array_equal(merged[name], whole[name], err_msg=name)


def test_rows_of_a_batch_cut_into_single_rows_are_the_same() -> None:
    made = batches_of(7, 5)
    single = [
        (Batch(batch.token_ids[[row]], batch.lengths[[row]], batch.documents[[row]], batch.windows[[row]]), activations[:, [row]], predictions[[row]])
        for batch, activations, predictions in made
        for row in range(len(batch.lengths))
    ]  # fmt: skip
    whole, cut = count(made, 12), count(single, 12)
    for name in KEPT_TENSORS:
        np.testing.assert_array_equal(cut[name], whole[name], err_msg=name)


def test_a_batch_that_is_held_into_the_next_one_gives_the_same() -> None:
    made = batches_of(9, 6)
    whole, held = count(made, 16), count(made, 16, OfGpu)
    for name in KEPT_TENSORS:
        np.testing.assert_array_equal(held[name], whole[name], err_msg=name)


def test_stored_shards_merge_to_what_one_pass_keeps(tmp_path: Any) -> None:
    made = batches_of(11, 6)
    for place in range(3):
        write_histograms(tmp_path / str(place), count(made[place::3], 14))
    parts = [read_histograms(tmp_path / str(place)) for place in range(3)]
    merge_histograms(parts, tmp_path / "merged")
    merged, whole = read_histograms(tmp_path / "merged"), count(made, 14)
    assert merged.keeps_positions
    for name in KEPT_TENSORS:
        np.testing.assert_array_equal(merged[name][:], whole[name], err_msg=name)


def test_activations_beyond_float16_are_clipped() -> None:
    (batch, activations, predictions), *_ = batches_of(3, 1)
    found = count([(batch, np.full_like(activations, -1e6), predictions)], 400)
    assert set(found["kept_activations"][found["kept_document"] >= 0].reshape(-1).tolist()) == {-65504.0}
