"""The checks of patching and ablation: every component was patched, sets grow, distributions hold, effects add up, controls are what they say."""

import polars as pl

from assets.quality import table_violations
from assets.quality.check import Check, Frames
from assets.quality.expectations import none_of
from assets.quality.prompt_set_violations import prompt_set_violations

_PAIR = ("token_id", "layer", "neuron")
_SET = ("prompt_set",)


def ablation_frames(neuron_ablation: pl.DataFrame, ablation_controls: pl.DataFrame, tracked: int, wanted: int) -> Frames:
    """Every effect, and its controls. `tracked` tokens were to be ablated at `wanted` positions each (0: none)."""
    absent = tracked - neuron_ablation["token_id"].n_unique() if wanted else 0
    return {
        "pairs": table_violations.ablation(neuron_ablation),
        "controls": table_violations.controls(ablation_controls),
        "tokens": pl.DataFrame({"absent": [absent], "tracked": [tracked]}),
    }


CHECKS = (
    Check(
        name="patching_values",
        asset="activation_patching",
        promise="Every component was patched at every layer and position.",
        needs=("activation_patching", "model_snapshot.layers"),
        count=lambda reading, shard: {
            "prompts": table_violations.patching(reading.raw("activation_patching"), reading.fact("model_snapshot", "layers"))
        },
        sentences={
            "prompts": [
                none_of(
                    "a head is named where a single head was patched, and nowhere else", "misnamed", "cells", of="cells", by=("prompt",)
                ),
                none_of("every component and head was patched at every layer and position", "absent", "cells missing", by=("prompt",)),
            ]
        },
    ),
    Check(
        name="neuron_set_values",
        asset="patched_neuron_sets",
        promise="Sets of neurons grow one neuron at a time from the best single one, and each restores what it is said to.",
        needs=("patched_neuron_sets", "neuron_patching"),
        count=lambda reading, shard: {
            "prompts": table_violations.neuron_sets(reading.raw("patched_neuron_sets"), reading.raw("neuron_patching"))
        },
        sentences={
            "prompts": [
                none_of(
                    "sizes count from 1 without a gap, wherever a neuron restores 1 % by itself",
                    "misnumbered",
                    "rows misnumbered or missing",
                    by=("prompt",),
                ),
                none_of(
                    "a set restores what the one before it restores and what its neuron adds, at least 1 %",
                    "shrinking",
                    "rows wrong",
                    of="rows",
                    by=("prompt",),
                ),
                none_of("no neuron is in a set twice", "repeated", "neurons repeated", of="rows", by=("prompt",)),
                none_of(
                    "the first neuron is the best of neuron_patching, and single shares are those that stand there",
                    "unlike",
                    "rows differ",
                    of="rows",
                    by=("prompt",),
                ),
                none_of(
                    "told are the neurons of the smallest set that restores 90 % of what the largest restores, at most 4",
                    "mistold",
                    "rows mistold",
                    of="rows",
                    by=("prompt",),
                ),
            ]
        },
    ),
    Check(
        name="prompt_set_values",
        asset="prompt_set_patching",
        promise="Each neuron's distribution is over the pairs that were patched, and nobody is among the first ten who is not.",
        needs=("prompt_sets", "prompt_set_pairs", "prompt_set_patching"),
        count=lambda reading, shard: {
            "sets": prompt_set_violations(reading.raw("prompt_sets"), reading.raw("prompt_set_pairs"), reading.raw("prompt_set_patching"))
        },
        sentences={
            "sets": [
                none_of("the quartiles of every neuron enclose its median", "disordered", "neurons wrong", of="neurons", by=_SET),
                none_of(
                    "every neuron is among the first ten in a whole number of pairs", "partial", "neurons wrong", of="neurons", by=_SET
                ),
                none_of("at most ten neurons of a pair are among its first ten", "crowded", "places too many", by=_SET),
                none_of(
                    "a pair has a first neuron exactly where it was patched, one that is among the first ten, and the preference that its logit "
                    "differences say",
                    "unlike",
                    "pairs differ",
                    of="pairs",
                    by=_SET,
                ),
                none_of(
                    "all three tables tell the same numbers of pairs, none more than it is taken from",
                    "miscounted",
                    "numbers wrong",
                    by=_SET,
                ),
            ]
        },
    ),
    Check(
        name="ablation_values",
        asset="neuron_ablation",
        promise="Effects add up and lie where they can, and controls are what they say.",
        needs=("neuron_ablation", "ablation_controls", "tracked_tokens"),
        fields=("ablation_positions",),
        count=lambda reading, shard: ablation_frames(
            reading.raw("neuron_ablation"),
            reading.raw("ablation_controls"),
            reading.raw("tracked_tokens").height,
            reading.study.ablation_positions,
        ),
        sentences={
            "pairs": [
                none_of("direct and mediated effect sum to the change of the logit", "torn", "effects torn", of="effects", by=_PAIR),
                none_of(
                    "p-values lie where their source allows, q-values not below p-values, flips are shares, intervals have two ends in order, "
                    "and what is compared is a mean over 1 to 16 of the positions",
                    "contradicting",
                    "effects contradictory",
                    of="effects",
                    by=_PAIR,
                ),
                none_of(
                    "every pair has at least 100 controls, or so many of them go as far that fewer settle it",
                    "few_controls",
                    "pairs with fewer",
                    of="pairs",
                    by=_PAIR,
                    severity="warning",
                ),
            ],
            "controls": [none_of("every control is another neuron", "itself", "rows wrong", of="rows", by=_PAIR)],
            "tokens": [
                none_of(
                    "every tracked token has positions in the corpus at which neurons are ablated",
                    "absent",
                    "tokens without",
                    of="tracked",
                    severity="warning",
                )
            ],
        },
    ),
)
