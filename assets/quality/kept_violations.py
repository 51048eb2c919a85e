"""Exact numbers of broken rules in the kept positions and in what probes and bands make of them: frames that are then judged.

Holds counting only. Of the windows, those alone are held that have a kept position.
"""

import numpy as np
import polars as pl

from assets.counting.histograms import Histograms
from assets.counting.kept_positions import NONE, SEED, quotas
from assets.counting.position_samples import position_hash
from assets.probes.kept_cases import LEAST_CASES
from assets.probes.neuron_behaviour import TOKENS
from assets.probes.sparse_probes import FREQUENCY, LAYER, NEURONS, RESIDUAL

PLACE = ["document", "window", "position"]
PROBE = ["outcome", "token_id"]
BAND = ["layer", "neuron", "end", "band"]


def kept_violations(histograms: Histograms, windows: pl.LazyFrame) -> pl.DataFrame:
    """One row. `windows` is the table token_windows, all shards; the study must keep positions.

    `kept` positions; `background` those told as background, and how many there `must_be`; `repeated`; `disordered`: behind a gap or a
    higher hash; `absent`: without a window or behind its end; `other`: another token comes next in the text; `not_finite`: positions with
    an activation that is none.
    """
    held = _with_text(_held(histograms), windows)
    share = quotas(histograms.kept_positions, histograms.token_ids, histograms.outcomes)
    is_here = pl.col("position") < pl.col("length")
    falls = (pl.col("hash") < pl.col("hash").shift()).fill_null(False)
    found = held.select(
        kept=pl.len(),
        background=pl.col("is_background").sum(),
        must_be=pl.lit(min(histograms.positions, share.background)),
        repeated=pl.len() - pl.struct(PLACE).n_unique(),
        disordered=((pl.col("row") != pl.int_range(pl.len())) | falls).sum(),
        absent=(~is_here).fill_null(True).sum(),
        other=(is_here & (pl.col("follows") != pl.col("next_token"))).fill_null(False).sum(),
        not_finite=pl.lit(_not_finite(histograms)),
    )
    return found.cast(pl.Int64)


