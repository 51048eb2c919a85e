"""The scorecard on small tables written by hand: both conventions, all three verdicts, and every reason for `not run`."""

from typing import Any, get_args

import polars as pl
import pytest

from assets.claims.claims import Claim
from assets.claims.quantities import QUANTITIES
from assets.claims.replication_scorecard import replication_scorecard
from assets.claims.subject import NAMED_NEURONS, CardLine, NamedNeuron, SendingLine
from assets.contracts import REPLICATION_SCORECARD, TABLES
from assets.evidence_cards.evidence_lines import LINE_NAMES
from assets.statistics.candidates import LINES, NAMED
from assets.statistics.token_neuron_scores import with_direction

AN, A, OTHER = 11, 12, 13
BEST = (1, 0)


def rows(table: str, names: str, *lines: tuple) -> pl.DataFrame:
    """A table of which only the named columns matter; the others hold what their type starts with."""
    given = names.split()
    filler: dict[Any, Any] = {pl.String(): "", pl.Boolean(): False}
    schema = TABLES[table].schema
    content = [{name: filler.get(kind, 0) for name, kind in schema.items()} | dict(zip(given, line, strict=True)) for line in lines]
    return pl.DataFrame(content, schema=schema)


def tables(auroc: float = 0.97) -> dict[str, pl.LazyFrame]:
    """Two layers of two neurons; three tokens, of which `an` and `a` are tracked and ids 13 and 14 read alike."""
    pair = [(convention, "output", AN, layer, neuron, value * (1 if convention == "published" else 2))
            for convention in ("published", "logits") for (layer, neuron, value) in ((0, 0, 0.5), (0, 1, 0.0), (1, 0, 3.0), (1, 1, -1.0))]  # fmt: skip
    frames = {
        "corpus_documents": rows("corpus_documents", "document", (0,), (1,), (2,)),
        "token_counts": rows("token_counts", "token_id token occurrences predictions", (AN, " an", 7, 5), (A, " a", 9, 8), (OTHER, "x", 1, 0), (14, "x", 1, 0)),
        "neuron_statistics": rows("neuron_statistics", "layer neuron", (0, 0), (0, 1), (1, 0), (1, 1)),
        "token_neuron_scores": with_direction(
            rows("token_neuron_scores", "token_id layer neuron auroc", (AN, 0, 0, 0.6), (AN, 1, 0, auroc), (A, 0, 0, None))
        ),
        "proportion_curves": rows(
            "proportion_curves", "layer neuron token_id bin_left bin_right count top_prediction_count proportion reliable",
            (*BEST, AN, 0.10, 0.15, 40, 0, 0.0, True), (*BEST, AN, 0.20, 0.25, 40, 10, 0.25, True),
            (*BEST, AN, 0.60, 0.65, 2, 2, 1.0, False), (*BEST, AN, 1.00, 1.05, 40, 30, 0.75, True), (*BEST, AN, 2.00, 2.05, 40, 40, 1.0, True),
            (0, 0, AN, 0.0, 0.2, 40, 0, 0.0, True), (1, 1, AN, 0.10, 0.15, 1, 0, 0.0, False),
        ),
        "embedding_predictions": rows("embedding_predictions", "token_id token predictions", (AN, " an", 6), (A, " a", 4), (OTHER, "x", 1), (14, "x", 2)),
        "embedding_curves": rows(
            "embedding_curves", "layer neuron token_id bin_left bin_right count embedding_prediction_count",
            (*BEST, AN, 0.10, 0.15, 40, 0), (*BEST, AN, 0.20, 0.25, 40, 30), (*BEST, AN, 0.60, 0.65, 2, 1), (*BEST, AN, 1.00, 1.05, 40, 40),
            (*BEST, AN, 2.00, 2.05, 40, 20), (0, 0, AN, 0.0, 0.2, 40, 0), (1, 1, AN, 0.10, 0.15, 1, 0),
        ),
        "congruence_tracked_tokens": rows("congruence_tracked_tokens", "convention side token_id layer neuron congruence", *pair,
                                          ("published", "input", AN, 1, 0, 0.55)),
        "congruence_tokens": rows("congruence_tokens", "convention token_id rank layer neuron congruence gap",
                                  ("published", AN, 1, 1, 0, 3.0, 2.5), ("published", AN, 2, 0, 0, 0.5, 0.5), ("published", A, 1, 1, 0, 1.0, None)),
        "congruence_neurons": rows("congruence_neurons", "convention layer neuron end rank token_id congruence", ("published", 1, 0, "top", 1, AN, 3.0)),
        "congruence_neurons_of_interest": rows("congruence_neurons_of_interest", "convention side layer neuron token_id congruence",
                                               *(("published", "output", 1, 0, token, value) for token, value in ((AN, 3.0), (A, 1.0), (OTHER, -1.0), (14, -3.0)))),
        "congruence_mutual_pairs": rows("congruence_mutual_pairs", "convention token_id layer neuron score", ("published", AN, 1, 0, 5.0), ("published", OTHER, 0, 1, 6.0),
                                        ("logits", OTHER, 0, 0, 7.0)),
        "contributions": rows("contributions", "token_id layer neuron contribution",
                              (AN, 0, 0, 0.5), (AN, 0, 1, -0.25), (AN, 1, 0, 2.0), (AN, 1, 1, -3.0)),
        "contribution_screen": rows("contribution_screen", "token_id end rank layer neuron contribution",
                                    (OTHER, "writes", 1, 0, 1, 4.0), (OTHER, "writes", 2, 1, 1, 1.0), (OTHER, "writes_against", 1, 0, 0, -0.5),
                                    (A, "writes", 1, 0, 0, 0.1)),
        "candidates": rows("candidates", "token_id line rank layer neuron", (AN, "named", None, *BEST), (AN, "separation", 1, *BEST),
                           (AN, "contribution", 2, *BEST), (AN, "separation", 2, 0, 0)),
        "evidence_cards": rows("evidence_cards", "token_id layer neuron line verdict value", (AN, *BEST, "writes", "supported", 2.5),
                               (AN, *BEST, "alone", "against", 0.3), (AN, *BEST, "goes_along", "unclear", 0.6),
                               (AN, *BEST, "in_every_domain", "not measured", None)),
        "prompt_ablation": rows(
            "prompt_ablation", "prompt variant positions layer neuron ablation token_id after",
            *(("apple", "clean", positions, *BEST, ablation, AN, value + (0.5 if positions == "last" else 0))
              for positions in ("all", "last")
              for ablation, value in (("negation", 0.03), ("mean", 0.3), ("folded input negation", 0.26), ("input negation", 0.28))),
        ),
        "prompt_predictions": rows(
            "prompt_predictions", "prompt variant token_id token logit centred_logit probability role",
            ("apple", "clean", AN, " an", -80.0, 20.0, 0.65, "answer"), ("apple", "clean", A, " a", -81.0, 19.0, 0.24, "wrong_answer"),
        ),
        "logit_lens": rows("logit_lens", "prompt variant scale layer point difference",
                           ("apple", "clean", "own", 1, "mlp", 0.9), ("apple", "clean", "final", 1, "mlp", 0.8), ("apple", "clean", "published", 1, "mlp", 1.1)),
        "activation_patching": rows("activation_patching", "prompt component head layer position improvement",
                                    ("apple", "mlp", None, 1, 4, 0.49), ("apple", "head", 0, 1, 4, 0.1), ("apple", "head", 1, 1, 4, 0.31)),
        "neuron_patching": rows("neuron_patching", "prompt positions layer neuron improvement",
                                ("apple", "all", 1, 0, 0.5), ("apple", "all", 1, 1, 0.6), ("apple", "last", 1, 0, 0.4), ("apple", "last", 1, 1, 0.1)),
    }  # fmt: skip
    return {name: frame.lazy() for name, frame in frames.items()}


