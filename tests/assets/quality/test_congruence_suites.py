"""The checks of corrected congruence: each planted fault is found by its sentence, and nothing else is."""

from typing import Any

import polars as pl
import pytest

from assets.congruence.congruence import congruence
from assets.contracts import CONGRUENCE_AGREEMENT
from assets.model.loading import load
from assets.quality import congruence_violations
from assets.quality.checks import statistics
from tests.assets.congruence.tiny_models import tiny_model
from tests.assets.quality.judged import check

SAME = "corrected pairs are the strongest neurons that are mutual"
PRODUCT = "a corrected score is the product of its gaps"
ORDER = "corrected pairs follow the score"
ONE_PAIR = "a neuron is in one mutual pair at most"
HAS_ITS_TOKENS = "a hub has the tokens whose strongest neuron it is"
HUB_ORDER = "ranks of hubs follow their tokens"

Tables = dict[str, pl.DataFrame]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def tables(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    made = congruence(load(tiny_model(tmp_path_factory.mktemp("checked"), request.param), device="cpu"), [14], [])
    return {name: made[name] for name in ("strongest_neurons", "corrected_mutual_pairs", "congruence_hubs")}


def broken(tables: Tables) -> set[str]:
    outcomes = check("corrected_values", "congruence").judged(statistics.corrected_frames(*tables.values()))
    return {outcome.expectation for outcome in outcomes if not outcome.passed}


def first(**values: Any) -> list[pl.Expr]:
    """Columns with another value in the first row."""
    return [
        pl.when(pl.int_range(pl.len()) == 0)
        .then(value if isinstance(value, pl.Expr) else pl.lit(value))
        .otherwise(pl.col(name))
        .alias(name)
        for name, value in values.items()
    ]


def test_tables_as_they_are_made_break_no_promise(tables: Tables) -> None:
    assert tables["corrected_mutual_pairs"].height > 1
    assert broken(tables) == set()


@pytest.mark.parametrize(
    ("table", "change", "found"),
    [
        ("corrected_mutual_pairs", lambda frame: frame[1:], {SAME}),
        ("corrected_mutual_pairs", lambda frame: frame.with_columns(first(layer=77)), {SAME}),
        ("corrected_mutual_pairs", lambda frame: frame.with_columns(first(score=pl.col("score") * 1.01)), {PRODUCT}),
        ("corrected_mutual_pairs", lambda frame: frame.reverse(), {ORDER}),
        ("congruence_hubs", lambda frame: frame.with_columns(first(plain_tokens=pl.col("plain_tokens") + 1)), {HAS_ITS_TOKENS}),
        ("congruence_hubs", lambda frame: frame.with_columns(first(plain_share=0.99)), {HAS_ITS_TOKENS}),
        ("congruence_hubs", lambda frame: frame.with_columns(first(plain_rank=None)), {HAS_ITS_TOKENS}),
        ("congruence_hubs", lambda frame: frame.with_columns(plain_rank=99 - pl.col("plain_rank")), {HUB_ORDER}),
    ],
)
def test_each_fault_is_found(tables: Tables, table: str, change: Any, found: set[str]) -> None:
    assert broken({**tables, table: change(tables[table])}) == found


def test_two_pairs_that_share_a_neuron_are_found(tables: Tables) -> None:
    strongest = tables["strongest_neurons"].with_columns(is_mutual=True)
    assert ONE_PAIR in broken({**tables, "strongest_neurons": strongest})


@pytest.mark.parametrize(
    ("counts", "is_wrong"),
    [((9, 5, 1, 3, 1, 2), 0), ((4, 5, 1, 3, 1, 2), 1), ((9, 5, 4, 3, 1, 2), 1), ((9, 5, 1, 3, 3, 2), 1), ((9, 5, 1, 3, 1, 3), 1)],
)
def test_a_part_that_is_larger_than_its_whole_is_found(counts: tuple[int, ...], is_wrong: int) -> None:
    frame = pl.DataFrame([("plain", "mutual", *counts)], schema=CONGRUENCE_AGREEMENT.schema, orient="row")
    assert congruence_violations.agreement(frame)["larger"].to_list() == [is_wrong]
    (outcome,) = check("agreement_values", "congruence_agreement").judged({"rows": congruence_violations.agreement(frame)})
    assert outcome.passed == (not is_wrong)
