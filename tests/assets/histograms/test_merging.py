"""The merge is a monoid, equals counting everything at once, and refuses a shard whose numbers contradict each other."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.counting.histograms import FURTHER_OUTCOMES, HistogramError, Histograms, empty, merge
from assets.histograms import histogram_store
from assets.histograms.histogram_store import read_histograms, write_histograms
from assets.histograms.merged_histograms import merge_histograms
from tests.assets.counting.made_batches import (
    SCREENED,
    VOCABULARY,
    add,
    assert_same_counters,
    counter_of,
    in_memory,
    made_bins,
    random_batches,
    random_histograms,
    tensors_of,
)

SEEDS = st.integers(0, 10_000)


def same(a: Histograms, b: Histograms) -> None:
    assert a.positions == b.positions
    assert_same_counters(dict(a.tensors), dict(b.tensors))


@settings(max_examples=25, deadline=None)
@given(SEEDS, SEEDS, SEEDS)
def test_merging_is_associative_and_commutative_and_an_empty_one_changes_nothing(first: int, second: int, third: int) -> None:
    a, b, c = (random_histograms(seed) for seed in (first, second, third))
    same(merge(merge(a, b), c), merge(a, merge(b, c)))
    same(merge(a, b), merge(b, a))
    nothing = empty(2, 3, 80, (1, 2), VOCABULARY, 3, SCREENED, outcomes=FURTHER_OUTCOMES)
    for merged in (merge(a, nothing), merge(nothing, a)):
        assert all(np.array_equal(merged[name], a[name]) for name in a.tensors)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 5))
def test_merging_parts_equals_counting_all_at_once(seed: int, number: int) -> None:
    made = random_batches(seed, layers=2, neurons=3, number=number)
    whole = counter_of("slow", made_bins(2, 3), screened=SCREENED, outcomes=FURTHER_OUTCOMES)
    parts = []
    for batch in made:
        add(whole, *batch)
        part = counter_of("compiled", made_bins(2, 3), screened=SCREENED, outcomes=FURTHER_OUTCOMES)
        add(part, *batch)
        parts.append(part.histograms())
    assert_same_counters(dict(functools.reduce(merge, parts).tensors), tensors_of(whole))


def test_histograms_of_other_tokens_are_not_merged() -> None:
    a = random_histograms(1)
    with pytest.raises(ValueError, match="cannot be merged"):
        merge(a, Histograms(a.tensors, a.positions, (1, 3)))


def test_what_is_written_is_read_back_with_its_dtypes_and_names(tmp_path: Path) -> None:
    histograms = random_histograms(4)
    write_histograms(tmp_path / "group", histograms)
    read = read_histograms(tmp_path / "group")
    assert (read.positions, read.token_ids, read.layers, read.neurons, read.bins) == (histograms.positions, (1, 2), 2, 3, 80)
    for name, expected in histograms.tensors.items():
        assert read[name].dtype == expected.dtype
        np.testing.assert_array_equal(read[name][:], expected)


def test_a_group_can_be_written_into_a_folder_that_exists_and_is_empty(tmp_path: Path) -> None:
    write_histograms(tmp_path, random_histograms(4))
    assert read_histograms(tmp_path).layers == 2


def test_a_group_is_never_written_over(tmp_path: Path) -> None:
    first = random_histograms(4)
    write_histograms(tmp_path, first)
    with pytest.raises(FileExistsError):
        write_histograms(tmp_path, random_histograms(5))
    same(read_histograms(tmp_path), first)


def test_a_group_that_was_not_finished_is_refused(tmp_path: Path) -> None:
    import zarr

    write_histograms(tmp_path, random_histograms(4))
    del zarr.open_group(str(tmp_path), mode="r+").attrs["complete"]
    with pytest.raises(HistogramError, match=r"not written to its end; materialize it again"):
        read_histograms(tmp_path)


def test_a_folder_without_a_group_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HistogramError, match=r"no readable Zarr group"):
        read_histograms(tmp_path / "nothing")


@pytest.mark.parametrize(("name", "message"), [("count", "tensor count is int32"), ("top_window", "tensor top_window is missing")])
def test_a_tensor_that_is_not_the_contracts_is_refused(tmp_path: Path, name: str, message: str) -> None:
    import zarr

    write_histograms(tmp_path, random_histograms(4))
    group = zarr.open_group(str(tmp_path), mode="r+")
    del group[name]
    if name == "count":
        group.create_array(name, shape=(2, 3, 80), dtype="int32")
    with pytest.raises(HistogramError, match=message):
        read_histograms(tmp_path)


def test_tensors_that_disagree_about_an_axis_are_refused(tmp_path: Path) -> None:
    import zarr

    write_histograms(tmp_path, random_histograms(4))
    group = zarr.open_group(str(tmp_path), mode="r+")
    del group["above_zero"]
    group.create_array("above_zero", shape=(2, 4), dtype="int64")
    with pytest.raises(HistogramError, match="tensor above_zero has 4 along neuron, other tensors have 3"):
        read_histograms(tmp_path)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_shards_merged_on_disk_equal_the_merge_in_memory_in_any_order(tmp_path: Path, order: tuple[int, ...]) -> None:
    parts = [random_histograms(seed) for seed in (5, 6, 7)]
    for seed, part in enumerate(parts):
        write_histograms(tmp_path / str(seed), part)
    merge_histograms([read_histograms(tmp_path / str(place)) for place in order], tmp_path / "merged")
    merged = read_histograms(tmp_path / "merged")
    expected = functools.reduce(merge, parts)
    assert merged.positions == expected.positions
    assert_same_counters({name: merged[name][:] for name in expected.tensors}, dict(expected.tensors))


@pytest.mark.parametrize("size", [2000, 7000])
def test_counters_written_and_merged_in_small_pieces_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Of a token and a neuron in all blocks, 80 bins take 2,560 bytes; chunks hold a neuron."""
    monkeypatch.setattr(histogram_store, "READ_AT_ONCE", size)
    monkeypatch.setattr(histogram_store, "CHUNK_BYTES", 3000)
    parts = [random_histograms(seed) for seed in (5, 6)]
    for seed, part in enumerate(parts):
        write_histograms(tmp_path / str(seed), part)
        same(read_histograms_in_memory(tmp_path / str(seed)), part)
    merge_histograms([read_histograms(tmp_path / str(place)) for place in (0, 1)], tmp_path / "merged")
    same(read_histograms_in_memory(tmp_path / "merged"), merge(*parts))