def judge(
    quantity: str,
    expected: float,
    convention: str = "published",
    tolerance: float = 1e-6,
    counts_bos: bool = True,
    without: tuple[str, ...] = (),
    auroc: float = 0.97,
    **of: Any,
) -> dict[str, Any]:
    """The row of one claim; the tables `without` are empty. `auroc` is that of the best neuron for " an"."""
    claim = Claim(claim="c", source="s", quantity=quantity, of=of, expected=expected, tolerance=tolerance, convention=convention)  # type: ignore[arg-type]
    given = {name: frame.clear() if name in without else frame for name, frame in tables(auroc).items()}
    frame = replication_scorecard([claim], given, counts_bos, min_count=20)
    assert frame.schema == REPLICATION_SCORECARD.schema
    return frame.row(0, named=True)


APPLE: dict[str, Any] = {"prompt": "apple", "variant": "clean"}
PAIR: dict[str, Any] = {"token": " an", "neuron": BEST}


@pytest.mark.parametrize(
    ("quantity", "of", "published", "correct"),
    [
        ("prompt_probability", {**APPLE, "token": " an"}, 0.65, 0.65),
        ("prompt_logit", {**APPLE, "token": " an"}, 20, -80),
        ("logit_difference", APPLE, 1, 1),
        ("lens_difference", {**APPLE, "layer": 1, "point": "mlp"}, 1.1, 0.9),
        ("component_improvement", {"prompt": "apple", "component": "mlp", "layer": 1, "position": 4}, 0.49, 0.49),
        ("head_improvement", {"prompt": "apple", "layer": 1, "head": 1, "position": 4}, 0.31, 0.31),
        ("neuron_improvement", {"prompt": "apple", "neuron": BEST}, 0.5, 0.4),
        ("neuron_improvement_rank", {"prompt": "apple", "neuron": BEST}, 2, 1),
        ("congruence", PAIR, 3, 6),
        ("congruence_rank", {"token": " an", "neuron": (0, 0)}, 2, 2),
        ("input_congruence", PAIR, 0.55, 0.55),  # what a neuron reads is no logit: there is one way
        ("documents", {}, 3, 3),
        ("positions", {}, 18, 18),
        # the post's negation writes the opposite; what stands beside it takes the neuron out
        ("negated_activation", {**APPLE, **PAIR}, 0.03, 0.3),
        ("negated_input", {**APPLE, **PAIR}, 0.26, 0.28),
        ("token_predictions", {"token": " an"}, 6, 5),  # by the embedding, and by the model's own logits
        ("token_occurrences", {"token": " an"}, 7, 7),
        ("auroc", {"token": " an", "neuron": "best"}, 0.97, 0.97),
        ("separation", {"token": " an", "neuron": (0, 0)}, 0.6, 0.6),
        ("direction", PAIR, 1, 1),
        ("contribution", PAIR, 2.0, 2.0),
        ("contribution", {"token": " an", "neuron": "writer"}, 2.0, 2.0),
        ("contribution", {"token": " an", "neuron": "writer_against"}, -3.0, -3.0),
        ("contribution", {"token": 13, "neuron": "writer"}, 4.0, 4.0),  # screened, not tracked
        ("contribution", {"token": 13, "neuron": "writer_against"}, -0.5, -0.5),
        ("contribution_rank", {"token": " an", "neuron": (0, 0)}, 2, 2),
        ("contribution_rank", {"token": 13, "neuron": (1, 1)}, 2, 2),
        ("contribution_against_rank", {"token": " an", "neuron": (0, 1)}, 2, 2),
        ("contribution_against_rank", {"token": 13, "neuron": (0, 0)}, 1, 1),
        ("contribution_ratio", PAIR, 4, 4),
        ("contribution_ratio", {"token": " an", "neuron": (1, 1)}, -1.5, -1.5),
        ("contribution_ratio", {"token": 13, "neuron": "writer"}, 4, 4),
        ("candidate_rank", {**PAIR, "line": "contribution"}, 2, 2),
        ("candidate_lines", PAIR, 2, 2),
        ("evidence_verdict", {**PAIR, "line": "writes"}, 1, 1),
        ("evidence_verdict", {**PAIR, "line": "alone"}, -1, -1),
        ("evidence_verdict", {"token": " an", "neuron": "writer", "line": "goes_along"}, 0, 0),
        ("evidence_value", {**PAIR, "line": "writes"}, 2.5, 2.5),
        ("candidate_lines", {"token": " an", "neuron": (1, 1)}, 0, 0),
        ("auroc", {"token": " an", "neuron": "writer"}, 0.97, 0.97),
        # the unreliable bin at 0.6 counts for the post, which had no such notion; the post's level 0.2 is [0.15, 0.35)
        ("first_level_at_half", PAIR, 0.2, 1.0),
        ("first_level_at_one", PAIR, 1.0, 2.0),
        ("last_level_below_one", PAIR, 2.0, 1.0),
        ("last_level", PAIR, 2.0, 2.0),
        ("highest_proportion", PAIR, 1.0, 1.0),
        ("proportion", {**PAIR, "level": 1.0}, 1.0, 0.75),
        ("proportion", {**PAIR, "level": 0.6}, 0.5, None),  # two positions are too few for the right one
    ],
)
def test_each_quantity_is_the_tables_number_by_either_convention(quantity: str, of: dict, published: float, correct: float | None) -> None:
    row = judge(quantity, published, **of)
    assert row["observed_published"] == pytest.approx(published)
    assert row["verdict"] == "replicated"
    assert judge(quantity, published + 1, **of)["verdict"] == "not replicated"
    assert row["observed_correct"] == (None if correct is None else pytest.approx(correct))
    if correct is not None:
        assert judge(quantity, correct, convention="correct", **of)["verdict"] == "replicated"


