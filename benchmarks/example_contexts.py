"""What keeping the activations around examples adds to counting: processor time of a CPU's counter with and without, batch by batch in turn.

python -m benchmarks.example_contexts [layers neurons examples batches]; SmolLM2-135M's sizes unless told otherwise. Every window is a
document of its own with random activations, so that new examples come as often as they do in a corpus without an order.
"""

import sys
import time
from typing import Any

import numpy as np
import torch

from assets.counting.batch_counter import Answers, BatchCounter
from assets.counting.batches import Batch
from assets.counting.histograms import ActivationBins

ROWS, LENGTH, VOCABULARY, TRACKED = 8, 256, 49_152, (1, 2, 3, 4)


class Without:
    """Contexts that are not kept."""

    def add_layer(self, *_: Any) -> None:
        """Nothing."""


def main() -> None:
    """Print the figures."""
    layers, neurons, examples, batches = [int(number) for number in sys.argv[1:]] or [30, 1536, 20, 100]
    measured(1, 4, examples, 2)  # compiles the loops
    seconds = measured(layers, neurons, examples, batches)
    added = 1000 * (seconds[:, 0] - seconds[:, 1])
    print(f"{layers} x {neurons} neurons, {examples} examples of each side, batches of {ROWS} windows of {LENGTH} positions; milliseconds "
          "of processor time a batch")  # fmt: skip
    for first, last in ((0, 5), (5, 20), (20, 50), (50, batches)):
        of = slice(first, min(last, batches))
        if first < batches:
            print(
                f"batches {first + 1} to {min(last, batches)}: counting {1000 * seconds[of, 1].mean():,.0f}, contexts {added[of].mean():,.0f}"
            )
    print(f"in all: contexts {added.sum() / 1000:.1f} s, {added.sum() / (10 * seconds[:, 1].sum()):.1f} % of counting layers")


def measured(layers: int, neurons: int, examples: int, batches: int) -> np.ndarray:
    """Seconds of processor time [batch, with and without contexts]."""
    random = np.random.default_rng(0)
    bins = ActivationBins(np.full((layers, neurons), 8, np.float32), np.full((layers, neurons), -40, np.int32), 80)
    counters = [BatchCounter(bins, TRACKED, VOCABULARY, count_bos=False, examples=examples, threads=1) for _ in range(2)]
    counters[1]._contexts = Without()  # type: ignore[assignment]
    ids, seconds = random.integers(0, VOCABULARY, (ROWS, LENGTH)), np.zeros((batches, 2))
    activations = torch.empty(ROWS, LENGTH, neurons)
    for number in range(batches):
        batch = Batch(ids, np.full(ROWS, LENGTH), np.arange(ROWS) + ROWS * number, np.zeros(ROWS, np.int32))
        for counter in counters:
            counter.start(batch)
        for layer in range(layers):
            activations.normal_()
            for place in (0, 1) if layer % 2 else (1, 0):
                started = time.process_time()
                counters[place].add_layer(layer, activations)
                seconds[number, place] += time.process_time() - started
        for counter in counters:
            counter.add_answers(Answers(torch.from_numpy(ids)))
    return seconds


if __name__ == "__main__":
    main()
