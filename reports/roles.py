"""Who writes a token, who merely goes along, who writes against it, and what decides a prompt: sentences beside the answer.

The best predictor tells when the model predicts a token; it need not be what makes the model do so. Nothing is said that the tables do
not hold.
"""

from typing import Any

import polars as pl

from assets.evidence_cards.evidence_lines import SMALLEST_RESTORED
from assets.statistics.writing_roles import GOES_ALONG, HOLDS, writing_role
from reports.answer import Part, Sentence, joined, neuron_part, prompt_part, token_part
from reports.evidence import best_neurons, neuron_patching_of, neuron_sets_of
from reports.numbers import count, fixed, ordinal, percent, signed
from reports.outcome import told_by
from reports.over_sets import over_sets_clause
from reports.report_data import ReportData

CONTRASTS = 2  # told on the front page
HALF = 0.5  # a neuron that restores so much by itself decides the prompt
TIMES, MOST = 2, 0.75  # times the best single share, or share of the logit difference, from which a set is told beside it
PROMPTS = 3  # told on the front page; all have a page of their own


def roles(data: ReportData, token_id: int, token: str, is_writer_told: bool = False) -> list[Sentence]:
    """One each: the first writer (unless it is told already), the best predictor if it is another neuron, who writes against, what decides each prompt."""
    written = written_by(data, token_id)
    sentences = []
    if written.height:
        where = told_by(data.leading[token_id]).where
        predictor, last = _predictor(data, written, token_id), written.row(-1, named=True)
        is_told = any(part.neuron == (last["layer"], last["neuron"]) for sentence in predictor for part in sentence)
        sentences += [
            *([] if is_writer_told else [_writer(written, token_id, token, where)]),
            *predictor,
            *([] if is_told else _against(last)),
        ]
    return sentences + _apart(data, token_id, token) + _causes(data, token_id)


def written_by(data: ReportData, token_id: int) -> pl.DataFrame:
    """The rows of contributions of one tracked token, largest first, with their `place`; none where it is predicted nowhere."""
    return data.ranked_contributions.filter(pl.col("token_id") == token_id)


def _writer(written: pl.DataFrame, token_id: int, token: str, where: str) -> Sentence:
    first, second = written.head(2).to_dicts() if written.height > 1 else (written.row(0, named=True), None)
    shown = token_part((token_id, token))
    if first["contribution"] <= 0:
        return (Part("No neuron adds more to the logit of "), shown, Part(f" {where} than elsewhere."))
    if second is not None and second["contribution"] > first["contribution"]:
        found = f" most; the other half of the documents says {_logits(first)} more {where} than elsewhere, less than "
        more = Part(f" with {signed(second['contribution'])}.")
        return (_neuron(first, capital=True), Part(" was found to write "), shown, Part(found), _neuron(second), more)
    parts = [
        _neuron(first, capital=True),
        Part(" writes "),
        shown,
        Part(f" most: {where}, {_logits(first)} more than elsewhere"),
    ]
    if second is not None and second["contribution"] > 0:
        parts += [Part("; next is "), _neuron(second), Part(f" with {signed(second['contribution'])}")]
    return (*parts, Part("."))


def _predictor(data: ReportData, written: pl.DataFrame, token_id: int) -> list[Sentence]:
    """What the best predictor writes, where it is not the first writer."""
    best = best_neurons(data, token_id).head(1).to_dicts()
    if not best:
        return []
    own = written.filter((pl.col("layer") == best[0]["layer"]) & (pl.col("neuron") == best[0]["neuron"])).to_dicts()
    if not own or own[0]["place"] == 1:
        return []
    row, most, is_last = own[0], written["contribution"][0], own[0]["place"] == written.height
    role = writing_role(row["contribution"], most, written["contribution"][-1])
    if role == HOLDS:
        than_others = " more than any other neuron" if is_last else ""
        told = f"writes against it{than_others} ({_logits(row)}): it goes along with the prediction and holds it back."
    elif role == GOES_ALONG:
        told = f"goes along rather than writes: {_logits(row)}, {ordinal(row['place'])} of {count(written.height)}."
    else:
        told = f"writes it too ({signed(row['contribution'])}, {ordinal(row['place'])})."
    return [(Part("The best predictor, "), _neuron(row), Part(f", {told}"))]