@pytest.mark.parametrize(
    ("quantity", "of", "published"),
    [
        ("congruence_lead", PAIR, 2.5),
        ("congruence_lead", {"token": " an", "neuron": (0, 0)}, -2.5),
        ("mutual_pair_score", PAIR, 5.0),
        ("mutual_pair_score", {"token": " an", "neuron": (0, 0)}, 0.0),
        ("congruence_mean", {"neuron": BEST}, 0.0),
        ("congruence_deviation", {"neuron": BEST}, 5**0.5),  # of 3, 1, -1 and -3
        ("congruence_minimum", {"neuron": BEST}, -3.0),
        ("highest_congruence", {"neuron": BEST}, 3.0),
        ("tokens_led", {"neuron": BEST}, 2.0),
        ("mutual_pair_rank", PAIR, 2.0),
    ],
)
def test_quantities_of_weights_by_the_published_convention(quantity: str, of: dict, published: float) -> None:
    row = judge(quantity, published, **of)
    assert row["observed_published"] == pytest.approx(published)
    assert row["verdict"] == "replicated"


@pytest.mark.parametrize(
    ("quantity", "of", "reason"),
    [
        ("congruence", {"token": " an", "neuron": (31, 892)}, "the model has no layer 31: its layers are 0 to 1"),
        ("congruence", {"token": " an", "neuron": (1, 892)}, "the model has no neuron 892: its layers have neurons 0 to 1"),
        ("congruence", {"token": " pear", "neuron": BEST}, "the model's vocabulary has no entry ' pear'"),
        ("congruence", {"token": "x", "neuron": BEST}, "entries [13, 14] all read 'x': give the claim an id"),
        ("congruence", {"token": " a", "neuron": (0, 1)}, "the pair's congruence is not kept"),
        ("prompt_probability", {"prompt": "pear", "variant": "clean", "token": " an"}, "the study has no prompt pear"),
        ("prompt_probability", {"prompt": "apple", "variant": "corrupt", "token": " an"}, "prompt apple has no corrupt text"),
        ("prompt_probability", {**APPLE, "token": 13}, "neither an answer nor among the most probable"),
        ("lens_difference", {**APPLE, "layer": 1, "point": "attention"}, "the logit lens has no point attention in layer 1"),
        ("lens_difference", {**APPLE, "layer": 9, "point": "mlp"}, "the model has no layer 9"),
        ("component_improvement", {"prompt": "apple", "component": "mlp", "layer": 1, "position": 16}, "was not patched at position 16"),
        (
            "head_improvement",
            {"prompt": "apple", "layer": 1, "head": 2, "position": 4},
            "head 2 of layer 1 was not patched on prompt apple at position 4",
        ),
        ("head_improvement", {"prompt": "apple", "layer": 2, "head": 0, "position": 4}, "the model has no layer 2"),
        ("neuron_improvement", {"prompt": "apple", "neuron": (0, 0)}, "the neurons of layer 0 were not patched on prompt apple"),
        ("auroc", {"token": " a", "neuron": "best"}, "no neuron could be scored for token ' a'"),
        ("first_level_at_half", {"token": " a", "neuron": BEST}, "the pair has no curve: track token ' a'"),
        ("last_level", {"token": " an", "neuron": (0, 0)}, "cannot be made of bins 0.2 wide"),
        ("negated_activation", {**APPLE, "token": " an", "neuron": (0, 0)}, "the neuron was not ablated on the prompts for token ' an'"),
        (
            "negated_input",
            {**APPLE, "token": 13, "neuron": BEST},
            "the neuron was not ablated on the prompts for token 13: track the token",
        ),
        ("negated_input", {"prompt": "apple", "variant": "corrupt", **PAIR}, "prompt apple has no corrupt text"),
        ("mutual_pair_rank", {"token": " pear", "neuron": BEST}, "the model's vocabulary has no entry ' pear'"),
        ("separation", {"token": 13, "neuron": BEST}, "token 13 is not tracked, or never the top prediction"),
        ("contribution", {"token": 13, "neuron": BEST}, "the pair's contribution is not kept: track the token"),
        ("contribution_rank", {"token": 13, "neuron": (0, 0)}, "the pair's contribution is not kept: track the token"),
        ("contribution_against_rank", {"token": 13, "neuron": (0, 1)}, "the pair's contribution is not kept: track the token"),
        ("contribution_ratio", {"token": 13, "neuron": BEST}, "the pair's contribution is not kept: track the token"),
        (
            "contribution",
            {"token": 14, "neuron": "writer"},
            "no neuron's contribution to token 14 is known: it is neither tracked nor screened",
        ),
        ("contribution", {"token": " an", "neuron": (1, 892)}, "the model has no neuron 892"),
        ("candidate_rank", {"token": " a", "neuron": BEST, "line": "patching"}, "no neuron is studied for token ' a': track it"),
        ("candidate_lines", {"token": " a", "neuron": BEST}, "no neuron is studied for token ' a': track it"),
        (
            "evidence_verdict",
            {"token": " an", "neuron": (0, 0), "line": "writes"},
            "the neuron is not studied for the token, so the pair has no",
        ),
        ("evidence_verdict", {**PAIR, "line": "in_every_domain"}, "the line in_every_domain of the pair's evidence card was not measured"),
        ("evidence_value", {**PAIR, "line": "in_every_domain"}, "the line in_every_domain of the pair's evidence card was not measured"),
    ],
)
def test_what_cannot_be_looked_up_is_not_run_and_says_why(quantity: str, of: dict, reason: str) -> None:
    row = judge(quantity, 1.0, tolerance=1e9, **of)  # a tolerance that would let any value pass
    assert row["verdict"] == "not run"
    assert row["observed_published"] is None
    assert reason in row["reason_published"]