def nothing_kept(asked: int) -> pl.DataFrame:
    """The same row of counters that keep no position: right where the study asks for none, else the background is missing."""
    none = dict.fromkeys(("kept", "background", "must_be", "repeated", "disordered", "absent", "other", "not_finite"), 0)
    return pl.DataFrame({**none, "must_be": asked // 2}, schema=dict.fromkeys(none, pl.Int64))


def _held(histograms: Histograms) -> pl.DataFrame:
    names = (*PLACE, "next_token", "is_background")
    frame = pl.DataFrame({name: np.asarray(histograms[f"kept_{name}"][:]) for name in names}).with_row_index("row")
    used = frame.filter(pl.col("document") >= 0).with_columns(pl.col("row").cast(pl.Int64), pl.col("is_background").cast(pl.Int64))
    document, window, position = (used[name].to_numpy() for name in PLACE)
    return used.with_columns(hash=pl.Series(position_hash(document, window, position, seed=SEED), dtype=pl.UInt64))


def _with_text(held: pl.DataFrame, windows: pl.LazyFrame) -> pl.DataFrame:
    """With the window's `length` and `follows`, the id of the token after each position, NONE behind the last."""
    window = ["document", "window_in_document"]
    places = held.rename({"window": "window_in_document"})
    read = windows.join(places.lazy().select(window).unique(), on=window, how="semi").select(*window, "length", "token_ids").collect()
    joined = places.join(read, on=window, how="left", maintain_order="left").rename({"window_in_document": "window"})
    return joined.with_columns(follows=pl.col("token_ids").list.get(pl.col("position") + 1, null_on_oob=True).fill_null(NONE))


def _not_finite(histograms: Histograms) -> int:
    """Kept positions with an activation that is no finite number, a layer at a time."""
    used = int((np.asarray(histograms["kept_document"][:]) >= 0).sum())
    wrong = np.zeros(used, bool)
    for layer in range(histograms.layers):
        wrong |= ~np.isfinite(np.asarray(histograms["kept_activations"][:used, layer])).all(-1)
    return int(wrong.sum())


def probes(sparse_probes: pl.DataFrame) -> pl.DataFrame:
    """One row per outcome and token of sparse_probes: rows; `crossed`: whose interval's ends are exchanged or one of them alone;
    `missing`: kinds of probes that are absent though both halves have the cases, or there though they have not; `guessing`: rows of
    `frequency` with an interval, or unlike in both halves.
    """
    low, high = pl.col("average_precision_low"), pl.col("average_precision_high")
    is_frequency = pl.col("kind") == FREQUENCY
    least = pl.min_horizontal("discovery_cases", "telling_cases", "discovery_others", "telling_others").min()
    has_all = ((pl.col("kind") == NEURONS) & (pl.col("size") == 1)).any() & ((pl.col("kind") == LAYER).sum() == 1)
    others = (~pl.col("kind").is_in([NEURONS, LAYER, RESIDUAL, FREQUENCY])).sum()
    expected = pl.when(least >= LEAST_CASES).then(has_all).otherwise((~is_frequency).sum() == 0)
    guessing = is_frequency & (
        low.is_not_null() | high.is_not_null() | (pl.col("average_precision") != pl.col("discovery_average_precision"))
    )
    return sparse_probes.group_by(PROBE, maintain_order=True).agg(
        rows=pl.len().cast(pl.Int64),
        crossed=((low > high) | (low.is_null() != high.is_null())).fill_null(False).sum().cast(pl.Int64),
        missing=((~expected).cast(pl.Int64) + others + (is_frequency.sum() != 1).cast(pl.Int64)),
        guessing=guessing.sum().cast(pl.Int64),
    )


def probe_neurons(members: pl.DataFrame, sparse_probes: pl.DataFrame) -> pl.DataFrame:
    """One row per probe of neurons: `missing`: neurons more or fewer than its size; `disordered`: ranks that do not follow the weights."""
    key = [*PROBE, "size"]
    own = members.group_by(key).agg(
        held=pl.len().cast(pl.Int64),
        misranked=(pl.col("rank") != pl.int_range(1, pl.len() + 1)).sum().cast(pl.Int64),
        rising=(pl.col("weight").abs().diff() > 0).fill_null(False).sum().cast(pl.Int64),
    )
    wanted = sparse_probes.filter(kind=NEURONS).select(key).with_columns(wanted=pl.col("size").cast(pl.Int64))
    joined = wanted.join(own, on=key, how="full", coalesce=True, maintain_order="left").fill_null(0)
    return joined.select(
        *key, neurons="held", missing=(pl.col("wanted") - pl.col("held")).abs(), disordered=pl.col("misranked") + pl.col("rising")
    )


def bands(neuron_bands: pl.DataFrame) -> pl.DataFrame:
    """One row per neuron of neuron_bands: `bands`; `unbalanced`: positions more or fewer than other neurons have; `overlapping`: bands whose
    activations lie above those of a band that is farther up; `overfull`: outer bands with more than their share of positions.
    """
    place = pl.col("end").replace_strict({"high": 0, "middle": 1, "low": 2}, return_dtype=pl.Int32) * 10
    upwards = pl.when(pl.col("end") == "low").then(-pl.col("band")).otherwise(pl.col("band"))
    ordered = neuron_bands.sort("layer", "neuron", place + upwards)
    found = ordered.group_by("layer", "neuron", maintain_order=True).agg(
        bands=pl.len().cast(pl.Int64),
        positions=pl.col("positions").sum(),
        overlapping=(pl.col("highest") >= pl.col("lowest").shift()).fill_null(False).sum().cast(pl.Int64),
        overfull=((pl.col("end") != "middle") & (pl.col("positions") > pl.col("to_share") * pl.col("positions").sum()))
        .sum()
        .cast(pl.Int64),
    )
    return found.with_columns(unbalanced=(pl.col("positions") - pl.col("positions").max()).abs())


def band_tokens(neuron_band_tokens: pl.DataFrame, neuron_bands: pl.DataFrame) -> pl.DataFrame:
    """One row per neuron and outcome of neuron_band_tokens: `tokens`; `wrong_share`: shares that are not positions over the band's;
    `misranked`: ranks that do not go from 1 to at most five by positions; `unasked`: tokens neither tracked nor among the five.
    """
    joined = neuron_band_tokens.join(
        neuron_bands.select(*BAND, "with_next_token", of="positions"), on=BAND, how="left", maintain_order="left"
    )
    of = pl.when(pl.col("outcome") == "next_token").then("with_next_token").otherwise("of")
    share = pl.col("positions") / pl.max_horizontal(of, 1)
    over = [*BAND, "outcome"]
    ranked = joined.with_columns(
        wrong_share=((pl.col("share") - share).abs() > 1e-12).fill_null(True),
        unasked=pl.col("rank").is_null() & ~pl.col("is_tracked"),
        misranked=pl.col("rank").is_not_null()
        & ((pl.col("positions").rank("ordinal", descending=True).over(over) != pl.col("rank")) | (pl.col("rank") > TOKENS)),
    )
    wrong = pl.col("wrong_share", "misranked", "unasked").sum().cast(pl.Int64)
    return ranked.group_by("layer", "neuron", "outcome", maintain_order=True).agg(wrong, tokens=pl.len().cast(pl.Int64))
