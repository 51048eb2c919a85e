"""The tables `contributions` and `contribution_screen`: what each neuron adds to a token's logit where the token is predicted.

A neuron adds, at a position, activation x congruence / scale to a token's logit: congruence in the convention `logits` (its output
weights, the final norm's gain, the token's unembedding), scale what the final norm divides by there, times what a norm behind the MLP
divides by, in models that have one. So, with congruence c, the mean
m_1 of activation / scale where the token is the top prediction, and m_0 elsewhere,

    contribution = c m_1 - c m_0, in logits:

how much more the neuron pushes the token where the model predicts it. It is the product of the two published plots, with a sign: who
writes the token is at the one end, who writes against it where it is predicted at the other. Negating the weights into and out of a
gated neuron changes the signs of activation and congruence alike, and nothing here. It is the direct effect alone, the norm's scale
held as it is: not what later layers make of it. Of a model that caps its logits it is of the logit before the cap.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from assets.contracts import CONTRIBUTION_SCREEN, CONTRIBUTIONS, OUTCOME_CONTRIBUTIONS, conform
from assets.counting.histograms import NEXT_TOKEN, TOP_PREDICTION, Histograms
from assets.counting.token_sum_units import SCALED_UNITS
from assets.model.direct_effect import refuse_indirect
from assets.model.language_model import LanguageModel
from assets.progress import Tally, Told
from assets.statistics.direct_effects import congruence_by_layer
from assets.statistics.fold_contributions import INTERVAL, half_widths, told, with_interval
from assets.statistics.grouped_histograms import members_of
from assets.statistics.outcomes import cases_of, in_tracked_order, positions_of

NEURONS_OF_END = 10  # kept for each token at either end
PARTS = ("contribution_where_predicted", "contribution_elsewhere", "contribution")
WRITES, WRITES_AGAINST = "writes", "writes_against"
_UNBOUNDED = pl.Schema({name: kind for name, kind in OUTCOME_CONTRIBUTIONS.schema.items() if name not in INTERVAL})


class Contributions(NamedTuple):
    """`every`: the table `contributions`. `screen`: contribution_screen. `mutual`: columns token_id, layer, neuron of pairs that choose each
    other among tokens of the screen: the neuron writes the token more than any other neuron does, and no other token more."""

    every: pl.DataFrame
    screen: pl.DataFrame
    mutual: pl.DataFrame


def contributions(
    model: LanguageModel, histograms: Histograms, token_ids: list[int], min_count: int, progress: Told | None = None
) -> Contributions:
    """Both tables, and the mutual pairs. `token_ids` are the tracked tokens, of which every neuron is told; of screened tokens with at least `min_count`
    predictions the NEURONS_OF_END at either end.

    Tokens that are predicted nowhere, or everywhere, have no contribution; without a screen, none has. `progress` is told layers.
    Raises UnsupportedModelError for a model whose output weights do not say what a neuron adds to the logits.
    """
    refuse_indirect(model)
    screened, counts = histograms.screened_ids, np.asarray(histograms["screen_count"][:])
    groups = np.flatnonzero((screened >= 0) & (counts > 0) & (counts < histograms.positions))
    ids, predictions = screened[groups], counts[groups]
    tracked = np.flatnonzero(np.isin(ids, token_ids))
    frequent = np.flatnonzero(predictions >= max(min_count, 1))
    every, ends, token_of_neuron, tally = [], [], [], Tally(progress, histograms.layers)
    for layer, values in _layers(model, histograms, groups):
        every.append(_frame(layer, tracked, np.tile(np.arange(histograms.neurons), (len(tracked), 1)), values))
        # The place in `frequent` of the token that each neuron writes most, the lower id of equals.
        token_of_neuron.append(values["contribution"][frequent].argmax(0) if len(frequent) else np.empty(0, np.int64))
        keep = min(NEURONS_OF_END, histograms.neurons)
        for sign in (1, -1):
            order = np.argsort(-sign * values["contribution"][frequent], axis=1, kind="stable")[:, :keep]
            ends.append(_frame(layer, frequent, order, values).filter(sign * pl.col("contribution") > 0))
        tally.add(1)
    texts = pl.Series([model.token_texts[entry] for entry in ids], dtype=pl.String)
    named = pl.DataFrame({"token_id": ids.astype(np.int32), "token": texts, "predictions": predictions.astype(np.int64)}).with_row_index(
        "row"
    )
    place = {entry: row for row, entry in enumerate(token_ids)}
    all_tracked = _named(every, named).with_columns(
        pl.col("token_id").replace_strict(place, default=None, return_dtype=pl.Int32).alias("place")
    )
    widths = half_widths(model, histograms, told(histograms, {}), [TOP_PREDICTION]).drop("outcome")
    screen = conform(CONTRIBUTION_SCREEN, _ranked(_named(ends, named)).select(CONTRIBUTION_SCREEN.schema.names()))
    return Contributions(
        conform(CONTRIBUTIONS, with_interval(all_tracked.sort("place", "layer", "neuron").drop("place", "predictions"), widths)),
        screen,
        _mutual(screen, np.stack(token_of_neuron), ids[frequent]),
    )


def outcome_contributions(model: LanguageModel, histograms: Histograms, token_ids: list[int]) -> pl.DataFrame:
    """The table of that name: one row per further outcome, tracked token and neuron; none without a screen, and none of a token that has
    the outcome nowhere or everywhere. Raises ModelError as contributions does."""
    refuse_indirect(model)
    frames = [pl.DataFrame(schema=_UNBOUNDED)]
    if histograms.screened_ids.size:
        frames += [frame for outcome in histograms.outcomes[1:] for frame in _outcome_layers(model, histograms, outcome)]
    texts = pl.col("token_id").replace_strict(token_ids, [model.token_texts[entry] for entry in token_ids], return_dtype=pl.String)
    both = pl.concat(
        [frames[0], *(frame.with_columns(token=texts).select(_UNBOUNDED.names()) for frame in frames[1:])],
        how="vertical_relaxed",
    )
    widths = half_widths(model, histograms, told(histograms, {}), histograms.outcomes[1:])
    return conform(OUTCOME_CONTRIBUTIONS, with_interval(in_tracked_order(both, token_ids), widths))


def _outcome_layers(model: LanguageModel, histograms: Histograms, outcome: str) -> Iterator[pl.DataFrame]:
    """Rows of outcome_contributions of one outcome, without the tokens' texts, layer by layer."""
    cases, positions = cases_of(histograms, outcome), positions_of(histograms, outcome)
    rows = np.flatnonzero((cases > 0) & (cases < positions))
    ids = np.asarray(histograms.token_ids, np.int32)[rows]
    for layer, congruence in congruence_by_layer(model, ids):
        here, total = scaled_sums(histograms, outcome, layer)
        there, elsewhere = means_added(congruence, here[rows], total, cases[rows], positions)
        neurons = np.tile(np.arange(histograms.neurons), (len(rows), 1))
        values = {"congruence": congruence, **dict(zip(PARTS, (there, elsewhere, there - elsewhere), strict=True))}
        frame = _frame(layer, np.arange(len(rows)), neurons, values)
        yield frame.with_columns(token_id=pl.Series(ids[frame["row"].to_numpy()]), outcome=pl.lit(outcome)).drop("row")


