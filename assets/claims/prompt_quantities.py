"""What can be claimed of a prompt: probabilities, logits, logit differences, the logit lens, patching, negation."""

import polars as pl

from assets.claims.claim_tables import ClaimTables, NotRunError
from assets.claims.subject import Subject


def probability(evidence: ClaimTables, subject: Subject) -> float:
    """Probability of the token after the prompt."""
    return _predicted(evidence, subject, "probability")


def logit(evidence: ClaimTables, subject: Subject) -> float:
    """The model's own logit of the token after the prompt."""
    return _predicted(evidence, subject, "logit")


def centred_logit(evidence: ClaimTables, subject: Subject) -> float:
    """Logit less the mean logit of the vocabulary: what a centred unembedding gives."""
    return _predicted(evidence, subject, "centred_logit")


def _predicted(evidence: ClaimTables, subject: Subject, column: str) -> float:
    evidence.require_prompt(subject)
    absent = (
        f"token {subject.token!r} is neither an answer nor among the most probable tokens after the prompt, of which the logits are kept"
    )
    where = {"prompt": subject.prompt, "variant": subject.variant, "token_id": evidence.token_id(subject)}
    return evidence.one("prompt_predictions", column, absent, **where)


def logit_difference(evidence: ClaimTables, subject: Subject) -> float:
    """Logit of the answer less that of the wrong answer."""
    evidence.require_prompt(subject)
    where = {"prompt": subject.prompt, "variant": subject.variant}
    answer, wrong = (
        evidence.one("prompt_predictions", "logit", "the prompt's answers were not run", **where, role=role)
        for role in ("answer", "wrong_answer")
    )
    return answer - wrong


def lens_difference(evidence: ClaimTables, subject: Subject, scale: str) -> float:
    """Logit lens difference at one point of one layer, by the scale of the contract `logit_lens`."""
    evidence.require_prompt(subject)
    assert subject.layer is not None
    evidence.require_layer(subject.layer)
    where = {"prompt": subject.prompt, "variant": subject.variant, "layer": subject.layer, "point": subject.point, "scale": scale}
    return evidence.one("logit_lens", "difference", f"the logit lens has no point {subject.point} in layer {subject.layer}", **where)


def component_improvement(evidence: ClaimTables, subject: Subject) -> float:
    """Improvement of the logit difference by patching one component at one layer and position."""
    evidence.require_prompt(subject)
    assert subject.layer is not None
    evidence.require_layer(subject.layer)
    where = {"prompt": subject.prompt, "component": subject.component, "layer": subject.layer, "position": subject.position}
    return evidence.one(
        "activation_patching", "improvement", f"prompt {subject.prompt} was not patched at position {subject.position}", **where
    )


def head_improvement(evidence: ClaimTables, subject: Subject) -> float:
    """Improvement of the logit difference by patching what one attention head writes at one layer and position."""
    evidence.require_prompt(subject)
    assert subject.layer is not None
    evidence.require_layer(subject.layer)
    where = {"prompt": subject.prompt, "component": "head", "layer": subject.layer, "head": subject.head, "position": subject.position}
    absent = f"head {subject.head} of layer {subject.layer} was not patched on prompt {subject.prompt} at position {subject.position}"
    return evidence.one("activation_patching", "improvement", absent, **where)


def neuron_improvement(evidence: ClaimTables, subject: Subject, positions: str) -> float:
    """Improvement of the logit difference by patching one neuron at `all` positions or the `last`."""
    return float(_layer_of_patched(evidence, subject, positions).filter("is_it")["improvement"][0])


def neuron_improvement_rank(evidence: ClaimTables, subject: Subject, positions: str) -> float:
    """Place of the neuron among those of its layer, largest improvement first."""
    layer = _layer_of_patched(evidence, subject, positions)
    return float((layer["improvement"] > layer.filter("is_it")["improvement"][0]).sum() + 1)


def _layer_of_patched(evidence: ClaimTables, subject: Subject, positions: str) -> pl.DataFrame:
    evidence.require_prompt(subject)
    neuron = evidence.neuron(subject)
    layer = evidence.rows("neuron_patching", prompt=subject.prompt, positions=positions, layer=neuron["layer"])
    if layer.is_empty():
        raise NotRunError(f"the neurons of layer {neuron['layer']} were not patched on prompt {subject.prompt}")
    return layer.with_columns(is_it=pl.col("neuron") == neuron["neuron"])


def ablated_probability(evidence: ClaimTables, subject: Subject, ablation: str) -> float:
    """Probability of the token after the prompt with the neuron ablated at all positions, by a kind of the contract `prompt_ablation`."""
    evidence.require_prompt(subject)
    where = {"prompt": subject.prompt, "variant": subject.variant, "token_id": evidence.token_id(subject), **evidence.neuron(subject)}
    absent = f"the neuron was not ablated on the prompts for token {subject.token!r}: track the token and name the neuron in `neurons`"
    return evidence.one("prompt_ablation", "after", absent, **where, positions="all", ablation=ablation)