@pytest.mark.parametrize(
    ("quantity", "published", "correct"),
    [
        ("first_level_at_half", 0.2, 2.2),  # the highest level that holds one half, by its upper end
        ("first_level_at_one", 1.0, 2.2),
        ("last_level_below_one", 2.0, 0.2),  # the lowest level, [0, 0.2)
        ("last_level", 2.0, 2.0),
        ("highest_proportion", 1.0, 1.0),
    ],
)
def test_the_right_way_to_order_levels_is_the_neurons_own_and_the_published_one_upwards(
    quantity: str, published: float, correct: float
) -> None:
    row = judge(quantity, published, auroc=0.03, token=" an", neuron="best")
    assert row["observed_published"] == pytest.approx(published)
    assert row["observed_correct"] == pytest.approx(correct)


def test_a_claim_by_the_published_count_is_not_run_where_the_study_leaves_bos_out_and_the_right_value_stands_beside_it() -> None:
    row = judge("token_predictions", 5, counts_bos=False, token=" an")
    assert row["verdict"] == "not run"
    assert "this study leaves it out (count_bos: false)" in row["reason_published"]
    assert row["observed_correct"] == 5
    assert judge("token_predictions", 5, convention="correct", counts_bos=False, token=" an")["verdict"] == "replicated"