def group_contributions(model: LanguageModel, histograms: Histograms, groups: pl.DataFrame) -> pl.DataFrame:
    """Rows of outcome_contributions of groups of tracked tokens, under every outcome, top predictions too.

    What is told of a group is the logit of the member that is there; elsewhere, each member's in the proportion in which members are
    there. groups: token_groups. histograms: of the tracked tokens alone. None without a screen.
    """
    refuse_indirect(model)
    rows = {entry: place for place, entry in enumerate(histograms.token_ids)}
    parts = groups.partition_by("token_id", maintain_order=True) if histograms.screened_ids.size else []
    frames = [pl.DataFrame(schema=_UNBOUNDED)]
    read = {outcome: (cases_of(histograms, outcome), positions_of(histograms, outcome)) for outcome in histograms.outcomes}
    for layer, congruence in congruence_by_layer(model, np.asarray(histograms.token_ids)) if parts else ():
        for outcome, (cases, positions) in read.items():
            here, total = scaled_sums(histograms, outcome, layer)
            for part in parts:
                own = [rows[entry] for entry in part["member_id"]]
                if not 0 < cases[own].sum() < positions:
                    continue
                shares = cases[own] / cases[own].sum()
                there = (congruence[own] * here[own]).sum(0) / cases[own].sum()
                elsewhere = shares @ congruence[own] * (total - here[own].sum(0)) / (positions - cases[own].sum())
                values = {"congruence": shares @ congruence[own], **dict(zip(PARTS, (there, elsewhere, there - elsewhere), strict=True))}
                named = {"outcome": outcome, "token_id": part["token_id"][0], "token": part["token"][0], "layer": layer}
                neurons = pl.DataFrame({"neuron": np.arange(histograms.neurons, dtype=np.int32), **values})
                frames.append(neurons.with_columns(**{name: pl.lit(value) for name, value in named.items()}).select(frames[0].columns))
    found = pl.concat(frames, how="vertical_relaxed")
    members = {entry: own for entry, own in told(histograms, members_of(groups)).items() if entry not in rows}
    widths = half_widths(model, histograms, members, histograms.outcomes if parts else ())
    ids = groups["token_id"].unique(maintain_order=True).to_list()
    return conform(OUTCOME_CONTRIBUTIONS, with_interval(in_tracked_order(found, ids), widths))


