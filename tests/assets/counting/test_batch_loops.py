"""The counters on tensors made by hand: every edge worked out on paper, and three implementations that must agree."""

import numpy as np
import pytest

from assets.counting.batch_counter import Answers
from assets.counting.histograms import MOMENTS
from tests.assets.counting.made_batches import (
    KERNEL,
    add,
    assert_same_counters,
    counter_of,
    made_batch,
    made_bins,
    random_batches,
    tensors_of,
)

KINDS = ("compiled", "device", KERNEL, "slow")
NO_PREDICTION = 0


def counted(kind: str, values: list[float], per_unit: float = 5.0, first_bin: int = -5, bins: int = 80) -> dict[str, np.ndarray]:
    """Count one neuron's values, one window whose position 0 is counted too."""
    counter = counter_of(kind, made_bins(1, 1, per_unit, first_bin, bins), count_bos=True)
    batch = made_batch([[0] * len(values)], [len(values)], [0], [0])
    add(counter, batch, np.array(values, np.float32).reshape(1, 1, -1, 1), np.full((1, len(values)), NO_PREDICTION))
    return tensors_of(counter)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("value", "bin_number"),
    [
        (-1.0, 0),  # the lowest edge lies in the lowest bin
        (np.nextafter(np.float32(-0.8), np.float32(-2)), 0),
        (0.0, 5),
        (-0.0, 5),
        (-1e-45, 4),  # the smallest number below 0: floor(-0.0...) is -1
        (1e-45, 5),
        (0.2, 6),  # float32(0.2) x 5 rounds to exactly 1
        (0.6, 8),  # float32(0.6) is above 0.6
        (1.4, 12),
        (1.8, 14),
        (2.6, 18),
        (np.nextafter(np.float32(0.2), np.float32(0)), 5),
        (np.nextafter(np.float32(15), np.float32(0)), 79),  # just below the end
        (14.8, 79),
    ],
)
def test_a_value_lies_in_the_bin_of_the_floor_of_its_float32_product(kind: str, value: float, bin_number: int) -> None:
    tensors = counted(kind, [value])
    assert np.flatnonzero(tensors["count"][0, 0]).tolist() == [bin_number]
    assert tensors["outside"][0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        (np.nextafter(np.float32(-1), np.float32(-2)), 0),
        (-np.inf, 0),
        (15.0, 1),
        (3e38, 1),  # times 5 is infinite in float32
        (np.inf, 1),
        (np.nan, 2),
    ],
)
def test_what_no_bin_holds_is_underflow_overflow_or_nan(kind: str, value: float, outcome: int) -> None:
    tensors = counted(kind, [value])
    assert tensors["count"].sum() == 0
    assert np.flatnonzero(tensors["outside"][0, 0]).tolist() == [outcome]


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_253_bins_need_a_wider_slot_and_keep_their_counts(kind: str) -> None:
    tensors = counted(kind, [0.0, 300.5, 4095.0, 4096.0], per_unit=1.0, first_bin=0, bins=4096)
    assert np.flatnonzero(tensors["count"][0, 0]).tolist() == [0, 300, 4095]
    assert tensors["outside"][0, 0].tolist() == [0, 1, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_moments_and_extremes_are_those_worked_out_by_hand_and_leave_nan_out(kind: str) -> None:
    tensors = counted(kind, [1.0, 2.0, np.nan, 6.0])  # mean 3, deviations -2, -1, 3
    found = {name: float(tensors[name][0, 0]) for name in (*MOMENTS, "minimum", "maximum", "above_zero")}
    assert found == pytest.approx(
        {"mean": 3, "moment_2": 14, "moment_3": 18, "moment_4": 98, "minimum": 1, "maximum": 6, "above_zero": 3}, rel=1e-12
    )


@pytest.mark.parametrize("kind", KINDS)
def test_moments_keep_their_digits_far_from_zero_and_over_many_batches(kind: str) -> None:
    counter = counter_of(kind, made_bins(1, 1))
    for document in range(50):  # 4096 and 4097 in turn: variance exactly 1/4
        batch = made_batch([[0] * 3], [3], [document], [0])
        add(counter, batch, np.array([0, 4096, 4097], np.float32).reshape(1, 1, 3, 1), np.zeros((1, 3), int))
    tensors = tensors_of(counter)
    assert [float(tensors[name][0, 0]) for name in MOMENTS] == pytest.approx([4096.5, 25.0, 0.0, 6.25], rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_the_beginning_are_not_counted_and_a_token_counts_where_it_is_predicted(kind: str) -> None:
    counter = counter_of(kind, made_bins(1, 1), token_ids=(1, 2))
    # Row 0: BOS 3 4 | padding. Row 1: BOS 4 1 2. Row 2: a dummy.
    batch = made_batch([[0, 3, 4, 0], [0, 4, 1, 2], [0, 0, 0, 0]], [3, 4, 0], [0, 1, -1], [0, 0, 0])
    activations = np.array([[9, 0.1, 0.3, 9], [9, 0.1, 0.1, 0.5], [9, 9, 9, 9]], np.float32)[None, :, :, None]
    predictions = np.array([[1, 2, 1, 1], [1, 1, 2, 1], [1, 1, 1, 1]])
    add(counter, batch, activations, predictions)
    tensors = tensors_of(counter)
    assert {place: int(tensors["count"][0, 0, place]) for place in np.flatnonzero(tensors["count"][0, 0])} == {5: 3, 6: 1, 7: 1}
    assert np.flatnonzero(tensors["top_prediction_count"][0, 0, 0]).tolist() == [5, 6, 7]  # token 1: 0.1 and 0.5 of row 1, 0.3 of row 0
    assert tensors["top_prediction_count"][1, 0, 0, 5] == 2  # token 2: 0.1 of row 0, 0.1 of row 1
    assert tensors["occurrences"].tolist() == [0, 1, 1, 1, 2, 0, 0]
    assert tensors["predictions"].tolist() == [0, 3, 2, 0, 0, 0, 0]
    assert tensors["correct_predictions"].tolist() == [0, 1, 1, 0, 0, 0, 0]  # row 1: after 4 comes 1, after 1 comes 2
    assert tensors["maximum"][0, 0] == np.float32(0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_examples_are_one_a_document_with_ties_to_the_lower_document_window_and_position(kind: str) -> None:
    counter = counter_of(kind, made_bins(1, 1), examples=3)
    batch = made_batch([[0] * 4] * 5, [4] * 5, [7, 7, 3, 9, 2], [1, 0, 0, 0, 0])
    rows = [[9, 2, 5, 5], [9, 5, 1, 1], [9, 5, 0, 0], [9, 4, 4, -1], [9, 1, 1, -1]]
    add(counter, batch, np.array(rows, np.float32)[None, :, :, None], np.zeros((5, 4), int))
    found = tensors_of(counter)
    top = [found[f"top_{part}"][0, 0].tolist() for part in ("value", "document", "window", "position")]
    bottom = [found[f"bottom_{part}"][0, 0].tolist() for part in ("value", "document", "window", "position")]
    assert top == [[5, 5, 4], [3, 7, 9], [0, 0, 0], [1, 1, 1]]
    assert bottom == [[-1, -1, 0], [2, 9, 3], [0, 0, 0], [3, 3, 2]]


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_documents_than_ranks_leave_the_last_ranks_empty(kind: str) -> None:
    found = counted(kind, [1.0, 3.0, 2.0])
    assert found["top_document"][0, 0].tolist() == [0, -1, -1]
    assert found["top_value"][0, 0].tolist() == [3, -np.inf, -np.inf]
    assert found["bottom_value"][0, 0].tolist() == [1, np.inf, np.inf]


@pytest.mark.parametrize("kind", ["compiled", "device", KERNEL])
@pytest.mark.parametrize("count_bos", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_fast_counters_equal_the_loop_over_positions_on_random_batches(kind: str, count_bos: bool, seed: int) -> None:
    fast, slow = (counter_of(name, made_bins(2, 5), count_bos=count_bos, examples=2) for name in (kind, "slow"))
    for batch in random_batches(seed, layers=2, neurons=5):
        add(fast, *batch)
        add(slow, *batch)
    assert_same_counters(tensors_of(fast), tensors_of(slow))


def test_compiled_and_device_counters_agree_on_more_neurons_than_one_block_holds() -> None:
    bins = made_bins(1, 300)
    compiled, device = (counter_of(kind, bins) for kind in ("compiled", "device"))
    for batch in random_batches(11, layers=1, neurons=300, number=6):
        add(compiled, *batch)
        add(device, *batch)
    assert_same_counters(tensors_of(compiled), tensors_of(device))


@pytest.mark.parametrize("kind", ["compiled", "device", KERNEL])
def test_half_precision_activations_are_binned_as_the_float32_they_convert_to(kind: str) -> None:
    import torch

    counter = counter_of(kind, made_bins(1, 2), count_bos=True)
    counter.start(made_batch([[0, 0]], [2], [0], [0]))
    counter.add_layer(0, torch.tensor([[[0.2, 14.9], [0.6, -1.0]]], dtype=torch.bfloat16))  # 0.2002, 14.875, 0.6016, -1
    counter.add_answers(Answers(torch.zeros(1, 2, dtype=torch.int64)))
    count = counter.histograms()["count"][0]
    assert [np.flatnonzero(neuron).tolist() for neuron in count] == [[6, 8], [0, 79]]


def test_the_counter_keeps_no_memory_that_grows_with_the_number_of_batches() -> None:
    counter = counter_of("compiled", made_bins(2, 5))._counter  # without the sampler, whose samples are of a fixed size
    batches = random_batches(0, layers=2, neurons=5, number=1)

    def bytes_held() -> int:
        arrays = [value for value in vars(counter).values() if isinstance(value, np.ndarray)]
        return sum(array.nbytes for array in (*arrays, *counter._tensors.values(), *counter._tokens.tensors().values()))

    add(counter, *batches[0])
    after_one = bytes_held()
    for _ in range(20):
        add(counter, *batches[0])
    assert bytes_held() == after_one
