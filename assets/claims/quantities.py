"""The closed list of quantities that a claim may be about: what each means, what it needs, and how either convention computes it.

`published` is the way of "We Found An Neuron in GPT-2", `correct` the right one; where they are one, both give the same number.
The post took W_E also for its top predictions: its convention counts those by the embedding, the right one the model's own. The
numbers themselves are in the modules beside this one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from assets.claims import contribution_quantities as contributions
from assets.claims import corpus_quantities as corpus
from assets.claims import evidence_quantities as evidence
from assets.claims import prompt_quantities as prompts
from assets.claims import weight_quantities as weights
from assets.claims.claim_tables import ClaimTables
from assets.claims.subject import Subject
from assets.statistics.contributions import WRITES, WRITES_AGAINST

Convention = Literal["published", "correct"]
CONVENTIONS: tuple[Convention, ...] = ("published", "correct")
TOP_PREDICTIONS: dict[Convention, str] = {
    "published": "top predictions by the embedding W_E",
    "correct": "top predictions by the model's own logits",
}
Look = Callable[[ClaimTables, Subject], float]


@dataclass(frozen=True)
class Quantity:
    """One quantity. `needs` are the fields of a claim's `of`; `how` says what either convention does, None where they are one."""

    name: str
    meaning: str
    unit: str
    needs: tuple[str, ...]
    look: dict[Convention, Look]
    how: dict[Convention, str] | None = None


def _same(name: str, meaning: str, unit: str, needs: str, look: Look) -> Quantity:
    return Quantity(name, meaning, unit, tuple(needs.split()), {"published": look, "correct": look})


def _weights(name: str, meaning: str, unit: str, needs: str, look: Callable[..., float], **fixed: str) -> Quantity:
    """A quantity of the congruence tables: `published` by W_E, `correct` by the model's own logits."""
    by: dict[Convention, Look] = {
        "published": partial(look, convention="published", **fixed),
        "correct": partial(look, convention="logits", **fixed),
    }
    return Quantity(
        name, meaning, unit, tuple(needs.split()), by, {"published": "embedding W_E", "correct": "final gain x unembedding W_U"}
    )


def _patching(name: str, meaning: str, unit: str, look: Callable[..., float]) -> Quantity:
    by: dict[Convention, Look] = {"published": partial(look, positions="all"), "correct": partial(look, positions="last")}
    return Quantity(name, meaning, unit, ("prompt", "neuron"), by, {"published": "all positions", "correct": "last position"})


def _negation(name: str, meaning: str, published: tuple[str, str], correct: tuple[str, str]) -> Quantity:
    """Each convention as its kind of ablation in the table prompt_ablation, and what it does."""
    by: dict[Convention, Look] = {
        "published": partial(prompts.ablated_probability, ablation=published[0]),
        "correct": partial(prompts.ablated_probability, ablation=correct[0]),
    }
    return Quantity(
        name, meaning, "share", ("prompt", "variant", "token", "neuron"), by, {"published": published[1], "correct": correct[1]}
    )


def _curve(
    name: str,
    meaning: str,
    unit: str,
    needs: str,
    look: Callable[..., float],
    has_predictions: bool = True,
    has_order: bool = False,
    **fixed: float,
) -> Quantity:
    by: dict[Convention, Look] = {
        "published": partial(look, as_published=True, **fixed),
        "correct": partial(look, as_published=False, **fixed),
    }
    how: dict[Convention, str] = {
        "published": "rounded and truncated bins, every filled one, BOS counted",
        "correct": "exact bins with at least min_count positions, narrow ones added up to 0.2",
    }
    if has_order:
        how["correct"] += ", read in the neuron's direction"
    if has_predictions:
        how = {convention: f"{way}; {TOP_PREDICTIONS[convention]}" for convention, way in how.items()}
    return Quantity(name, meaning, unit, tuple(needs.split()), by, how)


def _count(name: str, meaning: str, column: str) -> Quantity:
    by: dict[Convention, Look] = {
        "published": partial(corpus.token_count, column=column, as_published=True),
        "correct": partial(corpus.token_count, column=column),
    }
    how: dict[Convention, str] = {"published": "BOS counted", "correct": "the study's counted positions"}
    if column == "predictions":
        how = {convention: f"{way}; {TOP_PREDICTIONS[convention]}" for convention, way in how.items()}
    return Quantity(name, meaning, "position", ("token",), by, how)


_LENS: dict[Convention, Look] = {
    "published": partial(prompts.lens_difference, scale="published"),
    "correct": partial(prompts.lens_difference, scale="own"),
}
_LOGIT: dict[Convention, Look] = {"published": prompts.centred_logit, "correct": prompts.logit}
_CONGRUENCE_UNIT = "logit per unit of activation"

