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
    statistics, texts = reading.read("neuron_statistics"), reading.read("atlas_texts")
    return {
        "histograms": _by_layer(reading, "atlas_histograms", lambda part: atlas_violations.histograms(part, statistics)),
        "texts": atlas_violations.texts(texts),
        "examples": _by_layer(reading, "atlas_examples", lambda part: atlas_violations.examples(part, texts)),
        "tokens": _by_layer(reading, "atlas_tokens", atlas_violations.tokens),
        "neighbours": atlas_violations.neighbours(
            reading.read("atlas_neighbours")
        ),  # pairs lie in different layers; some hundred bytes a neuron
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
        needs=("atlas_histograms", "atlas_examples", "atlas_texts", "atlas_tokens", "atlas_neighbours", "neuron_statistics"),
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
            "texts": [
                none_of("the lists of a piece are of one length, of 1 to 64 tokens", "uneven", "pieces unlike", of="pieces"),
                none_of("every piece begins at a multiple of 64", "astray", "pieces astray", of="pieces"),
                none_of("pieces stand once, in the order of the corpus", "disordered", "pieces out of order", of="pieces"),
            ],
            "examples": [
                none_of("every example has its own activation at its place, in half precision", "unlike", "examples unlike", of="examples", by=_LAYER),
                none_of("the list around an example is no longer than what is kept", "reaching", "examples unlike", of="examples", by=_LAYER),
                none_of("the text around every example is in atlas_texts", "without_text", "examples without", of="examples", by=_LAYER),
                none_of("examples are ranked by activation, outermost first", "misranked", "examples out of order", of="examples", by=_LAYER),
                none_of("no document is twice among a neuron's highest, or lowest", "repeated", "documents repeated", of="examples", by=_LAYER),
                none_of("no example of the levels between is among the highest or lowest", "shown", "examples shown twice", of="examples", by=_LAYER),
            ],
            "tokens": [
                none_of("tokens are ranked by the size of their difference", "misranked", "tokens out of order", of="tokens", by=_LAYER),
                none_of("a token stands at the end that its means say", "astray", "tokens at the other end", of="tokens", by=_LAYER),
                none_of("no token goes twice with a neuron, by predicted or by current token", "twice", "tokens repeated", of="tokens", by=_LAYER),
            ],
            "neighbours": [
                none_of("neighbours are ranked by likeness, the largest first", "misranked", "neighbours out of order", of="neighbours", by=_LAYER),
                none_of("a neighbour stands at the end that its likeness says", "astray", "neighbours at the other end", of="neighbours", by=_LAYER),
                none_of("no neuron is twice a neighbour of one kind", "twice", "neighbours repeated", of="neighbours", by=_LAYER),
                none_of("no neuron is its own neighbour", "itself", "neurons beside themselves", of="neighbours", by=_LAYER),
                none_of("either of two neighbours says the same likeness", "one_sided", "neighbours that say another", of="neighbours", by=_LAYER),
            ],
        },
    ),
)  # fmt: skip
