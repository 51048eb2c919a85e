"""The published claims against the study that they belong to: nothing in the study file keeps a claim from being put to the test.

The model itself is not needed for that: which prompts, tokens, neurons, layers and bins a claim needs is known beforehand.
"""

import pytest

from assets.claims.claims import Claim, parse_claims
from assets.claims.quantities import QUANTITIES
from assets.study import FixedBins, Prompt, Study, claims_file, read_study
from orchestration.settings import SHIPPED_STUDIES

LARGE = read_study(SHIPPED_STUDIES / "an-neuron-gpt2-large.yaml")
CLAIMS = parse_claims(claims_file(LARGE))
CURVES = {"proportion", "highest_proportion", "first_level_at_half", "first_level_at_one", "last_level_below_one", "last_level"}
NEGATIONS = {"negated_activation", "negated_input"}
WHOLE_ROWS = {"congruence_mean", "congruence_deviation", "congruence_minimum", "input_congruence"}


def prompt_of(claim: Claim, study: Study) -> Prompt | None:
    return next((prompt for prompt in study.prompts if prompt.name == claim.of.prompt), None)


def obstacles(claim: Claim, study: Study) -> list[str]:
    """What the study lacks for the claim, by the published convention."""
    named = [(choice.layer, choice.neuron) for choice in study.neurons]
    tracked, studied = claim.of.token in study.tokens, claim.of.neuron in named
    lacks = []
    if claim.of.prompt is not None:
        prompt = prompt_of(claim, study)
        needs_corrupt = claim.of.variant == "corrupt" or "improvement" in claim.quantity
        if prompt is None or (needs_corrupt and prompt.corrupt is None):
            lacks.append("prompt")
    if claim.quantity in CURVES:
        if not (tracked and studied and study.count_bos):
            lacks.append("curve")
        if not (
            isinstance(study.bins, FixedBins)
            and study.bins.per_unit % 20 == 0
            and study.bins.low <= (claim.of.level or 0) < study.bins.high
        ):
            lacks.append("bins")
    if claim.quantity in NEGATIONS and not (tracked and studied):
        lacks.append("ablated neuron")
    if claim.quantity in WHOLE_ROWS and not studied:
        lacks.append("row")
    if claim.quantity in (CURVES | {"token_predictions"}) - {"last_level"} and not study.embedding_predictions:
        lacks.append("predictions by the embedding")
    if claim.quantity in ("positions", "token_predictions", "token_occurrences") and not study.count_bos:
        lacks.append("beginning of sequence")
    return lacks


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.claim)
def test_the_published_study_has_what_each_published_claim_needs(claim: Claim) -> None:
    assert obstacles(claim, LARGE) == []


def test_a_study_without_them_would_be_found_out() -> None:
    other = LARGE.model_copy(
        update={"tokens": (" a",), "neurons": (), "prompts": (), "bins": FixedBins(), "count_bos": False, "embedding_predictions": False}
    )
    found = {obstacle for claim in CLAIMS for obstacle in obstacles(claim, other)}
    assert found == {"prompt", "curve", "bins", "ablated neuron", "row", "beginning of sequence", "predictions by the embedding"}


def test_the_published_table_is_there_in_full() -> None:
    """How many figures of each kind the published table holds, counted by hand."""
    count = {name: sum(claim.quantity == name for claim in CLAIMS) for name in QUANTITIES}
    assert count["prompt_probability"] == 5 + 2 + 2  # clean, corrupt, and the two other prompts
    assert count["prompt_logit"] == 2 + 2
    assert count["logit_difference"] == 2
    assert count["lens_difference"] == 6
    assert count["component_improvement"] == 8 + 7 + 6 + 6  # layers 0 to 7 at the fruit; 27 and 30 to 35; attention; MLP
    assert count["neuron_improvement"] + count["neuron_improvement_rank"] == 4 + 4
    assert count["negated_activation"] + count["negated_input"] == 3 + 2
    assert count["token_predictions"] + count["token_occurrences"] == 2 + 2
    assert count["proportion"] + count["highest_proportion"] == 17 + 4 + 1
    assert count["congruence"] == 9 + 2 + 5
    assert count["input_congruence"] == 3
    assert count["congruence_lead"] == 1 + 7
    assert count["mutual_pair_score"] == 30 + 1
    assert count["first_level_at_half"] == count["last_level_below_one"] == count["last_level"] == 1 + 5
    assert count["highest_congruence"] == count["tokens_led"] == count["documents"] == count["positions"] == 1
    # What the post did not know.
    assert [name for name, amount in count.items() if amount == 0] == [
        "head_improvement", "auroc", "separation", "direction", "contribution", "contribution_rank", "contribution_against_rank",
        "contribution_ratio", "candidate_rank", "candidate_lines", "evidence_verdict", "evidence_value",
    ]  # fmt: skip
