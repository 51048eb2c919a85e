"""The table `atlas_tokens`: of every neuron the screened tokens that go with its high and with its low activation, a layer at a time.

Once by predicted and once by current token. By predicted token it is the screen of token_neuron_screen, read the other way round: there
the neurons of a token, here the tokens of a neuron. Means and differences are defined there, and the same by current token.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from assets.contracts import ATLAS_TOKENS, conform
from assets.counting.histograms import Histograms
from assets.counting.token_sum_units import UNITS
from assets.progress import Told, counted
from assets.statistics.token_neuron_screen import GROUPS_OF_BLOCK, standing_out, told_groups

TOKENS_OF_END = 5
ENDS = {"high": 1, "low": -1}
# By what a position belongs to a token, and the tensors that count its positions and sum the activations there.
BY = {"predicted": ("screen_count", "screen_sum"), "current": ("screen_current_count", "screen_current_sum")}
_VALUES = {"mean_there": "mean_where_predicted", "mean_elsewhere": "mean_elsewhere", "standardized_difference": "standardized_difference"}


def atlas_tokens(
    histograms: Histograms, token_texts: Mapping[int, str], min_count: int, progress: Told | None = None
) -> Iterator[pl.DataFrame]:
    """The table, one frame a layer. `token_texts` holds at least the screened tokens; `progress` is told layers done and in all."""
    groups = {by: told_groups(histograms, min_count, of_positions) for by, (of_positions, _) in BY.items()}
    for layer in counted(range(histograms.layers), progress):
        found = pl.concat(_told(histograms, layer, by, of_by) for by, of_by in groups.items()).sort("neuron", maintain_order=True)
        texts = [token_texts[entry] for entry in found["token_id"].to_list()]
        yield conform(ATLAS_TOKENS, found.with_columns(layer=pl.lit(layer), token=pl.Series(texts, dtype=pl.String)))


def _told(histograms: Histograms, layer: int, by: str, groups: np.ndarray) -> pl.DataFrame:
    """The rows of a layer by predicted or by current token, one end behind the other, without texts."""
    of_positions, of_sums = BY[by]
    token_ids, positions = histograms.screened_ids[groups], np.asarray(histograms[of_positions][:])[groups]
    values = _values(histograms, layer, of_sums, groups, positions)
    frame = pl.concat(_end(values, end) for end in ENDS)
    token = frame["group"].to_numpy()
    return frame.drop("group").with_columns(
        by=pl.lit(by), token_id=pl.Series(token_ids[token], dtype=pl.Int32), positions=pl.Series(positions[token], dtype=pl.Int64)
    )


def _values(histograms: Histograms, layer: int, of_sums: str, groups: np.ndarray, positions: np.ndarray) -> dict[str, np.ndarray]:
    """_VALUES of a layer, float64 [neuron, group]; the difference is NaN where the neuron does not vary."""
    mean, total = (np.asarray(histograms[name][layer]) for name in ("mean", "moment_2"))  # [neuron]
    values = {name: np.empty((len(mean), len(groups))) for name in _VALUES}
    if not len(groups):
        return values
    sums = np.asarray(histograms[of_sums][layer])[groups] / UNITS  # [group, neuron]
    for start in range(0, len(groups), GROUPS_OF_BLOCK):
        rows = slice(start, start + GROUPS_OF_BLOCK)
        found = standing_out(sums[rows], np.zeros_like(sums[rows]), positions[rows], mean, total, histograms.positions)
        found["standardized_difference"][~(found["variance_explained"] >= 0)] = np.nan
        for name, of_screen in _VALUES.items():
            values[name][:, rows] = found[of_screen].T
    return values


def _end(values: Mapping[str, np.ndarray], end: str) -> pl.DataFrame:
    """The first TOKENS_OF_END tokens of every neuron at an end: neuron, end, rank, _VALUES, and the token's place in `group`."""
    difference = values["standardized_difference"] * ENDS[end]
    left = np.where(difference > 0, difference, 0.0)  # [neuron, group]; NaN is not above 0
    neurons = np.arange(len(left))
    ranked = []
    for rank in range(1, min(TOKENS_OF_END, left.shape[1]) + 1):
        first = left.argmax(axis=1)  # of equal ones the lower token id, which comes first
        is_told = left[neurons, first] > 0
        own, group = neurons[is_told], first[is_told]
        ranked.append(
            pl.DataFrame(
                {"neuron": own, "rank": np.full(len(own), rank), "group": group, **{name: values[name][own, group] for name in _VALUES}}
            )
        )
        left[own, group] = 0.0
    return _in_order(ranked).with_columns(
        end=pl.lit(end),
        standardized_difference=pl.when(pl.col("standardized_difference").is_finite()).then("standardized_difference"),
    )


def _in_order(ranked: list[pl.DataFrame]) -> pl.DataFrame:
    """Ranks one after the other within each neuron; no rows where there are no tokens."""
    schema = {"neuron": pl.Int64, "rank": pl.Int64, "group": pl.Int64, **dict.fromkeys(_VALUES, pl.Float64)}
    return pl.concat([pl.DataFrame(schema=schema), *ranked]).sort("neuron", "rank")