@pytest.mark.parametrize(
    ("quantity", "of", "correct"),
    [
        ("token_predictions", {"token": " an"}, 5),
        ("first_level_at_half", PAIR, 1.0),
        ("first_level_at_one", PAIR, 2.0),
        ("last_level_below_one", PAIR, 1.0),
        ("highest_proportion", PAIR, 1.0),
        ("proportion", {**PAIR, "level": 1.0}, 0.75),
    ],
)
def test_without_predictions_by_the_embedding_no_published_claim_about_them_is_run_and_the_right_value_stands_beside_it(
    quantity: str, of: dict, correct: float
) -> None:
    row = judge(quantity, correct, without=("embedding_predictions", "embedding_curves"), tolerance=1e9, **of)
    assert (row["verdict"], row["observed_published"], row["observed_correct"]) == ("not run", None, correct)
    assert row["reason_published"] == (
        "the post took top predictions by the embedding; this study does not count these (embedding_predictions: false)"
    )


def test_what_speaks_of_no_prediction_is_run_without_them() -> None:
    without = ("embedding_predictions", "embedding_curves")
    for quantity, of, expected in (("last_level", PAIR, 2.0), ("token_occurrences", {"token": " an"}, 7), ("positions", {}, 18)):
        assert judge(quantity, expected, without=without, **of)["verdict"] == "replicated"


