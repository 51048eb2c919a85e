"""The answer in one sentence, for evidence that is clear, mixed, conflicting, weak, too little and absent."""

from typing import Any

import polars as pl
import pytest

from assets.contracts import TABLES, conform
from assets.statistics.token_neuron_scores import with_direction
from reports.answer import answer, plain
from reports.report_data import ReportData
from tests.reports.sample_data import study

AN = 11
SCORE = {
    "token_id": AN,
    "token": " an",
    "auroc_standard_error": 0.002,
    "average_precision": 0.9,
    "highest_proportion": 0.97,
    "highest_proportion_at": 5.0,
    "half_activation": 3.4,
    "recall_beyond_half": 0.91,
}


def evidence_for(
    predictions: int = 1471,
    scores: list[dict[str, Any]] | None = None,
    congruence: dict[tuple[int, int], float] | None = None,
    patching: dict[tuple[int, int], float] | None = None,
    curve: list[tuple[float, float]] | None = None,
    question: str = 'Which neuron predicts " an"?',
    ablation: dict[str, float] | None = None,
    prompts: tuple[str, ...] = ("apple",),
    is_gated: bool = False,
) -> ReportData:
    """A study of two neurons, layer 2 neuron 117 and layer 0 neuron 5, with the given evidence."""
    rows = scores if scores is not None else [{"layer": 2, "neuron": 117, "auroc": 0.9951}, {"layer": 0, "neuron": 5, "auroc": 0.61}]
    congruences = congruence if congruence is not None else {(2, 117): 2.7, (0, 5): 0.1}
    patched = patching if patching is not None else {(2, 117): 0.62, (0, 5): 0.01}
    bins = curve or [(3.0, 0.3), (3.4, 0.6), (3.6, 0.9)]
    tables = {
        "tracked_tokens": [
            {"row": 0, "given": " an", "token_id": AN, "token": " an"},
            {"row": 1, "given": " a", "token_id": 12, "token": " a"},
        ],
        "token_counts": [
            {"token_id": AN, "token": " an", "occurrences": 12_389, "predictions": predictions, "correct_predictions": predictions // 2}
        ],
        "token_neuron_scores": [{**SCORE, **row, **_directed(row["auroc"])} for row in rows],
        "congruence_tracked_tokens": [
            {
                "convention": "logits",
                "side": "output",
                "token_id": AN,
                "token": " an",
                "layer": layer,
                "neuron": neuron,
                "congruence": value,
            }
            for (layer, neuron), value in congruences.items()
        ],
        "prompt_tokens": [{"prompt": name, "variant": "clean", "position": 0, "token_id": 1, "token": "I"} for name in prompts],
        "prompt_predictions": [
            {
                "prompt": name,
                "variant": "clean",
                "rank": 1,
                "token_id": AN,
                "token": " an",
                "logit": 20.5,
                "centred_logit": 20.5,
                "probability": 0.65,
                "role": "answer",
            }
            for name in prompts
        ],
        "neuron_patching": [
            {
                "prompt": name,
                "positions": "all",
                "layer": layer,
                "neuron": neuron,
                "clean_activation": 5.0,
                "corrupt_activation": 0.1,
                "difference": 0.0,
                "improvement": value,
            }
            for name in prompts
            for (layer, neuron), value in patched.items()
        ],
        "neuron_ablation": [
            {
                "token_id": AN,
                "token": " an",
                "layer": 2,
                "neuron": 117,
                "positions": "predicted",
                "ablation": "mean",
                "measure": measure,
                "effect": value,
                "ci_low": value - 0.1,
                "ci_high": value + 0.1,
                "p_value": ablation["p"],
                "p_value_source": "tail",
                "times_largest_control": ablation.get("times"),
                "q_value": ablation["q"],
                "controls": 100,
                "position_count": 32,
                "document_count": 30,
                "compared_positions": 16,
                "compared_effect": value,
            }
            for measure, value in (("log_probability", ablation["change"]), ("flipped", ablation["flipped"]))
        ]
        if ablation
        else [],
        "proportion_curves": [
            {
                "layer": 2,
                "neuron": 117,
                "token_id": AN,
                "token": " an",
                "bin_left": left,
                "bin_right": left + 0.2,
                "count": 100,
                "top_prediction_count": round(100 * share),
                "proportion": share,
                "ci_low": share - 0.1,
                "ci_high": share + 0.1,
                "reliable": True,
            }
            for left, share in bins
        ],
    }
    frames = {name: conform(TABLES[name], pl.DataFrame(part, schema=TABLES[name].schema)) for name, part in tables.items()}
    return ReportData(study=study(question=question), tables=frames, facts={"positions": 24_000, "is_gated": is_gated})


def _directed(auroc: float | None) -> dict[str, Any]:
    return with_direction(pl.DataFrame({"auroc": [auroc]}, {"auroc": pl.Float64})).row(0, named=True)


def sentence(data: ReportData) -> tuple[str, str]:
    reply = answer(data)
    return reply.strength, plain(reply.sentence).replace("\u202f", " ")


def test_clear_evidence_names_neuron_auroc_level_recall_patching_and_weights() -> None:
    assert sentence(evidence_for()) == (
        "clear",
        "Layer 2 neuron 117 is the best predictor of “␣an”: AUROC 0.995; the model predicts it in at least half of cases once the activation "
        "reaches 3.4 (recall 0.91), patching it alone restores 62 % of the logit difference on prompt apple, and no neuron writes the token "
        "more strongly.",
    )


def test_a_best_predictor_that_is_not_the_most_congruent_is_said_to_be_contradicted() -> None:
    strength, text = sentence(evidence_for(congruence={(2, 117): 0.4, (0, 5): 2.0}))
    assert strength == "mixed"
    assert text.endswith("; but its output weights rank only 2nd for the token, behind layer 0 neuron 5.")


def test_a_best_predictor_that_patching_does_not_move_is_said_to_be_contradicted() -> None:
    strength, text = sentence(evidence_for(patching={(2, 117): 0.01, (0, 5): 0.4}))
    assert strength == "mixed"
    assert (
        "; but patching it alone restores 1 % of the logit difference on prompt apple and layer 0 neuron 5 restores more there (40 %)."
        in text
    )


def test_no_claim_of_a_half_is_made_where_no_level_reaches_it() -> None:
    without_half = {"half_activation": None, "recall_beyond_half": None, "highest_proportion": 0.31}
    strength, text = sentence(evidence_for(scores=[{"layer": 2, "neuron": 117, "auroc": 0.93, **without_half}]))
    assert strength == "mixed"
    assert "though no level of its activation makes it predicted in half of cases (at most 31.0 %)" in text
    assert "at least half" not in text


def test_a_proportion_that_falls_again_above_the_half_is_given_as_what_holds_from_there_in_all() -> None:
    text = sentence(evidence_for(curve=[(3.4, 0.6), (3.6, 0.4), (3.8, 0.9)]))[1]
    assert "at least half" not in text
    assert "from activation 3.4 up the model predicts it in 63 % of cases (recall 0.91)" in text


def test_weak_evidence_names_no_winner() -> None:
    assert sentence(evidence_for(scores=[{"layer": 2, "neuron": 117, "auroc": 0.61}])) == (
        "weak",
        "No single neuron answers: the best predictor of “␣an”, layer 2 neuron 117, has an AUROC of only 0.610, where 0.5 says nothing.",
    )


def test_too_few_predictions_are_said_to_be_too_few() -> None:
    strength, text = sentence(evidence_for(predictions=7))
    assert strength == "weak"
    assert text.startswith("Too little evidence: “␣an” is the top prediction only 7 times; layer 2 neuron 117 comes first")


def test_a_token_that_is_never_predicted_has_no_answer() -> None:
    assert sentence(evidence_for(predictions=0, scores=[])) == (
        "none",
        "No answer: the model never predicts “␣an” at any of 24 000 counted positions, so no neuron can be told apart by it.",
    )


def test_a_token_that_could_not_be_scored_has_no_answer() -> None:
    strength, text = sentence(evidence_for(scores=[{"layer": 0, "neuron": 5, "auroc": None}]))
    assert (strength, text) == (
        "none",
        "No answer: no neuron could be scored for “␣an”, because it is the top prediction everywhere or nowhere.",
    )


def test_without_prompts_and_congruence_only_the_prediction_is_claimed() -> None:
    assert sentence(evidence_for(congruence={}, patching={}))[1] == (
        "Layer 2 neuron 117 is the best predictor of “␣an”: AUROC 0.995; the model predicts it in at least half of cases once the "
        "activation reaches 3.4 (recall 0.91)."
    )


def test_an_auroc_just_below_one_is_not_printed_as_one() -> None:
    assert "AUROC > 0.999" in sentence(evidence_for(scores=[{"layer": 2, "neuron": 117, "auroc": 0.99996}]))[1]


LOW = {"auroc": 0.042, "half_activation": -9.4}  # of a neuron that is low where " an" is predicted
LOW_CURVE = [(-10.0, 0.9), (-9.8, 0.9), (-9.6, 0.6), (-9.4, 0.3)]


def test_a_best_predictor_that_is_low_where_the_token_is_predicted_is_told_with_its_direction() -> None:
    scores = [{"layer": 2, "neuron": 117, **LOW}, {"layer": 0, "neuron": 5, "auroc": 0.61}]
    assert sentence(evidence_for(scores=scores, curve=LOW_CURVE, congruence={(2, 117): -2.7, (0, 5): 3.0})) == (
        "clear",
        "Layer 2 neuron 117 is the best predictor of “␣an”: AUROC 0.042, read downwards 0.958; the model predicts it in at least half of "
        "cases once the activation falls below −9.4 (recall 0.91), patching it alone restores 62 % of the logit difference on prompt apple, "
        "and no neuron writes more strongly against the token, which low activations so favour.",
    )


def test_low_activations_of_a_neuron_that_writes_the_token_speak_against_it() -> None:
    scores = [{"layer": 2, "neuron": 117, **LOW}]
    strength, text = sentence(evidence_for(scores=scores, curve=LOW_CURVE, congruence={(2, 117): 2.7, (0, 5): -0.1}))
    assert strength == "mixed"
    assert text.endswith("; but its output weights rank only 2nd against the token, behind layer 0 neuron 5.")


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("own", "other", "ends"),
    [
        (2.7, 1.0, ", and no neuron writes the token more strongly."),
        (2.7, -1.0, ", and no neuron writes the token more strongly."),
        (2.7, -3.0, "; but its output weights rank only 2nd by size for the token, behind layer 0 neuron 5."),
        (-2.7, 1.0, "; but in the direction in which it predicts, its output weights write against the token."),
    ],
)
def test_what_a_gated_neuron_writes_is_told_by_size_in_its_direction(sign: int, own: float, other: float, ends: str) -> None:
    """`sign`: -1 where the weights into and out of the best predictor are negated, which changes no logit."""
    score = {"auroc": 0.958, "half_activation": 9.4} if sign == 1 else LOW
    curve = [(9.4, 0.6), (9.6, 0.9)] if sign == 1 else LOW_CURVE
    weights = {(2, 117): sign * own, (0, 5): other}
    data = evidence_for(scores=[{"layer": 2, "neuron": 117, **score}], curve=curve, congruence=weights, is_gated=True)
    assert sentence(data)[1].endswith(ends)
    found = answer(data).evidence
    assert found is not None
    (writing,) = found.writing
    assert (writing.congruence, writing.top_congruence) == pytest.approx((own, max(abs(own), abs(other))), rel=1e-6)


