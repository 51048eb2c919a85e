"""What can be claimed of a corpus: counts of a token, how well a neuron predicts it, and the levels of a proportion curve."""

import polars as pl

from assets.claims.claim_tables import ClaimTables, NothingFoundError, NotRunError
from assets.claims.published_bins import exact_levels, published_levels
from assets.claims.subject import Subject

NOT_BY_EMBEDDING = "the post took top predictions by the embedding; this study does not count these (embedding_predictions: false)"
LEAVES_BOS_OUT = "the post counted the beginning-of-sequence position; this study leaves it out (count_bos: false)"


def documents(evidence: ClaimTables, subject: Subject) -> float:
    """Documents of the corpus that are not empty."""
    return float(evidence.tables["corpus_documents"].select(pl.len()).collect().item())


def positions(evidence: ClaimTables, subject: Subject, as_published: bool = False) -> float:
    """Counted positions of the corpus."""
    if as_published:
        require_bos(evidence)
    return float(evidence.tables["token_counts"].select(pl.col("occurrences").sum()).collect().item())


def token_count(evidence: ClaimTables, subject: Subject, column: str, as_published: bool = False) -> float:
    """`occurrences` or `predictions` of the token over the counted positions; as published, predictions are those by the embedding."""
    token_id = evidence.token_id(subject)
    if as_published:
        require_bos(evidence)
    if as_published and column == "predictions":
        require_embedding_predictions(evidence)
        return evidence.one("embedding_predictions", column, "the token was not counted", token_id=token_id)
    return evidence.one("token_counts", column, "the token was not counted", token_id=token_id)


def require_embedding_predictions(evidence: ClaimTables) -> None:
    """Raise NotRunError for a study that does not count top predictions by the embedding."""
    if evidence.tables["embedding_predictions"].head(1).collect().is_empty():
        raise NotRunError(NOT_BY_EMBEDDING)


def require_bos(evidence: ClaimTables) -> None:
    """Raise NotRunError for a study that does not count the beginning-of-sequence position, as the post did."""
    if not evidence.counts_bos:
        raise NotRunError(LEAVES_BOS_OUT)


def score(evidence: ClaimTables, subject: Subject, column: str) -> float:
    """`auroc`, `separation` or `direction` of the pair: how well the activation tells where the token is predicted, and by which end."""
    absent = f"token {subject.token!r} is not tracked, or never the top prediction"
    return evidence.one("token_neuron_scores", column, absent, token_id=evidence.token_id(subject), **evidence.neuron(subject))


def proportion(evidence: ClaimTables, subject: Subject, as_published: bool) -> float:
    """Share of the token among the top predictions at one level of activation."""
    levels = _levels(evidence, subject, as_published)
    assert subject.level is not None
    end = pl.col("level") + 1e-6 if as_published else pl.col("end")  # the post names a level, an exact bin holds it
    at = levels.filter((pl.col("level") - 1e-6 <= subject.level) & (end > subject.level))
    if at.is_empty():
        raise NothingFoundError(f"too few positions have an activation at level {subject.level:g}")
    return float(at["proportion"][0])


def first_level(evidence: ClaimTables, subject: Subject, as_published: bool, share: float) -> float:
    """The first level at which the token has at least this share."""
    at = _levels_in_direction(evidence, subject, as_published).filter(pl.col("proportion") >= share)
    if at.is_empty():
        raise NothingFoundError(f"the proportion never reaches {share:g}")
    return float(at["level"][0])


def last_level_below_one(evidence: ClaimTables, subject: Subject, as_published: bool) -> float:
    """The last level at which some other token is the top prediction."""
    at = _levels_in_direction(evidence, subject, as_published).filter(pl.col("proportion") < 1)
    if at.is_empty():
        raise NothingFoundError("the proportion is 1 at every level")
    return float(at["level"][-1])


def last_level(evidence: ClaimTables, subject: Subject, as_published: bool) -> float:
    """The highest level that any position reaches, whatever is predicted there."""
    if as_published:
        return float(published_levels(_exact_curve(evidence, subject, as_published))["level"][-1])
    return float(_levels(evidence, subject, as_published)["level"][-1])


def highest_proportion(evidence: ClaimTables, subject: Subject, as_published: bool) -> float:
    """The largest share of the token at any level."""
    return float(_levels(evidence, subject, as_published)["proportion"].max())  # type: ignore[arg-type]


def _levels(evidence: ClaimTables, subject: Subject, as_published: bool) -> pl.DataFrame:
    curve = _exact_curve(evidence, subject, as_published)
    if as_published:
        require_embedding_predictions(evidence)
        pair = {"token_id": evidence.token_id(subject), **evidence.neuron(subject)}
        by_embedding = evidence.rows("embedding_curves", **pair).rename({"embedding_prediction_count": "top_prediction_count"})
        return published_levels(by_embedding)
    levels = exact_levels(curve, evidence.min_count)
    if levels.is_empty():
        raise NotRunError("no level of the curve has min_count positions")
    return levels


def _levels_in_direction(evidence: ClaimTables, subject: Subject, as_published: bool) -> pl.DataFrame:
    """The levels, first to last. The post read them from the lowest up; where the token is predicted at low activations, the right way
    is from the highest down, each level named by its upper end."""
    levels = _levels(evidence, subject, as_published)
    pair = {"token_id": evidence.token_id(subject), **evidence.neuron(subject)}
    if as_published or evidence.rows("token_neuron_scores", **pair, direction=-1).is_empty():
        return levels
    return levels.reverse().with_columns(level="end")


def _exact_curve(evidence: ClaimTables, subject: Subject, as_published: bool) -> pl.DataFrame:
    """The pair's rows of proportion_curves. Raises NotRunError for a pair without, or a study that cannot be compared with the post."""
    curve = evidence.rows("proportion_curves", token_id=evidence.token_id(subject), **evidence.neuron(subject))
    if curve.is_empty():
        raise NotRunError(f"the pair has no curve: track token {subject.token!r} and name the neuron in `neurons`")
    if as_published:
        require_bos(evidence)
    return curve
