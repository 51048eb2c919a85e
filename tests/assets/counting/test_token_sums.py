"""Sums by predicted and by current token: worked out by hand, equal to the loop over positions to the last bit, and the same in any order."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assets.counting.batch_counter import Answers
from assets.counting.histograms import FURTHER_OUTCOMES, Histograms
from assets.counting.parts import LayerCounter, Part, parts
from assets.counting.token_sum_loops import ROUNDING_BITS, are_small, scaled_units
from assets.counting.token_sum_units import LARGEST, SCALED_UNITS
from assets.histograms.activation_bins import fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.histograms.histogram_store import create_group, finish_group, read_histograms, shapes_of, write_part
from assets.model.language_model import LanguageModel
from assets.study import FixedBins
from tests.assets.counting.made_batches import (
    KERNEL,
    LONG_KERNEL,
    add,
    assert_same_counters,
    counter_of,
    inverse_scale_of,
    made_batch,
    made_bins,
    probabilities_of,
    random_batches,
    tensors_of,
    windows_frame,
)

KINDS = ("compiled", "device", KERNEL, "slow")
SCREEN = (
    "screen_token", "screen_count", "screen_sum", "screen_squares", "screen_scaled", "screen_current_count", "screen_current_sum",
)  # fmt: skip
UNIT = 2**24


def screen_of(counter) -> dict[str, np.ndarray]:
    tensors = tensors_of(counter)
    return {name: tensors[name] for name in SCREEN}


@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_those_worked_out_by_hand_and_all_other_tokens_are_one_group(kind: str) -> None:
    counter = counter_of(kind, made_bins(1, 1), screened=(4, 1))
    batch = made_batch([[0, 4, 3, 1, 4, 1]], [5], [0], [0])  # position 0 is the beginning, position 5 is padding
    activations = np.array([9, 0.5, -0.25, 3, 2, 9], np.float32).reshape(1, 1, 6, 1)
    add(counter, batch, activations, np.array([[4, 1, 4, 6, 1, 4]]))
    found = screen_of(counter)
    assert found["screen_token"].tolist() == [4, 1, -1]
    assert found["screen_count"].tolist() == [1, 2, 1]
    assert (found["screen_sum"][0, :, 0] / UNIT).tolist() == [-0.25, 2.5, 3.0]
    assert (found["screen_squares"][0, :, 0] / UNIT).tolist() == [0.0625, 4.25, 9.0]
    assert found["screen_current_count"].tolist() == [2, 1, 1]
    assert (found["screen_current_sum"][0, :, 0] / UNIT).tolist() == [2.5, 3.0, -0.25]


@pytest.mark.parametrize("kind", KINDS)
def test_an_activation_is_rounded_to_the_nearest_unit_nan_adds_nothing_and_infinity_the_largest(kind: str) -> None:
    counter = counter_of(kind, made_bins(1, 1), screened=(1, 2, 3, 4, 5), count_bos=True)
    values = [2**-24 * 2.5, 2**-24 * 3.5, np.nan, np.inf, -1e30]  # halves go to the even unit
    add(
        counter, made_batch([[5, 4, 3, 2, 1]], [5], [0], [0]), np.array(values, np.float32).reshape(1, 1, 5, 1), np.array([[1, 2, 3, 4, 5]])
    )
    found = screen_of(counter)
    assert found["screen_sum"][0, :5, 0].tolist() == [2, 4, 0, 2**43, -(2**43)]
    assert found["screen_current_sum"][0, :5, 0].tolist() == [-(2**43), 2**43, 0, 4, 2]
    assert found["screen_scaled"][0, 2:4, 0].tolist() == [0, 2**49]
    assert found["screen_squares"][0, :5, 0].tolist() == [0, 0, 0, 2**62, 2**62]
    assert found["screen_count"].tolist() == [1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("kind", ["compiled", "device", KERNEL])
@pytest.mark.parametrize("size", [2.0**13, -(2.0**13) - 0.25, 2.0**18 + 0.5, 1e12, np.inf, np.nan])
def test_a_large_activation_among_small_ones_is_summed_exactly_as_they_are(kind: str, size: float) -> None:
    fast, slow = (counter_of(name, made_bins(2, 5), screened=(5, 0, 2), outcomes=FURTHER_OUTCOMES) for name in (kind, "slow"))
    for batch, activations, *answers in random_batches(3, layers=2, neurons=5):
        activations[0, 0, 1:3, 2] = size
        add(fast, batch, activations, *answers)
        add(slow, batch, activations, *answers)
    sums, expected = (
        {name: values for name, values in tensors_of(counter).items() if "screen" in name or "scaled" in name} for counter in (fast, slow)
    )
    assert len(sums) > 8
    assert_same_counters(sums, expected)


@pytest.mark.parametrize("by", [1e-9, 0.37, 64.0, 65.0, 1e7, np.inf])
@pytest.mark.parametrize("largest", [1.0, 2.0**13, 1e5, 1e12])
def test_scaled_units_are_the_nearest_whole_numbers_whatever_the_scale(by: float, largest: float) -> None:
    values = (np.random.default_rng(0).uniform(-1, 1, 300) * largest).astype(np.float32)
    values[:2] = largest, 0.0
    units = np.empty(values.size, np.int64)
    scaled_units(values, by, are_small(values), units)
    expected = []
    for value in values.astype(float):
        product = min(max(value, -LARGEST), LARGEST) * by if value else 0.0
        expected.append(round(min(max(product, -LARGEST), LARGEST) * SCALED_UNITS))
    assert (units - ROUNDING_BITS).tolist() == expected


@pytest.mark.parametrize("kind", ["compiled", "device", KERNEL])
@pytest.mark.parametrize("count_bos", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_fast_sums_equal_the_loop_over_positions_to_the_last_bit(kind: str, count_bos: bool, seed: int) -> None:
    fast, slow = (counter_of(name, made_bins(2, 5), count_bos=count_bos, screened=(5, 0, 2)) for name in (kind, "slow"))
    for batch in random_batches(seed, layers=2, neurons=5):
        add(fast, *batch)
        add(slow, *batch)
    assert_same_counters(tensors_of(fast), tensors_of(slow))


@pytest.mark.parametrize("kind", ["compiled", "device", LONG_KERNEL])
def test_batches_in_another_order_give_the_same_bits(kind: str) -> None:
    # More neurons than one block holds; Triton's interpreter takes two seconds a batch.
    made = random_batches(5, layers=1, neurons=300, number=3 if kind == "kernel" else 6)
    there, back = (counter_of(kind, made_bins(1, 300), screened=(3, 6)) for _ in range(2))
    for batch in made:
        add(there, *batch)
    for batch in made[::-1]:
        add(back, *batch)
    for name in SCREEN:
        np.testing.assert_array_equal(screen_of(there)[name], screen_of(back)[name])


def test_compiled_and_device_sums_agree_on_half_precision_activations() -> None:
    found = []
    for kind in ("compiled", "device"):
        counter = counter_of(kind, made_bins(1, 2), screened=(1,), count_bos=True)
        counter.start(made_batch([[0, 0]], [2], [0], [0]))
        counter.add_layer(0, torch.tensor([[[0.2, 14.9], [0.6, -1.0]]], dtype=torch.bfloat16))
        counter.add_answers(Answers(torch.ones(1, 2, dtype=torch.int64), inverse_scale=torch.tensor([[0.5, 0.125]])))
        found.append(screen_of(counter))
    for name in SCREEN:
        np.testing.assert_array_equal(found[0][name], found[1][name])
    assert found[0]["screen_sum"][0, 0].tolist() == [int((0.2001953125 + 0.6015625) * UNIT), int((14.875 - 1) * UNIT)]
    assert found[0]["screen_scaled"][0, 0].tolist() == [int((0.2001953125 / 2 + 0.6015625 / 8) * 2**30), int((14.875 / 2 - 1 / 8) * 2**30)]


@pytest.mark.parametrize("kind", ["compiled", "device", KERNEL])
def test_sums_over_the_scale_need_the_scale(kind: str) -> None:
    counter = counter_of(kind, made_bins(1, 1), screened=(1,), count_bos=True)
    counter.start(made_batch([[0, 0]], [2], [0], [0]))
    counter.add_layer(0, torch.zeros(1, 2, 1))
    with pytest.raises(ValueError, match="1 over the final norm's scale must be given with each batch"):
        counter.add_answers(Answers(torch.ones(1, 2, dtype=torch.int64)))


def test_no_activation_is_kept_after_its_batch() -> None:
    counter = counter_of("compiled", made_bins(2, 5), screened=(1,))
    add(counter, *random_batches(0, layers=2, neurons=5, number=1)[0])
    assert counter._kept == []


@pytest.mark.parametrize(
    ("layer_parts", "token_parts", "screened", "number"),
    [
        (3, 1, [2, 6, 4, 12, 13, 5], 3),
        (2, 1, [2, 6, 4, 12, 13, 5], 2),
        (1, 2, [2, 6, 4, 12, 13, 5], 2),
        (2, 3, [2, 6, 4, 12, 13, 5], 6),
        (1, 40, [2, 6, 4, 12, 13, 5], 7),
        (1, 3, [2, 6, 4], 3),  # four groups in shares of two: the third share has a tracked token and no group
    ],
)
def test_parts_counted_in_passes_of_their_own_hold_the_integers_of_one_pass(
    planted: LanguageModel, tmp_path: Path, layer_parts: int, token_parts: int, screened: list[int], number: int
) -> None:
    generator = torch.Generator().manual_seed(3)
    windows = windows_frame([[0, *torch.randint(1, 30, (length,), generator=generator).tolist()] for length in (3, 9, 20, 20, 33, 8)])
    bins, tracked = fixed_bins(3, 16, FixedBins()), [2, 6, 4]

    def count(part: Part | None) -> Histograms:
        return count_windows(
            planted,
            windows,
            bins,
            tracked,
            count_bos=False,
            examples=2,
            batch_positions=64,
            screened_ids=screened,
            part=part,
            outcomes=FURTHER_OUTCOMES,
            kept_positions=40,
        )

    whole = count(None)
    shapes = shapes_of(planted.facts, bins.bins, len(tracked), len(screened), 2, outcomes=FURTHER_OUTCOMES, kept=40)
    group = create_group(tmp_path, shapes)
    made = parts(3, len(tracked), len(screened), layer_parts, token_parts)
    assert len(made) == number
    for part in made:
        write_part(group, part, count(part))
    finish_group(group, whole.positions, tracked)
    together = read_histograms(tmp_path)
    assert whole["screen_count"].sum() == whole.positions > 0
    for name, expected in whole.tensors.items():
        np.testing.assert_array_equal(together[name][:], expected, err_msg=name)


@pytest.mark.parametrize("kind", ["compiled", "device", KERNEL])
def test_a_scale_of_each_layer_gives_what_layers_give_that_are_counted_alone_by_their_own(kind: str) -> None:
    """As for a model with norms behind its MLPs; and a part of the layers takes the scales of its own."""
    counted: dict[str, Any] = {"screened": (5, 0, 2), "outcomes": ("next_token", "probability")}
    whole, alone = counter_of(kind, made_bins(3, 5), **counted), [counter_of(kind, made_bins(1, 5), **counted) for _ in range(3)]
    part = LayerCounter(counter_of(kind, made_bins(2, 5), **counted), range(1, 3))
    for batch, activations, predictions in random_batches(1, layers=3, neurons=5):
        scales = torch.from_numpy(np.stack([inverse_scale_of(predictions) * np.float32(by) for by in (1, 0.3, 2.2)]))
        given = torch.from_numpy(probabilities_of(predictions)[..., :2])
        for counter, layers, own in ((whole, range(3), scales), (part, range(3), scales), *((alone[n], [n], scales[n]) for n in range(3))):
            counter.start(batch)
            for place, layer in enumerate(layers):
                counter.add_layer(place, torch.from_numpy(activations[layer]))
            counter.add_answers(Answers(torch.from_numpy(predictions), None, own, given))
    found, of_part, expected = tensors_of(whole), tensors_of(part), [tensors_of(counter) for counter in alone]
    scaled = [name for name in found if "scaled" in name]
    assert len(scaled) >= 5
    for name in scaled:
        (axis,) = [place for place, length in enumerate(found[name].shape) if expected[0][name].shape[place] != length]
        assert np.array_equal(found[name], np.concatenate([one[name] for one in expected], axis)), name
        assert np.array_equal(of_part[name], np.concatenate([one[name] for one in expected[1:]], axis)), name
        assert found[name].any(), name
