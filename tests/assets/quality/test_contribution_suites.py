"""The checks of contributions and candidates: sound tables pass, and each planted fault is found by its own sentence."""

from collections.abc import Callable

import polars as pl
import pytest

from assets.contracts import TABLES, conform
from assets.quality.expectations import Outcome
from tests.assets.quality import judged

Change = Callable[[pl.DataFrame], pl.DataFrame]

DIFFERENCE = "a contribution is what is added where the token is predicted less what is added elsewhere"
SIGN = "a contribution has the sign of its end"
BY_SIZE = "ranks follow the size of the contribution"
THE_SAME = "a tracked token's rows are those of all its neurons"
BY_VALUE = "ranks within a token and line follow the value"
NAMED = "named neurons, and only these, have neither rank nor value"


def failures(outcomes: list[Outcome]) -> list[str]:
    assert {outcome.severity for outcome in outcomes} == {"blocking"}
    return [outcome.expectation for outcome in outcomes if not outcome.passed]


@pytest.fixture
def contributions() -> pl.DataFrame:
    """Every neuron of one tracked token: four of them."""
    there = [0.5, -0.25, 0.75, -1.0]
    frame = pl.DataFrame({"neuron": range(4), "contribution_where_predicted": there, "contribution_elsewhere": [0.25, 0.25, 0.0, 0.5]})
    size = pl.col("contribution_where_predicted") - pl.col("contribution_elsewhere")
    named = frame.with_columns(token_id=7, token=pl.lit(" an"), layer=0, congruence=1.0, contribution=size)
    return conform(TABLES["contributions"], named.with_columns(contribution_low=size - 0.1, contribution_high=size + 0.1))


@pytest.fixture
def screen(contributions: pl.DataFrame) -> pl.DataFrame:
    """Both ends of the tracked token, and one of another."""
    ends = contributions.with_columns(
        end=pl.when(pl.col("contribution") > 0).then(pl.lit("writes")).otherwise(pl.lit("writes_against")), predictions=30
    ).sort("end", pl.col("contribution").abs(), descending=[False, True])  # fmt: skip
    ends = ends.with_columns(rank=pl.int_range(1, pl.len() + 1).over("end"))
    other = ends.filter(end="writes").with_columns(token_id=pl.lit(9, pl.Int32), contribution=pl.col("contribution") / 2)
    names = TABLES["contribution_screen"].schema.names()
    return conform(TABLES["contribution_screen"], pl.concat([ends.select(names), other.select(names)]))


def first(name: str, value: object) -> Change:
    return at(0, name, value)


def at(place: int, name: str, value: object) -> Change:
    return lambda frame: frame.with_columns(
        pl.when(pl.int_range(pl.len()) == place).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
    )


def test_sound_contributions_pass(contributions: pl.DataFrame, screen: pl.DataFrame) -> None:
    assert screen.group_by("token_id", "end").len().height == 3
    assert failures(judged.contribution_quality(contributions, screen)) == []


@pytest.mark.parametrize("name", ["contribution", "contribution_where_predicted", "contribution_elsewhere"])
@pytest.mark.parametrize("value", [0.1, float("nan"), None])
def test_a_contribution_that_is_not_the_difference_of_its_parts_is_found(
    contributions: pl.DataFrame, screen: pl.DataFrame, name: str, value: float | None
) -> None:
    own = screen.filter(token_id=9)  # of another token: only the difference is concerned
    assert failures(judged.contribution_quality(first(name, value)(contributions), own)) == [DIFFERENCE]


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (first("end", "writes_against"), [SIGN, BY_SIZE]),  # three in a row at the other end
        (first("end", "neither"), [SIGN, BY_SIZE]),
        (first("rank", 2), [BY_SIZE]),
        (lambda frame: frame.with_columns(rank=pl.col("rank") + 1), [BY_SIZE]),
        (first("contribution", 0.01), [BY_SIZE, THE_SAME]),
        (first("contribution", 9.0), [THE_SAME]),
        (first("contribution", None), [SIGN, THE_SAME]),
        (first("contribution", float("nan")), [SIGN, BY_SIZE, THE_SAME]),
        (first("neuron", 3), [THE_SAME]),
        (first("layer", 5), [THE_SAME]),
        (lambda frame: frame.with_columns(contribution=-pl.col("contribution")), [SIGN, THE_SAME]),
    ],
)
def test_each_fault_of_the_ends_is_found(contributions: pl.DataFrame, screen: pl.DataFrame, change: Change, broken: list[str]) -> None:
    found = failures(judged.contribution_quality(contributions, change(screen).cast(screen.schema)))
    assert set(broken) <= set(found)
    assert set(found) <= {SIGN, BY_SIZE, THE_SAME}


