"""How a check is judged: a small frame of counted violations, a list of expectations, Great Expectations, a list of outcomes.

Holds the two records, the kinds of sentences and the judging. What must hold of which output stands in `checks`; the counting of
violations, which never leaves NumPy and polars, in `counter_violations` and `table_violations`. Great Expectations reads pandas, so
only frames of a few hundred rows come here. A missing or NaN cell would be skipped, not judged, so such frames are refused.

Great Expectations takes 12 ms for a sentence. A small study's run asks it 759, of which 115 differ: most are asked of a row that holds
0. So a verdict is remembered by all that it follows from: the kind, its arguments, and the types and cells of the columns that they
name, whatever the columns are called (by name 250 would differ).
"""

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from assets.contracts import DATA_QUALITY, conform
from assets.heavy_imports import heavy_imports

Severity = Literal["blocking", "warning"]


@dataclass(frozen=True)
class Expectation:
    """One sentence that must hold, and the Great Expectations class that decides it.

    `kind` and `arguments` are the class's name and its keyword arguments (great_expectations.expectations); `expected` and `observed`
    turn the judged frame into the texts that a reader sees. Made once, when the check is declared: what depends on an output stands in
    the frame.
    """

    sentence: str
    severity: Severity
    expected: Callable[[pl.DataFrame], str]
    kind: str
    arguments: Mapping[str, Any]
    observed: Callable[[pl.DataFrame], str]


@dataclass(frozen=True)
class Outcome:
    """What came of one expectation: a row of the table data_quality."""

    asset: str
    check: str
    expectation: str
    severity: Severity
    passed: bool
    expected: str
    observed: str

    @property
    def is_blocking_failure(self) -> bool:
        """Nothing downstream may be built from this output."""
        return self.severity == "blocking" and not self.passed


def outcome_frame(outcomes: Iterable[Outcome]) -> pl.DataFrame:
    """The table data_quality."""
    rows = [{column.name: getattr(outcome, column.name) for column in DATA_QUALITY.columns} for outcome in outcomes]
    return conform(DATA_QUALITY, pl.DataFrame(rows, schema=DATA_QUALITY.schema))


def none_of(
    sentence: str,
    column: str,
    unit: str,
    of: str | None = None,
    by: tuple[str, ...] = (),
    severity: Severity = "blocking",
    expected: Callable[[pl.DataFrame], str] | None = None,
    observed: Callable[[pl.DataFrame], str] | None = None,
) -> Expectation:
    """No violation in any row. `of` is the column of what was looked at, `by` the columns that name a row."""
    return Expectation(
        sentence,
        severity,
        expected or (lambda frame: f"0 {unit}"),
        "ExpectColumnValuesToBeBetween",
        {"column": column, "min_value": 0, "max_value": 0},
        observed or (lambda frame: _violations(frame, column, unit, of, by)),
    )


def _violations(frame: pl.DataFrame, column: str, unit: str, of: str | None, by: tuple[str, ...]) -> str:
    total = frame[column].sum()
    text = f"{total:,} of {frame[of].sum():,} {unit}" if of else f"{total:,} {unit}"
    if not total or not by:
        return text
    worst = frame.sort(column, descending=True, maintain_order=True).row(0, named=True)
    place = ", ".join(f"{name} {worst[name]!r}" for name in by)
    return f"{text}; most in {place} ({worst[column]:,})"


def equal(
    sentence: str,
    found: str,
    promised: str,
    expected: Callable[[pl.DataFrame], str] | None = None,
    observed: Callable[[pl.DataFrame], str] | None = None,
) -> Expectation:
    """The two columns agree in every row. Without texts of their own they hold positions, in one row."""
    return Expectation(
        sentence,
        "blocking",
        expected or (lambda frame: f"{frame[promised][0]:,} positions"),
        "ExpectColumnPairValuesToBeEqual",
        {"column_A": found, "column_B": promised},
        observed or (lambda frame: f"{frame[found][0]:,} positions"),
    )


def unlike(name: str) -> Callable[[pl.DataFrame], str]:
    """Text of the first row whose found is not its promised; rows are named by column `name`."""

    def text(frame: pl.DataFrame) -> str:
        wrong = frame.filter(pl.col("found") != pl.col("promised"))
        if wrong.is_empty():
            return f"{frame.height} of {frame.height} as promised"
        first = wrong.row(0, named=True)
        return f"{wrong.height} of {frame.height} differ; first {first[name]}: {first['found']} instead of {first['promised']}"

    return text


