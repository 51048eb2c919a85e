"""The table `token_neuron_screen`: which neurons stand out where a token is predicted, for every screened token.

With n_1 positions at which the token is the top prediction and n_0 others, n = n_1 + n_0, means m_1 and m_0 of a neuron, and T
the sum of squares about its mean over all positions:

- between the groups lie B = n_1 n_0 / n (m_1 - m_0)^2, within them T - B;
- variance explained (eta squared) = B / T, and standardized difference = (m_1 - m_0) / sqrt((T - B) / (n - 2)).

Within a token both order neurons alike. The share of variance that luck explains is that of the sums that were taken with every window's
labels turned (screen_null_sum); false discovery rates come from it as luck tells, over all pairs of a screened token and a neuron. m_1
comes from the screen's sums and T from the streamed moments, so neither depends on the bins. The loop goes layer by layer; what is held is
one layer of sums and, for each token, its best neurons and luck's so far.
"""

import numpy as np
import polars as pl

from assets.contracts import TOKEN_NEURON_SCREEN, conform
from assets.counting.histograms import Histograms
from assets.counting.token_sum_units import UNITS
from assets.statistics.levels import TokenTexts
from assets.statistics.luck import beyond_tail, q_values_of_least, tail_length

NEURONS_OF_TOKEN = 10  # kept for each token
# Sums are rounded to multiples of 2^-24 an activation, so a mean is off by 2^-25 at most: a 512th of this. Neurons that vary less,
# such as those that a GELU holds at some -1e-9, would stand out by rounding alone.
SMALLEST_DEVIATION = 2.0**-16
GROUPS_OF_BLOCK = 64  # x 3072 neurons x 8 bytes = 1.5 MiB a temporary array

VALUES = (
    "mean_where_predicted", "mean_elsewhere", "deviation_where_predicted", "deviation_elsewhere", "standardized_difference", "variance_explained",
)  # fmt: skip


def token_neuron_screen(histograms: Histograms, token_texts: TokenTexts, min_count: int) -> pl.DataFrame:
    """The table: the NEURONS_OF_TOKEN that stand out most for each token, by being high or by being low.

    Tokens with fewer than `min_count` predictions, or predicted everywhere, are left out, and so are neurons that do not vary.
    """
    screened, counts = histograms.screened_ids, np.asarray(histograms["screen_count"][:])
    groups = told_groups(histograms, min_count)
    best, luck = _Best(len(groups)), _Luck(histograms, len(groups))
    for layer in range(histograms.layers):
        sums, squares = (np.asarray(histograms[name][layer])[groups] / UNITS for name in ("screen_sum", "screen_squares"))
        mean, total = (np.asarray(histograms[name][layer]) for name in ("mean", "moment_2"))
        for start in range(0, len(groups), GROUPS_OF_BLOCK):
            rows = np.arange(start, min(start + GROUPS_OF_BLOCK, len(groups)))
            best.add(rows, layer, standing_out(sums[rows], squares[rows], counts[groups[rows]], mean, total, histograms.positions))
            luck.add(rows, layer, groups[rows], counts[groups[rows]], mean, total)
    frame = best.frame().filter(pl.col("variance_explained") >= 0)
    frame = frame.with_columns(false_discovery_rate=pl.Series(luck.false_discovery_rates(frame), dtype=pl.Float64).fill_nan(None))
    finite = pl.when(pl.col("standardized_difference").is_finite()).then(pl.col("standardized_difference"))
    frame = frame.with_columns(finite.alias("standardized_difference"))
    ids = pl.Series(screened[groups], dtype=pl.Int32)
    texts = pl.Series([token_texts[entry] for entry in ids], dtype=pl.String)
    rows = frame["row"].to_numpy()
    table = frame.with_columns(
        token_id=ids.gather(rows), token=texts.gather(rows), predictions=pl.Series(counts[groups][rows], dtype=pl.Int64)
    ).drop("row")
    return conform(TOKEN_NEURON_SCREEN, table)


def told_groups(histograms: Histograms, min_count: int, counted: str = "screen_count") -> np.ndarray:
    """Int64 [token]: the groups of the tokens that are told, ascending by token id: at enough positions by the tensor `counted`, and not
    everywhere."""
    screened, counts = histograms.screened_ids, np.asarray(histograms[counted][:])
    # The last group, all tokens that are not screened, belongs to no token.
    return np.flatnonzero((screened >= 0) & (counts >= max(min_count, 1)) & (counts < histograms.positions - 1))


def standing_out(
    sums: np.ndarray, squares: np.ndarray, counts: np.ndarray, mean: np.ndarray, total: np.ndarray, positions: int
) -> dict[str, np.ndarray]:
    """The VALUES, each float64 [token, neuron], of tokens that are predicted somewhere and not everywhere.

    sums, squares: of the activations where the token is predicted, [token, neuron]. counts: these positions, [token]. mean, total:
    over all positions, [neuron]; total is the sum of squares about the mean. Where a neuron varies less than SMALLEST_DEVIATION,
    variance_explained is -1; the standardized difference is infinite where it varies between the groups alone.
    """
    here = counts[:, None].astype(np.float64)  # [token, 1]
    elsewhere = positions - here
    mean_here, mean_elsewhere = sums / here, (mean * positions - sums) / elsewhere
    gap = mean_here - mean_elsewhere
    between = np.minimum(here * elsewhere / positions * gap**2, total)
    varies = total >= positions * SMALLEST_DEVIATION**2
    # Sum of squares about the mean of the token's own positions, at most what is within both groups; rounding may leave it below 0.
    within_here = np.clip(squares - sums * mean_here, 0.0, total - between)
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = gap / np.sqrt((total - between) / (positions - 2))
        explained = between / total
    return {
        "mean_where_predicted": mean_here,
        "mean_elsewhere": mean_elsewhere,
        "deviation_where_predicted": np.sqrt(within_here / here),
        "deviation_elsewhere": np.sqrt((total - between - within_here) / elsewhere),
        "standardized_difference": difference,
        "variance_explained": np.where(varies, explained, -1.0),
    }