CHOSEN = "a proposed neuron is the first writer of its token, writes no other screened token more, and the token is not tracked"
IN_ORDER = "proposed pairs follow the size of the contribution"
WAY = "a direction is the sign of the standardized difference"


@pytest.fixture
def others() -> tuple[pl.DataFrame, pl.DataFrame]:
    """A screen of two tokens that are not tracked, of which neuron 0 writes both, token 9 more; and the pairs of a third and of token 9."""
    rows = [
        (8, "writes", 1, 0, 1.0),
        (9, "writes", 1, 0, 2.0),
        (9, "writes", 2, 1, 0.5),
        (10, "writes", 1, 2, 3.0),
        (10, "writes_against", 1, 0, -4.0),
    ]
    screen = pl.DataFrame(rows, schema=["token_id", "end", "rank", "neuron", "contribution"], orient="row").with_columns(
        token=pl.lit("x"), predictions=30, layer=0, congruence=1.0, contribution_where_predicted=0.0, contribution_elsewhere=0.0
    )
    pairs = pl.DataFrame(
        [(1, 10, 2, 3.0, 1, 4.0, 0.5), (2, 9, 0, 2.0, -1, None, 1.0)],
        schema=["rank", "token_id", "neuron", "contribution", "direction", "standardized_difference", "variance_explained"],
        orient="row",
    ).with_columns(token=pl.lit("x"), predictions=30, layer=0, is_named_by_text=True)
    return conform(TABLES["contribution_screen"], screen), conform(TABLES["proposed_pairs"], pairs)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda frame: frame, []),
        (first("token_id", 7), [CHOSEN]),  # tracked
        (first("neuron", 1), [CHOSEN]),
        (at(1, "token_id", 8), [CHOSEN]),  # its first writer writes token 9 more
        (at(1, "contribution", 1.9), [CHOSEN]),
        (first("contribution", 1.0), [CHOSEN, IN_ORDER]),
        (first("rank", 2), [IN_ORDER]),
        (first("direction", -1), [WAY]),
        (first("standardized_difference", -4.0), [WAY]),
    ],
)
def test_each_fault_of_the_proposed_pairs_is_found(
    contributions: pl.DataFrame, others: tuple[pl.DataFrame, pl.DataFrame], change: Change, broken: list[str]
) -> None:
    screen, pairs = others
    assert failures(judged.contribution_quality(contributions, screen, change(pairs).cast(pairs.schema))) == broken


def test_a_pair_of_a_token_whose_neuron_writes_another_more_is_found_with_its_own_number(
    contributions: pl.DataFrame, others: tuple[pl.DataFrame, pl.DataFrame]
) -> None:
    screen, pairs = others
    of_token_8 = at(1, "token_id", 8)(at(1, "contribution", 1.0)(pairs)).cast(pairs.schema)
    assert failures(judged.contribution_quality(contributions, screen, of_token_8)) == [CHOSEN]


@pytest.fixture
def candidates() -> pl.DataFrame:
    rows = [("named", None, 1, None), ("separation", 1, 2, 0.9), ("separation", 2, 3, 0.9), ("separation", 3, 4, 0.7),
            ("contribution_against", 1, 5, -2.0), ("contribution_against", 2, 6, -1.0),
            ("patched_together", 1, 7, 0.9), ("patched_together", 2, 8, 0.9)]  # fmt: skip
    frame = pl.DataFrame(rows, schema=["line", "rank", "neuron", "value"], orient="row")
    return conform(TABLES["candidates"], frame.with_columns(token_id=7, token=pl.lit(" an"), layer=0))


def test_sound_candidates_pass(candidates: pl.DataFrame) -> None:
    assert failures(judged.candidate_quality(candidates)) == []


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (at(0, "rank", 1), NAMED),
        (at(0, "value", 0.5), NAMED),
        (at(3, "rank", 2), BY_VALUE),
        (at(3, "value", 0.95), BY_VALUE),
        (at(4, "value", -0.5), BY_VALUE),
        (at(7, "value", 0.95), BY_VALUE),
        (at(7, "rank", 1), BY_VALUE),
        (at(6, "value", None), NAMED),
        (at(1, "rank", None), NAMED),
        (at(1, "value", None), NAMED),
    ],
)
def test_each_fault_of_the_candidates_is_found(candidates: pl.DataFrame, change: Change, broken: str) -> None:
    found = failures(judged.candidate_quality(change(candidates).cast(candidates.schema)))
    assert broken in found
    assert set(found) <= {BY_VALUE, NAMED}
