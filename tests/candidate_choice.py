"""Candidates chosen by scores alone, or with whatever other lines a test gives. Holds no test."""

from collections.abc import Mapping, Sequence

import polars as pl

from assets.contracts import TABLES
from assets.statistics.candidates import candidates, studied_pairs

EMPTY: dict[str, pl.Schema] = {
    "contributions": TABLES["contributions"].schema,
    "congruence": TABLES["congruence_tracked_tokens"].schema,
    "screen": TABLES["token_neuron_screen"].schema,
    "contrasted": TABLES["contrasts"].schema,
    "patched": pl.Schema({**TABLES["neuron_patching"].schema, "token_id": pl.Int32()}),
    "over_sets": pl.Schema({**TABLES["prompt_set_patching"].schema, "token_id": pl.Int32()}),
    "sets": pl.Schema({**TABLES["patched_neuron_sets"].schema, "token_id": pl.Int32()}),
}


def candidates_of(
    scores: pl.DataFrame,
    token_ids: Sequence[int],
    named: Sequence[tuple[int, int]] = (),
    best: int = 1,
    is_gated: bool = False,
    **lines: pl.DataFrame,
) -> pl.DataFrame:
    """The table, of tokens that are called by their ids; lines that are not given send nobody."""
    tokens = pl.DataFrame({"token_id": list(token_ids)}, schema={"token_id": pl.Int32}).with_columns(
        token=pl.col("token_id").cast(pl.String), row=pl.int_range(pl.len(), dtype=pl.Int32)
    )  # fmt: skip
    if "average_precision" not in scores.columns:
        scores = scores.with_columns(average_precision=pl.lit(None, pl.Float64))
    empty: Mapping[str, pl.DataFrame] = {name: pl.DataFrame(schema=schema) for name, schema in EMPTY.items()}
    return candidates(tokens, named, scores, **{**empty, **lines}, best=best, is_gated=is_gated)


def pairs_of(scores: pl.DataFrame, token_ids: Sequence[int], named: Sequence[tuple[int, int]] = (), best: int = 1) -> pl.DataFrame:
    """The pairs that such candidates make."""
    return studied_pairs(candidates_of(scores, token_ids, named, best))
