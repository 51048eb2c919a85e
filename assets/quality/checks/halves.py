"""The checks of what is told by folds of documents: intervals beside scores, the two halves, growth, domains."""

import polars as pl

from assets.quality import half_violations
from assets.quality.check import Check, Frames
from assets.quality.expectations import none_of
from assets.reading import Reading

_PAIR = ("outcome", "token_id", "layer", "neuron")
SCORE_ENDS = {"auroc": "auroc", "average_precision": "average_precision"}
TELLING_ENDS = {name: name for name in ("telling_separation", "telling_average_precision", "telling_contribution")}
DOMAIN_ENDS = {**SCORE_ENDS, "contribution": "contribution"}
INTERVALS = "every interval that respects documents has both ends, and holds the value that it is of"
# Tables beside whose values intervals stand: the asset, what rows are told by, and the columns that an interval is of.
BESIDE = {
    "token_neuron_scores": ("token_neuron_scores", ("token_id",), SCORE_ENDS),
    "outcome_scores": ("outcome_scores", ("outcome", "token_id"), SCORE_ENDS),
    "contributions": ("contributions", ("token_id",), {"contribution": "contribution"}),
    "outcome_contributions": ("contributions", ("outcome", "token_id"), {"contribution": "contribution"}),
    "contrasts": ("contrasts", ("outcome", "token_id"), {"auroc": "auroc", "contribution": "contribution"}),
    "proportion_curves": ("proportion_curves", ("token_id", "layer", "neuron"), {"proportion": "document"}),
    "outcome_curves": ("proportion_curves", _PAIR, {"proportion": "document"}),
}


def interval_frames(table: str, frame: pl.DataFrame) -> Frames:
    """Of a table in BESIDE."""
    _, by, ends = BESIDE[table]
    return {"intervals": half_violations.intervals(frame, by, ends)}


def _interval_check(table: str) -> Check:
    asset, by, _ = BESIDE[table]
    return Check(
        name=f"{table}_intervals",
        asset=asset,
        promise="Intervals that respect documents hold the values that they are of.",
        needs=(table,),
        count=lambda reading, shard: interval_frames(table, reading.raw(table)),
        sentences={"intervals": [none_of(INTERVALS, "crossed", "rows with a wrong interval", of="rows", by=by)]},
    )


def half_frames(half_scores: pl.DataFrame, half_agreement: pl.DataFrame) -> Frames:
    """The scores of both halves, and how far these agree."""
    return {
        "tokens": half_violations.halves(half_scores),
        "intervals": half_violations.intervals(half_scores, ("outcome", "token_id"), TELLING_ENDS),
        "agreement": half_violations.agreement(half_agreement, half_scores),
    }


def domain_frames(
    domain_scores: pl.DataFrame, domain_curves: pl.DataFrame, domain_tests: pl.DataFrame, token_outcomes: pl.DataFrame
) -> Frames:
    """The studied neurons by domain; nothing where the corpus has one."""
    return {
        "pairs": half_violations.domains(domain_scores, domain_curves, token_outcomes),
        "intervals": half_violations.intervals(domain_scores, _PAIR, DOMAIN_ENDS),
        "tests": half_violations.domain_tests(domain_tests, domain_scores["domain"].n_unique()),
    }


def _domains(reading: Reading, shard: str | None) -> Frames:
    return domain_frames(*(reading.raw(name) for name in ("domain_scores", "domain_curves", "domain_tests", "token_outcomes")))


CHECKS = (
    *map(_interval_check, BESIDE),
    Check(
        name="half_values",
        asset="half_scores",
        promise="What is told in the telling half is read as the discovery half found it, and agreement is that of the scores.",
        needs=("half_scores", "half_agreement"),
        count=lambda reading, shard: half_frames(reading.raw("half_scores"), reading.raw("half_agreement")),
        sentences={
            "tokens": [
                none_of(
                    "direction and separation are those of the discovery half's AUROC, and the telling half's AUROC is read in that direction",
                    "astray",
                    "pairs astray",
                    of="neurons",
                    by=("outcome", "token_id"),
                ),
                none_of(
                    "a p-value is above 0, and its false discovery rate at least as large and at most 1",
                    "unlikely",
                    "pairs with a rate that cannot be",
                    of="neurons",
                    by=("outcome", "token_id"),
                ),
                none_of(
                    "a token is told of every neuron or of none",
                    "partly_scored",
                    "pairs unscored",
                    of="neurons",
                    by=("outcome", "token_id"),
                ),
            ],
            "intervals": [none_of(INTERVALS, "crossed", "rows with a wrong interval", of="rows", by=("outcome", "token_id"))],
            "agreement": [
                none_of(
                    "the first neuron, what both halves say of it, the largest and the discoveries are those of half_scores",
                    "unlike",
                    "rows differ",
                    of="rows",
                    by=("outcome", "token_id"),
                )
            ],
        },
    ),
    Check(
        name="growth_values",
        asset="corpus_growth",
        promise="Each step reads more documents than the one before, the last all of them, and ranks follow the value.",
        needs=("corpus_growth", "token_outcomes"),
        count=lambda reading, shard: {"steps": half_violations.growth(reading.raw("corpus_growth"), reading.raw("token_outcomes"))},
        sentences={
            "steps": [
                none_of(sentence, column, words, of="rows", by=("outcome", "token_id", "measure"))
                for sentence, column, words in (
                    ("ranks within a step follow the value", "disordered", "rows out of order"),
                    ("no step has fewer positions or cases than the one before", "shrinking", "rows with fewer"),
                    ("the last step is over the whole corpus", "unlike", "rows over another number"),
                )
            ]
        },
    ),
    Check(
        name="domain_values",
        asset="domain_scores",
        promise="The domains of a corpus hold together what the corpus holds, and every test compares domains that there are.",
        needs=("domain_scores", "domain_curves", "domain_tests", "token_outcomes"),
        count=_domains,
        sentences={
            "pairs": [
                none_of(
                    "the domains' positions and cases add up to those of the corpus", "torn", "pairs that do not add up", by=_PAIR
                ),
                none_of("the counts of every domain's curve add up to its positions", "unbalanced", "curves unbalanced", by=_PAIR),
                none_of("every proportion is cases / count", "wrong_proportion", "levels wrong", by=_PAIR),
            ],
            "intervals": [none_of(INTERVALS, "crossed", "rows with a wrong interval", of="rows", by=_PAIR)],
            "tests": [
                none_of(
                    "a test is given whole or not at all, and compares no more domains than there are",
                    "strange",
                    "tests that cannot be",
                    of="tests",
                    by=_PAIR,
                )
            ],
        },
    ),
)  # fmt: skip
