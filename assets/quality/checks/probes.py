"""The checks of kept positions, of sparse probes and of what else neurons do."""

import polars as pl

from assets.counting.histograms import Histograms
from assets.histograms.histogram_store import read_histograms
from assets.quality import kept_violations
from assets.quality.check import Check, Frames
from assets.quality.expectations import equal, none_of
from assets.reading import Reading

_TOKEN = ("outcome", "token_id")
_NEURON = ("layer", "neuron")


def _kept(reading: Reading, shard: str | None) -> Frames:
    windows = pl.concat([reading.scan("token_windows", name) for name in reading.shards_of("token_windows")])
    return kept_frames(read_histograms(reading.files("merged_histograms")), windows, reading.study.kept_positions)


def kept_frames(histograms: Histograms, windows: pl.LazyFrame, asked: int) -> Frames:
    """The kept positions, of which the study asks for `asked`."""
    if histograms.keeps_positions:
        return {"kept": kept_violations.kept_violations(histograms, windows)}
    return {"kept": kept_violations.nothing_kept(asked)}


def probe_frames(sparse_probes: pl.DataFrame, probe_neurons: pl.DataFrame) -> Frames:
    """Probes by token, and the neurons of each."""
    return {"tokens": kept_violations.probes(sparse_probes), "probes": kept_violations.probe_neurons(probe_neurons, sparse_probes)}


def behaviour_frames(neuron_bands: pl.DataFrame, neuron_band_tokens: pl.DataFrame) -> Frames:
    """Bands by neuron, and the tokens of each."""
    return {"neurons": kept_violations.bands(neuron_bands), "tokens": kept_violations.band_tokens(neuron_band_tokens, neuron_bands)}


CHECKS = (
    Check(
        name="kept_positions",
        asset="merged_histograms",
        promise="The positions at which all activations are kept are in the corpus, each once, as many as there can be.",
        needs=("merged_histograms/", "token_windows:all"),
        fields=("kept_positions",),
        count=_kept,
        sentences={
            "kept": [
                equal("half of the kept positions are an even sample of all", "background", "must_be"),
                none_of("no position is kept twice", "repeated", "positions repeated", of="kept"),
                none_of("kept positions stand in the order of their hashes, without gaps", "disordered", "positions out of order", of="kept"),
                none_of("every kept position is in a window of the corpus", "absent", "positions absent", of="kept"),
                none_of("what comes next at a kept position is what comes next in its window", "other", "positions unlike", of="kept"),
                none_of("every kept activation is a finite number", "not_finite", "positions without", of="kept"),
            ]
        },
    ),
    Check(
        name="probe_values",
        asset="sparse_probes",
        promise="Every token with cases enough has all probes, and each names its neurons.",
        needs=("sparse_probes", "probe_neurons"),
        count=lambda reading, shard: probe_frames(reading.raw("sparse_probes"), reading.raw("probe_neurons")),
        sentences={
            "tokens": [
                none_of("an interval has two ends, in order", "crossed", "intervals crossed", of="rows", by=_TOKEN),
                none_of(
                    "a token has probes exactly where both halves have 20 cases, and one frequency",
                    "missing",
                    "kinds missing or too many",
                    of="rows",
                    by=_TOKEN,
                ),
                none_of("a frequency has no interval, and is the same in both halves", "guessing", "rows at odds", of="rows", by=_TOKEN),
            ],
            "probes": [
                none_of("a probe names as many neurons as it has", "missing", "neurons missing or too many", of="neurons", by=(*_TOKEN, "size")),
                none_of("neurons of a probe follow the size of their weights", "disordered", "rows out of order", of="neurons", by=(*_TOKEN, "size")),
            ],
        },
    ),
    Check(
        name="behaviour_values",
        asset="neuron_behaviour",
        promise="A neuron's bands divide the same positions by its activation, and shares are those of their counts.",
        needs=("neuron_bands", "neuron_band_tokens"),
        count=lambda reading, shard: behaviour_frames(reading.raw("neuron_bands"), reading.raw("neuron_band_tokens")),
        sentences={
            "neurons": [
                none_of("the bands of every neuron hold the same number of positions", "unbalanced", "positions too many or missing", by=_NEURON),
                none_of("no band reaches into the one above it", "overlapping", "bands overlap", of="bands", by=_NEURON),
                none_of("no outer band holds more than its share of the positions", "overfull", "bands overfull", of="bands", by=_NEURON),
            ],
            "tokens": [
                none_of("every share is positions / the band's positions", "wrong_share", "shares wrong", of="tokens", by=(*_NEURON, "outcome")),
                none_of("ranks go by positions, from 1 to at most 5", "misranked", "tokens misranked", of="tokens", by=(*_NEURON, "outcome")),
                none_of("a token is told because it is among the five, or tracked", "unasked", "tokens unasked", of="tokens", by=(*_NEURON, "outcome")),
            ],
        },
    ),
)  # fmt: skip
