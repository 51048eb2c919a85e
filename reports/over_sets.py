"""Whether what one prompt shows holds over the prompt sets with the same answers: look-ups, the rule, and sentences.

Numbers are those of prompt_set_patching; the rule, which sets a word beside them, is docs/decisions/0039-prompt-sets.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from assets.evidence_cards.evidence_lines import SMALLEST_RESTORED
from reports.answer import Part, Sentence, neuron_part, prompt_part
from reports.evidence import neuron_patching_of
from reports.numbers import count, percent, plural
from reports.report_data import ReportData

MOSTLY, HARDLY = 0.75, 0.25  # shares of the pairs in which a neuron is among the first ten: from which on it holds, below which it does not
HOLDS, IN_PART, ALONE = "holds", "holds for some of the pairs", "that prompt's alone"


@dataclass(frozen=True)
class OverSet:
    """The neuron that restores most of one prompt at the last position, and the same neuron over a set of prompts with the same answers."""

    prompt: str
    prompt_set: str
    neuron: tuple[int, int]
    restored: float  # on the prompt, share of the logit difference
    median: float
    lower_quartile: float
    upper_quartile: float
    first_ten_share: float
    pairs: int

    @property
    def verdict(self) -> str:
        """Whether it holds over the set."""
        if self.first_ten_share < HARDLY or self.median < SMALLEST_RESTORED:
            return ALONE
        return HOLDS if self.first_ten_share >= MOSTLY else IN_PART


def set_neurons(data: ReportData, name: str) -> pl.DataFrame:
    """The patched neurons of one set, largest median first, with their `rank` among all that were patched (`of`)."""
    return data.ranked_over_sets.filter(prompt_set=name)


def prompts_over_set(data: ReportData, name: str) -> list[OverSet]:
    """Of each prompt of the study with the set's answers, in the study's order, its leading neuron over the set."""
    return [over for prompt in data.prompts for over in over_sets(data, prompt) if over.prompt_set == name]


def over_sets(data: ReportData, prompt: str) -> list[OverSet]:
    """The leading neuron of one prompt over each set with the same answers, in the study's order.

    None for a prompt that is not patched or of which no neuron restores what is worth telling, and for sets that leave its layer out.
    """
    leader = neuron_patching_of(data, prompt, "last").head(1).to_dicts()
    answers = _answers(data, prompt)
    if not leader or leader[0]["improvement"] < SMALLEST_RESTORED or answers is None:
        return []
    same = data.table("prompt_sets").filter(answer_id=answers[0], wrong_answer_id=answers[1])["prompt_set"].to_list()
    found = [_over(data, prompt, name, leader[0]) for name in data.prompt_sets if name in same]
    return [one for one in found if one is not None]


def over_sets_sentences(data: ReportData, prompt: str) -> list[Sentence]:
    """One for each set, as on the prompt's page."""
    return [_sentence(one, Part("this prompt. Over the prompt set "), set_part(one.prompt_set)) for one in over_sets(data, prompt)]


def over_set_sentences(data: ReportData, name: str) -> list[Sentence]:
    """One for each prompt, as on the set's page."""
    return [_sentence(one, Part("the prompt "), prompt_part(one.prompt), Part(". Over this set")) for one in prompts_over_set(data, name)]


def _sentence(one: OverSet, *between: Part) -> Sentence:
    """`between` names the prompt, then the set, as the page that says it needs them named."""
    return (neuron_part(one.neuron, capital=True), Part(f" restores {percent(one.restored, 0)} on "), *between, Part(f" it {_told(one)}"))


def over_sets_clause(data: ReportData, prompt: str) -> Sentence:
    """What follows the sentence about the prompt's leading neuron on the front page; nothing without a set of the same answers."""
    return tuple(
        part
        for one in over_sets(data, prompt)
        for part in (Part(" Over the prompt set "), set_part(one.prompt_set), Part(", "), neuron_part(one.neuron), Part(f" {_told(one)}"))
    )


def set_part(name: str) -> Part:
    """The name of a prompt set, which leads to its page."""
    return Part(name, prompt_set=name)


def _told(one: OverSet) -> str:
    verdict = {HOLDS: "it holds", IN_PART: "it holds for some of them", ALONE: "that is this prompt's alone"}[one.verdict]
    return (
        f"restores {percent(one.median, 0)} in the median of {plural(one.pairs, 'pair')} (quartiles {percent(one.lower_quartile, 0)} to "
        f"{percent(one.upper_quartile, 0)}) and is among the first ten in {percent(one.first_ten_share, 0)} of them: {verdict}."
    )


def _answers(data: ReportData, prompt: str) -> tuple[int, int] | None:
    """Entries of the prompt's answer and wrong answer."""
    clean = data.table("prompt_predictions").filter(prompt=prompt, variant="clean")
    by_role = dict(clean.select("role", "token_id").iter_rows())
    return (by_role["answer"], by_role["wrong_answer"]) if {"answer", "wrong_answer"} <= by_role.keys() else None


def _over(data: ReportData, prompt: str, name: str, leader: Mapping[str, Any]) -> OverSet | None:
    rows = data.table("prompt_set_patching").filter(prompt_set=name, layer=leader["layer"], neuron=leader["neuron"]).to_dicts()
    if not rows:
        return None
    told = {key: rows[0][key] for key in ("median", "lower_quartile", "upper_quartile", "first_ten_share", "pairs")}
    return OverSet(prompt, name, (leader["layer"], leader["neuron"]), leader["improvement"], **told)


def left_out(row: Mapping[str, Any]) -> str:
    """How a set's pairs came about, in words; row: one of prompt_sets."""
    every = row["fillers"] * row["corrupt_fillers"]
    parts = [f"{count(row['fillers'])} × {count(row['corrupt_fillers'])} fillers make {plural(every, 'pair')}"]
    unlike = every - row["of_equal_length"]
    if unlike:
        parts.append(f"{count(unlike)} left out, as the two texts have different numbers of tokens")
    if row["drawn"] < row["of_equal_length"]:
        parts.append(
            f"{count(row['drawn'])} of the other {count(row['of_equal_length'])} drawn" if unlike else f"{count(row['drawn'])} drawn"
        )
    still = row["drawn"] - row["patched"]
    if still:
        parts.append(f"{count(still)} not patched, as the answer does not move")
    return "; ".join(parts) + "."
