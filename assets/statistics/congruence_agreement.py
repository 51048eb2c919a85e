"""The table `congruence_agreement`: do the neurons that the weights name for a token move its logit where the model predicts it?

Congruence is what a neuron would add per unit of activation; contribution what it adds over the corpus. Counted are pairs that stand in
both: of those whose token is predicted often enough, how many neurons are the first, or among the first ten, at either end of
`contribution_screen`. Computes no score.
"""

import polars as pl

from assets.contracts import CONGRUENCE_AGREEMENT, conform
from assets.statistics.contributions import WRITES, WRITES_AGAINST

PUBLISHED = "published"
STRONGEST, MUTUAL = "strongest", "mutual"
_ENDS = {WRITES: ("first_writer", "among_writers"), WRITES_AGAINST: ("first_against", "among_against")}


def congruence_agreement(
    congruence_tokens: pl.DataFrame,
    congruence_mutual_pairs: pl.DataFrame,
    strongest_neurons: pl.DataFrame,
    contribution_screen: pl.DataFrame,
    is_gated: bool,
) -> pl.DataFrame:
    """One row per measure and kind of pairs, from the tables of these names; without a screen nothing is told."""
    pairs = {} if is_gated else _published(congruence_tokens, congruence_mutual_pairs)
    for (measure,), chosen in strongest_neurons.group_by("measure", maintain_order=True):
        pairs |= {(measure, STRONGEST): chosen, (measure, MUTUAL): chosen.filter("is_mutual")}
    rows = [{"measure": measure, "pairs_of": kind, **_counts(frame, contribution_screen)} for (measure, kind), frame in pairs.items()]
    return conform(CONGRUENCE_AGREEMENT, pl.DataFrame(rows, schema=CONGRUENCE_AGREEMENT.schema))


def _published(tokens: pl.DataFrame, mutual: pl.DataFrame) -> dict[tuple[str, str], pl.DataFrame]:
    first = tokens.filter(pl.col("rank") == 1, pl.col("convention") == PUBLISHED)
    return {(PUBLISHED, STRONGEST): first, (PUBLISHED, MUTUAL): mutual.filter(pl.col("convention") == PUBLISHED)}


def _counts(pairs: pl.DataFrame, screen: pl.DataFrame) -> dict[str, int]:
    """Columns of the table by name. A neuron stands at one end of a token at most: contributions have one sign."""
    pair = ["token_id", "layer", "neuron"]
    told = pairs.select(pair).join(screen.select("token_id").unique(), on="token_id", how="semi")  # ranks are the screen's alone
    both = told.join(screen, on=pair).select("end", "rank")
    counts = {"pairs": pairs.height, "told": told.height}
    for end, (first, among) in _ENDS.items():
        at_end = both.filter(pl.col("end") == end)
        counts |= {first: at_end.filter(pl.col("rank") == 1).height, among: at_end.height}
    return counts
