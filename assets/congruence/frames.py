"""From the arrays that the scan kept to the congruence tables: names, ranks and gaps.

Holds no weights and computes no score; the only arithmetic is the difference of neighbours in a ranking, and the score of a
pair. The bottom end's gap is its lead downwards: how much further below 0 it is than the next.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from assets import contracts
from assets.congruence.conventions import Convention
from assets.congruence.scan import Kept, Wanted
from assets.congruence.strongest import CORRECTED, PLAIN

HUBS = 10  # by either measure


@dataclass(frozen=True)
class Names:
    """How numbers read in a table."""

    convention: Convention
    texts: pl.Series  # text of each token id
    neurons: int  # per layer

    def frame(self, token_ids: np.ndarray, numbers: np.ndarray, **columns: Any) -> pl.DataFrame:
        """One row per (token, neuron) pair, both arrays of any one shape, with its names and the columns given."""
        ids, numbers = token_ids.reshape(-1), numbers.reshape(-1)
        return pl.DataFrame(
            {
                "token_id": ids.astype(np.int32),
                "token": self.texts.gather(ids),
                "layer": (numbers // self.neurons).astype(np.int32),
                "neuron": (numbers % self.neurons).astype(np.int32),
                **columns,
            }
        ).with_columns(convention=pl.lit(self.convention))


def congruence_tokens(kept: Kept, wanted: Wanted, names: Names) -> pl.DataFrame:
    """The best neurons of each token, in token order."""
    shown = min(wanted.neurons_per_token, kept.token_values.shape[1])
    ids = np.repeat(np.asarray(wanted.ranked_ids, dtype=np.int64), shown)
    frame = names.frame(ids, kept.token_neurons[:, :shown], **_ranks_and_gaps(kept.token_values, shown))
    return frame.select(contracts.CONGRUENCE_TOKENS.schema.names())


def congruence_neurons(kept: Kept, wanted: Wanted, names: Names) -> pl.DataFrame:
    """The best tokens of each neuron from both ends, in neuron order within an end."""
    ends = []
    for end, values in kept.neuron_values.items():
        shown = min(wanted.tokens_per_end, values.shape[1])
        numbers = np.repeat(np.arange(len(values)), shown)
        frame = names.frame(kept.neuron_tokens[end][:, :shown], numbers, **_ranks_and_gaps(values, shown))
        ends.append(frame.with_columns(end=pl.lit(end)))
    return pl.concat(ends).select(contracts.CONGRUENCE_NEURONS.schema.names())


def congruence_tracked_tokens(kept: Kept, wanted: Wanted, names: Names) -> pl.DataFrame:
    """Every neuron for each tracked token, both sides."""
    sides = []
    for side, values in kept.columns.items():  # [tracked token, neuron]
        tokens, neurons = values.shape
        ids = np.repeat(np.asarray(wanted.token_ids, dtype=np.int64), neurons)
        beyond = kept.corrected_columns if side == "output" else None
        corrected = (
            pl.repeat(None, values.size, dtype=pl.Float32, eager=True)
            if beyond is None
            else pl.Series(beyond.reshape(-1), nan_to_null=True)
        )
        frame = names.frame(ids, np.tile(np.arange(neurons), tokens), congruence=values.reshape(-1), corrected=corrected)
        sides.append(frame.with_columns(side=pl.lit(side)))
    return pl.concat(sides).select(contracts.CONGRUENCE_TRACKED_TOKENS.schema.names())


def congruence_neurons_of_interest(kept: Kept, wanted: Wanted, names: Names) -> pl.DataFrame:
    """Every entry of the vocabulary, padding included, for each neuron of interest, both sides."""
    sides = []
    for side, values in kept.rows.items():  # [neuron of interest, token]
        neurons, tokens = values.shape
        numbers = np.repeat(np.asarray(wanted.neurons, dtype=np.int64), tokens)
        frame = names.frame(np.tile(np.arange(tokens), neurons), numbers, congruence=values.reshape(-1))
        sides.append(frame.with_columns(side=pl.lit(side)))
    return pl.concat(sides).select(contracts.CONGRUENCE_NEURONS_OF_INTEREST.schema.names())


def congruence_mutual_pairs(kept: Kept, wanted: Wanted, names: Names) -> pl.DataFrame:
    """Highest score first. A pair needs a second on both sides: a model with one neuron or one token has no pairs."""
    ids = np.asarray(wanted.ranked_ids, dtype=np.int64)
    token_values, neuron_values = kept.token_values, kept.neuron_values["top"]
    if min(token_values.shape[1], neuron_values.shape[1]) < 2:
        return contracts.CONGRUENCE_MUTUAL_PAIRS.schema.to_frame()
    best_neuron = kept.token_neurons[:, 0]
    mutual = kept.neuron_tokens["top"][best_neuron, 0] == ids
    token_gap = (token_values[:, 0] - token_values[:, 1])[mutual]
    neuron_gap = (neuron_values[:, 0] - neuron_values[:, 1])[best_neuron[mutual]]
    frame = names.frame(
        ids[mutual],
        best_neuron[mutual],
        congruence=token_values[mutual, 0],
        token_gap=token_gap,
        neuron_gap=neuron_gap,
        score=token_gap * neuron_gap,
    )
    return frame.sort("score", "token_id", descending=[True, False]).select(contracts.CONGRUENCE_MUTUAL_PAIRS.schema.names())


def strongest_neurons(kept: Kept, wanted: Wanted, names: Names) -> pl.DataFrame:
    """Each token's strongest neuron by either measure, in token order within a measure; no rows in another convention than `logits`."""
    ids = np.asarray(wanted.ranked_ids, dtype=np.int64)
    frames = [contracts.STRONGEST_NEURONS.schema.to_frame()]
    for measure, chosen in (kept.choices or {}).items():
        values = {
            "congruence": chosen.congruence,
            "corrected": chosen.corrected,
            "gap": pl.Series(chosen.token_gaps, nan_to_null=True),
            "is_mutual": chosen.is_mutual,
        }
        frame = names.frame(ids, chosen.neurons, **values).with_columns(measure=pl.lit(measure))
        frames.append(frame.select(contracts.STRONGEST_NEURONS.schema.names()))
    return pl.concat(frames)