def _against(last: dict[str, Any]) -> list[Sentence]:
    if last["contribution"] >= 0:
        return []
    return [(_neuron(last, capital=True), Part(f" writes against it most: {_logits(last)}."))]


def _apart(data: ReportData, token_id: int, token: str) -> list[Sentence]:
    """Of each token that this one is told against, the neuron that moves the difference of the two logits most."""
    own = data.table("contrasts").filter((pl.col("token_id") == token_id) & (pl.col("outcome") == data.leading[token_id]))
    sentences: list[Sentence] = []
    for (other_id, other), rows in own.partition_by("other_id", "other", as_dict=True, maintain_order=True).items():
        first = rows.filter(pl.col("contribution") > 0).sort("contribution", "layer", "neuron", descending=[True, False, False]).head(1)
        for row in first.iter_rows(named=True):
            apart = f"; it tells the two apart with separation {fixed(row['separation'])}" if row["separation"] is not None else ""
            sentences.append(
                (
                    Part("Between "),
                    token_part((token_id, token)),
                    Part(" and "),
                    token_part((int(str(other_id)), str(other))),
                    Part(", "),
                    _neuron(row),
                    Part(f" moves the difference of their logits most ({signed(row['contribution'])} logits{apart})."),
                )
            )
    return sentences[:CONTRASTS]


def _causes(data: ReportData, token_id: int) -> list[Sentence]:
    """Of each patched prompt whose answer is the token, the neuron that restores most by itself at the last position, those that
    restore it only together, and whether the first holds over prompt sets of the same answers."""
    answers = data.table("prompt_predictions").filter((pl.col("token_id") == token_id) & (pl.col("role") == "answer"))["prompt"].to_list()
    patched = {name: neuron_patching_of(data, name, "last") for name in data.prompts if name in answers}
    causes = [
        (*_cause(name, frame), *over_sets_clause(data, name), *_together(data, name)) for name, frame in patched.items() if frame.height
    ]
    return causes[:PROMPTS]


def _cause(name: str, frame: pl.DataFrame) -> Sentence:
    first, *others = frame.head(2).to_dicts()
    opening = (Part("On prompt "), prompt_part(name), Part(", "))
    if first["improvement"] < SMALLEST_RESTORED:
        return (
            *opening,
            Part(f"no single neuron restores more than {percent(max(first['improvement'], 0.0), 1)} of the logit difference."),
        )
    restored = f" patched alone at the last position restores {percent(first['improvement'], 0)} of the logit difference"
    behind = (Part("; next is "), _neuron(others[0]), Part(f" with {percent(others[0]['improvement'], 0)}")) if others else ()
    return (*opening, _neuron(first), Part(restored), *behind, Part("."))


def _together(data: ReportData, prompt: str) -> Sentence:
    """The set that is told of a prompt, where its best neuron alone leaves more than half and the set restores far more; else nothing."""
    told = neuron_sets_of(data, prompt).filter("is_told").to_dicts()
    if len(told) < 2 or told[0]["alone"] >= HALF:
        return ()
    restored = told[-1]["restored"]
    if restored < SMALLEST_RESTORED or restored < min(TIMES * told[0]["alone"], MOST):
        return ()
    names = joined([(_neuron(row),) for row in told])
    shares = joined([(Part(percent(row["alone"], 0)),) for row in told])
    return (Part(" Together, "), *names, Part(f" restore {percent(restored, 0)} of the logit difference; alone "), *shares, Part("."))


def _logits(row: dict[str, Any]) -> str:
    return f"{signed(row['contribution'])} logits"


def _neuron(row: dict[str, Any], capital: bool = False) -> Part:
    return neuron_part((row["layer"], row["neuron"]), capital)
