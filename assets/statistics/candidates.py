"""The table `candidates`: which neurons are studied for each tracked token, and what put each there.

No single line finds every neuron that matters: what separates well need not write the token, what writes it may be rare, and what
decides a prompt may do little elsewhere. So each line of evidence sends its best, and the neurons that the study names come too. They
get curves, contexts, ablation and pages. Separation, average precision and contribution are read off the discovery half of the documents
alone, so that the telling half had no say in who is studied; contrasts and the screen are read off all. Holds the choice alone; every
number is another table's.
"""

from collections.abc import Sequence

import polars as pl

from assets.contracts import CANDIDATES, conform

FROM_OTHER_LINES = 2  # neurons of a token that each line sends, beside the `best_neurons` by separation
NAMED = "named"
LINES = (
    NAMED,
    "separation",
    "average_precision",
    "contribution",
    "contribution_against",
    "congruence",
    "patching",
    "patched_together",
    "prompt_set",
    "contrast",
    "screen",
)
_KEY = ("token_id", "layer", "neuron")


def candidates(
    tokens: pl.DataFrame,
    named: Sequence[tuple[int, int]],
    scores: pl.DataFrame,
    contributions: pl.DataFrame,
    congruence: pl.DataFrame,
    patched: pl.DataFrame,
    sets: pl.DataFrame,
    over_sets: pl.DataFrame,
    contrasted: pl.DataFrame,
    screen: pl.DataFrame,
    best: int,
    is_gated: bool,
) -> pl.DataFrame:
    """One row for each token, neuron and line that sends it; ranks count from 1 within token and line, missing for named neurons.

    tokens: tracked_tokens, whose order stays, and groups of them. named: (layer, neuron) of the study. scores, contributions: columns
    separation and average_precision, and contribution, of the outcome that leads (discovered_by). patched: neuron_patching with the
    token_id of each prompt's answer; sets: patched_neuron_sets with the same; over_sets: prompt_set_patching with that of each prompt set's
    answer. contrasted: contrasts, of the outcome that leads for each token. screen: token_neuron_screen. congruence:
    congruence_tracked_tokens. `best` neurons come by separation, FROM_OTHER_LINES (at most `best`) by each other line. Ties go to the lower
    layer, then neuron. A gated neuron writes a token by either sign of its congruence, for its activation takes both; another one by
    congruence above 0. Neurons that patching does not move towards the answer are not sent by it, nor by prompt sets.
    A set that is told of a prompt comes whole, whatever `best`: a part of it need not do anything.
    """
    few = min(best, FROM_OTHER_LINES)
    neurons = pl.DataFrame(list(named), schema={"layer": pl.Int32, "neuron": pl.Int32}, orient="row").unique(maintain_order=True)
    of_study = tokens.select("token_id").join(neurons, how="cross").with_columns(
        rank=pl.lit(None, pl.Int32), value=pl.lit(None, pl.Float64), line=pl.lit(NAMED)
    )  # fmt: skip
    writers = contributions.select(*_KEY, "contribution")
    lines = [
        of_study.select(*_KEY, "rank", "value", "line"),
        _first(scores, "separation", best),
        _first(scores, "average_precision", few),
        _first(writers.filter(pl.col("contribution") > 0), "contribution", few),
        _first(
            writers.filter(pl.col("contribution") < 0).with_columns(contribution_against=-pl.col("contribution")),
            "contribution_against",
            few,
            -1,
        ),
        _first(_written(congruence, is_gated), "congruence", few),
        _first(_most_moved(patched), "patching", few),
        _patched_together(sets),
        _first(_most_held(over_sets), "prompt_set", few),
        _first(_told_apart(contrasted), "contrast", few),
        _first(screen.with_columns(screen=pl.col("variance_explained")), "screen", few),
    ]
    order = pl.col("line").replace_strict({line: place for place, line in enumerate(LINES)}, return_dtype=pl.Int32)
    rows = pl.concat(lines).join(tokens.select("token_id", "token", "row"), on="token_id")
    return conform(CANDIDATES, rows.sort("row", order, "rank", "layer", "neuron").select(CANDIDATES.schema.names()))


def discovered_by(half_scores: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """token_id, layer, neuron, separation, average_precision and contribution of the discovery half, each token's under the outcome that
    leads for it (token_outcomes)."""
    leading = half_scores.join(outcomes.filter("leads"), on=["token_id", "outcome"], how="semi", maintain_order="left")
    return leading.select(*_KEY, *(pl.col(f"discovery_{line}").alias(line) for line in ("separation", "average_precision", "contribution")))


def studied_pairs(candidates: pl.DataFrame) -> pl.DataFrame:
    """The pairs that get curves: columns layer, neuron, token_id, each pair once, in that order."""
    return candidates.select("layer", "neuron", "token_id").unique().sort("layer", "neuron", "token_id")


def _first(frame: pl.DataFrame, line: str, most: int, sign: int = 1) -> pl.DataFrame:
    """The `most` largest of each token by the column `line`, times `sign` as the value."""
    return (
        frame.filter(pl.col(line).is_not_null())
        .sort("token_id", line, "layer", "neuron", descending=[False, True, False, False])
        .group_by("token_id", maintain_order=True)
        .head(most)
        .select(
            *_KEY,
            rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("token_id"),
            value=(sign * pl.col(line)).cast(pl.Float64),
            line=pl.lit(line),
        )
    )


def _written(congruence: pl.DataFrame, is_gated: bool) -> pl.DataFrame:
    """What neurons write, as the model's own logits see it: by size alone where a sign is a convention."""
    own = congruence.filter((pl.col("convention") == "logits") & (pl.col("side") == "output"))
    return own.with_columns(pl.col("congruence").abs()) if is_gated else own.filter(pl.col("congruence") > 0)


def _told_apart(contrasted: pl.DataFrame) -> pl.DataFrame:
    """For each token and neuron what it adds to the difference of the logits of the token and another, of the other where it is most."""
    return contrasted.filter(pl.col("contribution") > 0).group_by(_KEY).agg(contrast=pl.col("contribution").max())


def _most_moved(patched: pl.DataFrame) -> pl.DataFrame:
    """For each answer and neuron the share of a logit difference that it restores at the last position, of the prompt where it is most."""
    return (
        patched.filter((pl.col("positions") == "last") & (pl.col("improvement") > 0))
        .group_by(_KEY)
        .agg(patching=pl.col("improvement").max())
    )


def _most_held(over_sets: pl.DataFrame) -> pl.DataFrame:
    """For each answer and neuron the median share of a logit difference that it restores, of the prompt set where it is most."""
    return over_sets.filter(pl.col("median") > 0).group_by(_KEY).agg(prompt_set=pl.col("median").max())


def _patched_together(sets: pl.DataFrame) -> pl.DataFrame:
    """The neurons of every set of two or more that is told of a prompt, the set that restores most first; its share is their value.

    A neuron of several prompts' sets comes once, with the set that restores most.
    """
    told = sets.filter(pl.col("is_told")).with_columns(
        value=pl.col("restored").max().over("token_id", "prompt"), of=pl.len().over("token_id", "prompt")
    )
    return (
        told.filter(pl.col("of") > 1)
        .sort("token_id", "value", "prompt", "size", descending=[False, True, False, False])
        .unique(_KEY, keep="first", maintain_order=True)
        .select(*_KEY, rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("token_id"), value="value", line=pl.lit("patched_together"))
    )
