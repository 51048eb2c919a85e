"""The table `atlas_examples`: of every neuron its highest and lowest activations, some of the levels between, and random places, with the
activations around them, a layer at a time.

All is read off the counters; the text there is in atlas_texts. Runs no model.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from assets.atlas.atlas_texts import PLACE, WINDOW
from assets.contracts import ATLAS_EXAMPLES, conform
from assets.counting.histograms import BEFORE, BETWEEN, EXAMPLE_PARTS, SIDES, Histograms
from assets.progress import Told, counted

RANDOM = "random"  # a side of its own
LARGEST_SHARE = 0.75  # of the neuron's extreme: an example of the levels between is nearer to 0
_PARTS = dict(zip(EXAMPLE_PARTS, ("activation", *PLACE), strict=True))  # a tensor's part, and what the column is called
_Examples = tuple[pl.DataFrame, np.ndarray]  # columns up to `activation`, and float16 [example, CONTEXT] around them


def example_places(histograms: Histograms, examples: int, neurons: pl.DataFrame | None = None) -> pl.DataFrame:
    """PLACE of the first `examples` of every neuron and side and of all others that are shown, each place once however many neurons have it."""
    layers = (_of_layer(histograms, layer, examples, neurons)[0].select(PLACE).unique() for layer in range(histograms.layers))
    return pl.concat(layers).unique()


def atlas_examples(
    histograms: Histograms, lengths: pl.DataFrame, examples: int, neurons: pl.DataFrame | None = None, progress: Told | None = None
) -> Iterator[pl.DataFrame]:  # fmt: skip
    """The table, one frame a layer. `lengths`: how far the pieces around example_places reach; `progress` is told layers done and in all."""
    for layer in counted(range(histograms.layers), progress):
        found, contexts = _of_layer(histograms, layer, examples, neurons)
        own = found.join(lengths, on=WINDOW, how="left", maintain_order="left")
        frame = found.with_columns(
            first_position=(pl.col("position") - BEFORE).clip(0), activations=_within(contexts, own["position"], own["length"])
        )
        yield conform(ATLAS_EXAMPLES, frame.sort("neuron", maintain_order=True))


def _within(contexts: np.ndarray, position: pl.Series, length: pl.Series) -> pl.Series:
    """Contexts, float16 [example, CONTEXT], as lists of what lies within each example's window, of which so much is known."""
    begin = (BEFORE - position).clip(0)
    rows = pl.DataFrame(
        {"whole": pl.Series(contexts.astype(np.float32)).arr.to_list(), "begin": begin, "count": length - position + BEFORE - begin}
    )
    return rows.select(pl.col("whole").list.slice("begin", "count")).to_series()


def _of_layer(histograms: Histograms, layer: int, examples: int, neurons: pl.DataFrame | None) -> _Examples:
    """Side after side, each by neuron and rank; of `neurons` alone, if given."""
    extremes = [_listed(layer, side, _values(histograms, layer, side, examples)) for side in SIDES]
    shown = pl.concat([frame for frame, _ in extremes])
    between = [_between(histograms, layer, side, extreme, shown) for side, extreme in zip(BETWEEN, SIDES, strict=True)]
    sides = [*extremes, *between, _listed(layer, RANDOM, _random(histograms, layer))]
    found, contexts = pl.concat([frame for frame, _ in sides]), np.concatenate([contexts for _, contexts in sides])
    if neurons is None:
        return found, contexts
    is_held = found["neuron"].is_in(neurons.filter(layer=layer)["neuron"].implode())
    return found.filter(is_held), contexts[is_held.to_numpy()]


def _values(histograms: Histograms, layer: int, side: str, examples: int | None = None) -> dict[str, np.ndarray]:
    """EXAMPLE_PARTS and `context` of a layer, [neuron, rank or band, ...]."""
    return {part: np.asarray(histograms[f"{side}_{part}"][layer, :, :examples]) for part in (*EXAMPLE_PARTS, "context")}


def _random(histograms: Histograms, layer: int) -> dict[str, np.ndarray]:
    """The same of the random places, which are those of every neuron."""
    of_neurons = {part: np.asarray(histograms[f"{RANDOM}_{part}"][layer]) for part in ("value", "context")}
    places = {part: np.asarray(histograms[f"{RANDOM}_{part}"][:]) for part in EXAMPLE_PARTS[1:]}
    return of_neurons | {part: np.broadcast_to(of, of_neurons["value"].shape) for part, of in places.items()}


def _between(histograms: Histograms, layer: int, side: str, extreme: str, shown: pl.DataFrame) -> _Examples:
    """The examples of the levels between, without those near the neuron's own extreme or `shown` already."""
    values = _values(histograms, layer, side)
    sign = 1 if extreme == SIDES[0] else -1
    farthest = sign * np.asarray(histograms[f"{extreme}_value"][layer, :, :1], np.float64)  # [neuron, 1]
    is_near = sign * values["value"].astype(np.float64) > LARGEST_SHARE * farthest
    values["document"] = np.where(is_near, -1, values["document"])
    frame, contexts = _listed(layer, side, values)
    kept = frame.with_row_index().join(shown, on=["neuron", *PLACE], how="anti", maintain_order="left")
    ranked = kept.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("neuron"))
    return ranked.drop("index"), contexts[kept["index"].to_numpy()]


def _listed(layer: int, side: str, values: dict[str, np.ndarray]) -> _Examples:
    """Of values as _values gives them, those that are examples."""
    neurons, ranks = np.nonzero(values["document"] >= 0)  # -1 marks an empty place: fewer documents than places
    frame = pl.DataFrame(
        {
            "layer": np.full(len(neurons), layer, np.int32),
            "neuron": neurons.astype(np.int32),
            "side": [side] * len(neurons),
            "rank": (ranks + 1).astype(np.int32),
            **{name: values[part][neurons, ranks] for part, name in _PARTS.items()},
        },
        schema_overrides={"side": pl.String},
    )
    return frame, values["context"][neurons, ranks]
