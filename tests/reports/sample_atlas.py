"""The atlas of the sample study: histograms as counted, examples and tokens made from a seed, with hostile texts among them."""

from typing import Any

import numpy as np
import polars as pl

from assets.atlas.atlas_texts import PIECE
from assets.contracts import TABLES

EXAMPLES = 3
SIDES = {"top": EXAMPLES, "bottom": EXAMPLES, "between_top": 2, "between_bottom": 1, "random": 2}  # examples of each neuron
HEIGHTS = {"top": 9.0, "bottom": -0.17, "between_top": 5.0, "between_bottom": -0.09, "random": 0.2}  # about, of the first
BEFORE, AFTER = 40, 12  # tokens around a peak
FIVE = 5  # tokens at either end


def atlas_tables(counts: np.ndarray, vocabulary: list[str], planted: tuple[int, int], token: int, seed: int = 4) -> dict[str, pl.DataFrame]:
    """The four tables; `counts` [layer, neuron, bin]. The planted neuron is high at " lemon", where the model predicts `token`."""
    generator = np.random.default_rng(seed)
    neurons = [(layer, neuron) for layer in range(counts.shape[0]) for neuron in range(counts.shape[1])]
    examples = [
        (*place, side, rank, *_example(generator, side, rank, PLANTED_DOCUMENT + rank if place == planted and side == "top" else None))
        for place in neurons
        for side, kept in SIDES.items()
        for rank in range(1, kept + 1)
    ]
    lemons = {(row[4], row[6]) for row in examples if row[4] > PLANTED_DOCUMENT}
    rows: dict[str, list[Any]] = {
        "atlas_histograms": [(*place, counts[place].tolist()) for place in neurons],
        "atlas_examples": examples,
        "atlas_texts": [
            row for document in sorted({row[4] for row in examples}) for row in _pieces(document, len(vocabulary), lemons, token)
        ],
        "atlas_neighbours": [row for place in neurons for row in _neighbours(generator, place, neurons)],
        "atlas_tokens": [
            row
            for place in neurons
            for by, watched in (("predicted", token), ("current", LEMON))
            for row in _tokens(generator, place, by, vocabulary, watched if place == planted else None)
        ],
    }
    return {name: pl.DataFrame(part, schema=TABLES[name].schema, orient="row") for name, part in rows.items()}


LEMON = 20  # in the sample's vocabulary
LENGTH = 90  # of every window: some examples lie in one piece of text, some in two
PLANTED_DOCUMENT = 1000  # those that follow are the planted neuron's alone


def _example(generator: np.random.Generator, side: str, rank: int, document: int | None) -> tuple[Any, ...]:
    """Document, window, position, activation, first position and the activations from there on."""
    position = int(generator.integers(1, 64))
    first, last = max(0, position - BEFORE), min(LENGTH - 1, position + AFTER)
    length, peak = last - first + 1, position - first
    activations = generator.normal(0, 0.4, length).astype(np.float16).astype(np.float32)
    high = side.endswith("top")
    activation = np.float32(HEIGHTS[side] + ((generator.random() - rank) if high else (-0.001 * generator.random())))
    activations[peak] = np.float16(activation)
    drawn = 100 * rank + int(generator.integers(0, 100))
    return drawn if document is None else document, 0, position, float(activation), first, activations.tolist()


def _pieces(document: int, vocabulary: int, lemons: set[tuple[int, int]], token: int) -> list[tuple[Any, ...]]:
    """The rows of atlas_texts of a document's one window; at the places in `lemons` stands " lemon", and `token` is predicted."""
    generator = np.random.default_rng(document)
    tokens = generator.integers(0, 60, LENGTH)
    predictions = np.where(generator.random(LENGTH) < 0.4, np.roll(tokens, -1), generator.integers(0, vocabulary, LENGTH))
    for position in (position for other, position in lemons if other == document):
        tokens[position], predictions[position] = LEMON, token
    return [
        (document, 0, start, tokens[start : start + PIECE].tolist(), predictions[start : start + PIECE].tolist())
        for start in range(0, LENGTH, PIECE)
    ]


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


def _neighbours(generator: np.random.Generator, place: tuple[int, int], neurons: list[tuple[int, int]]) -> list[tuple[object, ...]]:
    """Some others at either end of each kind."""
    others = [other for other in neurons if other != place]
    rows: list[tuple[object, ...]] = []
    for kind, told in (("together", 4), ("writes", 3), ("reads", 3)):
        chosen = generator.choice(len(others), 2 * told, replace=False).tolist()
        for number, entry in enumerate(chosen):
            end, rank = ("alike", number + 1) if number < told else ("opposite", number - told + 1)
            rows.append((*place, kind, end, rank, *others[entry], (0.9 if end == "alike" else -0.8) / rank))
    return rows
