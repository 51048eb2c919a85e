"""Blocks of documents: folds by hand and by their number, what blocks hold, and counters that are the same however they are made."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from assets.contracts import histogram_tensors
from assets.counting.batches import Batch, batches, block_sizes
from assets.counting.block_counts import ReadCounters, SumOfBlocks
from assets.counting.document_blocks import (
    DISCOVERY,
    FOLDS,
    MOST,
    TELLING,
    BlockSizes,
    block_of,
    blocks_of_half,
    fold_of,
    fold_of_block,
    is_telling,
)
from assets.counting.histograms import FURTHER_OUTCOMES, HistogramError, block_tensors
from tests.assets.counting.made_batches import (
    KERNEL,
    LONG_KERNEL,
    SCREENED,
    VOCABULARY,
    add,
    assert_same_counters,
    counter_of,
    made_batch,
    made_bins,
    random_batches,
    tensors_of,
    windows_frame,
)
from tests.slow_reimplementation import slow_fold

KINDS = ["compiled", "device", KERNEL]


def test_a_document_has_the_fold_of_its_own_number_and_folds_are_about_equally_large() -> None:
    folds = fold_of(np.arange(80_000))
    assert folds[:200].tolist() == [slow_fold(document) for document in range(200)]
    assert fold_of(np.array([7, 70_000])).tolist() == [folds[7], folds[70_000]]
    sizes = np.bincount(folds, minlength=FOLDS)
    assert len(sizes) == FOLDS
    assert np.abs(sizes - 10_000).max() < 5 * 94  # five standard deviations


def test_halves_and_domains_are_read_off_a_block() -> None:
    blocks = block_of(np.arange(50), np.arange(50) % 3)
    assert (blocks // FOLDS == np.arange(50) % 3).all()
    assert (fold_of_block(blocks) == fold_of(np.arange(50))).all()
    assert blocks_of_half(DISCOVERY, 16) == [0, 1, 2, 3, 8, 9, 10, 11]
    assert blocks_of_half(TELLING, 16) == [4, 5, 6, 7, 12, 13, 14, 15]
    assert np.flatnonzero(is_telling(np.arange(16))).tolist() == blocks_of_half(TELLING, 16)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("domains", [1, 3])
@pytest.mark.parametrize("outcomes", [(), FURTHER_OUTCOMES])
def test_every_tensor_by_block_equals_the_loop_over_positions(kind: str, domains: int, outcomes: tuple[str, ...]) -> None:
    made = random_batches(11, 2, 5, number=6, domains=domains)
    fast, slow = (
        counter_of(of, made_bins(2, 5), (1, 2, 6), screened=SCREENED, outcomes=outcomes, domains=domains) for of in (kind, "slow")
    )
    for counter in (fast, slow):
        for batch, activations, predictions in made:
            add(counter, batch, activations, predictions)
    expected = tensors_of(slow)
    for tensor in block_tensors(outcomes):
        assert expected[tensor.name].any(), f"{tensor.name}: a comparison of zeros tells nothing"
    assert_same_counters(tensors_of(fast), expected)


@pytest.mark.parametrize("kind", ["compiled", "device", LONG_KERNEL])
def test_blocks_sum_to_the_whole_bit_for_bit_in_any_order_and_batch_size(kind: str) -> None:
    made = [one for seed in (2, 9) for one in random_batches(seed, 2, 3, number=4, domains=2)]
    found = []
    for order in (made, made[::-1], [row for one in made for row in rows_of(*one)]):
        counter = counter_of(kind, made_bins(2, 3), screened=SCREENED, outcomes=FURTHER_OUTCOMES, domains=2)
        for batch, activations, predictions in order:
            add_positions(counter, batch, activations, predictions)
        found.append(tensors_of(counter))
    for name, tensor in found[0].items():
        if name.startswith(("block_", "null_", "screen_")):
            for other in found[1:]:
                np.testing.assert_array_equal(other[name], tensor, err_msg=name)
        if f"block_{name}" in found[0]:
            np.testing.assert_array_equal(found[0][f"block_{name}"].sum(0), tensor, err_msg=name)
    assert found[0]["block_positions"].sum() == found[0]["occurrences"].sum()


def rows_of(batch: Batch, activations: np.ndarray, predictions: np.ndarray) -> list[tuple[Batch, np.ndarray, np.ndarray]]:
    """The same windows, each in a batch of its own."""
    assert batch.domains is not None
    return [
        (
            Batch(batch.token_ids[[row]], batch.lengths[[row]], batch.documents[[row]], batch.windows[[row]], batch.domains[[row]]),
            activations[:, [row]],
            predictions[[row]],
        )
        for row in range(len(batch.lengths))
    ]


def add_positions(counter: object, batch: Batch, activations: np.ndarray, predictions: np.ndarray) -> None:
    """Count a batch whose scale and probabilities depend on the position alone, not on its place in the batch."""
    import torch

    from assets.counting.batch_counter import Answers

    place = np.broadcast_to(np.arange(predictions.shape[1]), predictions.shape)
    scale = torch.from_numpy((0.1 + 0.3 * place).astype(np.float32))
    shares = torch.from_numpy(np.stack([0.01 * place, 0.002 * place], -1))
    counter.start(batch)  # type: ignore[attr-defined]
    for layer in range(activations.shape[0]):
        counter.add_layer(layer, torch.from_numpy(activations[layer]))  # type: ignore[attr-defined]
    counter.add_answers(Answers(torch.from_numpy(predictions), None, scale, shares))  # type: ignore[attr-defined]


def test_a_block_of_65_535_positions_fits_16_bits_and_one_more_takes_32() -> None:
    assert (BlockSizes(8, 65_535, 65_536).dtype, BlockSizes(8, 65_535, 65_536).null_dtype) == (np.uint16, np.uint32)
    assert BlockSizes(8, 65_536, 65_536).dtype is np.uint32
    for positions in (65_535, 65_536):
        counted = large_block(positions)
        assert counted["block_count"][slow_fold(0), 0, 0, 5] == positions
        assert counted["count"][0, 0, 5] == counted["top_prediction_count"][0, 0, 0, 5] == positions
        assert counted["null_top_prediction_count"][0, 0, 0, 5] == positions  # all labels are the same, in the telling half


def large_block(positions: int) -> dict[str, np.ndarray]:
    """One neuron at 0 over so many positions of document 0, all of which predict token 1."""
    from assets.counting.batch_counter import BatchCounter

    sizes = block_sizes(windows_frame([[0] * positions]), 1, count_bos=True)
    assert sizes.largest == sizes.telling == positions
    counter = BatchCounter(made_bins(1, 1), (1,), VOCABULARY, count_bos=True, examples=1, threads=1, sizes=sizes)
    batch = made_batch([[0] * positions], [positions], [0], [0])
    add(counter, batch, np.zeros((1, 1, positions, 1), np.float32), np.ones((1, positions), int))
    return tensors_of(counter)


def test_what_is_read_has_the_contract_s_shape_and_dtype_and_sums_do_not_run_over() -> None:
    counters = np.full((8, 3, 2, 4, 5), 65_535, np.uint16)
    read, whole = ReadCounters(counters, np.int32), SumOfBlocks(counters)
    assert (read.shape, read.dtype, read.ndim, len(read)) == ((8, 3, 2, 4, 5), np.int32, 5, 8)
    assert (whole.shape, whole.dtype, whole.ndim, len(whole)) == ((3, 2, 4, 5), np.int64, 4, 3)
    assert (read[:] + read[:]).max() == 2 * 65_535
    assert (whole[1:, 0].shape, whole[0, 1, 2, 3], np.asarray(whole).sum()) == ((2, 4, 5), 8 * 65_535, 8 * 65_535 * 120)
    counted = tensors_of(counter_of("compiled", made_bins(2, 3), outcomes=FURTHER_OUTCOMES, screened=SCREENED))
    assert {name: str(values.dtype) for name, values in counted.items()} == {
        tensor.name: tensor.dtype for tensor in histogram_tensors(False, FURTHER_OUTCOMES)
    }


def with_domains(token_ids: Sequence[Sequence[int]], domains: Sequence[int]) -> object:
    import polars as pl

    return windows_frame(token_ids).with_columns(domain=pl.Series(domains, dtype=pl.Int32))


def test_windows_say_of_which_domain_their_document_is_and_blocks_hold_their_positions() -> None:
    frame = with_domains([[0, 1, 1], [0] * 9, [0, 1]], [1, 0, 1])
    (long, short) = batches(frame, 32, 0, {16: 2, 8: 3})  # type: ignore[arg-type]
    assert (long.blocks[0], short.blocks[:2].tolist()) == (fold_of(1), (8 + fold_of(np.array([0, 2]))).tolist())
    sizes = block_sizes(frame, 2, count_bos=False)  # type: ignore[arg-type]
    assert (sizes.blocks, sizes.largest, sizes.telling) == (16, 8, sum(n for d, n in ((0, 2), (1, 8), (2, 1)) if slow_fold(d) >= 4))
    assert dataclasses.replace(long, domains=None).blocks[0] == fold_of(1)


def test_a_domain_beyond_those_counted_and_a_block_beyond_its_counters_are_refused() -> None:
    import polars as pl

    frame = with_domains([[0, 1], [0, 1]], [0, 2])
    with pytest.raises(HistogramError, match="domains 0 to 2, allowed are 0 to 1"):
        block_sizes(frame, 2, count_bos=False)  # type: ignore[arg-type]
    large = pl.DataFrame({"document": [0, 0], "length": [MOST, 2]})
    assert block_sizes(large.head(1), 1, count_bos=True).largest == MOST
    with pytest.raises(HistogramError, match=f"{MOST + 1} positions would be counted in one block of documents, at most {MOST}"):
        block_sizes(large.with_columns(length=pl.Series([MOST, 1])), 1, count_bos=True)
