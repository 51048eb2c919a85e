"""The activations around each neuron's highest and lowest examples, and those of the levels between, kept while they go by: for all neurons, 2 bytes each.

Which examples a neuron has is its counter's matter. Here the lists after a batch are compared with those before: an example that stays
takes its context along to its rank, one that is new has its window in the batch. A window goes through the model once, so document and
window tell an example. Holds what the CPU's counter needs; device_contexts is the same for other devices.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from assets.counting.batches import Batch
from assets.counting.histograms import BEFORE, CONTEXT, SIDES
from assets.counting.number_formats import halves


class ExampleContexts:
    """Contexts of the examples in NumPy arrays; ranges of neurons are independent of each other, each for a thread."""

    def __init__(self, layers: int, neurons: int, examples: int, sides: Sequence[str] = SIDES) -> None:
        """`examples` of each neuron and side; an example that leaves its list does not come back."""
        shape = (layers, neurons, examples)
        self._contexts = {side: np.zeros((*shape, CONTEXT), np.float16) for side in sides}
        # Document and window of the example that each context is of.
        self._held = {side: (np.full(shape, -1, np.int64), np.zeros(shape, np.int32)) for side in sides}

    def add_layer(
        self, layer: int, activations: np.ndarray, batch: Batch, examples: Mapping[str, np.ndarray], start: int, stop: int
    ) -> None:
        """Follow the examples of neurons [start, stop) of a layer, which have taken in a batch's activations.

        `activations`: float32 [row, position, neuron]; `examples`: the layer's tensors [neuron, rank] under their names.
        """
        import assets.counting.example_context_loops as loops

        of = slice(start, stop)
        for side in self._contexts:
            documents, windows, positions = (examples[f"{side}_{part}"][of] for part in ("document", "window", "position"))
            contexts = self._contexts[side][layer, of]
            held_documents, held_windows = (known[layer, of] for known in self._held[side])
            bits = contexts.view(np.uint16)
            new, rows = loops.follow(documents, windows, held_documents, held_windows, bits, batch.documents, batch.windows)
            if new.size:
                taken = np.empty((new.size, CONTEXT), np.float32)
                loops.take(activations, batch.lengths, rows, positions.reshape(-1)[new], start + new // documents.shape[1], BEFORE, taken)
                contexts.reshape(-1, CONTEXT)[new] = halves(taken)

    def tensors(self) -> dict[str, np.ndarray]:
        """The tensors <side>_context; the arrays are these contexts' own."""
        return {f"{side}_context": contexts for side, contexts in self._contexts.items()}
