"""The activations around examples: those that the counter was given there, however windows, batches and shards come by.

The slow way keeps every window and cuts the contexts out at the end (tests/slow_reimplementation.py).
"""

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.counting.batches import Batch
from assets.counting.device_contexts import DeviceContexts
from assets.counting.device_counter import DeviceCounter
from assets.counting.histograms import BEFORE, BETWEEN, CONTEXT, CONTEXTS, EXAMPLE_PARTS, SIDES, Histograms, merge
from assets.counting.random_places import OF_NEURONS as RANDOM_OF_NEURONS
from assets.counting.random_places import PLACE as RANDOM_PLACE
from assets.histograms.histogram_store import read_histograms, write_histograms
from assets.histograms.merged_histograms import merge_histograms
from tests.assets.counting.made_batches import (
    KERNEL,
    LONG_KERNEL,
    VOCABULARY,
    add,
    counter_of,
    in_memory,
    made_batch,
    made_bins,
    tensors_of,
)

LAYERS, NEURONS, EXAMPLES = 2, 3, 3
KINDS = ["compiled", "device", KERNEL]
NAMES = [*CONTEXTS, *(f"{side}_{part}" for side in (*SIDES, *BETWEEN) for part in EXAMPLE_PARTS), *RANDOM_PLACE, *RANDOM_OF_NEURONS]
Made = list[tuple[Batch, np.ndarray, np.ndarray]]


def made(seed: int, number: int = 6) -> Made:
    """Windows of up to 120 tokens, two of most documents, few distinct activations so that many are equal, extremes at either end."""
    random = np.random.default_rng(seed)
    batches: Made = []
    for place in range(number):
        rows, positions = int(random.integers(1, 5)), int(random.choice([3, 20, 60, 120]))
        lengths = random.integers(0, positions + 1, rows)
        lengths[0] = positions
        documents = np.where(lengths > 0, random.integers(0, 5, rows), -1)
        activations = (random.integers(-3, 4, (LAYERS, rows, positions, NEURONS)) + random.choice([0, 0.1])).astype(np.float32)
        for row, end in enumerate(lengths - 1):
            if end > 0:
                activations[0, row, 1, 0], activations[0, row, end, 1] = 9 + place, 9 + place % 3
                activations[1, row, end, 0], activations[1, row, 1, 1] = -9 - place, -9 - place % 3
        batch = made_batch(random.integers(0, VOCABULARY, (rows, positions)), lengths, documents, 10 * place + np.arange(rows))
        batches.append((batch, activations, random.integers(0, VOCABULARY, (rows, positions))))
    return batches


def count(kind: str, batches: Made, count_bos: bool = False) -> dict[str, np.ndarray]:
    counter = counter_of(kind, made_bins(LAYERS, NEURONS), examples=EXAMPLES, count_bos=count_bos)
    for batch in batches:
        add(counter, *batch)
    return tensors_of(counter)


def counted(batches: Made) -> Histograms:
    counter = counter_of("compiled", made_bins(LAYERS, NEURONS), examples=EXAMPLES)
    for batch in batches:
        add(counter, *batch)
    return in_memory(counter.histograms())


def assert_same_examples(found: Any, expected: Any) -> None:
    for name in NAMES:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.parametrize("count_bos", [False, True])
@pytest.mark.parametrize("kind", [*KINDS[:-1], LONG_KERNEL])
def test_contexts_are_those_of_the_slow_way_after_every_batch(kind: str, count_bos: bool) -> None:
    for seed in range(3 if kind == "kernel" else 12):
        batches = made(seed)
        for stop in (1, 2, len(batches)):
            found, expected = count(kind, batches[:stop], count_bos), count("slow", batches[:stop], count_bos)
            assert_same_examples(found, expected)
        assert found["top_context"].dtype == np.float16
        peaks = np.where(found["top_document"] >= 0, found["top_value"], 0).astype(np.float16)
        np.testing.assert_array_equal(found["top_context"][..., BEFORE], peaks)


def test_the_batches_made_here_have_what_could_go_wrong() -> None:
    found = count("compiled", made(0, 40))
    edges = found["top_position"][0, :2]
    lengths = {
        (int(b.documents[row]), int(b.windows[row])): int(b.lengths[row]) for b, _, _ in made(0, 40) for row in range(len(b.lengths))
    }
    ends = {lengths[found["top_document"][0, 1, rank], found["top_window"][0, 1, rank]] - 1 for rank in range(EXAMPLES)}
    assert 1 in edges[0]
    assert ends & set(edges[1].tolist())
    assert min(lengths.values()) < CONTEXT < max(lengths.values())
    documents = [document for document, _ in lengths]
    assert max(documents.count(document) for document in set(documents)) > 2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.randoms(use_true_random=False))
