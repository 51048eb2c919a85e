"""Where the time of the engine's batch goes, and how a pass grows with its positions.

The compiled loop of a layer does bins, counts, moments and examples while a block of neurons is in cache; its parts are timed
apart on the same activations, by loops over the product's own pieces, and what is left of the whole is the examples.
"""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numba import njit

from assets.counting.batch_counter import Answers, BatchCounter, slot_dtype
from assets.counting.batch_loops import NEURONS_OF_BLOCK, Moments, Windows, _add_moments, _add_values, _write_slots
from assets.counting.between_examples import document_keys
from assets.counting.document_blocks import FOLDS, UNKNOWN_SIZES
from benchmarks.machine import interleaved
from benchmarks.setting import EXAMPLES, Setting, random_windows


@njit(nogil=True, cache=True)
def only_bins(
    activations: np.ndarray, windows: Windows, per_unit: np.ndarray, first_bin: np.ndarray, bins: int, codes: np.ndarray, start: int, stop: int
) -> None:  # fmt: skip
    """Slots of all positions, as counting._read_windows writes them."""
    for begin in range(start, stop, NEURONS_OF_BLOCK):
        end = min(begin + NEURONS_OF_BLOCK, stop)
        counted = 0
        for row in range(activations.shape[0]):
            for position in range(windows.first, windows.lengths[row]):
                _write_slots(
                    activations[row, position, begin:end], per_unit[begin:end], first_bin[begin:end], bins, codes[counted, begin:end]
                )
                counted += 1


@njit(nogil=True, cache=True)
def only_counts(codes: np.ndarray, windows: Windows, count: np.ndarray, layer: int, start: int, stop: int) -> None:
    """Counts of slots that are known, as counting.count_layer adds them; count: [block, layer, neuron, slot]."""
    for begin in range(start, stop, NEURONS_OF_BLOCK):
        end = min(begin + NEURONS_OF_BLOCK, stop)
        place = 0
        for row in range(windows.lengths.size):
            counters = count[windows.blocks[row], layer, begin:end]
            for _ in range(windows.first, windows.lengths[row]):
                slots = codes[place, begin:end]
                for n in range(end - begin):
                    counters[n, slots[n]] += 1
                place += 1


@njit(nogil=True, cache=True)
def only_moments(activations: np.ndarray, windows: Windows, moments: Moments, start: int, stop: int) -> None:
    """Sums, then central moments, as counting.count_layer takes them."""
    for begin in range(start, stop, NEURONS_OF_BLOCK):
        end = min(begin + NEURONS_OF_BLOCK, stop)
        sums, above = np.zeros(end - begin, np.float64), np.zeros(end - begin, np.int32)
        counted = 0
        for row in range(activations.shape[0]):
            for position in range(windows.first, windows.lengths[row]):
                _add_values(activations[row, position, begin:end], sums, above)
                counted += 1
        new = np.full(end - begin, counted, np.int64)
        _add_moments(activations, windows, sums, new, np.zeros(end - begin, np.int64), moments, begin, end)


