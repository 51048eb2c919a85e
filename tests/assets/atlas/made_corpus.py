"""Windows, activations and predictions made by a seed, the counters of them, and the examples of every neuron found slowly. Holds no test."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from assets.contracts import POSITION_PREDICTIONS
from assets.counting.histograms import Histograms
from tests.assets.counting.made_batches import VOCABULARY, add, counter_of, in_memory, made_batch, made_bins, windows_frame
from tests.slow_reimplementation import slow_hash

Place = tuple[int, int, int, int]  # document, window, position, and which of the windows
LAYERS, NEURONS, KEPT = 2, 4, 4
# Of each window its document; two documents have several. Windows are shorter than what is kept around an example, and longer.
DOCUMENTS = (0, 0, 1, 2, 3, 3, 3, 4, 5)
BINS: dict[str, Any] = {"per_unit": 25.0, "first_bin": -40, "bins": 80}  # from -1.6 to 1.6
LENGTHS = (90, 5, 60, 2, 41, 13, 120, 1, 54)


@dataclass(frozen=True)
class MadeCorpus:
    """Activations of so many levels on either side of 0: few, so that many are equal."""

    seed: int = 0
    levels: int = 9

    @cached_property
    def token_ids(self) -> list[list[int]]:
        """Of each window."""
        random = np.random.default_rng(self.seed)
        return [random.integers(0, VOCABULARY, length).tolist() for length in LENGTHS]

    @cached_property
    def predictions(self) -> list[list[int]]:
        """Of each window."""
        random = np.random.default_rng(self.seed + 1)
        return [random.integers(0, VOCABULARY, length).tolist() for length in LENGTHS]

    @cached_property
    def activations(self) -> list[np.ndarray]:
        """Float32 [layer, position, neuron] of each window, of which half precision holds three digits."""
        random = np.random.default_rng(self.seed + 2)
        return [self._drawn(random, (LAYERS, length, NEURONS)) for length in LENGTHS]

    def _drawn(self, random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return (random.integers(-self.levels, self.levels + 1, shape) * (9 / self.levels) / 7).astype(np.float32)

    @cached_property
    def windows(self) -> pl.DataFrame:
        """The table token_windows."""
        return windows_frame(self.token_ids, DOCUMENTS)

    @cached_property
    def position_predictions(self) -> pl.DataFrame:
        """The table of this name."""
        places = self.windows.select("document", "window_in_document")
        return places.with_columns(predictions=pl.Series(self.predictions, dtype=POSITION_PREDICTIONS.schema["predictions"]))

    @cached_property
    def histograms(self) -> Histograms:
        """What the pass counts of it."""
        counter = counter_of("compiled", made_bins(LAYERS, NEURONS, **BINS), examples=KEPT)
        for place, (document, window) in enumerate(self.windows.select("document", "window_in_document").iter_rows()):
            batch = made_batch([self.token_ids[place]], [LENGTHS[place]], [document], [window])
            add(counter, batch, self.activations[place][:, None], np.array([self.predictions[place]]))
        return in_memory(counter.histograms())

    def slow_examples(self, examples: int) -> list[dict[str, Any]]:
        """The rows of atlas_examples with the text around them, one position of one neuron after the other."""
        rows: list[dict[str, Any]] = []
        for layer, neuron in np.ndindex(LAYERS, NEURONS):
            for side, sign in (("top", -1), ("bottom", 1)):
                found = [
                    (sign * float(self.activations[place][layer, position, neuron]), document, window, position, place)
                    for place, (document, window) in enumerate(self.windows.select("document", "window_in_document").iter_rows())
                    for position in range(1, LENGTHS[place])
                ]
                kept: list[tuple[float, int, int, int, int]] = []
                for example in sorted(found):
                    if example[1] not in [other[1] for other in kept]:
                        kept.append(example)
                rows += self._rows(layer, neuron, side, [example[1:] for example in kept[:examples]])
            shown = [
                (row["document"], row["window_in_document"], row["position"])
                for row in rows
                if (row["layer"], row["neuron"]) == (layer, neuron)
            ]
            for side, sign in (("top", 1), ("bottom", -1)):
                rows += self._rows(layer, neuron, f"between_{side}", self._between(layer, neuron, sign, shown))
            rows += self._rows(layer, neuron, "random", self._random())
        return rows

    def _rows(self, layer: int, neuron: int, side: str, examples: list[Place]) -> list[dict[str, Any]]:
        rows = []
        for rank, (document, window, position, place) in enumerate(examples, start=1):
            shown = [other for other in range(position - 40, position + 13) if 0 <= other < LENGTHS[place]]
            own = self.activations[place][layer, :, neuron]
            rows.append(
                {"layer": layer, "neuron": neuron, "side": side, "rank": rank, "document": document, "window_in_document": window,
                 "position": position, "activation": float(own[position]), "first_position": shown[0],
                 "token_ids": [self.token_ids[place][other] for other in shown],
                 "activations": [float(np.float16(own[other])) for other in shown],
                 "prediction_ids": [self.predictions[place][other] for other in shown]}
            )  # fmt: skip
        return rows

    def _between(self, layer: int, neuron: int, sign: int, shown: list[tuple[int, int, int]]) -> list[Place]:
        """Of each octave below 1.6 the window of lowest hash, at its extreme, where that is at most three quarters of the farthest."""
        extremes = []
        for place, (document, window) in enumerate(self.windows.select("document", "window_in_document").iter_rows()):
            counted = [(-sign * float(self.activations[place][layer, position, neuron]), position) for position in range(1, LENGTHS[place])]
            if counted:
                value, position = min(counted)
                extremes.append((-value, (document, window, position, place)))
        farthest, kept = max(size for size, _ in extremes), []
        for band in range(4):
            low = float(np.float32(1.6)) / 2 ** (band + 1)
            inside = [example for size, example in extremes if low <= size and (band == 0 or size < 2 * low)]
            first = min(inside, key=lambda example: (slow_hash((example[0], 0, 0), 20250307) >> 1, example), default=None)
            if first and sign * self.activations[first[3]][layer, first[2], neuron] <= 0.75 * farthest and first[:3] not in shown:
                kept.append(first)
        return kept

    def _random(self) -> list[Place]:
        """The counted positions of lowest hash, of two documents."""
        every = [
            (document, window, position, place)
            for place, (document, window) in enumerate(self.windows.select("document", "window_in_document").iter_rows())
            for position in range(1, LENGTHS[place])
        ]
        kept: list[Place] = []
        for example in sorted(every, key=lambda example: (slow_hash(example[:3], 20250309), example)):
            if len(kept) < 2 and example[0] not in [other[0] for other in kept]:
                kept.append(example)
        return kept
