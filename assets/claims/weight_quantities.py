"""What can be claimed of weights: congruence of a neuron and a token, gaps, mutual pairs, and a neuron's whole row."""

import polars as pl

from assets.claims.claim_tables import ClaimTables, NothingFoundError, NotRunError
from assets.claims.subject import Subject


def congruence(evidence: ClaimTables, subject: Subject, convention: str, side: str = "output") -> float:
    """Congruence of the neuron with the token, from whichever table keeps the pair."""
    where = {"convention": convention, "token_id": evidence.token_id(subject), **evidence.neuron(subject)}
    for table in ("congruence_tracked_tokens", "congruence_neurons_of_interest"):
        found = evidence.rows(table, **where, side=side)
        if found.height:
            return float(found["congruence"][0])
    for table in ("congruence_tokens", "congruence_neurons") if side == "output" else ():
        found = evidence.rows(table, **where)
        if found.height:
            return float(found["congruence"][0])
    raise NotRunError("the pair's congruence is not kept: track the token, or name the neuron in `neurons`")


def congruence_rank(evidence: ClaimTables, subject: Subject, convention: str) -> float:
    """Place of the neuron among all neurons of the model by congruence with the token."""
    token_id, neuron = evidence.token_id(subject), evidence.neuron(subject)
    tracked = evidence.rows("congruence_tracked_tokens", convention=convention, token_id=token_id, side="output")
    if tracked.height:
        own = tracked.filter(layer=neuron["layer"], neuron=neuron["neuron"])["congruence"][0]
        return float((tracked["congruence"] > own).sum() + 1)
    absent = "the neuron is not among the token's most congruent ones, and the token is not tracked"
    return evidence.one("congruence_tokens", "rank", absent, convention=convention, token_id=token_id, **neuron)


def congruence_lead(evidence: ClaimTables, subject: Subject, convention: str) -> float:
    """Congruence of the neuron with the token less that of the best other neuron; negative if another is ahead."""
    own = congruence(evidence, subject, convention)
    neuron = evidence.neuron(subject)
    ranked = evidence.rows("congruence_tokens", convention=convention, token_id=evidence.token_id(subject))
    others = ranked.filter((pl.col("layer") != neuron["layer"]) | (pl.col("neuron") != neuron["neuron"]))
    if others.is_empty():
        raise NotRunError("the model has no other neuron")
    return own - float(others["congruence"].max())  # type: ignore[arg-type]


def mutual_pair_score(evidence: ClaimTables, subject: Subject, convention: str) -> float:
    """Token gap x neuron gap of a mutual pair; 0 for a pair that is not mutual."""
    where = {"token_id": evidence.token_id(subject), **evidence.neuron(subject)}
    found = evidence.rows("congruence_mutual_pairs", convention=convention, **where)
    return float(found["score"][0]) if found.height else 0.0


def mutual_pair_rank(evidence: ClaimTables, subject: Subject, convention: str) -> float:
    """Place of the pair among all mutual pairs by that score."""
    own = mutual_pair_score(evidence, subject, convention)
    scores = evidence.rows("congruence_mutual_pairs", convention=convention)["score"]
    if own == 0.0:
        raise NothingFoundError("the two are no mutual pair")
    return float((scores > own).sum() + 1)


def row_statistic(evidence: ClaimTables, subject: Subject, convention: str, statistic: str) -> float:
    """`mean`, `std` (population) or `min` of the neuron's congruence with every vocabulary entry."""
    row = evidence.rows("congruence_neurons_of_interest", convention=convention, side="output", **evidence.neuron(subject))["congruence"]
    if row.is_empty():
        raise NotRunError("the neuron's whole row is not kept: name it in `neurons`")
    exact = row.cast(pl.Float64)
    return float({"mean": exact.mean(), "std": exact.std(ddof=0), "min": exact.min()}[statistic])  # type: ignore[arg-type]


def highest_congruence(evidence: ClaimTables, subject: Subject, convention: str) -> float:
    """The neuron's congruence with the token that it writes most strongly."""
    where = {"convention": convention, "end": "top", "rank": 1, **evidence.neuron(subject)}
    return evidence.one("congruence_neurons", "congruence", "the neuron's best token is not kept", **where)


def tokens_led(evidence: ClaimTables, subject: Subject, convention: str) -> float:
    """Vocabulary entries whose most congruent neuron it is."""
    return float(evidence.rows("congruence_tokens", convention=convention, rank=1, **evidence.neuron(subject)).height)
