"""The checks of what is read off the merged counters: statistics, scores, curves, the screen, contexts."""

import polars as pl

from assets.quality import congruence_violations, table_violations
from assets.quality.check import Check, Frames
from assets.quality.expectations import Expectation, equal, none_of, share_frame, small_share
from assets.quality.screen_violations import screen as screen_violations
from assets.reading import Reading

_CURVE = ("layer", "neuron", "token_id")
LARGEST_UNRELIABLE_SHARE = 0.5
LARGEST_LEFT_OUT_SHARE = 0.1


def _positions(frame: pl.DataFrame) -> str:
    return f"{frame['positions'][0]:,} in every curve" if frame.height else "the counted positions in every curve"


def curve_frames(proportion_curves: pl.DataFrame, positions: int) -> Frames:
    """Every plotted curve. `positions` are the counted positions of the corpus."""
    curves = table_violations.curves(proportion_curves, positions)
    return {"curves": curves, "unreliable": share_frame(int(curves["unreliable"].sum()), int(curves["filled"].sum()))}


def embedding_curve_frames(embedding_curves: pl.DataFrame, positions: int) -> Frames:
    """The curves for the top predictions by the embedding; none where the study does not count these."""
    return {"curves": table_violations.embedding_curves(embedding_curves, positions)}


def _screen(reading: Reading, shard: str | None) -> Frames:
    is_on = reading.fact("token_neuron_screen", "is_on")
    left_out = reading.fact("token_neuron_screen", "positions_left_out") if is_on else 0
    positions = reading.fact("merged_histograms", "positions")
    return screen_table_frames(reading.raw("token_neuron_screen"), reading.study.min_count, left_out, positions)


def screen_table_frames(token_neuron_screen: pl.DataFrame, min_count: int, left_out: int, positions: int) -> Frames:
    """The neurons that stand out. `left_out` of `positions` predict a token that is not screened."""
    return {"tokens": screen_violations(token_neuron_screen, min_count), "left_out": share_frame(left_out, positions)}


def corrected_frames(strongest_neurons: pl.DataFrame, corrected_mutual_pairs: pl.DataFrame, congruence_hubs: pl.DataFrame) -> Frames:
    """Pairs and hubs by corrected congruence, against each token's strongest neuron."""
    return {
        "pairs": congruence_violations.pairs(strongest_neurons, corrected_mutual_pairs),
        "shared": congruence_violations.shared(strongest_neurons),
        "hubs": congruence_violations.hubs(strongest_neurons, congruence_hubs),
    }


def contribution_frames(contributions: pl.DataFrame, contribution_screen: pl.DataFrame, proposed_pairs: pl.DataFrame) -> Frames:
    """What every neuron adds to tracked tokens, the ends of all screened tokens, and the pairs that choose each other."""
    return {
        "tokens": table_violations.contributions(contributions),
        "ends": table_violations.contribution_ends(contribution_screen, contributions),
        "pairs": table_violations.proposals(proposed_pairs, contribution_screen, contributions),
    }


_BY_OUTCOME = ("outcome", "token_id", "token")
_OUTCOME_CURVE = ("outcome", *_CURVE)


def outcome_frames(token_outcomes: pl.DataFrame, outcome_scores: pl.DataFrame) -> Frames:
    """How often tokens have each outcome, and the scores by those beside top predictions."""
    return {
        "tokens": table_violations.token_outcomes(token_outcomes),
        "scores": table_violations.scores(outcome_scores, _BY_OUTCOME),
    }


def _outcome_curves(reading: Reading, shard: str | None) -> Frames:
    positions = dict(reading.raw("token_outcomes").select("outcome", "positions").unique().iter_rows())
    return {"outcomes": table_violations.outcome_curves(reading.raw("outcome_curves"), positions)}


def _all_curves(reading: Reading, shard: str | None) -> Frames:
    return {
        **curve_frames(reading.raw("proportion_curves"), reading.fact("merged_histograms", "positions")),
        **_outcome_curves(reading, shard),
    }


