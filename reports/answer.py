"""The study's question and its answer in one sentence, computed from the tables, with what speaks against it.

A sentence is a list of parts, so that the page can show tokens and link neurons while tests read plain words. Nothing is claimed
that the tables do not hold: weak, conflicting and missing evidence have sentences of their own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from assets.counting.histograms import NEXT_TOKEN, PROBABILITY, TOP_PREDICTION
from assets.evidence_cards.evidence_lines import SMALLEST_RESTORED
from reports.direction import auroc
from reports.evidence import Ablated, Evidence, Patching, evidence
from reports.numbers import count, edge, fixed, number, ordinal, percent, plural, signed
from reports.report_data import ReportData
from reports.text import quoted

# What sentences say by the outcome that is told.
NEVER = {
    TOP_PREDICTION: ("No answer: the model never predicts ", ""),
    NEXT_TOKEN: ("No answer: ", " never comes next"),
    PROBABILITY: ("No answer: the model gives ", " no probability"),
}
EVERYWHERE = {
    TOP_PREDICTION: ", because it is the top prediction everywhere or nowhere.",
    NEXT_TOKEN: ", because it comes next everywhere or nowhere.",
    PROBABILITY: ", because its probability is the same everywhere.",
}
PREDICTS = {
    TOP_PREDICTION: " is the best predictor of ",
    NEXT_TOKEN: " tells best where the text goes on with ",
    PROBABILITY: " tells best where the model holds for probable ",
}
PREDICTS_IT = {
    TOP_PREDICTION: "predicts it best",
    NEXT_TOKEN: "tells best where it comes next",
    PROBABILITY: "tells best where the model holds it for probable",
}
ABLATED_WHERE = {
    TOP_PREDICTION: "where the token is predicted",
    NEXT_TOKEN: "where the token comes next",
    PROBABILITY: "where the token comes next",
}
NO_HALF = {
    TOP_PREDICTION: "no level of its activation makes it predicted in half of cases",
    NEXT_TOKEN: "at no level of its activation it comes next in half of cases",
    PROBABILITY: "at no level of its activation it is given half of the probability",
}
INSTEAD = {
    TOP_PREDICTION: "top predictions",
    NEXT_TOKEN: "where it comes next in the text",
    PROBABILITY: "the probability that it is given",
}
WEAK_AUROC = 0.75  # below it, a quarter or more of the pairs (a position that predicts the token, one that does not) are misordered


@dataclass(frozen=True)
class Part:
    """A piece of a sentence: plain `text`, or a `neuron`, `token`, `prompt` or `prompt_set` that the page shows in its own way."""

    text: str
    neuron: tuple[int, int] | None = None
    token: tuple[int, str] | None = None
    prompt: str | None = None
    prompt_set: str | None = None


Sentence = tuple[Part, ...]


@dataclass(frozen=True)
class Answer:
    """The question, the answer, how firm it is (`clear`, `mixed`, `weak` or `none`) and the evidence behind it."""

    question: Sentence
    sentence: Sentence
    strength: str
    evidence: Evidence | None


def plain(sentence: Sequence[Part]) -> str:
    """The sentence as text, tokens in quotes."""
    return "".join(part.text for part in sentence)


def answer(data: ReportData) -> Answer:
    """Answer the study's question about the token that it quotes, or about the first tracked token if it quotes none."""
    token = _token_in_question(data)
    question = data.study.question.strip()
    if token is None:
        return Answer(
            (Part(question or "Which neuron predicts the tracked tokens?"),), (Part("No answer: no token was tracked."),), "none", None
        )
    asked = (Part(question),) if question else (Part("Which neuron predicts "), token_part(token), Part("?"))
    found = evidence(data, *token)
    refusal = _too_little(found, data.study.min_count)
    if refusal:
        return Answer(asked, refusal, "none" if found.best is None or found.cases == 0 else "weak", found)
    return Answer(asked, *_verdict(found, data.study.outcome), found)


def _token_in_question(data: ReportData) -> tuple[int, str] | None:
    """The tracked token in quotes in the question, the longest such; else the first of the study."""
    spans = set(re.findall(r'["“«]([^"”»]+)["”»]', data.study.question))
    named = sorted((entry for entry in data.tracked if entry[1] in spans), key=lambda entry: -len(entry[1]))
    return next(iter(named or data.tracked), None)


