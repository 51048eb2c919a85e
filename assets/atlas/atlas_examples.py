"""The table `atlas_examples`: the highest and lowest activations of every neuron with those around them, a layer at a time.

All is read off the counters; the text there is in atlas_texts. Runs no model.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from assets.atlas.atlas_texts import PLACE, WINDOW
from assets.contracts import ATLAS_EXAMPLES, conform
from assets.counting.histograms import BEFORE, CONTEXT, EXAMPLE_PARTS, SIDES, Histograms
from assets.progress import Told, counted

_PARTS = dict(zip(EXAMPLE_PARTS, ("activation", *PLACE), strict=True))  # a tensor's part, and what the column is called


def example_places(histograms: Histograms, examples: int) -> pl.DataFrame:
    """PLACE of the first `examples` of every neuron and side, each place once however many neurons have it."""
    layers = (_of_layer(histograms, layer, examples).select(PLACE).unique() for layer in range(histograms.layers))
    return pl.concat(layers).unique()


def atlas_examples(histograms: Histograms, lengths: pl.DataFrame, examples: int, progress: Told | None = None) -> Iterator[pl.DataFrame]:
    """The table, one frame a layer. `lengths`: of the windows around example_places; `progress` is told layers done and in all."""
    for layer in counted(range(histograms.layers), progress):
        found = _of_layer(histograms, layer, examples)
        contexts = np.concatenate([_contexts(histograms, layer, side, examples) for side in SIDES])
        own = found.join(lengths, on=WINDOW, how="left", maintain_order="left")
        frame = found.with_columns(
            first_position=(pl.col("position") - BEFORE).clip(0), activations=_within(contexts, own["position"], own["length"])
        )
        yield conform(ATLAS_EXAMPLES, frame.sort("neuron", maintain_order=True))


def _within(contexts: np.ndarray, position: pl.Series, length: pl.Series) -> pl.Series:
    """Contexts, float16 [example, CONTEXT], as lists of what lies within each example's window."""
    begin = (BEFORE - position).clip(0)
    rows = pl.DataFrame(
        {"whole": pl.Series(contexts.astype(np.float32)).arr.to_list(), "begin": begin, "count": length - position + BEFORE - begin}
    )
    return rows.select(pl.col("whole").list.slice("begin", "count")).to_series()


def _of_layer(histograms: Histograms, layer: int, examples: int) -> pl.DataFrame:
    """Columns up to `activation`: the top examples of all neurons of a layer, then the bottom ones, each by neuron and rank."""
    sides = []
    for side in SIDES:
        values = {part: np.asarray(histograms[f"{side}_{part}"][layer, :, :examples]) for part in EXAMPLE_PARTS}  # [neuron, rank]
        neurons, ranks = np.nonzero(values["document"] >= 0)  # -1 marks an empty place: fewer documents than places
        sides.append(
            pl.DataFrame(
                {
                    "layer": np.full(len(neurons), layer, np.int32),
                    "neuron": neurons.astype(np.int32),
                    "side": [side] * len(neurons),
                    "rank": (ranks + 1).astype(np.int32),
                    **{_PARTS[part]: of[neurons, ranks] for part, of in values.items()},
                },
                schema_overrides={"side": pl.String},
            )
        )
    return pl.concat(sides)


def _contexts(histograms: Histograms, layer: int, side: str, examples: int) -> np.ndarray:
    """Float16 [example, CONTEXT], in the order of _of_layer."""
    is_example = np.asarray(histograms[f"{side}_document"][layer, :, :examples]) >= 0  # [neuron, rank]
    contexts = np.asarray(histograms[f"{side}_context"][layer, :, :examples])
    return contexts[is_example].reshape(-1, CONTEXT)