def test_any_order_and_any_parts_give_the_same_contexts_bit_for_bit(seed: int, parts: int, random: Any) -> None:
    batches = made(seed, 7)
    whole = counted(batches)
    shuffled = random.sample(batches, len(batches))
    shards = [counted(shuffled[start::parts]) for start in range(parts)]
    for order in (shards, shards[::-1]):
        assert_same_examples(functools.reduce(merge, order), whole)


def test_a_document_that_two_parts_share_leaves_no_context_where_there_is_no_example() -> None:
    (batch, activations, predictions), *_ = made(4, 1)
    one = made_batch(batch.token_ids[:1], batch.lengths[:1], [0], [0])
    batches = [(dataclasses.replace(one, windows=np.array([w], np.int32)), activations[:, :1] + w, predictions[:1]) for w in (0, 1)]
    merged = merge(counted(batches[:1]), counted(batches[1:]))
    assert (merged["top_document"] == [0, -1, -1]).all()
    assert merged["top_context"][..., 0, :].any()
    assert not merged["top_context"][..., 1:, :].any()
    assert_same_examples(merged, counted(batches))


def test_stored_shards_merge_to_the_contexts_of_one_pass(tmp_path: Any) -> None:
    batches = made(5, 9)
    for place in range(3):
        write_histograms(tmp_path / str(place), counted(batches[place::3]))
    merge_histograms([read_histograms(tmp_path / str(place)) for place in range(3)], tmp_path / "merged")
    merged = read_histograms(tmp_path / "merged")
    assert_same_examples({name: np.asarray(merged[name][...]) for name in NAMES}, counted(batches))


@pytest.mark.parametrize("kind", ["compiled", "device"])
def test_a_negated_neuron_has_the_levels_of_its_two_sides_exchanged(kind: str) -> None:
    bins = made_bins(LAYERS, NEURONS, per_unit=4, first_bin=-40, bins=80)  # as far below 0 as above
    one, other = (counter_of(kind, bins, examples=EXAMPLES) for _ in range(2))
    for batch, activations, predictions in made(3, 12):
        add(one, batch, activations, predictions)
        add(other, batch, -activations, predictions)
    found, negated = tensors_of(one), tensors_of(other)
    assert (found["between_top_document"] >= 0).sum() > LAYERS * NEURONS
    for side, turned in zip(BETWEEN, BETWEEN[::-1], strict=True):
        for part in (*EXAMPLE_PARTS, "context"):
            sign = -1 if part in ("value", "context") else 1
            np.testing.assert_array_equal(sign * found[f"{side}_{part}"], negated[f"{turned}_{part}"], err_msg=part)
    np.testing.assert_array_equal(-found["random_context"], negated["random_context"])


class Late(DeviceContexts):
    """Waits for the numbers of new examples as for those of a GPU: they are taken while the next batch's layers come."""

    def _to_host(self, numbers: torch.Tensor) -> Any:
        here = torch.full_like(numbers, -1)
        return here, Arrival(here, numbers.clone())


class Arrival:
    """What says that numbers have arrived."""

    def __init__(self, here: torch.Tensor, numbers: torch.Tensor) -> None:
        self.here, self.numbers = here, numbers

    def synchronize(self) -> None:
        """They are there from now on."""
        self.here.copy_(self.numbers)


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_that_is_held_into_the_next_one_gives_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = made(seed)
    monkeypatch.setattr("assets.counting.device_counter.DeviceContexts", Late)
    assert isinstance(DeviceCounter(made_bins(1, 1), (), 1, count_bos=False, examples=1, device=torch.device("cpu"))._contexts, Late)
    assert_same_examples(count("device", batches), count("slow", batches))


@pytest.mark.parametrize("kind", KINDS)
def test_activations_beyond_float16_are_clipped_and_nan_stays(kind: str) -> None:
    (batch, activations, predictions), *_ = made(1, 1)
    large = np.full_like(activations, -1e6)
    large[:, 0, 1] = 1e9
    large[:, 0, 2] = np.nan
    found = count(kind, [(batch, large, predictions)])
    held = found["top_context"][0, 0, 0]
    assert held[BEFORE] == 65504
    assert np.isnan(held[BEFORE + 1])
    assert held[BEFORE - 1] == -65504  # position 0, which is not counted
    assert not held[: BEFORE - 1].any()


def test_a_neuron_without_an_example_has_no_context() -> None:
    batches = [(batch, np.full_like(activations, np.nan), predictions) for batch, activations, predictions in made(2, 2)]
    assert not any(count("compiled", batches)[name].any() for name in CONTEXTS)
