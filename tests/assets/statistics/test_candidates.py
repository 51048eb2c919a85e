"""Which neurons are studied: the best of every line of evidence, and those that the study names."""

from collections.abc import Mapping, Sequence

import polars as pl

from assets.statistics.token_neuron_scores import with_direction
from tests.candidate_choice import EMPTY, candidates_of, pairs_of


def scores_of(rows: list[tuple[int, int, int, float | None]]) -> pl.DataFrame:
    schema = {"token_id": pl.Int32, "layer": pl.Int32, "neuron": pl.Int32, "auroc": pl.Float64}
    return with_direction(pl.DataFrame(rows, schema=schema, orient="row"))


def test_pairs_are_tokens_by_neurons_of_interest_and_each_tokens_best_neurons_once() -> None:
    scores = scores_of([(7, 0, 0, 0.6), (7, 0, 1, 0.9), (7, 1, 0, 0.9), (8, 0, 0, 0.7), (8, 0, 1, 0.8), (8, 1, 0, 0.6)])
    pairs = pairs_of(scores, token_ids=(7, 8), named=[(0, 1), (1, 1)], best=2)
    # Neurons of interest: (0, 1) and (1, 1) with both tokens. Best of 7: (0, 1) and (1, 0), equal. Best of 8: (0, 1), (0, 0).
    assert pairs.rows() == [(0, 0, 8), (0, 1, 7), (0, 1, 8), (1, 0, 7), (1, 1, 7), (1, 1, 8)]


def test_the_best_neurons_are_those_that_tell_most_in_either_direction() -> None:
    scores = scores_of([(7, 0, 0, 0.9), (7, 0, 1, 0.05), (7, 1, 0, 0.6), (7, 1, 1, 0.25), (8, 0, 0, 0.25), (8, 0, 1, 0.75)])
    assert pairs_of(scores, (7,), [], best=1).rows() == [(0, 1, 7)]
    assert pairs_of(scores, (7,), [], best=3).rows() == [(0, 0, 7), (0, 1, 7), (1, 1, 7)]
    assert pairs_of(scores, (8,), [], best=1).rows() == [(0, 0, 8)], "equal in separation: the lower neuron"


def test_ties_go_to_the_lower_layer_then_the_lower_neuron_and_missing_scores_are_never_best() -> None:
    scores = scores_of([(7, 1, 0, 0.5), (7, 0, 2, 0.5), (7, 0, 1, 0.5), (7, 0, 0, None), (8, 0, 0, None)])
    assert pairs_of(scores, (7, 8), [], best=2).rows() == [(0, 1, 7), (0, 2, 7)]
    assert pairs_of(scores, (7, 8), [], best=1).rows() == [(0, 1, 7)]
    assert pairs_of(scores, (8,), [], best=2).rows() == []