class _Luck:
    """The largest shares of variance that luck explains, of each token, over the layers seen so far."""

    def __init__(self, histograms: Histograms, tokens: int) -> None:
        self._histograms, self._neurons = histograms, histograms.layers * histograms.neurons
        self._is_counted = "screen_null_sum" in histograms.tensors
        self._tail = tail_length(self._neurons)
        # As many as a token has rows, so that whatever lies below all of these is no discovery at any rate.
        self._largest = np.zeros((tokens, max(self._tail, min(self._neurons - 1, NEURONS_OF_TOKEN)) + 1))

    def add(self, rows: np.ndarray, layer: int, groups: np.ndarray, counts: np.ndarray, mean: np.ndarray, total: np.ndarray) -> None:
        """A layer's neurons, for the tokens in `rows`, which are these groups of the screen."""
        if not self._is_counted:
            return
        sums = np.asarray(self._histograms["screen_null_sum"][layer])[groups] / UNITS
        explained = standing_out(sums, np.zeros_like(sums), counts, mean, total, self._histograms.positions)["variance_explained"]
        both = np.concatenate([self._largest[rows], explained], axis=1)
        keep = self._largest.shape[1]
        self._largest[rows] = -np.sort(-np.partition(both, both.shape[1] - keep, axis=1)[:, -keep:], axis=1)

    def false_discovery_rates(self, frame: pl.DataFrame) -> np.ndarray:
        """Float64 [row of frame], which has columns row and variance_explained; NaN where luck was not counted."""
        row, explained = frame["row"].to_numpy(), frame["variance_explained"].to_numpy()
        if not self._is_counted or not len(row):
            return np.full(len(row), np.nan)
        largest = self._largest[row]
        as_large = (largest >= explained[:, None]).sum(axis=1)
        counted = (1 + as_large) / (1 + self._neurons)
        modelled = beyond_tail(explained, largest[:, : self._tail + 1], self._neurons)
        p_values = np.where(as_large < self._tail, np.minimum(counted, modelled), counted)
        return q_values_of_least(p_values, self._neurons * len(self._largest))


class _Best:
    """The NEURONS_OF_TOKEN best neurons of each token over the layers seen so far."""

    def __init__(self, tokens: int) -> None:
        shape = (tokens, NEURONS_OF_TOKEN)
        self.values = {name: np.full(shape, -1.0) for name in VALUES}
        self.layer, self.neuron = np.zeros(shape, np.int32), np.zeros(shape, np.int32)

    def add(self, rows: np.ndarray, layer: int, values: dict[str, np.ndarray]) -> None:
        """Rank a layer's neurons, values [token, neuron], behind those of earlier layers that are as good."""
        order = np.argsort(-values["variance_explained"], axis=1, kind="stable")[:, :NEURONS_OF_TOKEN]
        both = np.concatenate([self.values["variance_explained"][rows], np.take_along_axis(values["variance_explained"], order, 1)], 1)
        keep = np.argsort(-both, axis=1, kind="stable")[:, :NEURONS_OF_TOKEN]

        def kept(old: np.ndarray, new: np.ndarray) -> np.ndarray:
            return np.take_along_axis(np.concatenate([old, new], 1), keep, 1)

        for name in VALUES:
            self.values[name][rows] = kept(self.values[name][rows], np.take_along_axis(values[name], order, 1))
        self.neuron[rows] = kept(self.neuron[rows], order.astype(np.int32))
        self.layer[rows] = kept(self.layer[rows], np.full_like(order, layer, dtype=np.int32))

    def frame(self) -> pl.DataFrame:
        """Columns row (of the token), rank, layer, neuron and VALUES."""
        tokens, ranks = self.layer.shape
        return pl.DataFrame(
            {
                "row": np.repeat(np.arange(tokens), ranks),
                "rank": np.tile(np.arange(1, ranks + 1, dtype=np.int32), tokens),
                "layer": self.layer.reshape(-1),
                "neuron": self.neuron.reshape(-1),
                **{name: values.reshape(-1) for name, values in self.values.items()},
            }
        )


def screen_coverage(histograms: Histograms, min_count: int) -> dict[str, int | bool]:
    """How much of the corpus the screen holds: tokens and positions that are screened, and those left out for want of memory."""
    predictions = np.asarray(histograms["predictions"][:])
    screened = histograms.screened_ids
    is_left_out = predictions > 0
    is_left_out[screened[screened >= 0]] = False
    return {
        "is_on": screened.size > 0,
        "tokens_predicted": int((predictions > 0).sum()),
        "tokens_screened": int((predictions[screened[screened >= 0]] >= max(min_count, 1)).sum()),
        "tokens_left_out": int(is_left_out.sum()),
        "positions_left_out": int(predictions[is_left_out].sum()),
    }
