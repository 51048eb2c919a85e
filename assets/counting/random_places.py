"""Places of the whole corpus at which every neuron is shown whatever its activation: the counted positions of lowest seeded hash, one a document.

The same for all neurons, so that the text is one. A place's hash depends on the place alone, and a document's lowest in the whole is the lowest of
its parts: any order and any shards give the same. Holds the choice and the merge; random_examples keeps the activations.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from assets.counting.position_samples import position_hash

RANDOM = 2
SEED = 20250309
PLACE = ("random_document", "random_window", "random_position")
OF_NEURONS = ("random_value", "random_context")


def place_hash(document: Any, window: Any, position: Any) -> np.ndarray:
    """UInt64 of the shape of the three integer arrays."""
    return position_hash(document, window, position, SEED)


def lowest(document: np.ndarray, window: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Which of the places, int64 [at most RANDOM], are kept, in their order; document -1 is no place."""
    order = np.lexsort((position, window, document, place_hash(document, window, position)))
    order = order[document[order] >= 0]
    _, first = np.unique(document[order], return_index=True)
    return np.asarray(order[np.sort(first)][:RANDOM])


class MergedPlaces:
    """The places of several parts together: which they are, and in which part each one's activations are."""

    def __init__(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """`parts` hold the tensors PLACE."""
        document, window, position = (np.concatenate([np.asarray(part[name][:]) for part in parts]) for name in PLACE)
        kept = lowest(document, window, position)
        self._sources = [divmod(int(place), RANDOM) for place in kept]  # part, and its place there
        self.tensors = no_places()
        for name, values in zip(PLACE, (document, window, position), strict=True):
            self.tensors[name][: kept.size] = values[kept]

    def fill(self, merged: np.ndarray, of_part: Callable[[int], np.ndarray], axis: int) -> np.ndarray:
        """`merged`, zeros, with a tensor of OF_NEURONS at the places that are kept, which lie along `axis`; `of_part` gives a part's own.

        Only parts that have a kept place are read.
        """
        for place, (part, there) in enumerate(self._sources):
            np.moveaxis(merged, axis, 0)[place] = np.moveaxis(of_part(part), axis, 0)[there]
        return merged


def no_places() -> dict[str, np.ndarray]:
    """The tensors PLACE where nothing was counted."""
    return {name: np.full(RANDOM, -1 if name == PLACE[0] else 0, np.int64 if name == PLACE[0] else np.int32) for name in PLACE}
