"""The table `atlas_neighbours`: of every neuron those whose activation goes with its own, and those whose weights write or read as its own.

Holds which likenesses there are and how they become rows, a layer at a time. How alike two vectors are is in likeness.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from assets.atlas.likeness import ENDS, Neighbours
from assets.contracts import ATLAS_NEIGHBOURS, conform


@dataclass(frozen=True)
class Kind:
    """One way to be alike: how many others are told at either end, and whether it is by correlation or by cosine."""

    told: int
    is_centred: bool


KINDS = {"together": Kind(4, True), "writes": Kind(3, False), "reads": Kind(3, False)}


def atlas_neighbours(found: Mapping[str, Neighbours], layers: int, neurons: int) -> Iterator[pl.DataFrame]:
    """The table, one frame a layer. `found` by kind, of the neurons of all layers; a kind that is absent has no rows."""
    for layer in range(layers):
        own = slice(layer * neurons, (layer + 1) * neurons)
        kinds = [_of_kind(kind, Neighbours(of.entries[own], of.likeness[own]), layer, neurons) for kind, of in found.items()]
        frame = pl.concat([ATLAS_NEIGHBOURS.schema.to_frame(), *kinds])
        yield conform(ATLAS_NEIGHBOURS, frame.sort("neuron", maintain_order=True))


def _of_kind(kind: str, found: Neighbours, layer: int, neurons: int) -> pl.DataFrame:
    """The rows of one kind and layer, by neuron, end and rank."""
    neuron, end, place = np.nonzero(found.entries >= 0)
    other = found.entries[neuron, end, place]
    rows = pl.DataFrame(
        {
            "layer": np.full(len(neuron), layer),
            "neuron": neuron,
            "kind": [kind] * len(neuron),
            "end": np.array(list(ENDS))[end].tolist(),
            "rank": place + 1,
            "other_layer": other // neurons,
            "other_neuron": other % neurons,
            "likeness": found.likeness[neuron, end, place],
        },
        schema_overrides={"kind": pl.String, "end": pl.String},
    )
    return conform(ATLAS_NEIGHBOURS, rows)
