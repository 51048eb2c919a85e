"""Windows become batches whose shape a window's own length decides, and no window is lost."""

import numpy as np
import pytest

from assets.counting.batches import batches, lower_rows, padded_lengths, rows_of_batch
from assets.counting.histograms import HistogramError
from tests.assets.counting.made_batches import windows_frame


def test_lengths_go_up_in_eights_and_above_128_in_eight_steps_an_octave() -> None:
    lengths = np.array([1, 2, 8, 9, 33, 64, 65, 73, 81, 128, 129, 145, 256, 257, 1000])
    assert padded_lengths(lengths, 1024).tolist() == [8, 8, 8, 16, 40, 64, 72, 80, 88, 128, 144, 160, 256, 288, 1024]


def test_no_batch_is_longer_than_the_model_reads() -> None:
    assert padded_lengths(np.array([3, 99, 100]), 100).tolist() == [8, 100, 100]


@pytest.mark.parametrize(
    ("padded_length", "threads", "neurons", "rows", "lower"),
    [
        (256, 2, 1, 8, [2, 4, 6]),
        (8, 1, 1, 256, [64, 128, 192]),
        (216, 1, 1, 8, [4]),
        (216, 2, 1, 8, []),
        (216, 2, 1536, 9, [3, 5, 7]),  # 1,536 are whole vectors for two threads, however many positions there are
        (224, 1, 1, 9, [3, 5, 7]),
        (4096, 2, 1, 1, []),
        (24, 3, 1, 84, [24, 44, 64]),
    ],
)
def test_rows_fill_about_the_positions_of_a_batch_in_whole_vectors_for_each_thread(
    padded_length: int, threads: int, neurons: int, rows: int, lower: list[int]
) -> None:
    assert rows_of_batch(padded_length, 2048, threads, neurons) == rows
    assert lower_rows(rows, padded_length, threads, neurons) == lower


def test_a_last_batch_has_rows_of_its_own_where_they_are_given() -> None:
    windows = windows_frame([[0, number] for number in range(1, 10)])
    made = list(batches(windows, 512, 99, {8: 4}, {8: 1}))
    assert [batch.documents.tolist() for batch in made] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert [len(batch.token_ids) for batch in batches(windows[:8], 512, 99, {8: 4}, {8: 4})] == [4, 4]


def test_batches_hold_every_window_once_longest_first_with_dummies_at_the_end() -> None:
    windows = windows_frame([[0, 1], list(range(10)), [0, 2, 3], [0, 4]])
    made = list(batches(windows, 512, 99, {8: 2, 16: 2}))
    assert [batch.token_ids.shape for batch in made] == [(2, 16), (2, 8), (2, 8)]
    assert [batch.documents.tolist() for batch in made] == [[1, -1], [0, 2], [3, -1]]
    assert made[1].lengths.tolist() == [2, 3]
    assert made[1].token_ids.tolist() == [[0, 1, 99, 99, 99, 99, 99, 99], [0, 2, 3, 99, 99, 99, 99, 99]]


def test_counted_positions_leave_out_padding_dummies_and_the_beginning() -> None:
    batch = next(batches(windows_frame([[0, 1, 2], [0, 1]]), 512, 0, {8: 3}))
    assert batch.counted(count_bos=False).tolist() == [1, 2, 9]
    assert batch.counted(count_bos=True).tolist() == [0, 1, 2, 8, 9]


def test_no_windows_make_no_batches() -> None:
    assert list(batches(windows_frame([]), 512, 0, {})) == []


def test_a_window_longer_than_the_model_reads_is_refused() -> None:
    with pytest.raises(HistogramError, match=r"windows have 2 to 9 tokens, the model reads 1 to 8; lower corpus.context_length"):
        next(batches(windows_frame([[0] * 9, [0, 1]]), 8, 0, {8: 1}))


def test_a_window_that_contradicts_its_length_is_refused() -> None:
    windows = windows_frame([[0, 1], [0, 1, 2]])
    wrong = windows.with_columns(length=windows["length"] + 1)
    with pytest.raises(HistogramError, match=r"row 0 holds 2 token ids but says length 3"):
        next(batches(wrong, 512, 0, {8: 1}))