def test_either_convention_names_the_top_predictions_that_it_takes() -> None:
    row = judge("first_level_at_half", 0.2, **PAIR)
    assert row["published_way"].endswith("; top predictions by the embedding W_E")
    assert row["correct_way"].endswith("; top predictions by the model's own logits")
    assert "predictions" not in judge("last_level", 2.0, **PAIR)["published_way"]


def test_what_was_looked_for_and_does_not_occur_is_not_replicated() -> None:
    row = judge("first_level_at_half", 0.1, tolerance=1e9, token=" an", neuron=(1, 1))
    assert (row["verdict"], row["observed_published"]) == ("not replicated", None)
    assert row["reason_published"] == "the proportion never reaches 0.5"


@pytest.mark.parametrize(
    ("quantity", "of", "reason"),
    [
        ("contribution_ratio", {"token": " a", "neuron": (0, 0)}, "no other neuron writes the token"),
        ("contribution", {"token": " a", "neuron": "writer_against"}, "no neuron writes against token ' a'"),
        ("candidate_rank", {**PAIR, "line": "patching"}, "the line patching does not send the neuron to be studied for the token"),
    ],
)
def test_a_writer_or_a_line_that_is_not_there_is_not_replicated(quantity: str, of: dict, reason: str) -> None:
    row = judge(quantity, 1.0, tolerance=1e9, **of)
    assert (row["verdict"], row["observed_correct"], row["reason_correct"]) == ("not replicated", None, reason)


def test_a_neuron_read_downwards_has_direction_and_separation_of_its_own() -> None:
    assert judge("direction", -1, auroc=0.03, **PAIR)["verdict"] == "replicated"
    assert judge("separation", 0.97, auroc=0.03, **PAIR)["observed_correct"] == pytest.approx(0.97)


def test_every_line_of_evidence_and_every_named_neuron_can_be_claimed() -> None:
    assert get_args(CardLine) == LINE_NAMES
    assert set(get_args(SendingLine)) == set(LINES) - {NAMED}
    assert set(get_args(NamedNeuron)) == set(NAMED_NEURONS)


def test_a_pair_that_is_not_mutual_has_no_place_among_the_mutual_ones() -> None:
    row = judge("mutual_pair_rank", 1, tolerance=1e9, token=" an", neuron=(0, 0))
    assert (row["verdict"], row["observed_published"], row["reason_published"]) == ("not replicated", None, "the two are no mutual pair")


def test_a_difference_of_exactly_the_tolerance_is_within_it() -> None:
    assert judge("prompt_probability", 0.75, tolerance=0.1, **APPLE, token=" an")["verdict"] == "replicated"  # 0.75 - 0.65 > 0.1 in floats
    assert judge("prompt_probability", 0.76, tolerance=0.1, **APPLE, token=" an")["verdict"] == "not replicated"


def test_no_claims_make_an_empty_scorecard() -> None:
    assert replication_scorecard([], tables(), counts_bos=False, min_count=20).is_empty()


def test_every_quantity_says_what_each_convention_does_or_has_one_way() -> None:
    for quantity in QUANTITIES.values():
        assert quantity.how is not None or quantity.look["published"] is quantity.look["correct"]
