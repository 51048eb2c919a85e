"""The atlas of the sample study: histograms as counted, examples and tokens made from a seed, with hostile texts among them."""

from typing import Any

import numpy as np
import polars as pl

from assets.contracts import TABLES

EXAMPLES = 3
BEFORE, AFTER = 40, 12  # tokens around a peak
FIVE = 5  # tokens at either end


def atlas_tables(counts: np.ndarray, vocabulary: list[str], planted: tuple[int, int], token: int, seed: int = 4) -> dict[str, pl.DataFrame]:
    """The three tables; `counts` [layer, neuron, bin]. The planted neuron is high at " lemon", where the model predicts `token`."""
    generator = np.random.default_rng(seed)
    neurons = [(layer, neuron) for layer in range(counts.shape[0]) for neuron in range(counts.shape[1])]
    rows: dict[str, list[Any]] = {
        "atlas_histograms": [(*place, counts[place].tolist()) for place in neurons],
        "atlas_examples": [
            (*place, side, rank, *_example(generator, side, rank, len(vocabulary), token if place == planted else None))
            for place in neurons
            for side in ("top", "bottom")
            for rank in range(1, EXAMPLES + 1)
        ],
        "atlas_tokens": [
            row
            for place in neurons
            for by, watched in (("predicted", token), ("current", LEMON))
            for row in _tokens(generator, place, by, vocabulary, watched if place == planted else None)
        ],
    }
    return {name: pl.DataFrame(part, schema=TABLES[name].schema, orient="row") for name, part in rows.items()}


LEMON = 20  # in the sample's vocabulary


def _example(generator: np.random.Generator, side: str, rank: int, vocabulary: int, token: int | None) -> tuple[object, ...]:
    """Document, window, position, activation, first position and the three lists."""
    position = int(generator.integers(1, 64))
    first, last = max(0, position - BEFORE), min(63, position + AFTER)
    length, peak = last - first + 1, position - first
    tokens = generator.integers(0, 60, length)
    predictions = np.where(generator.random(length) < 0.4, np.roll(tokens, -1), generator.integers(0, vocabulary, length))
    activations = generator.normal(0, 0.4, length).astype(np.float16).astype(np.float32)
    activation = np.float32((9 - rank + generator.random()) if side == "top" else (-0.17 - 0.001 * generator.random()))
    activations[peak] = np.float16(activation)
    if token is not None and side == "top":
        tokens[peak], predictions[peak] = LEMON, token
    document = 100 * rank + int(generator.integers(0, 100))
    return document, 0, position, float(activation), first, tokens.tolist(), activations.tolist(), predictions.tolist()


def _tokens(
    generator: np.random.Generator, place: tuple[int, int], by: str, vocabulary: list[str], token: int | None
) -> list[tuple[object, ...]]:
    """Five tokens at either end by predicted or by current token, by the size of the difference."""
    chosen = generator.choice(60, 2 * FIVE, replace=False).tolist()
    if token is not None:
        chosen = [token, *(entry for entry in chosen if entry != token)][: 2 * FIVE]
    rows: list[tuple[object, ...]] = []
    for number, entry in enumerate(chosen):
        end, rank = ("high", number + 1) if number < FIVE else ("low", number - FIVE + 1)
        size = (3.5 if token is not None and end == "high" else 0.8) / rank
        difference = size if end == "high" else -size
        rows.append((*place, by, end, rank, entry, vocabulary[entry], 300 + 7 * number, 0.4 * difference, -0.02, difference))
    return rows
