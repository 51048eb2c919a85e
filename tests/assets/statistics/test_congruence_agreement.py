"""Which pairs by congruence stand at an end of contribution_screen, on tables written out by hand."""

import polars as pl

from assets.contracts import CONGRUENCE_MUTUAL_PAIRS, CONGRUENCE_TOKENS, CONTRIBUTION_SCREEN, STRONGEST_NEURONS, Table
from assets.statistics.congruence_agreement import congruence_agreement


def rows(table: Table, names: str, *values: tuple) -> pl.DataFrame:
    """A table of some columns; the others are missing."""
    given = pl.DataFrame(list(values), schema=names.split(), orient="row")
    absent = [pl.lit(None).alias(name) for name in table.schema.names() if name not in given.columns]
    return given.with_columns(absent).select(table.schema.names()).cast(table.schema)


SCREEN = rows(
    CONTRIBUTION_SCREEN, "token_id end rank layer neuron",
    (1, "writes", 1, 0, 5), (1, "writes", 2, 0, 6), (1, "writes_against", 1, 1, 7),
    (2, "writes", 1, 0, 6), (2, "writes_against", 1, 0, 8), (2, "writes_against", 2, 0, 5),
)  # fmt: skip
STRONGEST = rows(
    STRONGEST_NEURONS, "measure token_id layer neuron is_mutual",
    ("plain", 1, 0, 6, True), ("plain", 2, 0, 6, False), ("plain", 3, 0, 6, False),
    ("corrected", 1, 1, 7, True), ("corrected", 2, 0, 5, True), ("corrected", 3, 0, 5, True),
)  # fmt: skip
TOKENS = rows(
    CONGRUENCE_TOKENS, "convention token_id rank layer neuron",
    ("published", 1, 1, 0, 6), ("published", 1, 2, 0, 5), ("published", 2, 1, 0, 9), ("logits", 1, 1, 0, 6),
)  # fmt: skip
PAIRS = rows(CONGRUENCE_MUTUAL_PAIRS, "convention token_id layer neuron", ("published", 1, 0, 5), ("logits", 2, 0, 6))


def test_pairs_are_counted_at_either_end_where_their_token_is_told() -> None:
    agreement = congruence_agreement(TOKENS, PAIRS, STRONGEST, SCREEN, is_gated=False)
    assert agreement.rows() == [
        # measure, pairs_of, pairs, told, first_writer, among_writers, first_against, among_against
        ("published", "strongest", 2, 2, 0, 1, 0, 0),
        ("published", "mutual", 1, 1, 1, 1, 0, 0),
        ("plain", "strongest", 3, 2, 1, 2, 0, 0),
        ("plain", "mutual", 1, 1, 0, 1, 0, 0),
        ("corrected", "strongest", 3, 2, 0, 0, 1, 2),
        ("corrected", "mutual", 3, 2, 0, 0, 1, 2),
    ]


def test_the_published_measure_is_left_out_where_signs_are_a_convention() -> None:
    agreement = congruence_agreement(TOKENS, PAIRS, STRONGEST, SCREEN, is_gated=True)
    assert agreement["measure"].unique(maintain_order=True).to_list() == ["plain", "corrected"]


def test_without_a_screen_nothing_is_told() -> None:
    agreement = congruence_agreement(TOKENS, PAIRS, STRONGEST, SCREEN.clear(), is_gated=False)
    assert agreement["told"].to_list() == [0] * 6
    assert agreement["pairs"].to_list() == [2, 1, 3, 1, 3, 3]
