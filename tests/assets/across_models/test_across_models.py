"""The comparison on frames small enough to rank by hand: two tokens, four neurons, two prompts."""

from typing import Any

import polars as pl
import pytest

from assets.across_models.across_models import (
    StudyTables,
    best_neurons,
    compared_tokens,
    ranked_neurons,
    tokens_in_order,
)
from assets.contracts import ACROSS_MODELS_NEURONS, ACROSS_MODELS_TOKENS, TABLES
from assets.statistics.token_neuron_scores import with_direction

AN, A = 11, 12
NEURONS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def rows(table: str, names: str, *lines: tuple) -> pl.DataFrame:
    """A table of which only the named columns matter; the others hold what their type starts with."""
    given = names.split()
    filler: dict[Any, Any] = {pl.String(): "", pl.Boolean(): False}
    schema = TABLES[table].schema
    content = [{name: filler.get(kind, 0) for name, kind in schema.items()} | dict(zip(given, line, strict=True)) for line in lines]
    return pl.DataFrame(content, schema=schema)


def evidence(
    congruence: list[float],
    auroc: list[float | None],
    improvement: list[float],
    ablated: dict[tuple[int, int], float] | None = None,
    contribution: list[float] | None = None,
    is_gated: bool = False,
) -> StudyTables:
    """One value a neuron for " an"; for " a" congruence is the same and the token is never predicted, so that it has no AUROC and no
    contribution."""
    both = [
        (convention, "output", token, text, *neuron, value * scale)
        for convention, scale in (("logits", 1), ("published", -1))
        for token, text in ((AN, " an"), (A, " a"))
        for neuron, value in zip(NEURONS, congruence, strict=True)
    ]
    scores = [(AN, " an", *neuron, value) for neuron, value in zip(NEURONS, auroc, strict=True)] + [(A, " a", *n, None) for n in NEURONS]
    patched = [
        ("pear", positions, *neuron, value * factor)
        for positions, factor in (("last", 1.0), ("all", -1.0))
        for neuron, value in zip(NEURONS, improvement, strict=True)
    ]
    effects = [
        (AN, *neuron, positions, ablation, "log_probability", effect * factor, effect - 1, effect + 1, 0.01, 40)
        for neuron, effect in (ablated or {}).items()
        for positions, ablation, factor in (("predicted", "mean", 1), ("predicted", "zero", -1), ("other", "mean", -1))
    ]
    return StudyTables(
        "small",
        {
            "tracked_tokens": rows("tracked_tokens", "row token_id token", (0, A, " a"), (1, AN, " an")),
            "token_counts": rows("token_counts", "token_id token predictions", (AN, " an", 5), (A, " a", 0), (13, " he", 2)),
            "token_neuron_scores": with_direction(rows("token_neuron_scores", "token_id token layer neuron auroc", *scores)),
            "contributions": rows(
                "contributions", "token_id token layer neuron contribution",
                *((AN, " an", *neuron, value) for neuron, value in zip(NEURONS, contribution or [], strict=contribution is not None)),
            ),
            "congruence_tracked_tokens": rows(
                "congruence_tracked_tokens", "convention side token_id token layer neuron congruence", *both, ("logits", "input", AN, " an", 0, 0, 99)
            ),
            "prompt_predictions": rows(
                "prompt_predictions", "prompt variant token_id role",
                ("pear", "clean", AN, "answer"), ("pear", "corrupt", AN, "answer"), ("pear", "clean", A, "wrong_answer"), ("unpatched", "clean", A, "answer"),
            ),
            "neuron_patching": rows("neuron_patching", "prompt positions layer neuron improvement", *patched),
            "neuron_ablation": rows(
                "neuron_ablation", "token_id layer neuron positions ablation measure effect ci_low ci_high p_value position_count", *effects
            ),
        },
        is_gated,
    )  # fmt: skip


def compare(given: StudyTables, tokens: tuple[str, ...] = (" an", " a")) -> tuple[dict[str, dict], pl.DataFrame]:
    """across_models_tokens by token, and across_models_neurons."""
    ranked = ranked_neurons(given)
    frame, neurons = compared_tokens(given, ranked, tokens), best_neurons(ranked, best=1)
    assert frame.schema == ACROSS_MODELS_TOKENS.schema
    assert neurons.schema == ACROSS_MODELS_NEURONS.schema
    return {row["token"]: row for row in frame.iter_rows(named=True)}, neurons