def read_histograms_in_memory(folder: Path) -> Histograms:
    return in_memory(read_histograms(folder))


def test_blocks_beyond_what_their_counters_hold_are_not_merged(tmp_path: Path) -> None:
    part = random_histograms(5)
    block = int(np.argmax(part["block_positions"]))
    more = 2**31 - 1 - int(part["block_positions"][block])  # then the block is as large as one may be
    large = dataclasses.replace(part, positions=part.positions + more)
    for name, place in (
        ("block_positions", block),
        ("predictions", 0),
        ("occurrences", 0),
        ("screen_count", 2),
        ("screen_current_count", 2),
    ):
        large = broken(large, name, (place,), more)
    with pytest.raises(HistogramError, match=rf"merge: {2**32 - 2 - more} positions would be counted in one block of documents, at most"):
        merge_histograms([large, part], tmp_path / "merged")


def test_one_shard_merged_is_that_shard(tmp_path: Path) -> None:
    part = random_histograms(8)
    merge_histograms([part], tmp_path / "merged")
    merged = read_histograms(tmp_path / "merged")
    assert all(np.array_equal(merged[name][:], part[name]) for name in part.tensors)


def broken(part: Histograms, name: str, index: tuple[int, ...], by: int) -> Histograms:
    tensor = part[name].copy()
    tensor[index] += by
    return Histograms({**part.tensors, name: tensor}, part.positions, part.token_ids)


