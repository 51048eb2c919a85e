"""What can be claimed of who writes a token: contributions, places at either end, and which lines of evidence send a neuron.

A tracked token has all its neurons in `contributions`; of a screened one `contribution_screen` keeps the first at either end.
"""

import polars as pl

from assets.claims.claim_tables import ClaimTables, NothingFoundError, NotRunError
from assets.claims.subject import Subject
from assets.statistics.candidates import NAMED
from assets.statistics.contributions import WRITES_AGAINST

_NOT_KEPT = "the pair's contribution is not kept: track the token; of a screened one only the first neurons at either end are kept"


def contribution(evidence: ClaimTables, subject: Subject) -> float:
    """What the neuron adds directly to the token's logit where it is predicted, less what it adds elsewhere, in logits."""
    pair = {"token_id": evidence.token_id(subject), **evidence.neuron(subject)}
    table = "contributions" if evidence.rows("contributions", **pair).height else "contribution_screen"
    return evidence.one(table, "contribution", _NOT_KEPT, **pair)


def contribution_rank(evidence: ClaimTables, subject: Subject, end: str) -> float:
    """Place of the neuron among all neurons by contribution: the largest first, or from the end of those that write against the token."""
    token_id, neuron = evidence.token_id(subject), evidence.neuron(subject)
    tracked = evidence.rows("contributions", token_id=token_id)
    if tracked.is_empty():
        return evidence.one("contribution_screen", "rank", _NOT_KEPT, token_id=token_id, end=end, **neuron)
    size = tracked["contribution"] * (-1 if end == WRITES_AGAINST else 1)
    own = size.filter((tracked["layer"] == neuron["layer"]) & (tracked["neuron"] == neuron["neuron"]))[0]
    return float((size > own).sum() + 1)


def contribution_ratio(evidence: ClaimTables, subject: Subject) -> float:
    """Contribution of the neuron over the largest of all other neurons."""
    own, neuron, token_id = contribution(evidence, subject), evidence.neuron(subject), evidence.token_id(subject)
    tracked = evidence.rows("contributions", token_id=token_id)
    kept = tracked if tracked.height else evidence.rows("contribution_screen", token_id=token_id)
    others = kept.filter((pl.col("layer") != neuron["layer"]) | (pl.col("neuron") != neuron["neuron"]), pl.col("contribution") > 0)
    if others.is_empty():
        raise NothingFoundError("no other neuron writes the token")
    return own / float(others["contribution"].max())  # type: ignore[arg-type]


def candidate_rank(evidence: ClaimTables, subject: Subject) -> float:
    """Place at which one line of evidence sends the neuron to be studied for the token."""
    sent = _sent(evidence, subject).filter(line=subject.line)
    if sent.is_empty():
        raise NothingFoundError(f"the line {subject.line} does not send the neuron to be studied for the token")
    return float(sent["rank"][0])


def candidate_lines(evidence: ClaimTables, subject: Subject) -> float:
    """How many lines of evidence send the neuron to be studied for the token; that the study names it is none of them."""
    return float(_sent(evidence, subject).height)


def _sent(evidence: ClaimTables, subject: Subject) -> pl.DataFrame:
    of_token = evidence.rows("candidates", token_id=evidence.token_id(subject))
    if of_token.is_empty():
        raise NotRunError(f"no neuron is studied for token {subject.token!r}: track it")
    return of_token.filter(pl.col("line") != NAMED).filter(**evidence.neuron(subject))
