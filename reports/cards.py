"""Evidence cards as the pages show them: of one pair of token and neuron every line with its verdict, its number and what else is told.

Holds look-ups and words; verdicts are the table evidence_cards' own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from assets.evidence_cards.evidence_lines import (
    AGAINST,
    BEYOND_LUCK,
    BY_NAME,
    GOES_ALONG,
    NOT_MEASURED,
    ON_PROMPTS,
    SUPPORTED,
    UNCLEAR,
    EvidenceLine,
)
from reports.numbers import fixed, number, percent, signed
from reports.report_data import ReportData

# What a verdict looks like: the badge of its colour, and the mark of the one-line card.
BADGES = {SUPPORTED: "good", AGAINST: "bad", UNCLEAR: "warning", NOT_MEASURED: "unknown"}
MARKS = {SUPPORTED: "+", AGAINST: "−", UNCLEAR: "?", NOT_MEASURED: "·"}
_UNITS = {"logit": "logits", "nat": "nat"}  # of what is a change, and has a sign


@dataclass(frozen=True)
class CardLine:
    """One line of a card, ready to be shown. `number` and `interval` are empty where it was not measured."""

    line: EvidenceLine
    verdict: str
    number: str
    interval: str
    detail: str

    @property
    def badge(self) -> str:
        """Name of its colour."""
        return BADGES[self.verdict]

    @property
    def mark(self) -> str:
        """One character."""
        return MARKS[self.verdict]

    @property
    def told(self) -> str:
        """The line in words, for a hover and for who hears the page."""
        return f"{self.line.title}: {self.verdict}" + (f", {self.number}" if self.number else "")


def card(data: ReportData, token_id: int, neuron: tuple[int, int]) -> list[CardLine]:
    """Every line of the pair's card, in the order of the lines; none for a pair that is not studied."""
    layer, number_in_layer = neuron
    own = data.table("evidence_cards").filter(token_id=token_id, layer=layer, neuron=number_in_layer)
    return [_line(row) for row in own.iter_rows(named=True)]


def with_cards(data: ReportData, token_id: int, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a list that name a layer and a neuron, each with the `card` of its neuron and the token."""
    return [{**row, "card": card(data, token_id, (row["layer"], row["neuron"]))} for row in rows]


def _line(row: dict[str, Any]) -> CardLine:
    name, is_told = row["line"], row["value"] is not None
    ends = [row["low"], row["high"]]
    return CardLine(
        line=BY_NAME[name],
        verdict=row["verdict"],
        number=_shown(name, row["value"], with_unit=True) if is_told else "",
        interval=" to ".join(_shown(name, end) for end in ends) if is_told and None not in ends else "",
        detail=row["detail"],
    )


def _shown(name: str, value: float, with_unit: bool = False) -> str:
    """The number as its line is read."""
    unit = BY_NAME[name].unit
    if unit in _UNITS:
        return signed(value) + (f" {_UNITS[unit]}" if with_unit else "")
    if name == GOES_ALONG:
        return fixed(value)
    if name == BEYOND_LUCK:
        return f"q = {number(value, 2)}"
    return percent(value, 0) + (" restored" if with_unit and name == ON_PROMPTS else "")
