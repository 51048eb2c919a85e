"""What can be claimed of an evidence card: the verdict of one of its lines, and the number behind it."""

import polars as pl

from assets.claims.claim_tables import ClaimTables, NotRunError
from assets.claims.subject import Subject
from assets.evidence_cards.evidence_lines import AGAINST, NOT_MEASURED, SUPPORTED, UNCLEAR

VERDICT_NUMBERS = {SUPPORTED: 1.0, UNCLEAR: 0.0, AGAINST: -1.0}


def evidence_verdict(evidence: ClaimTables, subject: Subject) -> float:
    """1 supported, -1 against, 0 unclear. Raises NotRunError for a pair that is not studied, and for a line that was not measured."""
    return VERDICT_NUMBERS[str(_line(evidence, subject)["verdict"][0])]


def evidence_value(evidence: ClaimTables, subject: Subject) -> float:
    """The number behind the verdict, in the line's unit. Raises as evidence_verdict."""
    return float(_line(evidence, subject)["value"][0])


def _line(evidence: ClaimTables, subject: Subject) -> pl.DataFrame:
    pair = {"token_id": evidence.token_id(subject), **evidence.neuron(subject)}
    found = evidence.rows("evidence_cards", **pair, line=subject.line)
    if found.is_empty():
        raise NotRunError(
            "the neuron is not studied for the token, so the pair has no evidence card: name the neuron in the study's neurons"
        )
    if found["verdict"][0] == NOT_MEASURED:
        raise NotRunError(f"the line {subject.line} of the pair's evidence card was not measured")
    return found
