"""Seeded samples of positions of each tracked token: where it is the top prediction, and where it is the next token.

A sample holds the SAMPLED positions of lowest hash, at most PER_DOCUMENT of a document: a bottom-k sketch. A position's hash depends
on the position alone, so the sample does not depend on the order in which positions come by, nor on how they are cut into shards.
Holds the hash, the choice and the merge; PositionSampler meets the positions.

Why a merge of parts is exactly the sample of the whole, even where a document is torn apart: a position is in the sample if fewer
than PER_DOCUMENT positions of its document come before it, and fewer than SAMPLED in all, where a document counts with
min(PER_DOCUMENT, its positions before it). A part holds no more positions than the whole, so neither number is larger in it, and
what belongs to the whole's sample is in its part's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

SAMPLED = 1024  # positions kept of each token and outcome: 16 KiB
PER_DOCUMENT = 4  # positions of a document are alike, and intervals come from documents
SEED = 20230211

TOP_PREDICTION, NEXT_TOKEN = "top_prediction", "next_token"
SAMPLES = {TOP_PREDICTION: "sampled_prediction", NEXT_TOKEN: "sampled_next_token"}  # outcome -> beginning of its tensors' names
PLACE = ("document", "window", "position")
SAMPLE_TENSORS = tuple(f"{name}_{part}" for name in SAMPLES.values() for part in PLACE)

SAMPLE = pl.Schema({"row": pl.Int64, "hash": pl.UInt64, "document": pl.Int64, "window": pl.Int32, "position": pl.Int32})


def position_hash(document: Any, window: Any, position: Any, seed: int = SEED) -> np.ndarray:
    """UInt64 of the shape of the three integer arrays: one seeded number for each place, as good as random.

    The finalizer of SplitMix64, once for each part (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014).
    """
    mixed = np.full(np.shape(document), seed, np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64; NumPy warns of it where a place is a scalar
        for part in (document, window, position):
            mixed = (mixed ^ np.asarray(part).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed ^= mixed >> np.uint64(31)
    return mixed


def candidates(row: np.ndarray, document: np.ndarray, window: np.ndarray, position: np.ndarray) -> pl.DataFrame:
    """Places of tracked tokens with their hash, columns of SAMPLE; `row` is the token's place among the tracked ones."""
    place = {"row": row, "hash": position_hash(document, window, position), "document": document, "window": window, "position": position}
    return pl.DataFrame(place, schema=SAMPLE)


def lowest(found: pl.DataFrame, kept: int = SAMPLED) -> pl.DataFrame:
    """The sample of the places in `found` (columns of SAMPLE, each place of a token once), by row, lowest hash first."""
    ordered = found.sort("row", "hash", "document", "window", "position")
    few = ordered.filter(pl.int_range(pl.len()).over("row", "document") < PER_DOCUMENT)
    return few.filter(pl.int_range(pl.len()).over("row") < kept)


def extended(sample: pl.DataFrame, found: pl.DataFrame, kept: int = SAMPLED) -> pl.DataFrame:
    """The sample of its own positions and those in `found`, columns of SAMPLE, none of them in both.

    As `lowest` of both, but what lies above a full sample's highest hash, nearly everything after a while, is not sorted first.
    """
    full = sample.group_by("row").agg(pl.len(), highest=pl.col("hash").max()).filter(pl.col("len") == kept)
    near = found.join(full, on="row", how="left").filter(pl.col("highest").is_null() | (pl.col("hash") <= pl.col("highest")))
    return lowest(pl.concat([sample, near.select(SAMPLE.names())]), kept)


def sample_arrays(outcome: str, sample: pl.DataFrame, tokens: int, kept: int = SAMPLED) -> dict[str, np.ndarray]:
    """The outcome's tensors [token, sample], filled up with document -1."""
    rank = sample.select(pl.int_range(pl.len()).over("row")).to_series().to_numpy()
    rows = sample["row"].to_numpy()
    made = {}
    for part in PLACE:
        name = f"{SAMPLES[outcome]}_{part}"
        made[name] = np.full((tokens, kept), -1 if part == "document" else 0, np.int64 if part == "document" else np.int32)
        made[name][rows, rank] = sample[part].to_numpy()
    return made


def sample_of_arrays(outcome: str, tensors: Mapping[str, Any]) -> pl.DataFrame:
    """Back from the outcome's tensors to columns of SAMPLE, in the stored order."""
    document, window, position = (np.asarray(tensors[f"{SAMPLES[outcome]}_{part}"][:]) for part in PLACE)
    rows, ranks = np.nonzero(document >= 0)
    return candidates(rows, document[rows, ranks], window[rows, ranks], position[rows, ranks])


def merged_samples(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """SAMPLE_TENSORS of the positions of both, which must share none; arrays [token, sample] of the same shape."""
    merged: dict[str, np.ndarray] = {}
    for outcome, name in SAMPLES.items():
        tokens, kept = a[f"{name}_document"].shape
        both = pl.concat([sample_of_arrays(outcome, tensors) for tensors in (a, b)])
        merged |= sample_arrays(outcome, lowest(both, kept), tokens, kept)
    return merged


def sampled_positions(tensors: Mapping[str, Any], token_ids: Sequence[int]) -> pl.DataFrame:
    """The samples as a table: outcome, token_id, document, window_in_document, position; of each token the lowest hash first."""
    ids = pl.Series("token_id", list(token_ids), dtype=pl.Int32)
    frames = []
    for outcome in SAMPLES:
        held = sample_of_arrays(outcome, tensors)
        place = held.select("document", pl.col("window").alias("window_in_document"), "position")
        frames.append(place.select(pl.lit(outcome).alias("outcome"), ids.gather(held["row"]), *place.columns))
    return pl.concat(frames)
