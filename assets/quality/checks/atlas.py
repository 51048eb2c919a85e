"""The check of the atlas: what it holds of every neuron is what was counted, in order."""

from collections.abc import Callable

import polars as pl

from assets.contracts import TABLES
from assets.quality import atlas_violations
from assets.quality.check import Check, Frames
from assets.quality.expectations import none_of
from assets.reading import Reading

_LAYER = ("layer",)


def _atlas(reading: Reading, shard: str | None) -> Frames:
    statistics = reading.read("neuron_statistics")
    return {
        "histograms": _by_layer(reading, "atlas_histograms", lambda part: atlas_violations.histograms(part, statistics)),
        "examples": _by_layer(reading, "atlas_examples", atlas_violations.examples),
        "tokens": _by_layer(reading, "atlas_tokens", atlas_violations.tokens),
    }


def _by_layer(reading: Reading, table: str, count: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """Violations of a table, of which one layer is in memory at a time."""
    scan = reading.scan(table)
    layers = scan.select("layer").unique().sort("layer").collect()["layer"]
    parts = (count(scan.filter(pl.col("layer") == layer).collect()) for layer in layers)
    return pl.concat([count(TABLES[table].schema.to_frame()), *parts])


CHECKS = (
    Check(
        name="atlas_values",
        asset="atlas",
        promise="Histograms hold the counted positions, examples the activations that the pass kept around them, and ranks follow the numbers.",
        needs=("atlas_histograms", "atlas_examples", "atlas_tokens", "neuron_statistics"),
        count=_atlas,
        sentences={
            "histograms": [
                none_of(
                    "the bins of every neuron hold its counted positions, less those outside them",
                    "unbalanced", "neurons unbalanced", of="neurons", by=_LAYER,
                ),
                none_of("no bin holds less than nothing", "negative", "neurons with a count below 0", of="neurons", by=_LAYER),
                none_of("all neurons of a layer have as many bins", "uneven", "neurons with more or fewer", of="neurons", by=_LAYER),
            ],
            "examples": [
                none_of("every example has its own activation at its place, in half precision", "unlike", "examples unlike", of="examples", by=_LAYER),
                none_of("the lists around an example are of one length, no longer than what is kept", "uneven", "examples unlike", of="examples", by=_LAYER),
                none_of("examples are ranked by activation, outermost first", "misranked", "examples out of order", of="examples", by=_LAYER),
                none_of("no document is twice among a neuron's highest, or lowest", "repeated", "documents repeated", of="examples", by=_LAYER),
            ],
            "tokens": [
                none_of("tokens are ranked by the size of their difference", "misranked", "tokens out of order", of="tokens", by=_LAYER),
                none_of("a token stands at the end that its means say", "astray", "tokens at the other end", of="tokens", by=_LAYER),
                none_of("no token goes twice with a neuron, by predicted or by current token", "twice", "tokens repeated", of="tokens", by=_LAYER),
            ],
        },
    ),
)  # fmt: skip
