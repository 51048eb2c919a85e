"""The whole pass on whole models: equal to the loop over positions, and the same integers however the corpus is cut."""

import functools
import weakref
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from assets.contracts import histogram_tensors
from assets.counting.batches import batches
from assets.counting.histograms import FURTHER_OUTCOMES, ActivationBins, HistogramError, Histograms, merge
from assets.histograms import row_independence
from assets.histograms.activation_bins import bins_that_hold, calibrated_bins, fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.histograms.row_independence import (
    are_rows_independent,
    bits_of_predictions,
    maps_of_one_row,
    rows_of_batches,
    rows_of_last_batches,
)
from assets.model.language_model import LanguageModel
from assets.model.plain_model import last_hidden
from assets.model.vocabulary import token_id
from assets.study import CalibratedBins, FixedBins
from tests.assets.counting.made_batches import assert_same_counters, in_memory, windows_frame
from tests.assets.histograms.conftest import STORIES
from tests.slow_reimplementation import SlowCounts, slow_histograms
from tests.told import steps_told

BATCH_POSITIONS = 256


@pytest.fixture(autouse=True)
def nothing_tried_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial's result is kept for the process; tests that break a model on purpose must not leave theirs behind."""
    monkeypatch.setattr(row_independence, "_tried", weakref.WeakKeyDictionary())


@pytest.fixture(scope="module")
def stories_bins(stories: LanguageModel, stories_windows: pl.DataFrame) -> ActivationBins:
    return calibrated_bins(stories, stories_windows, CalibratedBins(), BATCH_POSITIONS)


@pytest.fixture(scope="module")
def tracked(stories: LanguageModel) -> list[int]:
    return [token_id(stories, text) for text in (" the", " a", ".", " was")]


def count(model: LanguageModel, windows: pl.DataFrame, bins: ActivationBins, tracked: list[int], count_bos: bool = False) -> Histograms:
    found = count_windows(
        model,
        windows,
        bins,
        tracked,
        count_bos=count_bos,
        examples=3,
        batch_positions=BATCH_POSITIONS,
        screened_ids=screened(model, tracked),
        outcomes=FURTHER_OUTCOMES,
    )
    return in_memory(found)


def screened(model: LanguageModel, tracked: list[int]) -> list[int]:
    """Tracked tokens and others that the models predict now and then; all other predictions are one group."""
    return [*tracked, *(entry for entry in (10, 263, 288) if entry not in tracked and entry < model.facts.vocabulary)]


