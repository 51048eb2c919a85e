"""The table `proposed_pairs`: tokens worth tracking and neurons worth studying next, for token and neuron choose each other.

They choose by contribution, which a gated neuron's signs do not change: the neuron writes the token more than any other neuron does, and
writes no other screened token more. Beside it stands how far the neuron stands out where the token is predicted, and which way.
"""

from collections.abc import Callable

import numpy as np
import polars as pl

from assets.contracts import PROPOSED_PAIRS, conform
from assets.counting.histograms import Histograms
from assets.counting.token_sum_units import UNITS
from assets.statistics.contributions import WRITES
from assets.statistics.token_neuron_screen import standing_out

PROPOSALS = 10
_PAIR = ["token_id", "layer", "neuron"]


def proposed_pairs(
    histograms: Histograms, screen: pl.DataFrame, mutual: pl.DataFrame, tracked: list[int], is_named_by_text: Callable[[int], bool]
) -> pl.DataFrame:
    """The PROPOSALS mutual pairs with the largest contribution whose token is not tracked; ties go to the lower token id.

    screen: contribution_screen. mutual: columns token_id, layer, neuron, from `contributions`. `is_named_by_text` tells of a token id
    whether a study may name the token by its text.
    """
    first = screen.filter((pl.col("end") == WRITES) & (pl.col("rank") == 1) & ~pl.col("token_id").is_in(tracked))
    pairs = first.join(mutual, on=_PAIR, how="semi").sort("contribution", "token_id", descending=[True, False]).head(PROPOSALS)
    named = pl.Series([is_named_by_text(entry) for entry in pairs["token_id"]], dtype=pl.Boolean)
    ranked = pairs.with_columns(rank=pl.int_range(1, pl.len() + 1), is_named_by_text=named)
    values = pl.DataFrame(
        [_standing_out(histograms, *pair) for pair in pairs.select(_PAIR).iter_rows()],
        schema={"standardized_difference": pl.Float64, "variance_explained": pl.Float64, "direction": pl.Int8},
    )
    return conform(PROPOSED_PAIRS, ranked.hstack(values).select(PROPOSED_PAIRS.schema.names()))


def _standing_out(histograms: Histograms, token_id: int, layer: int, neuron: int) -> dict[str, float | int | None]:
    """How far one neuron stands out where one token is predicted; nothing where it varies by less than the sums can tell."""
    group = int(np.flatnonzero(histograms.screened_ids == token_id)[0])
    sums, squares = (np.asarray(histograms[name][layer, group, neuron]).reshape(1, 1) / UNITS for name in ("screen_sum", "screen_squares"))
    mean, total = (np.asarray(histograms[name][layer, neuron]).reshape(1) for name in ("mean", "moment_2"))
    counts = np.asarray(histograms["screen_count"][group]).reshape(1)
    values = standing_out(sums, squares, counts, mean, total, histograms.positions)
    difference, explained = (float(values[name][0, 0]) for name in ("standardized_difference", "variance_explained"))
    if explained < 0:
        return {"standardized_difference": None, "variance_explained": None, "direction": None}
    way = int(np.sign(values["mean_where_predicted"] - values["mean_elsewhere"])[0, 0])
    return {
        "standardized_difference": difference if np.isfinite(difference) else None,
        "variance_explained": explained,
        "direction": way or None,
    }
