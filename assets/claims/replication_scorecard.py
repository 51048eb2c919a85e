"""The table `replication_scorecard`: every claim with what was observed by both conventions, and a verdict.

`replicated`: the observed value is within the tolerance, by the claim's own convention. `not replicated`: it was looked for and
differs, or does not occur. `not run`: it could not be looked for, with the reason; nothing else is ever shown as a verdict on it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from assets.claims.claim_tables import ClaimTables, NothingFoundError, NotRunError
from assets.claims.claims import Claim
from assets.claims.quantities import CONVENTIONS, QUANTITIES
from assets.contracts import REPLICATION_SCORECARD, conform

REPLICATED, NOT_REPLICATED, NOT_RUN = "replicated", "not replicated", "not run"


def replication_scorecard(claims: Sequence[Claim], tables: Mapping[str, pl.LazyFrame], counts_bos: bool, min_count: int) -> pl.DataFrame:
    """One row a claim, in the given order. `tables` are the published ones by contract name; the rest as in ClaimTables."""
    evidence = ClaimTables(tables, counts_bos, min_count)
    rows = [{"row": row, **_judged(claim, evidence)} for row, claim in enumerate(claims)]
    return conform(REPLICATION_SCORECARD, pl.DataFrame(rows, schema=REPLICATION_SCORECARD.schema))


def _judged(claim: Claim, evidence: ClaimTables) -> dict[str, Any]:
    quantity = QUANTITIES[claim.quantity]
    row: dict[str, Any] = {
        "claim": claim.claim,
        "source": claim.source,
        "quantity": quantity.name,
        "meaning": quantity.meaning,
        "subject": str(claim.of),
        "unit": quantity.unit,
        "convention": claim.convention,
        "expected": claim.expected,
        "tolerance": claim.tolerance,
        "conventions_differ": quantity.how is not None,
    }
    was_run = {}
    for convention in CONVENTIONS:
        observed, reason, was_run[convention] = None, None, True
        try:
            observed = _finite(quantity.look[convention](evidence, claim.of))
        except NotRunError as error:
            reason, was_run[convention] = str(error), False
        except NothingFoundError as error:
            reason = str(error)
        row |= {f"{convention}_way": quantity.how[convention] if quantity.how else "", f"observed_{convention}": observed}
        row[f"reason_{convention}"] = reason
    return {**row, "verdict": _verdict(claim, row[f"observed_{claim.convention}"], was_run[claim.convention])}


def _verdict(claim: Claim, observed: float | None, was_run: bool) -> str:
    if not was_run:
        return NOT_RUN
    if observed is None:
        return NOT_REPLICATED
    within = abs(observed - claim.expected) <= claim.tolerance + 1e-12 * abs(claim.expected)  # 0.3 - 0.2 is not above 0.1
    return REPLICATED if within else NOT_REPLICATED


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise NotRunError(f"the value is {value}, which is no number to compare")
    return value