def shards(windows: pl.DataFrame, number: int) -> list[pl.DataFrame]:
    cuts = [len(windows) * place // number for place in range(number + 1)]
    return [windows[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]


def model_batches(model: LanguageModel, windows: pl.DataFrame):
    rows = rows_of_batches(model, windows, BATCH_POSITIONS)
    return batches(windows, model.facts.context_length, model.facts.beginning_token_id, rows, rows_of_last_batches(model, windows, rows))


@pytest.mark.parametrize("count_bos", [False, True])
def test_a_real_gated_model_gives_the_integers_of_plain_code_and_a_loop_over_positions(
    stories: LanguageModel, stories_windows: pl.DataFrame, stories_bins: ActivationBins, tracked: list[int], count_bos: bool
) -> None:
    neurons = [0, 1, 57, 171]
    fast = count(stories, stories_windows, stories_bins, tracked, count_bos)
    counts = SlowCounts(
        stories_bins,
        tracked,
        stories.facts.vocabulary,
        count_bos=count_bos,
        examples=3,
        neurons=neurons,
        screened=screened(stories, tracked),
        outcomes=FURTHER_OUTCOMES,
    )
    slow = slow_histograms(STORIES, model_batches(stories, stories_windows), counts)
    assert fast["predictions"][tracked].min() > 0
    assert (fast["screen_count"] > 0).sum() >= 7
    dimensions_of = {tensor.name: tensor.dimensions for tensor in histogram_tensors(False, FURTHER_OUTCOMES)}
    for name, expected in slow.items():
        found = fast[name]
        dimensions = dimensions_of[name]
        found = found.take(neurons, axis=dimensions.index("neuron")) if "neuron" in dimensions else found
        assert_same_counters({name: found}, {name: expected}, relative=1e-6, probabilities=1e-6)


def test_a_planted_model_gives_every_integer_and_example_of_plain_code(planted: LanguageModel, planted_folder: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    windows = windows_frame([[0, *torch.randint(1, 30, (length,), generator=generator).tolist()] for length in (3, 9, 20, 20, 33, 8)])
    bins = fixed_bins(3, 16, FixedBins())
    fast = count(planted, windows, bins, [2, 3, 4])
    counts = SlowCounts(bins, [2, 3, 4], planted.facts.vocabulary, screened=screened(planted, [2, 3, 4]), outcomes=FURTHER_OUTCOMES)
    slow = slow_histograms(planted_folder, model_batches(planted, windows), counts)
    assert fast.positions == sum(windows["length"]) - len(windows)
    assert_same_counters(dict(fast.tensors), slow, relative=1e-9, probabilities=1e-6)


@pytest.mark.parametrize("number", [3, 7])
def test_any_sharding_gives_the_same_integers_and_examples(
    stories: LanguageModel, stories_windows: pl.DataFrame, stories_bins: ActivationBins, tracked: list[int], number: int
) -> None:
    whole = count(stories, stories_windows, stories_bins, tracked)
    parts = [count(stories, part, stories_bins, tracked) for part in shards(stories_windows, number)]
    for order in (parts, parts[::-1]):
        merged = functools.reduce(merge, order)
        assert merged.positions == whole.positions
        assert_same_counters(dict(merged.tensors), dict(whole.tensors))


def test_domains_are_blocks_of_their_own_whose_sum_is_the_count_without_them(planted: LanguageModel) -> None:
    generator = torch.Generator().manual_seed(3)
    windows = windows_frame([[0, *torch.randint(1, 30, (length,), generator=generator).tolist()] for length in (3, 9, 20, 20, 33, 8)])
    bins, how = fixed_bins(3, 16, FixedBins()), {"count_bos": False, "examples": 2, "batch_positions": 64, "screened_ids": [2, 3]}
    apart = windows.with_columns(domain=pl.Series([0, 1, 2, 0, 1, 2], dtype=pl.Int32))
    without = in_memory(count_windows(planted, windows, bins, [2, 3], **how))  # type: ignore[arg-type]
    whole = in_memory(count_windows(planted, apart, bins, [2, 3], domains=3, **how))  # type: ignore[arg-type]
    parts = [count_windows(planted, part, bins, [2, 3], domains=3, **how) for part in shards(apart, 3)]  # type: ignore[arg-type]
    assert (without.blocks, whole.blocks) == (8, 24)
    assert (whole["block_positions"].reshape(3, 8).sum(1) == [3 + 20, 9 + 33, 20 + 8]).all()
    for name, values in whole.tensors.items():
        if name.startswith("block_"):
            values = values.reshape(3, 8, *values.shape[1:]).sum(0)
        np.testing.assert_array_equal(values, without[name], err_msg=name)
    assert_same_counters(dict(functools.reduce(merge, parts).tensors), dict(whole.tensors))


@pytest.mark.parametrize(("padded_length", "threads"), [(8, 1), (24, 1), (112, 1), (160, 1), (40, 2)])
def test_the_row_and_the_neighbours_of_a_window_change_no_bit_of_its_activations(
    stories: LanguageModel, padded_length: int, threads: int
) -> None:
    torch.set_num_threads(threads)
    try:
        rows = rows_of_batches(stories, windows_frame([[1] * padded_length]), 1024)[padded_length]
        assert rows == 1 or are_rows_independent(stories, rows, padded_length)
        assert rows > 1
    finally:
        torch.set_num_threads(1)


def test_a_shape_in_which_rows_differ_is_found_out(planted: LanguageModel) -> None:
    first = planted.plain.transformer.h[0].mlp

    def lopsided(module, given, output):
        output = output.clone()
        output[-1] *= 1 + 2**-20  # the last row is another number in the last bits
        return output

    handle = first.register_forward_hook(lopsided)
    try:
        assert not are_rows_independent(planted, 4, 16)
    finally:
        handle.remove()
    assert not are_rows_independent(planted, 4, 16)  # known: tried once for a process
    assert are_rows_independent(planted, 3, 16)


def test_the_first_block_is_tried_for_all_only_where_all_are_alike(planted: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    handles = [
        block.register_forward_hook(lambda module, given, output, layer=layer: seen.append(layer))
        for layer, block in enumerate(planted.plain.transformer.h)
    ]
    try:
        assert are_rows_independent(planted, 6, 8)
        assert seen == [0]  # the pass ends before the second block
        assert are_rows_independent(planted, 2, 24)
        assert seen == [0]  # as many positions: attention alone, the block is not finished
        assert are_rows_independent(planted, 4, 26)
        assert seen == [0, 0]  # no multiple of 8 positions
        seen.clear()
        monkeypatch.setattr(planted.plain.config, "layer_types", ["full_attention", "sliding_attention", "full_attention"], raising=False)
        assert are_rows_independent(planted, 4, 24)
        assert seen == [0, 1, 2]
    finally:
        for handle in handles:
            handle.remove()


def test_attention_that_depends_on_the_row_is_found_out_where_only_attention_is_tried(planted: LanguageModel) -> None:
    def lopsided(module, given, output):
        attended = output[0].clone()
        attended[-1] *= 1 + 2**-20
        return (attended, *output[1:])

    assert are_rows_independent(planted, 10, 8)  # as many positions as 5 rows of 16
    handle = planted.plain.transformer.h[0].attn.register_forward_hook(lopsided)
    try:
        assert not are_rows_independent(planted, 5, 16)
    finally:
        handle.remove()


def test_where_only_attention_is_tried_its_maps_get_one_row_and_it_gets_all(
    planted: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped: list[int] = []
    attended: list[int] = []
    softmax = torch.nn.functional.softmax

    def noted(scores: torch.Tensor, *given, **named) -> torch.Tensor:
        attended.append(scores.shape[0])
        return softmax(scores, *given, **named)

    assert are_rows_independent(planted, 10, 8)  # as many positions as 5 rows of 16
    monkeypatch.setattr(torch.nn.functional, "softmax", noted)
    handle = planted.plain.transformer.h[0].attn.c_attn.register_forward_hook(lambda module, given, made: mapped.append(made.shape[0]))
    try:
        assert are_rows_independent(planted, 5, 16)
    finally:
        handle.remove()
    assert (mapped, attended) == ([1], [5])


def test_attention_on_repeated_maps_has_the_bits_of_attention(stories: LanguageModel) -> None:
    module = stories.plain.model.layers[0].self_attn
    token_ids = torch.randint(0, 500, (1, 24), generator=torch.Generator().manual_seed(0)).expand(4, 24)
    made: list[torch.Tensor] = []
    handle = module.register_forward_hook(lambda module, given, output: made.append(output[0]))
    try:
        with torch.inference_mode():
            last_hidden(stories, token_ids)
            with maps_of_one_row(module, 4, 24):
                last_hidden(stories, token_ids)
    finally:
        handle.remove()
    assert torch.equal(made[0], made[1])


def test_predictions_that_depend_on_the_row_are_found_out(planted: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    product = torch.mm

    def lopsided(hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        logits = product(hidden, rows)
        logits[-1] *= 1 + 2**-20  # the last position is another number in the last bits
        return logits

    assert bits_of_predictions(planted, 2, 24)
    assert are_rows_independent(planted, 2, 24)
    monkeypatch.setattr(torch, "mm", lopsided)
    assert not bits_of_predictions(planted, 2, 24)
    assert are_rows_independent(planted, 2, 24)  # known
    assert not are_rows_independent(planted, 3, 24)


def windows_of(*lengths: int) -> pl.DataFrame:
    return windows_frame([[1] * length for length in lengths])


def test_a_last_batch_is_lower_where_a_window_has_the_same_bits_in_it(planted: LanguageModel) -> None:
    windows = windows_of(*[24] * 9, *[16] * 8, 8)
    assert rows_of_last_batches(planted, windows, {8: 32, 16: 8, 24: 8}) == {8: 8, 16: 8, 24: 2}


@pytest.mark.parametrize(("whole", "last"), [(100, 3), (200, 5), (256, 7), (400, 9)])
def test_a_last_batch_has_the_rows_in_which_a_window_has_the_same_bits(planted: LanguageModel, whole: int, last: int) -> None:
    def by_rows(module, given, output):  # the same in all rows, but another number in the last bits in fewer positions than `whole`
        return output * (1 + 2**-20) if output[..., 0].numel() < whole else output

    handle = planted.plain.transformer.h[0].mlp.register_forward_hook(by_rows)
    try:
        assert are_rows_independent(planted, 3, 48)
        assert rows_of_last_batches(planted, windows_of(*[48] * 10), {48: 9}) == {48: last}
    finally:
        handle.remove()


def test_a_last_batch_is_whole_where_predictions_have_other_bits_in_it(planted: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    product = torch.mm
    monkeypatch.setattr(torch, "mm", lambda hidden, rows: product(hidden, rows) * (1 + 2**-20 * (len(hidden) < 448)))
    assert rows_of_last_batches(planted, windows_of(*[56] * 9), {56: 8}) == {56: 8}


def test_a_last_batch_is_whole_where_attention_has_other_bits_in_it(planted: LanguageModel) -> None:
    def by_rows(module, given, output):
        return (output[0] * (1 + 2**-20) if len(output[0]) < 8 else output[0], *output[1:])

    assert are_rows_independent(planted, 16, 8)
    assert are_rows_independent(planted, 32, 8)  # as many positions: what sees them alone is known
    handle = planted.plain.transformer.h[0].attn.register_forward_hook(by_rows)
    try:
        assert rows_of_last_batches(planted, windows_of(*[32] * 9), {32: 8}) == {32: 8}
    finally:
        handle.remove()


def test_progress_counts_the_tokens_of_all_windows(planted: LanguageModel) -> None:
    told: list[tuple[int, int]] = []
    windows = windows_frame([[0, 5, 6], [0] + [7] * 19, [0, 8]])
    bins = fixed_bins(3, 16, FixedBins())
    count_windows(
        planted,
        windows,
        bins,
        [2],
        count_bos=False,
        examples=1,
        batch_positions=64,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(20, 25), (25, 25)]


def test_no_windows_give_empty_histograms(planted: LanguageModel) -> None:
    histograms = count(planted, windows_frame([]), fixed_bins(3, 16, FixedBins()), [2])
    assert histograms.positions == 0
    assert histograms["count"].sum() == 0


def test_bins_of_another_model_are_refused(planted: LanguageModel) -> None:
    with pytest.raises(HistogramError, match=r"made for \(3, 17\) layers and neurons, the model has \(3, 16\)"):
        count(planted, windows_frame([[0, 1]]), fixed_bins(3, 17, FixedBins()), [2])


@pytest.mark.parametrize("tokens", [[2, 2], [-1], [10_000]])
def test_tracked_tokens_outside_the_vocabulary_or_given_twice_are_refused(planted: LanguageModel, tokens: list[int]) -> None:
    with pytest.raises(HistogramError, match="each must be given once and be an id from 0 to"):
        count(planted, windows_frame([[0, 1]]), fixed_bins(3, 16, FixedBins()), tokens)


def test_calibrated_bins_hold_what_they_were_calibrated_on_in_the_narrowest_power_of_two() -> None:
    largest = np.array([[3.0, 0.0, 40.0, 0.001]], np.float32)
    bins = bins_that_hold(largest, 128)
    assert bins.per_unit.tolist() == [[16.0, 16.0, 1.0, 32768.0]]  # 64 / 3.75 = 17.07, dead: lower median, 64 / 50, 64 / 0.00125 = 51200
    assert bins.first_bin.tolist() == [[-64] * 4]


def test_a_layer_of_dead_neurons_gets_bins_of_width_one() -> None:
    assert bins_that_hold(np.zeros((1, 2), np.float32), 8).per_unit.tolist() == [[1.0, 1.0]]


def test_calibration_leaves_nothing_of_its_own_windows_outside(
    stories: LanguageModel, stories_windows: pl.DataFrame, stories_bins: ActivationBins, tracked: list[int]
) -> None:
    assert count(stories, stories_windows, stories_bins, tracked)["outside"].sum() == 0


def test_fixed_bins_that_float32_cannot_hold_exactly_are_refused() -> None:
    with pytest.raises(HistogramError, match="not exact in float32"):
        fixed_bins(1, 1, FixedBins(per_unit=1.0, low=20_000_000.0, high=20_000_010.0))


def test_published_bins_are_80_of_width_a_fifth() -> None:
    bins = fixed_bins(2, 3, FixedBins())
    assert bins.bins == 80
    np.testing.assert_allclose(bins.edges(1, 2), np.arange(-5, 76) / 5)


def test_calibration_tells_the_tokens_that_it_reads(stories: LanguageModel, stories_windows: pl.DataFrame) -> None:
    steps = steps_told(lambda progress: calibrated_bins(stories, stories_windows, CalibratedBins(), BATCH_POSITIONS, progress=progress))
    assert len(steps) > 1
    assert steps[-1] == stories_windows["length"].sum()  # fewer than CALIBRATION_TOKENS: all are read
