"""Kept positions made by a seed, with labels and activations as a test wants them. Holds no test."""

from typing import Any

import numpy as np

from assets.counting.histograms import Histograms
from assets.counting.kept_positions import KeptRows, chosen, quotas, row_tensors

TOKEN, OTHER, VOCABULARY = 5, 6, 60
LAYERS, NEURONS, WIDTH = 3, 40, 8
KEPT = 4096


class Corpus:
    """Positions of a made-up corpus: token TOKEN is predicted at a share of them; activations are noise until a test plants something."""

    def __init__(self, seed: int, positions: int = 40_000, rate: float = 0.04) -> None:
        self.random = np.random.default_rng(seed)
        self.is_case = self.random.random(positions) < rate
        self.documents = np.arange(positions) // 40
        following = self.random.integers(7, VOCABULARY, positions)
        predictions = np.where(self.is_case, TOKEN, self.random.integers(7, VOCABULARY, positions))
        self.rows = KeptRows.of(self.documents, np.zeros(positions), np.arange(positions) % 40 + 1, predictions, following)

    def kept(self, plant: Any = None, outcomes: tuple[str, ...] = ("next_token",), room: int = KEPT) -> Histograms:
        """What a pass keeps of it. `plant(activations, is_case, rows, random)` changes noise float32 [kept row, layer, neuron] in place."""
        share = quotas(room, (TOKEN, OTHER), outcomes)
        places, is_background = chosen(self.rows, share)
        rows, is_case = self.rows.at(places), self.is_case[places]
        activations = self.random.normal(0, 1, (len(rows), LAYERS, NEURONS)).astype(np.float32)
        if plant:
            plant(activations, is_case, rows, self.random)
        tensors: dict[str, Any] = row_tensors(rows, is_background, room)
        values = np.zeros((room, LAYERS, NEURONS), np.float16)
        values[: len(rows)] = activations
        residual = np.zeros((room, WIDTH), np.float32)
        residual[: len(rows)] = self.random.normal(0, 1, (len(rows), WIDTH)) + 3 * is_case[:, None]
        counted = {name: np.bincount(label[label >= 0], minlength=VOCABULARY) for name, label in (("predictions", self.rows.prediction), ("next_tokens", self.rows.next_token))}  # fmt: skip
        tensors |= {"kept_activations": values, "kept_residual": residual, "count": np.zeros((LAYERS, NEURONS, 4), np.int64), **counted}
        return Histograms(tensors, len(self.rows), (TOKEN, OTHER))
