"""Work on a group's counters that is the same for every layer, on two layers at once.

Reading and writing them is decompression and copying, which leave the interpreter to others: merging four shards of SmolLM2-135M, 41 GB of
counters as they lie in memory, kept one core of two busy.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from assets.progress import Tally

LAYERS_AT_ONCE = 2  # more would hold more: what a layer takes is in the memory plan

Made = TypeVar("Made")


def of_every_layer(layers: int, of_layer: Callable[[int], Made], tally: Tally | None = None) -> list[Made]:
    """What `of_layer` makes of each layer, in their order. Raises what it raises for the first layer; layers that were not begun are left.
    `tally` is given 1 after each."""
    found = []
    for made in layer_by_layer(layers, of_layer):
        found.append(made)
        if tally:
            tally.add(1)
    return found


def layer_by_layer(layers: int, of_layer: Callable[[int], Made]) -> Iterator[Made]:
    """The same, each as soon as it and all before it are made: the caller's thread tells how far the work is."""
    with ThreadPoolExecutor(LAYERS_AT_ONCE, thread_name_prefix="layers") as threads:
        yield from threads.map(of_layer, range(layers))