def test_a_proportion_that_falls_again_below_the_half_is_given_as_what_holds_from_there_down() -> None:
    scores = [{"layer": 2, "neuron": 117, **LOW}]
    text = sentence(evidence_for(scores=scores, curve=[(-10.0, 0.9), (-9.8, 0.4), (-9.6, 0.6), (-9.4, 0.3)]))[1]
    assert "below activation −9.4 the model predicts it in 63 % of cases (recall 0.91)" in text


def test_weak_evidence_is_weak_in_either_direction() -> None:
    assert sentence(evidence_for(scores=[{"layer": 2, "neuron": 117, "auroc": 0.39}])) == (
        "weak",
        "No single neuron answers: the best predictor of “␣an”, layer 2 neuron 117, has an AUROC of only 0.390, read downwards 0.610, where "
        "0.5 says nothing.",
    )
    assert "AUROC < 0.001, read downwards > 0.999" in sentence(evidence_for(scores=[{"layer": 2, "neuron": 117, "auroc": 0.00004}]))[1]


def test_the_question_chooses_its_token_by_quoting_it() -> None:
    reply = answer(evidence_for(question='When does it say " a"?'))
    assert reply.evidence is not None
    assert reply.evidence.token == " a"


def test_a_study_without_a_question_asks_for_its_first_token() -> None:
    assert plain(answer(evidence_for(question="")).question) == "Which neuron predicts “␣an”?"