def _score_sentences(by: tuple[str, ...]) -> list[Expectation]:
    """What must hold of scores, under whichever outcome; `by` names the place of a violation."""
    return [
        none_of(
            "half_activation and recall are given exactly where a reliable bin reaches one half",
            "contradicting",
            "pairs contradictory",
            of="neurons",
            by=by,
        ),
        none_of(
            "separation is max(auroc, 1 - auroc), and direction is -1 where auroc is below 0.5, 1 elsewhere",
            "astray",
            "pairs astray",
            of="neurons",
            by=by,
        ),
        none_of("a token has an AUROC for every neuron or for none", "partly_scored", "pairs unscored", of="neurons", by=by),
    ]


CHECKS = (
    Check(
        name="neuron_activity",
        asset="neuron_statistics",
        promise="Neurons are active somewhere, and their statistics are numbers.",
        needs=("neuron_statistics",),
        count=lambda reading, shard: {"layers": table_violations.neurons(reading.raw("neuron_statistics"))},
        sentences={
            "layers": [
                none_of("no neuron is dead", "dead", "neurons dead", of="neurons", by=("layer",), severity="warning"),
                none_of(
                    "every statistic is a finite number", "not_finite", "neurons without", of="neurons", by=("layer",), severity="warning"
                ),
            ]
        },
    ),
    Check(
        name="score_values",
        asset="token_neuron_scores",
        promise="Scores agree with each other, and every tracked token is predicted somewhere.",
        needs=("token_neuron_scores",),
        count=lambda reading, shard: {"tokens": table_violations.scores(reading.raw("token_neuron_scores"))},
        sentences={
            "tokens": [
                *_score_sentences(("token_id",)),
                none_of(
                    "every tracked token is the top prediction somewhere, and not everywhere",
                    "unpredicted",
                    "tokens never or always predicted",
                    by=("token",),
                    severity="warning",
                ),
            ]
        },
    ),
    Check(
        name="outcome_values",
        asset="outcome_scores",
        promise="One outcome leads for every tracked token, and scores by further outcomes agree with each other.",
        needs=("token_outcomes", "outcome_scores"),
        count=lambda reading, shard: outcome_frames(reading.raw("token_outcomes"), reading.raw("outcome_scores")),
        sentences={
            "tokens": [
                equal("one outcome leads for every tracked token", "leading", "one", lambda frame: f"1 for each of {frame.height} tokens"),
                none_of("every share is cases / positions", "wrong_share", "shares wrong", of="outcomes", by=("token",)),
            ],
            "scores": _score_sentences(("outcome", "token_id")),
        },
    ),
    Check(
        name="contrast_values",
        asset="contrasts",
        promise="Two tokens are told apart by every neuron or by none, in the direction of its AUROC.",
        needs=("contrasts",),
        count=lambda reading, shard: {"pairs": table_violations.contrasts(reading.raw("contrasts"))},
        sentences={
            "pairs": [
                none_of(
                    "separation is max(auroc, 1 - auroc), and direction is -1 where auroc is below 0.5, 1 elsewhere",
                    "astray",
                    "rows astray",
                    of="neurons",
                    by=("token_id", "other_id", "outcome"),
                ),
                none_of(
                    "a pair has an AUROC for every neuron or for none",
                    "partly_scored",
                    "rows unscored",
                    of="neurons",
                    by=("token_id", "other_id", "outcome"),
                ),
            ]
        },
    ),
    Check(
        name="screen_values",
        asset="token_neuron_screen",
        promise="The neurons that stand out are ranked by numbers that can be, and few positions are left out.",
        needs=(
            "token_neuron_screen",
            "token_neuron_screen.is_on",
            "token_neuron_screen.positions_left_out",
            "merged_histograms.positions",
        ),
        fields=("min_count",),
        count=_screen,
        sentences={
            "tokens": [
                none_of(
                    "a difference has the sign of the means' difference, deviations are not negative, and min_count positions are behind a row",
                    "strange",
                    "rows contradictory",
                    of="rows",
                    by=("token_id",),
                ),
                none_of("ranks follow the share of variance explained", "disordered", "rows out of order", of="rows", by=("token_id",)),
                none_of("false discovery rates do not fall with the rank", "falling", "rates too small", of="rows", by=("token_id",)),
            ],
            "left_out": [
                small_share(
                    "few positions predict a token that is not screened",
                    LARGEST_LEFT_OUT_SHARE,
                    f"{LARGEST_LEFT_OUT_SHARE:.0%} of the counted positions (more: raise screen in the study)",
                )
            ],
        },
    ),
    Check(
        name="contribution_values",
        asset="contributions",
        promise="Contributions are the differences of their means, those of the screen are the same ones, ranked by size, and proposed pairs "
        "choose each other by them.",
        needs=("contributions", "contribution_screen", "proposed_pairs", "outcome_contributions"),
        count=lambda reading, shard: {
            **contribution_frames(reading.raw("contributions"), reading.raw("contribution_screen"), reading.raw("proposed_pairs")),
            "outcomes": table_violations.contributions(reading.raw("outcome_contributions"), ("outcome", "token_id")),
        },
        sentences={
            "tokens": [
                none_of(
                    "a contribution is what is added where the token is predicted less what is added elsewhere",
                    "contradicting",
                    "contributions contradictory",
                    of="neurons",
                    by=("token_id",),
                )
            ],
            "outcomes": [
                none_of(
                    "under every outcome, a contribution is what is added where the token has it less what is added elsewhere",
                    "contradicting",
                    "contributions contradictory",
                    of="neurons",
                    by=("outcome", "token_id"),
                )
            ],
            "ends": [
                none_of("a contribution has the sign of its end", "misplaced", "rows at the wrong end", of="rows", by=("token_id", "end")),
                none_of("ranks follow the size of the contribution", "disordered", "rows out of order", of="rows", by=("token_id", "end")),
                none_of("a tracked token's rows are those of all its neurons", "other", "rows differ", of="rows", by=("token_id", "end")),
            ],
            "pairs": [
                none_of(
                    "a proposed neuron is the first writer of its token, writes no other screened token more, and the token is not tracked",
                    "unchosen",
                    "pairs that do not choose each other",
                    of="pairs",
                ),
                none_of("proposed pairs follow the size of the contribution", "disordered", "pairs out of order", of="pairs"),
                none_of("a direction is the sign of the standardized difference", "turned", "pairs of another direction", of="pairs"),
            ],
        },
    ),
    Check(
        name="corrected_values",
        asset="congruence",
        promise="Corrected pairs and hubs are those of each token's strongest neuron, and a neuron is in one pair at most.",
        needs=("strongest_neurons", "corrected_mutual_pairs", "congruence_hubs"),
        count=lambda reading, shard: corrected_frames(
            *(reading.raw(name) for name in ("strongest_neurons", "corrected_mutual_pairs", "congruence_hubs"))
        ),
        sentences={
            "pairs": [
                none_of("corrected pairs are the strongest neurons that are mutual", "other", "pairs differ", of="pairs"),
                none_of("a corrected score is the product of its gaps", "wrong", "scores wrong", of="pairs"),
                none_of("corrected pairs follow the score", "disordered", "pairs out of order", of="pairs"),
            ],
            "shared": [none_of("a neuron is in one mutual pair at most", "shared", "pairs share a neuron", of="pairs", by=("measure",))],
            "hubs": [
                none_of("a hub has the tokens whose strongest neuron it is", "other", "hubs differ", of="hubs", by=("measure",)),
                none_of("ranks of hubs follow their tokens", "disordered", "hubs out of order", of="hubs", by=("measure",)),
            ],
        },
    ),
    Check(
        name="agreement_values",
        asset="congruence_agreement",
        promise="No part of the pairs is larger than what it is a part of.",
        needs=("congruence_agreement",),
        count=lambda reading, shard: {"rows": congruence_violations.agreement(reading.raw("congruence_agreement"))},
        sentences={
            "rows": [none_of("parts of the pairs are no larger than the whole", "larger", "rows wrong", by=("measure", "pairs_of"))]
        },
    ),
    Check(
        name="candidate_values",
        asset="candidates",
        promise="Every line sends its neurons in order, and named neurons come without a rank.",
        needs=("candidates",),
        count=lambda reading, shard: {"lines": table_violations.candidates(reading.raw("candidates"))},
        sentences={
            "lines": [
                none_of(
                    "ranks within a token and line follow the value", "disordered", "rows out of order", of="rows", by=("token_id", "line")
                ),
                none_of(
                    "named neurons, and only these, have neither rank nor value",
                    "misnamed",
                    "rows at odds",
                    of="rows",
                    by=("token_id", "line"),
                ),
            ]
        },
    ),
    Check(
        name="curve_values",
        asset="proportion_curves",
        promise="Every plotted share is the quotient of its counts, and most bins hold enough positions.",
        needs=("proportion_curves", "outcome_curves", "token_outcomes", "merged_histograms.positions"),
        count=_all_curves,
        sentences={
            "curves": [
                none_of(
                    "the counts of every curve add up to the counted positions",
                    "unbalanced",
                    "curves unbalanced",
                    by=_CURVE,
                    expected=_positions,
                ),
                none_of(
                    "every proportion is top_prediction_count / count and lies between 0 and 1", "wrong_proportion", "bins wrong", by=_CURVE
                ),
                none_of("every interval lies between 0 and 1 and holds its proportion", "wrong_interval", "bins wrong", by=_CURVE),
            ],
            "outcomes": [
                none_of(
                    "under every outcome, the counts of every curve add up to the positions that it is read over",
                    "unbalanced",
                    "curves unbalanced",
                    by=_OUTCOME_CURVE,
                ),
                none_of(
                    "every such proportion is cases / count and lies between 0 and 1", "wrong_proportion", "bins wrong", by=_OUTCOME_CURVE
                ),
                none_of(
                    "every such interval lies between 0 and 1 and holds its proportion; under probability there is none",
                    "wrong_interval",
                    "bins wrong",
                    by=_OUTCOME_CURVE,
                ),
            ],
            "unreliable": [
                small_share(
                    "most plotted bins have enough positions (min_count)",
                    LARGEST_UNRELIABLE_SHARE,
                    f"{LARGEST_UNRELIABLE_SHARE:.0%} of the plotted bins below min_count",
                )
            ],
        },
    ),
    Check(
        name="embedding_values",
        asset="embedding_predictions",
        promise="Curves of the top predictions by the embedding add up to the positions that were counted.",
        needs=("embedding_curves", "merged_histograms.positions"),
        count=lambda reading, shard: embedding_curve_frames(
            reading.raw("embedding_curves"), reading.fact("merged_histograms", "positions")
        ),
        sentences={
            "curves": [
                none_of(
                    "the counts of every curve add up to the counted positions",
                    "unbalanced",
                    "curves unbalanced",
                    by=_CURVE,
                    expected=_positions,
                ),
                none_of("no level has more top predictions by the embedding than positions", "above_count", "levels too high", by=_CURVE),
                none_of(
                    "all curves of a token hold the same number of top predictions by the embedding",
                    "differing",
                    "curves differ",
                    by=_CURVE,
                ),
            ]
        },
    ),
    Check(
        name="context_values",
        asset="neuron_contexts",
        promise="Every context holds its place, with the activation that it was chosen or drawn with.",
        needs=("neuron_contexts",),
        count=lambda reading, shard: {"neurons": table_violations.contexts(reading.raw("neuron_contexts"))},
        sentences={
            "neurons": [
                none_of(
                    "every context holds its place, with the activation that it was chosen or drawn with",
                    "wrong",
                    "contexts wrong",
                    of="contexts",
                    by=("layer", "neuron"),
                )
            ]
        },
    ),
)