def table(name: str, rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Rows of a line, of which the columns that a test does not give are missing."""
    return pl.DataFrame([{column: row.get(column) for column in EMPTY[name]} for row in rows], schema=EMPTY[name])


def test_every_line_sends_its_best_and_each_says_what_put_it_there() -> None:
    scores = scores_of([(7, 0, neuron, auroc) for neuron, auroc in enumerate((0.99, 0.02, 0.9, 0.5, 0.5, 0.5))])
    scores = scores.with_columns(average_precision=pl.Series([0.1, 0.2, 0.6, 0.5, 0.4, None]))
    written = [
        {"token_id": 7, "layer": 1, "neuron": neuron, "contribution": size} for neuron, size in enumerate((0.5, -0.9, 0.0, 2.0, -0.1, 1.0))
    ]
    congruent = [
        {"token_id": token, "layer": 2, "neuron": neuron, "convention": convention, "side": side, "congruence": size}
        for token, convention, side, neuron, size in [
            (7, "logits", "output", 3, 2.0), (7, "logits", "output", 4, -3.0), (7, "published", "output", 5, 9.0), (7, "logits", "input", 5, 9.0), (8, "logits", "output", 6, 9.0)
        ]
    ]  # fmt: skip
    moved = [
        {"token_id": 7, "prompt": prompt, "positions": positions, "layer": 3, "neuron": neuron, "improvement": share}
        for prompt, positions, neuron, share in [
            ("a", "last", 1, 0.1), ("b", "last", 1, 0.6), ("a", "all", 2, 0.9), ("a", "last", 3, 0.4), ("a", "last", 4, -0.7), ("b", "last", 5, 0.2)
        ]
    ]  # fmt: skip
    apart = [
        {"token_id": 7, "other_id": other, "layer": 4, "neuron": neuron, "contribution": size}
        for other, neuron, size in [(8, 1, 0.1), (9, 1, 0.4), (8, 2, 0.3), (8, 3, -0.9), (9, 4, 0.2)]
    ]
    stand_out = [
        {"token_id": token, "layer": 5, "neuron": 9 - rank, "variance_explained": 0.5 / rank} for token in (7, 8) for rank in (1, 2, 3)
    ]
    found = candidates_of(
        scores, [7], [(5, 5)], best=3, contrasted=table("contrasted", apart), screen=table("screen", stand_out),
        contributions=table("contributions", written), congruence=table("congruence", congruent), patched=table("patched", moved),
    )  # fmt: skip
    assert found.select("line", "rank", "layer", "neuron", "value").rows() == [
        ("named", None, 5, 5, None),
        ("separation", 1, 0, 0, 0.99),
        ("separation", 2, 0, 1, 0.98),
        ("separation", 3, 0, 2, 0.9),
        ("average_precision", 1, 0, 2, 0.6),
        ("average_precision", 2, 0, 3, 0.5),
        ("contribution", 1, 1, 3, 2.0),
        ("contribution", 2, 1, 5, 1.0),
        ("contribution_against", 1, 1, 1, -0.9),
        ("contribution_against", 2, 1, 4, -0.1),
        ("congruence", 1, 2, 3, 2.0),
        ("patching", 1, 3, 1, 0.6000000238418579),
        ("patching", 2, 3, 3, 0.4000000059604645),
        ("contrast", 1, 4, 1, 0.4),
        ("contrast", 2, 4, 2, 0.3),
        ("screen", 1, 5, 8, 0.5),
        ("screen", 2, 5, 7, 0.25),
    ]
    assert set(found["token_id"]) == {7}
    gated = candidates_of(scores, [7], best=3, is_gated=True, congruence=table("congruence", congruent)).filter(line="congruence")
    assert gated.select("rank", "neuron", "value").rows() == [(1, 4, 3.0), (2, 3, 2.0)], "by size: the sign is a convention"


def test_a_set_that_is_told_of_a_prompt_comes_whole_and_a_set_of_one_does_not() -> None:
    scores = scores_of([(7, 0, 0, 0.6)])
    sets = [
        {"token_id": token, "prompt": prompt, "size": size, "layer": 4, "neuron": neuron, "restored": restored, "is_told": is_told}
        for token, prompt, size, neuron, restored, is_told in [
            (7, "a", 1, 10, 0.25, True), (7, "a", 2, 11, 0.375, True), (7, "a", 3, 12, 0.5, True), (7, "a", 4, 13, 0.51, False),
            (7, "b", 1, 14, 0.25, True), (7, "b", 2, 11, 0.75, True), (7, "c", 1, 15, 0.9, True), (7, "c", 2, 16, 0.91, False),
            (8, "d", 1, 17, 0.25, True), (8, "d", 2, 18, 0.5, True),
        ]
    ]  # fmt: skip
    found = candidates_of(scores, [7], best=1, sets=table("sets", sets)).filter(line="patched_together")
    assert found.select("token_id", "rank", "neuron", "value").rows() == [
        (7, 1, 14, 0.75),
        (7, 2, 11, 0.75),  # of both sets: it comes with the one that restores more
        (7, 3, 10, 0.5),
        (7, 4, 12, 0.5),
    ]
    assert pairs_of(scores, [7]).rows() == [(0, 0, 7)]


def test_a_prompt_set_sends_the_neurons_with_the_largest_medians_each_with_the_set_where_it_is_most() -> None:
    scores = scores_of([(7, 0, 0, 0.6)])
    over_sets = [
        {"token_id": token, "prompt_set": name, "layer": 4, "neuron": neuron, "median": median}
        for token, name, neuron, median in [
            (7, "a", 10, 0.25), (7, "a", 11, 0.5), (7, "a", 12, 0.125), (7, "a", 13, -0.75), (7, "b", 10, 0.75), (7, "b", 12, 0.0), (8, "c", 14, 0.875),
        ]
    ]  # fmt: skip
    found = candidates_of(scores, [7], best=5, over_sets=table("over_sets", over_sets)).filter(line="prompt_set")
    assert found.select("token_id", "rank", "neuron", "value").rows() == [(7, 1, 10, 0.75), (7, 2, 11, 0.5)]
    nothing = [{"token_id": 7, "prompt_set": "a", "layer": 4, "neuron": 13, "median": 0.0}]
    assert candidates_of(scores, [7], over_sets=table("over_sets", nothing)).filter(line="prompt_set").height == 0


def test_other_lines_send_at_most_as_many_as_are_asked_for_by_separation() -> None:
    scores = scores_of([(7, 0, neuron, 0.6) for neuron in range(4)]).with_columns(average_precision=pl.Series([0.1, 0.2, 0.3, 0.4]))
    assert candidates_of(scores, [7], best=1).select("line", "neuron").rows() == [("separation", 0), ("average_precision", 3)]


def test_tokens_come_in_the_order_of_the_study_and_a_neuron_named_twice_once() -> None:
    scores = scores_of([(7, 0, 0, 0.6), (3, 0, 1, 0.7)])
    found = candidates_of(scores, [7, 3], [(1, 1), (1, 1)], best=1)
    assert found.select("token_id", "line", "neuron").rows() == [
        (7, "named", 1),
        (7, "separation", 0),
        (3, "named", 1),
        (3, "separation", 1),
    ]