def scaled_sums(histograms: Histograms, outcome: str, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of activation over the final norm's scale of a layer: where each tracked token has the outcome, float64 [token, neuron], and
    over all positions that the outcome is read over, [neuron]."""
    screened = np.asarray(histograms["screen_scaled"][layer])  # int64 [group, neuron]: all groups together are all positions
    total = screened.sum(0)
    if outcome == TOP_PREDICTION:
        groups = {int(entry): group for group, entry in enumerate(histograms.screened_ids)}
        here = screened[[groups[entry] for entry in histograms.token_ids]]
    else:
        here = np.asarray(histograms[f"{outcome}_scaled"][layer])
    if outcome == NEXT_TOKEN:
        total = total - np.asarray(histograms["no_next_token_scaled"][layer])
    return here / SCALED_UNITS, total / SCALED_UNITS


def means_added(
    congruence: np.ndarray, here: np.ndarray, total: np.ndarray, cases: np.ndarray, positions: int
) -> tuple[np.ndarray, np.ndarray]:
    """What neurons add on average where a token has an outcome, and elsewhere, in logits [token, neuron].

    here: sums [token, neuron] of activation / scale where it has; total: [neuron] over all `positions`; cases: [token] how many have it.
    """
    return congruence * here / cases[:, None], congruence * (total - here) / (positions - cases[:, None])


def _layers(model: LanguageModel, histograms: Histograms, groups: np.ndarray) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Each layer with its congruence and PARTS, float64 [group, neuron]."""
    counts = np.asarray(histograms["screen_count"][:])[groups].astype(np.float64)
    for layer, congruence in congruence_by_layer(model, histograms.screened_ids[groups]):
        sums = np.asarray(histograms["screen_scaled"][layer])  # int64 [group, neuron]: all groups together are all positions
        here, total = sums[groups] / SCALED_UNITS, sums.sum(0) / SCALED_UNITS
        there, elsewhere = means_added(congruence, here, total, counts, histograms.positions)
        yield layer, {"congruence": congruence, **dict(zip(PARTS, (there, elsewhere, there - elsewhere), strict=True))}


def _mutual(screen: pl.DataFrame, token_of_neuron: np.ndarray, ids: np.ndarray) -> pl.DataFrame:
    """The first writers whose own most written token, of `ids`, is the one that they write."""
    first = screen.filter((pl.col("end") == WRITES) & (pl.col("rank") == 1)).select("token_id", "layer", "neuron")
    chosen = ids[token_of_neuron[first["layer"].to_numpy(), first["neuron"].to_numpy()]] if first.height else ids[:0]
    return first.filter(pl.Series(chosen == first["token_id"].to_numpy(), dtype=pl.Boolean))


def _frame(layer: int, rows: np.ndarray, neurons: np.ndarray, values: dict[str, np.ndarray]) -> pl.DataFrame:
    """Columns row (of the token), layer, neuron and the values, of chosen neurons [token of rows, neuron] of a layer."""
    chosen = {name: np.take_along_axis(of_all[rows], neurons, axis=1).reshape(-1) for name, of_all in values.items()}
    return pl.DataFrame(
        {
            "row": np.repeat(rows, neurons.shape[1]).astype(np.uint32),
            "layer": np.full(neurons.size, layer, np.int32),
            "neuron": neurons.reshape(-1).astype(np.int32),
            **chosen,
        }
    )


def _named(frames: list[pl.DataFrame], named: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(frames).join(named.cast({"row": pl.UInt32}), on="row", maintain_order="left").drop("row")


def _ranked(ends: pl.DataFrame) -> pl.DataFrame:
    """The best of all layers at either end: columns `end` and `rank` beside the others; ties go to the lower layer, then neuron."""
    size = pl.col("contribution").abs()
    return (
        ends.with_columns(end=pl.when(pl.col("contribution") > 0).then(pl.lit(WRITES)).otherwise(pl.lit(WRITES_AGAINST)), size=size)
        .sort("token_id", "end", "size", "layer", "neuron", descending=[False, False, True, False, False])
        .group_by("token_id", "end", maintain_order=True)
        .head(NEURONS_OF_END)
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("token_id", "end"))
    )
