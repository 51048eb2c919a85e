"""The checks of the counters, of every shard and of their sum: they add up, nothing is negative, every shard is in the sum once."""

from collections import Counter as Amounts
from collections.abc import Sequence

import polars as pl

from assets.counting.histograms import EMBEDDING_PREDICTION, NEXT_TOKEN, PROBABILITY, TOP_PREDICTION, Histograms
from assets.quality.check import Check, Frames
from assets.quality.expectations import Expectation, equal, none_of, share_frame, small_share, unlike
from assets.reading import Reading

LARGEST_OVERFLOW_SHARE = 0.001
_SAMPLE = ("outcome", "token_id")
COUNTERS = ("activation_histograms", "merged_histograms")


def _histograms(asset: str, reading: Reading, shard: str | None) -> Histograms:
    from assets.histograms.histogram_store import read_histograms

    return read_histograms(reading.files(asset, shard))


def bin_count_frames(histograms: Histograms) -> Frames:
    """Violations in the counters of a shard or of the whole corpus."""
    from assets.quality.counter_violations import counter_violations

    found = counter_violations(histograms)
    further = {kind: FURTHER[kind] for kind in histograms.prediction_kinds if kind != TOP_PREDICTION}
    share = pl.col("overflow") / pl.max_horizontal("counted", 1)
    worst = found.layers.with_columns(share=share).sort("share", descending=True, maintain_order=True).row(0, named=True)
    overflow, counted = int(found.layers["overflow"].sum()), int(found.layers["counted"].sum())
    return {
        "tensors": found.tensors,
        "layers": found.layers.with_columns(positions=pl.lit(histograms.positions)),
        "tokens": found.tokens[TOP_PREDICTION],
        **{f"{name}_tokens": found.tokens[kind] for kind, name in further.items()},
        "vocabulary": found.vocabulary,
        **({"embedding_vocabulary": found.vocabulary} if EMBEDDING_PREDICTION in further else {}),
        **({"ends": found.ends} if NEXT_TOKEN in further else {}),
        "overflow": share_frame(overflow, counted, layer=worst["layer"], worst=worst["share"]),
    }


def _predicted(counts: str, whole: str = "count of predictions") -> list[Expectation]:
    """What must hold of the counters of tracked tokens, called `counts` in the sentences; `whole` is what they must sum to."""
    by_token = ("layer", "token_id")
    every = f"for every tracked token, {counts} sum to"
    return [
        none_of(f"{every} the same number for every neuron", "differing", "sums differ", of="neurons", by=by_token),
        none_of(f"{every} the token's own {whole}", "unlike_predictions", "sums differ", of="neurons", by=by_token),
        none_of(f"{counts} are never above the count of their bin", "above_count", "bins too high", by=by_token),
    ]


def _add_up(counted: str, column: str) -> Expectation:
    return equal(f"over the vocabulary, {counted} add up to the counted positions", column, "positions")


# Counted beside top predictions, and the names of their frames.
FURTHER = {EMBEDDING_PREDICTION: "embedding", NEXT_TOKEN: "next", PROBABILITY: "probability"}

BIN_COUNTS = {
    "tensors": [
        equal("counts are whole numbers (int64)", "promised", "found", lambda frame: "int64 in every counter", unlike("tensor")),
        none_of("counts are not negative", "negative", "negative counters", by=("tensor",)),
    ],
    "layers": [
        none_of(
            "for every neuron, bins + underflow + overflow + NaN = counted positions",
            "unbalanced",
            "neurons unbalanced",
            of="neurons",
            by=("layer",),
            expected=lambda frame: f"{frame['positions'][0]:,} for every neuron",
        ),
        none_of("no activation is NaN", "nan", "activations NaN", of="counted", by=("layer",)),
    ],
    "tokens": _predicted("top-prediction counts"),
    "embedding_tokens": _predicted("counts of top predictions by the embedding"),
    "next_tokens": _predicted("counts of next tokens", "times that it comes next"),
    "probability_tokens": _predicted("sums of probabilities", "sum of probabilities"),
    "ends": [
        none_of(
            "for every neuron, positions with and without a next token add up to the counted positions",
            "unlike_positions",
            "neurons with another number",
            of="neurons",
            by=("layer",),
        ),
        none_of("positions without a next token are never above the count of their bin", "strange", "bins wrong", by=("layer",)),
    ],
    "vocabulary": [
        _add_up("occurrences", "occurrences"),
        _add_up("predictions", "predictions"),
        none_of("no entry is predicted rightly more often than it is predicted", "too_often_correct", "entries too often right"),
    ],
    "embedding_vocabulary": [_add_up("top predictions by the embedding", "embedding_predictions")],
    "overflow": [
        small_share(
            "few activations lie above the bins",
            LARGEST_OVERFLOW_SHARE,
            f"{LARGEST_OVERFLOW_SHARE:.1%} of the counted activations",
            lambda frame: f"; most in layer {frame['layer'][0]} ({frame['worst'][0]:.4%})",
        )
    ],
}