def corrected_mutual_pairs(kept: Kept, wanted: Wanted, names: Names) -> pl.DataFrame:
    """Highest score first; no rows in another convention than `logits`."""
    if kept.choices is None:
        return contracts.CORRECTED_MUTUAL_PAIRS.schema.to_frame()
    chosen, plain = kept.choices[CORRECTED], kept.choices[PLAIN]
    mutual = chosen.is_mutual
    neurons, token_gap = chosen.neurons[mutual], chosen.token_gaps[mutual]
    neuron_gap = chosen.neuron_gaps[neurons]
    frame = names.frame(
        np.asarray(wanted.ranked_ids, dtype=np.int64)[mutual],
        neurons,
        congruence=chosen.congruence[mutual],
        corrected=chosen.corrected[mutual],
        token_gap=token_gap,
        neuron_gap=neuron_gap,
        score=token_gap * neuron_gap,
        is_mutual_before=(plain.is_mutual & (plain.neurons == chosen.neurons))[mutual],
    )
    return frame.sort("score", "token_id", descending=[True, False]).select(contracts.CORRECTED_MUTUAL_PAIRS.schema.names())


def congruence_hubs(kept: Kept, wanted: Wanted, names: Names) -> pl.DataFrame:
    """The neurons that are the strongest of most tokens, the first HUBS by either measure, in the order of the plain one."""
    schema = contracts.CONGRUENCE_HUBS.schema
    if kept.choices is None:
        return schema.to_frame()
    hubs = pl.DataFrame({"number": pl.Series(dtype=pl.Int64)})
    for measure, chosen in kept.choices.items():
        counted = pl.Series("number", chosen.neurons).value_counts().sort("count", "number", descending=[True, False])
        ranked = counted.with_row_index(f"{measure}_rank", offset=1).with_columns(
            pl.col("count").alias(f"{measure}_tokens"), (pl.col("count") / len(chosen.neurons)).alias(f"{measure}_share")
        )
        hubs = hubs.join(ranked.drop("count"), on="number", how="full", coalesce=True)
    ranks = [f"{measure}_rank" for measure in kept.choices]
    first = hubs.filter(pl.any_horizontal(pl.col(ranks) <= HUBS)).sort(*ranks, nulls_last=True)
    counts = pl.selectors.ends_with("_tokens", "_share")
    named = first.with_columns(counts.fill_null(0), layer=pl.col("number") // names.neurons, neuron=pl.col("number") % names.neurons)
    return named.select(schema.names()).cast(schema)


TABLES: dict[str, Callable[[Kept, Wanted, Names], pl.DataFrame]] = {
    "congruence_tokens": congruence_tokens,
    "congruence_neurons": congruence_neurons,
    "congruence_tracked_tokens": congruence_tracked_tokens,
    "congruence_neurons_of_interest": congruence_neurons_of_interest,
    "congruence_mutual_pairs": congruence_mutual_pairs,
    "strongest_neurons": strongest_neurons,
    "corrected_mutual_pairs": corrected_mutual_pairs,
    "congruence_hubs": congruence_hubs,
}


def _ranks_and_gaps(values: np.ndarray, shown: int) -> dict[str, Any]:
    """Flat columns of the first `shown` places of float32 [row, place]; the gap is missing where no next place was kept."""
    rows = len(values)
    gaps = np.full((rows, shown), np.nan, dtype=np.float32)
    leads = np.abs(values[:, :-1] - values[:, 1:])[:, :shown]
    gaps[:, : leads.shape[1]] = leads
    return {
        "rank": np.tile(np.arange(1, shown + 1, dtype=np.int32), rows),
        "congruence": values[:, :shown].reshape(-1),
        "gap": pl.Series(gaps.reshape(-1)).fill_nan(None),
    }