def _too_little(found: Evidence, min_count: int) -> Sentence | None:
    """The sentence of a question that the counts cannot decide, or None."""
    token = token_part((found.token_id, found.token))
    if found.cases == 0:
        among = f" of {count(found.positions)}" if found.positions else ""
        return (
            Part(NEVER[found.outcome.name][0]),
            token,
            Part(f"{NEVER[found.outcome.name][1]} at any{among} counted positions, so no neuron can be told apart by it."),
        )
    if found.best is None or found.predictor is None:
        return (Part("No answer: no neuron could be scored for "), token, Part(EVERYWHERE[found.outcome.name]))
    if found.cases < min_count:
        return (
            Part("Too little evidence: "),
            token,
            Part(f" {_how_rare(found)}; "),
            neuron_part((found.predictor["layer"], found.predictor["neuron"])),
            Part(f" comes first with AUROC {auroc(found.predictor)}, which so few cases cannot support."),
        )
    return None


def _how_rare(found: Evidence) -> str:
    times = "once" if found.cases == 1 else f"{found.outcome.amount(found.cases)} times"
    told = {TOP_PREDICTION: "is the top prediction only", NEXT_TOKEN: "comes next only", PROBABILITY: "is expected only"}
    return f"{told[found.outcome.name]} {times}"


def _in_place_of(found: Evidence, wanted: str) -> list[Part]:
    """Why another outcome than the study's is told; nothing where it is the study's own."""
    if found.outcome.name == wanted or wanted != TOP_PREDICTION:
        return []
    times = "only once" if found.predictions == 1 else f"only {count(found.predictions)} times"
    rare = f"is the top prediction {times}" if found.predictions else "is never the top prediction"
    return [token_part((found.token_id, found.token)), Part(f" {rare}, so it is told by {INSTEAD[found.outcome.name]}. ")]


def _verdict(found: Evidence, wanted: str) -> tuple[Sentence, str]:
    token, best = token_part((found.token_id, found.token)), found.best
    assert best is not None, "_too_little refuses tokens without a best neuron"
    if best["separation"] < WEAK_AUROC and found.contribution is None:
        opening = (
            *_in_place_of(found, wanted),
            Part("No single neuron answers: the best predictor of "),
            token,
            Part(", "),
            neuron_part(found.neuron),
            Part(f", has an AUROC of only {auroc(best)}, where 0.5 says nothing."),
        )
        return opening, "weak"
    parts = [*_in_place_of(found, wanted), *_opening(found)]
    reaches_half = best["half_activation"] is not None
    clauses: list[Sentence] = []
    objections: list[Sentence] = []
    if reaches_half:
        clauses.append((Part(_half(found)),))
    elif best["highest_proportion"] is not None:
        parts.append(Part(f", though {NO_HALF[found.outcome.name]} (at most {percent(best['highest_proportion'])})"))
    else:
        parts.append(Part(", though no level of its activation has enough positions to be reliable"))
    for supports, against in (_patched(found), _ablated(found), _written(found)):
        clauses += supports
        objections += against
    if clauses:
        parts += [Part("; "), *joined(clauses)]
    if objections:
        parts += [Part("; but "), *joined(objections)]
    return (*parts, Part(".")), "mixed" if objections or not reaches_half else "clear"


def _opening(found: Evidence) -> list[Part]:
    """The neuron that answers, with what makes it the answer."""
    token, capital, best = token_part((found.token_id, found.token)), neuron_part(found.neuron, capital=True), found.best
    assert best is not None
    name = found.outcome.name
    if found.contribution is None:
        return [capital, Part(PREDICTS[name]), token, Part(f": AUROC {auroc(best)}")]
    if found.is_overtaken:
        where = f"{signed(found.contribution['contribution'])} logits {found.outcome.where}, less than the next neuron's"
        told = f" most; the other half of the documents says {where} {signed(found.next_contribution)}"
        return [
            capital,
            Part(" was found to write "),
            token,
            Part(f"{told}; as a predictor it is {ordinal(best['place'])}, AUROC {auroc(best)}"),
        ]
    if found.predicts_best:
        return [capital, Part(" writes "), token, Part(f" most and {PREDICTS_IT[name]}: AUROC {auroc(best)}")]
    after = f"; the next neuron {signed(found.next_contribution)}" if found.next_contribution is not None else ""
    added = f" most, {signed(found.contribution['contribution'])} logits {found.outcome.where}{after}"
    return [capital, Part(" writes "), token, Part(f"{added}; as a predictor it is {ordinal(best['place'])}, AUROC {auroc(best)}")]


