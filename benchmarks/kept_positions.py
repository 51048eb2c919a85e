"""What keeping positions adds to a batch: milliseconds around a counter that does nothing, first batches and later ones apart.

python -m benchmarks.kept_positions [layers neurons width kept tokens batches]; SmolLM2-135M's sizes unless told otherwise.
"""

import resource
import sys
import time

import numpy as np
import torch

from assets.counting.batch_counter import Answers
from assets.counting.batches import Batch
from assets.counting.histograms import Histograms
from assets.counting.kept_position_counter import KeptPositionCounter
from assets.counting.kept_positions import quotas

ROWS, LENGTH, VOCABULARY = 8, 256, 49_152


class Nothing:
    """A counter that counts nothing."""

    def start(self, batch: Batch) -> None:
        """Nothing."""

    def add_layer(self, layer: int, activations: torch.Tensor) -> None:
        """Nothing."""

    def add_answers(self, answers: Answers) -> None:
        """Nothing."""

    def histograms(self) -> Histograms:
        """Of nothing."""
        return Histograms({}, 0, ())


def main() -> None:
    """Print the figures."""
    given = [int(number) for number in sys.argv[1:]] or [30, 1536, 576, 8192, 4, 200]
    layers, neurons, width, kept, tokens, batches = given
    random = np.random.default_rng(0)
    token_ids = tuple(range(tokens))
    counter = KeptPositionCounter(
        Nothing(), kept, quotas(kept, token_ids, ("next_token",)), VOCABULARY, layers, neurons, width, count_bos=False
    )
    activations = [torch.randn(ROWS, LENGTH, neurons) for _ in range(layers)]
    residual, seconds = torch.randn(ROWS, LENGTH, width), []
    for number in range(batches):
        ids, predictions = (np.minimum(random.zipf(1.3, (ROWS, LENGTH)) - 1, VOCABULARY - 1) for _ in range(2))
        batch = Batch(ids, np.full(ROWS, LENGTH), np.arange(ROWS) + ROWS * number, np.zeros(ROWS, np.int32))
        answers = Answers(torch.from_numpy(predictions), residual=residual)
        started = time.perf_counter()
        counter.start(batch)
        for layer, values in enumerate(activations):
            counter.add_layer(layer, values)
        counter.add_answers(answers)
        seconds.append(time.perf_counter() - started)
    started = time.perf_counter()
    histograms = counter.histograms()
    milliseconds = 1000 * np.array(seconds)
    print(f"{layers} x {neurons} neurons, {kept} positions kept, {tokens} tokens, batches of {ROWS * LENGTH} positions")
    print(f"first 5 batches {milliseconds[:5].mean():.1f} ms, last half {milliseconds[batches // 2 :].mean():.2f} ms a batch, "
          f"in order in the end {time.perf_counter() - started:.2f} s")  # fmt: skip
    print(f"bytes kept {sum(values.nbytes for values in histograms.tensors.values()) / 2**20:,.0f} MiB for {kept} rows, "
          f"{int((histograms['kept_document'] >= 0).sum())} of them used; peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")  # fmt: skip


if __name__ == "__main__":
    main()