def test_a_neuron_that_is_best_by_all_three_is_named_as_the_one_that_they_agree_on() -> None:
    tokens, neurons = compare(evidence([0.5, 2.0, 1.0, -3.0], [0.6, 0.9, 0.7, 0.2], [0.1, 0.8, 0.0, -0.5], {(0, 1): -4.0}))
    row = tokens[" an"]
    assert (row["measures"], row["agreeing"], row["layer"], row["neuron"]) == (3, 3, 0, 1)
    assert (row["predictions"], row["prompts"], row["state"]) == (5, "pear", "compared")
    (best,) = neurons.filter(token=" an").to_dicts()
    assert (best["layer"], best["neuron"]) == (0, 1)
    assert [best[f"{name}_rank"] for name in ("congruence", "separation", "improvement", "ablation")] == [1, 1, 1, 1]
    assert (best["congruence"], best["auroc"], best["improvement"]) == (2.0, 0.9, pytest.approx(0.8))
    assert (best["ablation_effect"], best["ablation_low"], best["ablation_high"]) == (-4.0, -5.0, -3.0)
    assert (best["ablation_p_value"], best["ablation_positions"]) == (0.01, 40)


def test_where_measures_differ_each_ones_best_is_shown_with_its_place_by_the_others() -> None:
    tokens, neurons = compare(evidence([3.0, 2.0, 1.0, 0.5], [0.5, 0.9, 0.8, 0.7], [-0.1, 0.0, 0.2, 0.1]))
    row = tokens[" an"]
    assert (row["measures"], row["agreeing"], row["layer"], row["neuron"]) == (3, 1, None, None)
    places = {
        (line["layer"], line["neuron"]): (line["congruence_rank"], line["separation_rank"], line["improvement_rank"], line["ablation_rank"])
        for line in neurons.filter(token=" an").to_dicts()
    }
    assert places == {(0, 0): (1, 4, 4, None), (0, 1): (2, 1, 3, None), (1, 0): (3, 2, 1, None)}


def test_two_of_three_agree_and_the_third_ones_best_is_shown_too() -> None:
    tokens, neurons = compare(evidence([3.0, 2.0, 1.0, 0.5], [0.5, 0.9, 0.8, 0.7], [-0.1, 0.3, 0.2, 0.1]))
    assert (tokens[" an"]["agreeing"], tokens[" an"]["layer"], tokens[" an"]["neuron"]) == (2, 0, 1)
    assert neurons.filter(token=" an").select("layer", "neuron").rows() == [(0, 0), (0, 1)]


def test_a_token_without_predictions_and_without_a_patched_prompt_is_ranked_by_congruence_alone() -> None:
    tokens, _ = compare(evidence([3.0, 2.0, 1.0, 0.5], [0.5, 0.9, 0.8, 0.7], [0.1, 0.3, 0.2, 0.1]))
    assert (tokens[" a"]["measures"], tokens[" a"]["agreeing"], tokens[" a"]["prompts"]) == (1, 1, "")
    assert tokens[" a"]["neuron"] is None


def test_a_first_place_that_speaks_for_nothing_is_no_best() -> None:
    tokens, neurons = compare(evidence([-1.0, -2.0, -3.0, -4.0], [0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0], {(1, 1): 0.5}))
    assert (tokens[" an"]["measures"], tokens[" an"]["agreeing"]) == (3, 0)
    assert neurons.height == 0


def test_a_neuron_that_is_low_where_the_token_is_predicted_can_be_the_best_predictor() -> None:
    tokens, neurons = compare(evidence([0.1, 0.2, 0.3, 2.0], [0.6, 0.9, 0.7, 0.02], [0.0, 0.1, 0.2, 0.8]))
    assert (tokens[" an"]["agreeing"], tokens[" an"]["layer"], tokens[" an"]["neuron"]) == (3, 1, 1)
    (best,) = neurons.filter(token=" an").to_dicts()
    assert [best[name] for name in ("auroc", "direction", "separation", "separation_rank")] == [0.02, -1, 0.98, 1]


def test_the_writer_is_compared_by_rank_and_value_and_votes_with_the_others() -> None:
    given = evidence([0.5, 2.0, 1.0, -3.0], [0.6, 0.9, 0.7, 0.2], [0.1, 0.8, 0.0, -0.5], contribution=[0.1, 2.5, 0.4, -1.0])
    tokens, neurons = compare(given)
    row = tokens[" an"]
    assert (row["measures"], row["agreeing"], row["layer"], row["neuron"]) == (4, 4, 0, 1)
    assert row["predictor_role"] == "writes it most"
    (best,) = neurons.filter(token=" an").to_dicts()
    assert (best["contribution"], best["contribution_rank"]) == (2.5, 1)
    assert (tokens[" a"]["measures"], tokens[" a"]["predictor_role"]) == (1, None)