def _half(found: Evidence) -> str:
    """Where the proportion reaches one half; if it falls below again at a farther, reliable level, what holds from there on in all."""
    assert found.best is not None
    level, recall = edge(found.best["half_activation"]), found.best["recall_beyond_half"]
    covered = f" (recall {fixed(recall, 2)})" if recall is not None else ""
    if found.stays_above_half or found.precision_beyond_half is None:
        turn = "falls below" if found.is_downwards else "reaches"
        return f"{found.outcome.is_there} in at least half of cases once the activation {turn} {level}{covered}"
    where = f"below activation {level}" if found.is_downwards else f"from activation {level} up"
    return f"{where} {found.outcome.is_there} in {percent(found.precision_beyond_half, 0)} of cases{covered}"


Clauses = tuple[list[Sentence], list[Sentence]]  # that support the best predictor, that speak against it


def _patched(found: Evidence) -> Clauses:
    """What patching it alone restores; on several prompts, the most."""
    patched = _strongest(found)
    if patched is None or patched.improvement is None:
        return [], []
    prompts = sum(entry.improvement is not None for entry in found.patching)
    most, of = ("at most ", f" (of {plural(prompts, 'prompt')})") if prompts > 1 else ("", "")
    restored = f"patching it alone restores {most}{percent(patched.improvement, 0)} of the logit difference on prompt "
    supports: list[Sentence] = []
    objections: list[Sentence] = []
    (supports if patched.improvement >= SMALLEST_RESTORED else objections).append((Part(restored), prompt_part(patched.prompt), Part(of)))
    if patched.top != found.neuron and patched.top_improvement > max(SMALLEST_RESTORED, patched.improvement):
        objections.append((neuron_part(patched.top), Part(f" restores more there ({percent(patched.top_improvement, 0)})")))
    return supports, objections


def _ablated(found: Evidence) -> Clauses:
    """What the corpus says once its activation is replaced: the one evidence that does not rest on a prompt."""
    ablated = found.ablated
    if ablated is None:
        return [], []
    if not ablated.stands_out:
        where = ABLATED_WHERE[found.outcome.name]
        chance = f"{beside_controls(ablated)}p = {number(ablated.p_value, 2)}, q = {number(ablated.q_value, 2)}"
        return [], [(Part(f"ablating it {where} does not stand out among ablated control neurons ({chance})"),)]
    beside = beside_controls(ablated).removesuffix(", ")
    size = f"{number(abs(ablated.change))} nat{f' ({beside})' if beside else ''}"
    if ablated.change >= 0:
        return [], [(Part(f"ablating it raises the token's log-probability, by {size}"),)]
    flips = f" and flips {percent(ablated.flipped, 0)} of the predictions" if ablated.flipped else ""
    return [(Part(f"ablating it lowers the token's log-probability by {size}{flips}"),)], []


def beside_controls(ablated: Ablated) -> str:
    """The change as a multiple of the largest that ablating a control neuron makes, a comma behind it; empty where none makes any."""
    if ablated.times_largest_control is None:
        return ""
    return f"{number(ablated.times_largest_control, 2)} times the largest of {plural(ablated.controls, 'control')}, "


def _written(found: Evidence) -> Clauses:
    """Where its output weights stand for the token."""
    writing = found.written("logits") or found.written("published")
    if writing is None or writing.rank is None:
        return [], []
    if writing.is_against:
        return [], [(Part("in the direction in which it predicts, its output weights write against the token"),)]
    if found.is_downwards and not writing.by_size:
        most, side = "no neuron writes more strongly against the token, which low activations so favour", "against"
    else:
        most, side = "no neuron writes the token more strongly", "for"
    if writing.rank == 1:
        return [(Part(most),)], []
    by = " by size" if writing.by_size else ""
    ranked = f"its output weights rank only {ordinal(writing.rank)}{by} {side} the token, behind "
    return [], [(Part(ranked), neuron_part(writing.top))]


def _strongest(found: Evidence) -> Patching | None:
    """The prompt on which the best predictor restores most."""
    measured = [entry for entry in found.patching if entry.improvement is not None]
    return max(measured, key=lambda entry: entry.improvement or 0.0, default=None)


def joined(clauses: Sequence[Sentence]) -> list[Part]:
    """Clauses in a row: a and b; a, b, and c."""
    parts: list[Part] = []
    for place, clause in enumerate(clauses):
        if place:
            parts.append(Part(", " if place < len(clauses) - 1 else ", and " if len(clauses) > 2 else " and "))
        parts += clause
    return parts


def neuron_part(neuron: tuple[int, int] | None, capital: bool = False) -> Part:
    assert neuron is not None
    return Part(f"{'Layer' if capital else 'layer'} {neuron[0]} neuron {neuron[1]}", neuron=neuron)


def token_part(token: tuple[int, str]) -> Part:
    return Part(quoted(token[1]), token=token)


def prompt_part(name: str) -> Part:
    return Part(name, prompt=name)