def breakdown(setting: Setting, rounds: int, threads: int) -> dict[str, list[float]]:
    """Wall seconds of each step of a batch, by round. `writing` is of one shard, not of a batch."""
    import torch

    from assets.histograms.activation_histograms import new_counter
    from assets.histograms.histogram_store import write_histograms
    from assets.model.plain_model import last_hidden, neurons_reported
    from assets.predictions.top_predictions import linear_unembedding, top_entries

    model, device = setting.model, setting.model.device.type
    unembedding = linear_unembedding(model)
    assert unembedding is not None
    kept: list[torch.Tensor] = []
    with neurons_reported(model, lambda layer, values: kept.append(values.clone())):
        hidden = last_hidden(model, setting.ids).flatten(0, 1)
    predictions = top_entries(hidden, unembedding).view(setting.ids.shape)
    counter = new_counter(model, setting.bins, setting.token_ids, count_bos=False, examples=EXAMPLES)

    def count_layers() -> None:
        counter.start(setting.batch)
        for layer, values in enumerate(kept):
            counter.add_layer(layer, values)

    def write() -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_histograms(folder + "/shard", counter.histograms())

    runs: dict[str, Callable[[], Any]] = {
        "forward": lambda: last_hidden(model, setting.ids),
        "unembedding and argmax": lambda: top_entries(hidden, unembedding),
        "counting of all layers": count_layers,
        "counting of tracked tokens": lambda: counter.add_answers(Answers(predictions)),
    }
    if isinstance(counter, BatchCounter):
        runs |= _parts(setting, [values.float().numpy() for values in kept], threads)
    seconds = {name: [wall for wall, _ in each] for name, each in interleaved(runs, rounds, device).items()}
    if isinstance(counter, BatchCounter):
        parts = [seconds[name] for name in ("binning", "counting", "moments")]
        whole = seconds.pop("counting of all layers")
        seconds["extremes and examples"] = [all_of - sum(each) for all_of, *each in zip(whole, *parts, strict=True)]
    return seconds | {"writing": [wall for wall, _ in interleaved({"writing": write}, min(rounds, 2))["writing"]]}


def _parts(setting: Setting, kept: list[np.ndarray], threads: int) -> dict[str, Callable[[], Any]]:
    bins, batch = setting.bins, setting.batch
    windows = Windows(1, batch.lengths, batch.documents, batch.windows, batch.blocks, document_keys(batch.documents))
    neurons = bins.per_unit.shape[1]
    codes = np.empty((len(kept), int((batch.lengths - 1).sum()), neurons), slot_dtype(bins.bins))
    count = np.zeros((FOLDS, len(kept), neurons, bins.bins + 3), UNKNOWN_SIZES.dtype)
    moments = Moments(*(np.zeros(neurons) for _ in range(4)))
    first_bin = bins.first_bin.astype(np.float32)
    width = -(-neurons // threads)
    shares = [(start, min(start + width, neurons)) for start in range(0, neurons, width)]
    pool = ThreadPoolExecutor(threads)

    def on_all(call: Callable[[int, int, int], None]) -> None:
        for layer in range(len(kept)):
            list(pool.map(lambda share: call(layer, *share), shares))  # noqa: B023 - used before the layer changes

    return {
        "binning": partial(
            on_all, lambda layer, *share: only_bins(kept[layer], windows, bins.per_unit[layer], first_bin[layer], bins.bins, codes[layer], *share)
        ),
        "counting": partial(on_all, lambda layer, *share: only_counts(codes[layer], windows, count, layer, *share)),
        "moments": partial(on_all, lambda layer, *share: only_moments(kept[layer], windows, moments, *share)),
    }  # fmt: skip


def growth(setting: Setting, rounds: int, multiples: tuple[int, ...] = (1, 2, 4)) -> list[dict[str, float]]:
    """Seconds of whole passes over 1, 2 and 4 times the same number of positions: rows of the table `growth`."""
    from assets.histograms.activation_histograms import count_windows

    rows, length = setting.ids.shape
    batch_positions = rows * length
    frames = {multiple: random_windows(setting.model, 2 * rows * multiple, length) for multiple in multiples}

    def count(multiple: int) -> None:
        count_windows(
            setting.model, frames[multiple], setting.bins, setting.token_ids, count_bos=False, examples=EXAMPLES, batch_positions=batch_positions
        )  # fmt: skip

    seconds = interleaved({str(multiple): partial(count, multiple) for multiple in multiples}, rounds, setting.model.device.type)
    return [
        {"multiple": multiple, "positions": int(frames[multiple]["length"].sum()), "seconds": wall, "round": number}
        for multiple in multiples
        for number, (wall, _) in enumerate(seconds[str(multiple)])
    ]