def screen_frames(histograms: Histograms) -> Frames:
    """Violations in the sums by predicted and by current token of a shard or of the whole corpus."""
    from assets.quality.screen_violations import screen_violations

    found = screen_violations(histograms)
    return {"positions": found.positions, "tokens": found.tokens, "layers": found.layers}


SCREEN = {
    "positions": [
        equal(
            "positions of the screened tokens and of all others add up to the counted positions",
            "held",
            "positions",
            lambda frame: f"{frame['positions'][0]:,} positions" if frame["positions"][0] else "no screen",
        ),
        equal("current tokens of all groups add up to the counted positions", "held_current", "positions"),
        none_of("no count and no sum of squares is negative", "negative", "negative counters"),
    ],
    "tokens": [
        none_of(
            "every screened token has as many positions as predictions",
            "unlike_predictions",
            "tokens differ",
            of="tokens",
            by=("token_id",),
        ),
        none_of(
            "every screened token is the current token as often as it occurs",
            "unlike_occurrences",
            "tokens differ",
            of="tokens",
            by=("token_id",),
        ),
        none_of(
            "a tracked token has as many positions as its histograms", "unlike_histogram", "tokens differ", of="tokens", by=("token_id",)
        ),
    ],
    "layers": [
        none_of(
            "for every neuron, the sums of all groups add up to its mean times the positions",
            "adrift",
            "neurons adrift",
            of="neurons",
            by=("layer",),
            severity="warning",
        ),
        none_of(
            "for every neuron, the sums of all groups are the same by current as by predicted token",
            "unlike_current",
            "neurons differ",
            of="neurons",
            by=("layer",),
        ),
    ],
}


def block_frames(histograms: Histograms) -> Frames:
    """Violations in the counters by block of documents and of null labels, of a shard or of the whole corpus."""
    from assets.quality.block_violations import block_violations

    found = block_violations(histograms)
    return {"positions": found.positions, "counters": found.counters, "sums": found.sums, "nulls": found.nulls}


BLOCKS = {
    "positions": [
        equal("positions of all blocks of documents add up to the counted positions", "held", "positions"),
        none_of("no block has less than no positions", "negative", "negative blocks"),
    ],
    "counters": [
        none_of(
            "in every bin, the counts of all blocks are not negative and add up to the count of all documents",
            "unlike",
            "bins wrong",
            by=("layer", "counter"),
        )
    ],
    "sums": [
        none_of(
            "sums of all blocks, and sums under null labels over all tokens, are the sums of all positions",
            "unlike",
            "sums differ",
            of="neurons",
            by=("layer", "sum"),
        )
    ],
    "nulls": [
        none_of(
            "every token has as many null labels as labels in the telling half",
            "unlike",
            "neurons with another number",
            of="neurons",
            by=("layer", "outcome", "token_id"),
        )
    ],
}


def context_frames(histograms: Histograms, activation_bins: pl.DataFrame) -> Frames:
    """Violations in the contexts of a shard's or the whole corpus's examples."""
    from assets.counting.histograms import ActivationBins
    from assets.quality.context_violations import context_violations

    return {"contexts": context_violations(histograms, ActivationBins.from_frame(activation_bins))}


CONTEXTS = {
    "contexts": [
        none_of(
            "in the middle of every example's context stands its own activation, and nothing before its window",
            "unlike",
            "contexts wrong",
            of="examples",
            by=("layer",),
        ),
        none_of("where there is no example there is no context", "empty", "contexts of nothing", by=("layer",)),
        none_of(
            "every example of the levels between is in its band of the bins",
            "astray",
            "examples in another band",
            of="examples",
            by=("layer",),
        ),
    ]
}


SAMPLES = {
    "samples": [
        none_of("no token has more sampled positions than it has positions", "too_many", "positions too many", of="sampled", by=_SAMPLE),
        none_of(
            "no position is sampled twice, and no document more than four times", "repeated", "positions repeated", of="sampled", by=_SAMPLE
        ),
        none_of(
            "samples stand in the order of their hashes, without gaps", "disordered", "positions out of order", of="sampled", by=_SAMPLE
        ),
        none_of(
            "every sampled position has a token before it and one after it in a window of the corpus",
            "absent",
            "positions that are not there",
            of="sampled",
            by=_SAMPLE,
        ),
        none_of(
            "after every position sampled as the token's own, the token follows",
            "other",
            "positions with another",
            of="sampled",
            by=_SAMPLE,
        ),
    ]
}


def _samples(reading: Reading, shard: str | None) -> Frames:
    from assets.quality.sample_violations import sample_violations

    windows = pl.concat([reading.scan("token_windows", name) for name in reading.shards_of("token_windows")])
    return {"samples": sample_violations(_histograms("merged_histograms", reading, None), windows)}