@pytest.mark.parametrize(
    ("name", "index", "by", "message"),
    [
        ("count", (1, 2, 70), 1, r"shard b: layer 1, neuron 2 \(1 in all\): bins and outside that do not sum to the \d+ counted positions"),
        ("count", (0, 1, 79), -10_000, r"shard b: layer 0, neuron 1 \(1 in all\): count below 0"),
        ("outside", (0, 0, 2), 1, r"shard b: layer 0, neuron 0 \(1 in all\): activations that are NaN"),
        ("top_prediction_count", (0, 1, 1, 79), 10_000, r"top_prediction_count of token 1 above count"),
        ("top_prediction_outside", (1, 0, 0, 0), -10_000, r"top_prediction_outside of token 2 below 0"),
        ("predictions", (3,), 1, r"shard b: predictions sum to \d+, but \d+ positions were counted"),
        ("correct_predictions", (3,), 10_000, r"more correct predictions than predictions"),
        ("sampled_prediction_document", (1,), 1000, r"shard b: 1024 positions of token 2 in sampled_prediction, but predictions are \d+"),
        ("sampled_next_token_document", (0,), 1000, r"shard b: 1024 positions of token 1 in sampled_next_token, but occurrences are \d+"),
        ("screen_count", (2,), 1, r"shard b: screen_count sums to \d+ of \d+ positions, or differs from the predictions"),
        ("screen_current_count", (0,), 1, r"shard b: screen_current_count sums to \d+ of \d+ positions, or differs from the occurrences"),
        ("screen_token", (1,), 1, r"shard b: screens other tokens than shard a"),
        ("next_token_count", (0, 1, 1, 79), 10_000, r"next_token_count of token 1 above count"),
        ("next_tokens", (3,), 10_000, r"shard b: next_tokens sum to \d+, above the \d+ counted positions"),
        ("next_tokens", (3,), -1, r"layer 0, neuron 0 \(3 in all\): no_next_token_count that does not sum to the \d+ positions without"),
        ("no_next_token_count", (1, 2, 79), 1, r"layer 1, neuron 2 \(1 in all\): no_next_token_count that does not sum to the \d+"),
        ("probability_outside", (1, 0, 1, 0), 2**50, r"probability_outside of token 2 above outside"),
        ("probability_sums", (2,), 5, r"probability_count of token 2 that does not sum to its \d+ probability sums"),
        ("screen_squares", (1, 1, 2), -(2**62), r"shard b: layer 1, neuron 2 \(1 in all\): a sum of squared activations below 0"),
        ("block_positions", (2,), 1, r"shard b: the positions of its blocks sum to \d+, but \d+ were counted"),
        ("block_count", (2, 1, 2, 7), 1, r"shard b: layer 1, neuron 2 \(1 in all\): block_count below 0, or of all blocks not count"),
        (
            "block_top_prediction_count",
            (2, 1, 0, 1, 7),
            1,
            r"layer 0, neuron 1 \(1 in all\): block_top_prediction_count below 0, or of all",
        ),
        ("block_no_next_token_outside", (2, 1, 0, 1), 1, r"layer 1, neuron 0 \(1 in all\): block_no_next_token_outside below 0, or of all"),
        ("null_next_token_count", (1, 0, 2, 7), -1000, r"layer 0, neuron 2 \(1 in all\): null_next_token_count below 0"),
    ],
)
def test_a_shard_whose_counts_contradict_each_other_is_named_and_nothing_readable_is_left(
    tmp_path: Path, name: str, index: tuple[int, ...], by: int, message: str
) -> None:
    parts = [random_histograms(5), broken(random_histograms(6), name, index, by)]
    with pytest.raises(HistogramError, match=message):
        merge_histograms(parts, tmp_path / "merged", names=["a", "b"])
    with pytest.raises(HistogramError):
        read_histograms(tmp_path / "merged")


def test_a_tokens_counts_that_differ_from_its_predictions_are_refused(tmp_path: Path) -> None:
    part = random_histograms(6)
    place = tuple(int(index) for index in np.argwhere(part["top_prediction_count"] > 0)[0])
    with pytest.raises(HistogramError, match=r"does not sum to its \d+ predictions"):
        merge_histograms([broken(part, "top_prediction_count", place, -1)], tmp_path / "merged")


def test_shards_that_count_other_outcomes_are_refused(tmp_path: Path) -> None:
    parts = [random_histograms(5), random_histograms(6, outcomes=("next_token",))]
    told = "shard b: counts the outcomes top_prediction, next_token, shard a top_prediction, next_token, probability"
    with pytest.raises(HistogramError, match=told):
        merge_histograms(parts, tmp_path / "merged", names=["a", "b"])


def test_shards_that_track_other_tokens_are_refused(tmp_path: Path) -> None:
    part = random_histograms(6)
    with pytest.raises(HistogramError, match=r"shard 1 \(counted from 0\): tracks tokens \[1, 3\]"):
        merge_histograms([part, Histograms(part.tensors, part.positions, (1, 3))], tmp_path / "merged")