def test_an_ablation_that_stands_out_supports_the_answer() -> None:
    strength, text = sentence(evidence_for(ablation={"change": -2.25, "flipped": 0.5, "p": 0.0003, "q": 0.02, "times": 12.2}))
    assert strength == "clear"
    assert (
        "ablating it lowers the token's log-probability by 2.25 nat (12 times the largest of 100 controls) and flips 50 % of the predictions, "
        "and no neuron writes"
    ) in text


def test_an_ablation_that_stands_out_alone_but_not_among_all_pairs_speaks_against_the_answer() -> None:
    strength, text = sentence(evidence_for(ablation={"change": -0.02, "flipped": 0.03, "p": 0.04, "q": 0.25, "times": 0.83}))
    assert strength == "mixed"
    assert text.endswith(
        "; but ablating it where the token is predicted does not stand out among ablated control neurons (0.83 times the largest of 100 controls, "
        "p = 0.040, q = 0.25)."
    )


def test_an_ablation_that_makes_the_token_more_likely_speaks_against_the_answer() -> None:
    strength, text = sentence(evidence_for(ablation={"change": 0.3, "flipped": 0.0, "p": 0.0099, "q": 0.02}))
    assert strength == "mixed"
    assert text.endswith("; but ablating it raises the token's log-probability, by 0.300 nat.")


def test_of_several_prompts_the_most_is_told_as_the_most() -> None:
    text = sentence(evidence_for(prompts=("apple", "plain")))[1]
    assert "patching it alone restores at most 62 % of the logit difference on prompt apple (of 2 prompts)" in text
