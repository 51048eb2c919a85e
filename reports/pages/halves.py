"""What a token's page says of halves, luck, growth and domains: how far the ranking of all neurons can be trusted.

Holds look-ups; every number is that of half_agreement, corpus_growth, domain_scores and domain_tests.
"""

from typing import Any

import polars as pl

from assets.counting.document_blocks import FOLDS
from reports.report_data import ReportData

MEASURES = {"separation": "Separation", "average_precision": "Average precision", "contribution": "Contribution"}


def agreement(data: ReportData, token_id: int) -> list[dict[str, Any]]:
    """For each measure how the two halves rank all neurons, and what luck gives, by the outcome that leads for the token."""
    own = data.table("half_agreement").filter(token_id=token_id, outcome=data.leading[token_id])
    rows = own.filter(pl.col("rank_correlation").is_not_null())
    return [{**row, "what": MEASURES[row["measure"]]} for row in rows.iter_rows(named=True)]


def growth(data: ReportData, token_id: int) -> list[dict[str, Any]]:
    """For each share of the documents the first neuron by contribution and by separation, with how many of its first ten are the last ten."""
    own = data.table("corpus_growth").filter(token_id=token_id, outcome=data.leading[token_id])
    last = own.filter(step=FOLDS).select("measure", "layer", "neuron")
    kept = own.join(last, on=["measure", "layer", "neuron"], how="semi").group_by("measure", "step").agg(kept=pl.len())
    first = own.filter(rank=1).join(kept, on=["measure", "step"], how="left").with_columns(pl.col("kept").fill_null(0))
    ten = last.group_by("measure").agg(ten=pl.len())
    rows = first.join(ten, on="measure").sort("step").iter_rows(named=True)
    steps: dict[int, dict[str, Any]] = {}
    for row in rows:
        told = steps.setdefault(
            row["step"], {"step": row["step"], "of": FOLDS, "positions": row["positions"], "cases": row["cases"], **dict.fromkeys(MEASURES)}
        )
        told[row["measure"]] = row
    return list(steps.values())


def domains(data: ReportData, token_id: int, neuron: tuple[int, int] | None) -> dict[str, Any] | None:
    """Of the neuron that answers: its scores in each domain, and the tests whether domains differ; None where the corpus has one domain."""
    if neuron is None:
        return None
    place = {"token_id": token_id, "outcome": data.leading[token_id], "layer": neuron[0], "neuron": neuron[1]}
    rows = data.table("domain_scores").filter(**place)
    tests = dict(data.table("domain_tests").filter(**place).select("measure", "p_value").iter_rows())
    return {"rows": rows.sort("domain").to_dicts(), "tests": tests} if rows.height else None
