"""The scorecard page: every claim with its verdict, what was expected, and what was observed by the post's convention and the right one."""

import polars as pl

from reports.pages.page import Page
from reports.report_data import ReportData

VERDICTS = {  # in the order shown: badge, heading, meaning
    "not replicated": ("bad", "Not replicated", "Looked for and found to differ, or not to occur. Both values are shown."),
    "replicated": ("good", "Replicated", "Within the tolerance, by the convention of the claim."),
    "not run": ("unknown", "Not run", "Could not be put to the test; nothing is said about whether it holds."),
}
COUNTED = ("position", "document", "entry", "place", "line", "sign")  # units of whole numbers


def scorecard_page(data: ReportData) -> Page:
    """scorecard.html."""
    rows = data.table("replication_scorecard").sort("row")
    groups = [
        {"verdict": verdict, "badge": badge, "heading": heading, "meaning": meaning, "rows": found.to_dicts()}
        for verdict, (badge, heading, meaning) in VERDICTS.items()
        if (found := rows.filter(pl.col("verdict") == verdict)).height
    ]
    return Page(
        file="scorecard.html",
        template="scorecard.html",
        title="Replication scorecard",
        context={
            "counted": COUNTED,
            "groups": groups,
            "total": rows.height,
            "sources": rows["source"].unique(maintain_order=True).to_list(),
        },
    )
