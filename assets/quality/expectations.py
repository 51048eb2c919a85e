"""How a check is judged: a small frame of counted violations, a list of expectations, Great Expectations, a list of outcomes.

Holds the two records and the judging. What must hold of which output stands in `suites`; the counting of violations, which never
leaves NumPy and polars, in `counter_violations` and `table_violations`. Great Expectations reads pandas, so only frames of a
few hundred rows come here. A missing or NaN cell would be skipped, not judged, so such frames are refused.
"""

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from assets.contracts import DATA_QUALITY, conform
from assets.heavy_imports import heavy_imports

Severity = Literal["blocking", "warning"]


@dataclass(frozen=True)
class Expectation:
    """One sentence that must hold, and the Great Expectations class that decides it.

    `kind` and `arguments` are the class's name and its keyword arguments (great_expectations.expectations); `observed` turns the
    judged frame into the text that a reader sees.
    """

    sentence: str
    severity: Severity
    expected: str
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


def judge(asset: str, check: str, frame: pl.DataFrame, expectations: list[Expectation]) -> list[Outcome]:
    """Validate `frame` with Great Expectations; one outcome per expectation, in the order given.

    Raises ValueError for a frame with missing or NaN cells.
    """
    gaps = [series.name for series in frame if series.null_count() or (series.dtype.is_float() and series.is_nan().any())]
    if gaps:
        raise ValueError(f"{asset}, {check}: columns {gaps} hold missing values, which would be skipped; count them as violations first")
    gx, batches = _great_expectations()
    suite = gx.ExpectationSuite(
        name=check,
        expectations=[
            getattr(gx.expectations, expectation.kind)(**expectation.arguments, meta={"order": order})
            for order, expectation in enumerate(expectations)
        ],
    )
    batch = batches.get_batch(batch_parameters={"dataframe": frame.to_pandas()})
    results = batch.validate(suite, result_format="BASIC").results  # comes back in an order of its own
    passed = {result.expectation_config.meta["order"]: bool(result.success) for result in results}
    return [
        Outcome(
            asset,
            check,
            expectation.sentence,
            expectation.severity,
            passed[order],
            expectation.expected,
            expectation.observed(frame),
        )
        for order, expectation in enumerate(expectations)
    ]


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
