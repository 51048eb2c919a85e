"""What the comparison shows: for each token one row a study with its best neuron by each measure, then their places in all measures."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from assets.across_models.across_models import COMPARED, FIRST_TOKEN, MEASURES, NO_SUCH_TOKEN
from assets.contracts import ACROSS_MODELS_TABLES
from assets.quality.expectations import Outcome
from reports.numbers import count, plural
from reports.pages.page import Page
from reports.text import quoted

WORDS = {"congruence": "congruence", "separation": "AUROC", "contribution": "contribution", "improvement": "patching"}
NUMBERS = {2: "two", 3: "three", 4: "four"}
Row = dict[str, Any]


def across_models_page(tables: Mapping[str, pl.DataFrame], outcomes: Sequence[Outcome]) -> Page:
    """index.html."""
    studies = tables["across_models_studies"].to_dicts()
    neurons: dict[tuple[str, int], list[Row]] = {}
    for row in tables["across_models_neurons"].iter_rows(named=True):
        neurons.setdefault((row["study"], row["token_id"]), []).append(row)
    tokens: dict[str, list[Row]] = {}
    for row in tables["across_models_tokens"].iter_rows(named=True):
        found = neurons.get((row["study"], row["token_id"]), [])
        tokens.setdefault(row["token"], []).append({**row, **_verdict(row), "best": _best(found), "neurons": found})
    return Page(
        file="index.html",
        template="across_models.html",
        title="Across models",
        context={
            "studies": {row["study"]: row for row in studies},
            "compared": [row for row in studies if row["state"] == COMPARED],
            "left_out": [row for row in studies if row["state"] != COMPARED],
            "tokens": tokens,
            "reply": _reply(tokens),
            "measures": WORDS,
            "outcomes": outcomes,
            "contracts": list(ACROSS_MODELS_TABLES.values()),
        },
    )


def _best(neurons: Sequence[Row]) -> dict[str, Row | None]:
    """By measure, the neuron that is best by it, the lowest of equal ones; None where the measure speaks for none."""
    best: dict[str, Row | None] = {}
    for measure, least in MEASURES.items():
        first = [row for row in neurons if row[f"{measure}_rank"] == 1 and row[measure] > least]
        best[measure] = min(first, key=lambda row: (row["layer"], row["neuron"]), default=None)
    return best


def _verdict(row: Row) -> Row:
    """Badge and words of one token in one study."""
    if row["state"] != COMPARED:
        return {"badge": "unknown", "verdict": row["state"]}
    measures, agreeing = row["measures"], row["agreeing"]
    if measures < 2:
        return {"badge": "unknown", "verdict": "too few measures"}
    if agreeing == measures:
        return {"badge": "good", "verdict": "both agree" if measures == 2 else f"all {NUMBERS[measures]} agree"}
    if agreeing >= 2:
        return {"badge": "warning", "verdict": f"{NUMBERS[agreeing]} of {NUMBERS[measures]} agree"}
    return {"badge": "bad", "verdict": "they differ" if measures == 2 else "no two agree"}


def _reply(tokens: Mapping[str, Sequence[Row]]) -> str:
    """The first token's answer in one or two sentences."""
    if not tokens:
        return "No study was run yet: there is nothing to compare."
    token, rows = next(iter(tokens.items()))
    compared = [row for row in rows if row["state"] == COMPARED]
    whole = [row for row in compared if row["badge"] == "good"]
    same = "every measure names the same neuron as the one for it"
    if len(compared) == 1:
        text = f"The only study that tracks {quoted(token)}: " + (same if whole else "the measures do not all name the same neuron")
    else:
        text = f"In {count(len(whole))} of the {plural(len(compared), 'study', 'studies')} that track {quoted(token)}, {same}"
    named = [f"layer {row['layer']} neuron {count(row['neuron'])} of {row['study']}" for row in whole]
    text += f": {'; '.join(named)}." if named else "."
    lacking = [row["study"] for row in rows if row["state"] == NO_SUCH_TOKEN]
    if lacking and token == FIRST_TOKEN:
        text += f" It is no single token in {', '.join(lacking)}."
    return text