PREDICTIONS = {
    "predictions": [
        none_of("every window has one prediction for each of its tokens", "unlike_window", "windows with another number", of="windows"),
        none_of(
            "every entry of the vocabulary is predicted as often as was counted",
            "unlike_counted",
            "entries with another number",
            of="entries",
        ),
    ]
}


def _predictions(reading: Reading, shard: str | None) -> Frames:
    from assets.quality.prediction_violations import prediction_violations

    found = prediction_violations(
        reading.raw("position_predictions", shard),
        reading.scan("token_windows", shard),
        _histograms("activation_histograms", reading, shard),
        count_bos=reading.study.count_bos,
    )
    return {"predictions": found}


def merge_frames(expected_shards: Sequence[str], merged_shards: Sequence[str], shard_positions: Sequence[int], merged: int) -> Frames:
    """The merge of all shards. `merged_shards` and their `shard_positions` are in the order in which they were added up to `merged`."""
    expected, held = Amounts(expected_shards), Amounts(merged_shards)
    names = sorted(expected | held)
    shards = {"shard": names, "expected": [expected[name] for name in names], "merged": [held[name] for name in names]}
    return {
        "shards": pl.DataFrame(shards, schema={"shard": pl.String, "expected": pl.Int64, "merged": pl.Int64}),
        "positions": pl.DataFrame({"added_up": [sum(shard_positions)], "merged": [merged]}),
    }


def _merged(reading: Reading, shard: str | None) -> Frames:
    merged = reading.fact("merged_histograms", "shards")
    known = [name for name in merged if name in reading.shards_of("activation_histograms")]  # another one is told by the first sentence
    positions = [reading.fact("activation_histograms", "positions", name) for name in known]
    return merge_frames(reading.study.shard_names, merged, positions, _histograms("merged_histograms", reading, None).positions)


def _once(frame: pl.DataFrame) -> str:
    return f"{frame['expected'].sum()} partitions, once each"


def _times_merged(shards: pl.DataFrame) -> str:
    wrong = shards.filter(pl.col("merged") != pl.col("expected"))
    if wrong.is_empty():
        return _once(shards)
    shard, expected, merged = wrong.row(0)
    return f"{len(wrong)} of {len(shards)} partitions wrong; first {shard}: merged {merged} times, {expected} expected"


MERGE = {
    "shards": [equal("every partition is merged exactly once", "merged", "expected", _once, _times_merged)],
    "positions": [equal("the positions of the partitions add up to the merged positions", "merged", "added_up")],
}


def _checks(asset: str) -> list[Check]:
    """What must hold of a shard's counters and of the merged ones alike."""
    needs = (f"{asset}/:all" if asset == "activation_histograms" else f"{asset}/",)
    return [
        Check(
            name="bin_counts",
            asset=asset,
            promise="For every neuron and every tracked token, the counts add up to the positions that were counted.",
            needs=needs,
            count=lambda reading, shard: bin_count_frames(_histograms(asset, reading, shard)),
            sentences=BIN_COUNTS,
        ),
        Check(
            name="screen",
            asset=asset,
            promise="Sums by predicted and by current token add up to the positions that were counted.",
            needs=needs,
            count=lambda reading, shard: screen_frames(_histograms(asset, reading, shard)),
            sentences=SCREEN,
        ),
        Check(
            name="blocks",
            asset=asset,
            promise="Counts by block of documents add up to those of all, and null labels are as many as labels.",
            needs=needs,
            count=lambda reading, shard: block_frames(_histograms(asset, reading, shard)),
            sentences=BLOCKS,
        ),
        Check(
            name="example_contexts",
            asset=asset,
            promise="The activations around every example are around it, and those of the levels between are at their level.",
            needs=(*needs, "activation_bins"),
            count=lambda reading, shard: context_frames(_histograms(asset, reading, shard), reading.read("activation_bins")),
            sentences=CONTEXTS,
        ),
    ]


CHECKS = (
    *(check for asset in COUNTERS for check in _checks(asset)),
    Check(
        name="position_predictions",
        asset="activation_histograms",
        promise="The predictions that are kept of a shard are its windows' own, and those that were counted.",
        needs=("activation_histograms/:all", "position_predictions:all", "token_windows:all"),
        fields=("count_bos",),
        count=_predictions,
        sentences=PREDICTIONS,
    ),
    Check(
        name="merge",
        asset="merged_histograms",
        promise="Every shard is in the sum, once.",
        needs=("merged_histograms/", "merged_histograms.shards", "activation_histograms.positions:all"),
        fields=("shards",),
        count=_merged,
        sentences=MERGE,
    ),
    Check(
        name="position_samples",
        asset="merged_histograms",
        promise="The positions sampled of every tracked token are in the corpus, each once.",
        needs=("merged_histograms/", "token_windows:all"),
        count=_samples,
        sentences=SAMPLES,
    ),
)
