"""The tables `study_difference_curves` and `study_difference_pairs`: curves of both studies over the bins that both can tell.

Both curves of a pair are folded into the bins between levels at which both counted, so that a point of one stands at the same activation as that
of the other. Of a neuron whose sign is turned, the curve of study B is read negated; a position exactly on an edge then stands in the bin above
it, though negated it would lie below.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from assets.contracts import STUDY_DIFFERENCE_CURVES, STUDY_DIFFERENCE_PAIRS, conform
from assets.counting.histograms import ActivationBins
from assets.study_difference.levels import Edges, edges_of, shared_edges

PAIR = ["token_id", "token", "layer", "neuron"]
COUNTS = ["count", "top_prediction_count"]


@dataclass(frozen=True)
class Curves:
    """The table proportion_curves of a study, its bins and its min_count."""

    rows: pl.DataFrame
    bins: ActivationBins
    min_count: int


def curve_differences(one: Curves, other: Curves, signs: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tables study_difference_pairs and study_difference_curves. `signs` holds layer, neuron and sign of study_difference_neurons."""
    ours, theirs = (curves.rows.sort(*PAIR, "bin_left").partition_by(PAIR, as_dict=True) for curves in (one, other))
    turned = set(signs.filter(pl.col("sign") == -1).select("layer", "neuron").iter_rows())
    least = max(one.min_count, other.min_count)
    parts = [pl.DataFrame(schema=STUDY_DIFFERENCE_CURVES.schema)]
    for pair in sorted(ours.keys() & theirs.keys()):
        layer, neuron = pair[2], pair[3]
        edges = [edges_of(curves.bins, layer, neuron) for curves in (one, other)]
        counts = [curves[pair].select(COUNTS).to_numpy() for curves in (ours, theirs)]  # [level, count]
        if (layer, neuron) in turned:
            edges[1], counts[1] = edges[1].negated, counts[1][::-1]
        folded = _folded(edges, counts).with_columns(**{name: pl.lit(value) for name, value in zip(PAIR, pair, strict=True)})
        parts.append(_told(folded, least))
    curves = conform(STUDY_DIFFERENCE_CURVES, pl.concat(parts))
    return conform(STUDY_DIFFERENCE_PAIRS, _pairs(curves)), curves


def _folded(edges: list[Edges], counts: list[np.ndarray]) -> pl.DataFrame:
    """Counts of both between shared edges, underflow and overflow at the ends."""
    places = shared_edges(*edges)
    inner = edges[0].at(places[0])
    columns = {"bin_left": np.concatenate([[-np.inf], inner]), "bin_right": np.concatenate([inner, [np.inf]])}
    for side, own, at in zip("ab", counts, places, strict=True):
        # Level 0 is the underflow, so edge i stands between levels i and i + 1.
        below = np.concatenate([np.zeros((1, len(COUNTS)), dtype=np.int64), np.cumsum(own, axis=0)])
        cells = np.diff(below[np.concatenate([[0], at + 1, [len(own)]])], axis=0)
        columns |= {f"{name}_{side}": cells[:, place] for place, name in enumerate(COUNTS)}
    return pl.DataFrame(columns)


def _told(folded: pl.DataFrame, least: int) -> pl.DataFrame:
    proportions = {
        f"proportion_{side}": pl.when(pl.col(f"count_{side}") > 0).then(pl.col(f"top_prediction_count_{side}") / pl.col(f"count_{side}"))
        for side in "ab"
    }
    reliable = (pl.col("count_a") >= least) & (pl.col("count_b") >= least)
    return conform(STUDY_DIFFERENCE_CURVES, folded.with_columns(**proportions, reliable=reliable))


def _pairs(curves: pl.DataFrame) -> pl.DataFrame:
    apart = (pl.col("proportion_a") - pl.col("proportion_b")).abs().filter("reliable")
    return curves.group_by(PAIR, maintain_order=True).agg(reliable_bins=pl.col("reliable").sum(), largest_difference=apart.max())