QUANTITIES: dict[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        _same("prompt_probability", "Probability of the token after the prompt.", "share", "prompt variant token", prompts.probability),
        Quantity(
            "prompt_logit", "Logit of the token after the prompt.", "logit", ("prompt", "variant", "token"), _LOGIT,
            {"published": "less the vocabulary's mean (centred unembedding)", "correct": "the model's own"},
        ),
        _same("logit_difference", "Logit of the prompt's answer less that of its wrong answer.", "logit", "prompt variant", prompts.logit_difference),
        Quantity(
            "lens_difference", "The same, read from the residual stream at one point.", "logit", ("prompt", "variant", "layer", "point"), _LENS,
            {"published": "scale of the last layer, without the final norm's bias", "correct": "the point's own final norm"},
        ),
        _same("component_improvement", "Improvement by patching one component at one layer and position.", "share",
              "prompt component layer position", prompts.component_improvement),
        _same("head_improvement", "Improvement by patching one attention head's output at one layer and position.", "share",
              "prompt layer head position", prompts.head_improvement),
        _patching("neuron_improvement", "Improvement by patching one neuron.", "share", prompts.neuron_improvement),
        _patching("neuron_improvement_rank", "Place of the neuron in its layer by improvement.", "place", prompts.neuron_improvement_rank),
        _negation(
            "negated_activation", "Probability of the token with the neuron's activation multiplied by -1.",
            ("negation", "at all positions; it writes the opposite, which is no ablation"),
            ("mean", "an ablation instead: its corpus mean at all positions"),
        ),
        _negation(
            "negated_input", "Probability of the token with the neuron's input weights multiplied by -1.",
            ("folded input negation", "weights and bias with the norm's gain and bias folded in"),
            ("input negation", "the model's own weights, behind the norm"),
        ),
        _weights("congruence", "Congruence of the neuron with the token.", _CONGRUENCE_UNIT, "token neuron", weights.congruence),
        _same("input_congruence", "The neuron's input weights, with the norm's gain, against the token's embedding W_E.", "pre-activation x norm's scale",
              "token neuron", partial(weights.congruence, convention="published", side="input")),
        _weights("congruence_rank", "Place of the neuron for the token among all neurons.", "place", "token neuron", weights.congruence_rank),
        _weights("congruence_lead", "Lead of the neuron over the token's best other neuron.", _CONGRUENCE_UNIT, "token neuron", weights.congruence_lead),
        _weights("mutual_pair_score", "Token gap x neuron gap; 0 for a pair that is not mutual.", "squared", "token neuron", weights.mutual_pair_score),
        _weights("congruence_mean", "Mean of the neuron's congruence over the vocabulary.", _CONGRUENCE_UNIT, "neuron", weights.row_statistic,
                 statistic="mean"),
        _weights("congruence_deviation", "Standard deviation of the same.", _CONGRUENCE_UNIT, "neuron", weights.row_statistic, statistic="std"),
        _weights("congruence_minimum", "Smallest of the same.", _CONGRUENCE_UNIT, "neuron", weights.row_statistic, statistic="min"),
        _weights("highest_congruence", "Largest of the same.", _CONGRUENCE_UNIT, "neuron", weights.highest_congruence),
        _weights("tokens_led", "Vocabulary entries whose most congruent neuron it is.", "entry", "neuron", weights.tokens_led),
        _weights("mutual_pair_rank", "Place of the pair among all mutual pairs by that score.", "place", "token neuron", weights.mutual_pair_rank),
        _same("documents", "Documents of the corpus.", "document", "", corpus.documents),
        Quantity(
            "positions", "Counted positions of the corpus.", "position", (),
            {"published": partial(corpus.positions, as_published=True), "correct": corpus.positions},
            {"published": "BOS counted", "correct": "the study's counted positions"},
        ),
        _count("token_occurrences", "Positions that hold the token.", "occurrences"),
        _count("token_predictions", "Positions at which the token is the top prediction.", "predictions"),
        _same("auroc", "How well the neuron's activation tells where the token is the top prediction.", "share", "token neuron",
              partial(corpus.score, column="auroc")),
        _same("separation", "The same, read in the neuron's direction.", "share", "token neuron", partial(corpus.score, column="separation")),
        _same("direction", "1 where the token is predicted at the neuron's higher activations, -1 at its lower ones.", "sign", "token neuron",
              partial(corpus.score, column="direction")),
        _same("contribution", "What the neuron adds to the token's logit where it is predicted, less what it adds elsewhere.", "logit", "token neuron",
              contributions.contribution),
        _same("contribution_rank", "Place of the neuron among all by contribution, largest first.", "place", "token neuron",
              partial(contributions.contribution_rank, end=WRITES)),
        _same("contribution_against_rank", "The same from the end of those that write against the token.", "place", "token neuron",
              partial(contributions.contribution_rank, end=WRITES_AGAINST)),
        _same("contribution_ratio", "Contribution of the neuron over that of the token's best other neuron.", "times", "token neuron",
              contributions.contribution_ratio),
        _same("candidate_rank", "Place at which a line of evidence sends the neuron to be studied.", "place", "token neuron line",
              contributions.candidate_rank),
        _same("candidate_lines", "Lines of evidence that send the neuron to be studied.", "line", "token neuron", contributions.candidate_lines),
        _same("evidence_verdict", "Verdict of a line of the pair's evidence card: 1 supported, -1 against, 0 unclear.", "verdict", "token neuron line",
              evidence.evidence_verdict),
        _same("evidence_value", "Number behind that verdict, in the line's unit.", "of the line", "token neuron line", evidence.evidence_value),
        _curve("proportion", "Share of the token among top predictions at a level of activation.", "share", "token neuron level", corpus.proportion),
        _curve("highest_proportion", "Largest such share at any level.", "share", "token neuron", corpus.highest_proportion),
        _curve("first_level_at_half", "First level with a share of at least 1/2.", "activation", "token neuron", corpus.first_level, has_order=True, share=0.5),
        _curve("first_level_at_one", "First level with a share of 1.", "activation", "token neuron", corpus.first_level, has_order=True, share=1.0),
        _curve("last_level_below_one", "Last level with a share below 1.", "activation", "token neuron", corpus.last_level_below_one,
               has_order=True),
        _curve("last_level", "Highest level that any position reaches.", "activation", "token neuron", corpus.last_level,
               has_predictions=False),
    )
}  # fmt: skip
