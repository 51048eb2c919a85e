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
    rows: np.ndarray,
) -> None:
    """Put every context to the rank that its example has now, in place, and note these places as held.

    documents, windows and the held ones: [neuron, rank]. contexts: [neuron, rank, offset]. rows: int64, flattened [neuron, rank], receives
    the batch's row of each example that has no context yet.
    """
    neurons, ranks = documents.shape
    before = np.empty(contexts.shape[1:], contexts.dtype)
    for neuron in range(neurons):
        first = 0
        while first < ranks and _is_same(documents, windows, neuron, first, held_documents, held_windows, first):
            first += 1
        if first == ranks:  # nearly always, after the first thousand positions
            continue
        before[first:] = contexts[neuron, first:]
        for rank in range(first, ranks):
            held = first
            while held < ranks and not _is_same(documents, windows, neuron, rank, held_documents, held_windows, held):
                held += 1
            if held < ranks:
                contexts[neuron, rank] = before[held]
                continue
            for row in range(batch_documents.size):
                if batch_documents[row] == documents[neuron, rank] and batch_windows[row] == windows[neuron, rank]:
                    rows[neuron * ranks + rank] = row
        held_documents[neuron], held_windows[neuron] = documents[neuron], windows[neuron]


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
