"""Compiled loops of example_contexts: contexts that follow their examples from rank to rank, and those that are new."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def follow(
    documents: np.ndarray,
    windows: np.ndarray,
    held_documents: np.ndarray,
    held_windows: np.ndarray,
    contexts: np.ndarray,
    batch_documents: np.ndarray,
    batch_windows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Put every context to the rank that its example has now, in place, and note these places as held.

    documents, windows and the held ones: [neuron, rank]. contexts: [neuron, rank, offset], float16 as whole numbers. Returns the examples
    that have no context yet, int64, flattened [neuron, rank], and the batch's row of each, by row: a window's activations stay in cache.
    """
    neurons, ranks, offsets = contexts.shape
    before = np.empty((ranks, offsets), contexts.dtype)
    examples, rows = np.empty(neurons * ranks, np.int64), np.empty(neurons * ranks, np.int64)
    found = 0
    for neuron in range(neurons):
        first = 0
        while first < ranks and _is_same(documents, windows, neuron, first, held_documents, held_windows, first):
            first += 1
        if first == ranks:  # nearly always, after the first thousand positions
            continue
        _copy(contexts[neuron], first, ranks, before, first)
        for rank in range(first, ranks):
            held = first
            while held < ranks and not _is_same(documents, windows, neuron, rank, held_documents, held_windows, held):
                held += 1
            if held < ranks:
                _copy(before, held, held + 1, contexts[neuron], rank)
                continue
            row = _row_of(documents[neuron, rank], windows[neuron, rank], batch_documents, batch_windows)
            if row >= 0:
                examples[found], rows[found] = neuron * ranks + rank, row
                found += 1
        for rank in range(first, ranks):
            held_documents[neuron, rank], held_windows[neuron, rank] = documents[neuron, rank], windows[neuron, rank]
    return _by_row(examples[:found], rows[:found], batch_documents.size)


@njit(nogil=True, cache=True)
def _copy(source: np.ndarray, start: int, stop: int, target: np.ndarray, at: int) -> None:
    """Rows start .. stop - 1 of [rank, offset] to those from `at` on: number by number, which compiles to a few vector moves."""
    for rank in range(start, stop):
        for offset in range(source.shape[1]):
            target[at + rank - start, offset] = source[rank, offset]


@njit(nogil=True, cache=True)
def _row_of(document: int, window: int, batch_documents: np.ndarray, batch_windows: np.ndarray) -> int:
    """The batch's row of a window; -1 where it has none."""
    for row in range(batch_documents.size):
        if batch_documents[row] == document and batch_windows[row] == window:
            return row
    return -1


@njit(nogil=True, cache=True)
def _by_row(examples: np.ndarray, rows: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """The same examples and rows, int64 [example], in ascending order of their rows, which are below `height`; else as they were."""
    places = np.zeros(height + 1, np.int64)
    for row in rows:
        places[row + 1] += 1
    places = np.cumsum(places)
    ordered, ordered_rows = np.empty_like(examples), np.empty_like(rows)
    for example in range(rows.size):
        row = rows[example]
        ordered[places[row]], ordered_rows[places[row]] = examples[example], row
        places[row] += 1
    return ordered, ordered_rows


@njit(nogil=True, cache=True)
def _is_same(
    documents: np.ndarray,
    windows: np.ndarray,
    neuron: int,
    rank: int,
    held_documents: np.ndarray,
    held_windows: np.ndarray,
    held: int,
) -> bool:
    return documents[neuron, rank] == held_documents[neuron, held] and windows[neuron, rank] == held_windows[neuron, held]


@njit(nogil=True, cache=True)
def take(
    activations: np.ndarray,
    lengths: np.ndarray,
    rows: np.ndarray,
    positions: np.ndarray,
    neurons: np.ndarray,
    before: int,
    taken: np.ndarray,
) -> None:
    """taken: float32 [example, offset], the activations [row, position, neuron] from `before` positions before each example on; 0 outside
    its window."""
    for example in range(rows.size):
        row, first, neuron = rows[example], positions[example] - before, neurons[example]
        for offset in range(taken.shape[1]):
            position = first + offset
            taken[example, offset] = activations[row, position, neuron] if 0 <= position < lengths[row] else 0.0