def at_least_one(sentence: str, column: str, unit: str, observed: Callable[[pl.DataFrame], str] | None = None) -> Expectation:
    """The column's sum is not 0; `unit` in the singular."""
    return Expectation(
        sentence,
        "blocking",
        lambda frame: f"at least one {unit}",
        "ExpectColumnSumToBeBetween",
        {"column": column, "min_value": 1},
        observed or (lambda frame: f"{frame[column].sum():,} {unit}s"),
    )


def share_frame(part: int, whole: int, **more: Any) -> pl.DataFrame:
    """The frame that `small_share` judges; nothing of nothing is a share of 0. `more` are columns for its texts."""
    return pl.DataFrame(
        {"part": [part], "whole": [whole], "share": [part / max(whole, 1)], **{name: [value] for name, value in more.items()}}
    )


def small_share(sentence: str, largest: float, expected: str, remark: Callable[[pl.DataFrame], str] = lambda frame: "") -> Expectation:
    """A warning where the share of a share_frame exceeds `largest`."""
    return Expectation(
        sentence,
        "warning",
        lambda frame: f"at most {expected}",
        "ExpectColumnMaxToBeBetween",
        {"column": "share", "max_value": largest},
        lambda frame: f"{frame['share'][0]:.4%} ({frame['part'][0]:,} of {frame['whole'][0]:,}){remark(frame)}",
    )


def judge(asset: str, check: str, frame: pl.DataFrame, expectations: Sequence[Expectation]) -> list[Outcome]:
    """Validate `frame` with Great Expectations; one outcome per expectation, in the order given.

    Raises ValueError for a frame with missing or NaN cells.
    """
    gaps = [series.name for series in frame if series.null_count() or (series.dtype.is_float() and series.is_nan().any())]
    if gaps:
        raise ValueError(f"{asset}, {check}: columns {gaps} hold missing values, which would be skipped; count them as violations first")
    holds = holding(frame, [(expectation.kind, expectation.arguments) for expectation in expectations])
    return [
        Outcome(asset, check, one.sentence, one.severity, is_held, one.expected(frame), one.observed(frame))
        for one, is_held in zip(expectations, holds, strict=True)
    ]


def holding(frame: pl.DataFrame, kinds: Sequence[tuple[str, Mapping[str, Any]]]) -> list[bool]:
    """Whether each expectation, given by its class's name and arguments, holds of the frame.

    Raises KeyError where arguments name no column of the frame.
    """
    return [_remembered(frame, kind, arguments) for kind, arguments in kinds]


def _remembered(frame: pl.DataFrame, kind: str, arguments: Mapping[str, Any]) -> bool:
    named = list(dict.fromkeys(value for value in arguments.values() if value in frame.columns))
    if not named:
        raise KeyError(f"{kind}: {dict(arguments)} names no column; the frame has {frame.columns}")
    called = {name: f"column {place}" for place, name in enumerate(named)}
    cells = frame.select(named).rename(called)
    return _holds(
        kind, tuple((key, called.get(value, value)) for key, value in arguments.items()), tuple(cells.schema.items()), tuple(cells.rows())
    )


@functools.lru_cache(maxsize=4096)
def _holds(kind: str, arguments: tuple[tuple[str, Any], ...], schema: tuple[tuple[str, pl.DataType], ...], rows: tuple[Any, ...]) -> bool:
    """Great Expectations' verdict of one expectation on the rows."""
    gx, batches = _great_expectations()
    frame = pl.DataFrame(rows, schema=dict(schema), orient="row")
    suite = gx.ExpectationSuite(name="judged", expectations=[getattr(gx.expectations, kind)(**dict(arguments))])
    batch = batches.get_batch(batch_parameters={"dataframe": frame.to_pandas()})
    (result,) = batch.validate(suite, result_format="BASIC").results
    return bool(result.success)


@functools.cache
def _great_expectations() -> tuple[Any, Any]:
    """The library (3 s to import) and a batch definition in one throw-away context per process: nothing is written or sent."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with heavy_imports("great_expectations"):
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("violations")
    return gx, source.add_dataframe_asset("frame").add_batch_definition_whole_dataframe("all rows")