@pytest.mark.parametrize(
    ("contribution", "role"),
    [
        ([2.5, 1.25, 0.4, -1.0], "writes it too"),
        ([2.5, 1.24, 0.4, -1.0], "goes along"),
        ([2.5, -0.1, 0.4, -1.0], "goes along"),
        ([2.5, -0.2, 0.4, -1.0], "writes against it"),
        ([2.5, -0.1, 0.4, 0.0], "writes against it"),  # little, but more than any other
        ([-0.1, 0.0, -0.1, -0.1], "goes along"),  # first, and writes nothing
        ([2.5, 2.5, 0.4, -1.0], "writes it most"),
    ],
)
def test_a_best_predictor_is_told_by_what_it_does_to_the_token(contribution: list[float], role: str) -> None:
    tokens, neurons = compare(evidence([3.0, 2.0, 1.0, 0.5], [0.5, 0.9, 0.8, 0.7], [-0.1, 0.0, 0.2, 0.1], contribution=contribution))
    assert tokens[" an"]["predictor_role"] == role
    (predictor,) = neurons.filter(token=" an", layer=0, neuron=1).to_dicts()
    assert predictor["contribution"] == contribution[1]


def test_a_gated_neuron_is_ranked_by_the_size_of_its_congruence_whichever_its_sign() -> None:
    compared = [
        compare(evidence([sign * 3.0, 2.0, -1.0, 0.5], [0.5, 0.9, 0.8, 0.7], [0.0, 0.0, 0.0, 0.0], is_gated=True)) for sign in (1, -1)
    ]
    for tokens, neurons in compared:
        assert tokens[" an"]["measures"] == 3
        assert neurons.filter(token=" an", congruence_rank=1).select("layer", "neuron", "congruence").rows() == [(0, 0, 3.0)]
    assert compared[0][1].equals(compared[1][1])


def test_neurons_that_tie_for_the_first_place_are_all_best() -> None:
    tokens, _ = compare(evidence([1.0, 2.0, 0.0, 0.0], [0.9, 0.9, 0.2, 0.2], [0.4, 0.4, 0.0, 0.0]))
    assert (tokens[" an"]["agreeing"], tokens[" an"]["layer"], tokens[" an"]["neuron"]) == (3, 0, 1)


def test_an_improvement_is_the_mean_over_the_prompts_whose_answer_is_the_token() -> None:
    given = evidence([1.0, 2.0, 0.0, 0.0], [0.9, 0.8, 0.3, 0.3], [0.4, 0.6, 0.0, 0.0])
    more = rows("neuron_patching", "prompt positions layer neuron improvement", ("plum", "last", 0, 0, 1.0), ("plum", "last", 0, 1, 0.2))
    answer = rows("prompt_predictions", "prompt variant token_id role", ("plum", "clean", AN, "answer"))
    tables = {**given.tables, "neuron_patching": pl.concat([given.tables["neuron_patching"], more]),
              "prompt_predictions": pl.concat([given.tables["prompt_predictions"], answer])}  # fmt: skip
    ranked = ranked_neurons(StudyTables("small", tables, is_gated=False)).filter(token=" an", layer=0).sort("neuron")
    assert ranked["improvement"].to_list() == pytest.approx([0.7, 0.4])
    assert ranked["improvement_rank"].to_list() == [1, 2]


def test_a_token_of_other_studies_is_said_to_be_untracked_or_unknown_to_the_vocabulary() -> None:
    tokens, _ = compare(evidence([1.0] * 4, [0.9] * 4, [0.4] * 4), (" an", " a", " he", " she"))
    assert (tokens[" he"]["state"], tokens[" she"]["state"]) == ("not tracked", "no such token")
    assert (tokens[" he"]["token_id"], tokens[" he"]["measures"]) == (None, None)


def test_the_published_token_comes_first_then_what_most_studies_track() -> None:
    assert tokens_in_order({"b": [" the", " he"], "a": [" he", " an", " he"], "c": [" she"]}) == [" an", " he", " the", " she"]
    assert tokens_in_order({}) == []
