"""Cards on the pages, and what the two halves change: the order is that of one, the numbers are the other's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets.contracts import TABLES
from assets.evidence_cards.evidence_lines import AGAINST, LINE_NAMES, NOT_MEASURED, SUPPORTED, UNCLEAR
from reports.answer import answer, plain
from reports.cards import card
from reports.report_data import ReportData
from reports.site import build_site
from tests.reports.sample_data import AN, PLANTED, A

OTHER = (2, 9)


def table(name: str, *rows: dict[str, Any]) -> pl.DataFrame:
    schema = TABLES[name].schema
    return pl.DataFrame([{column: row.get(column) for column in schema} for row in rows], schema=schema)


def lines() -> list[dict[str, Any]]:
    numbers = {
        "writes": (SUPPORTED, 2.1, 1.9, 2.3, ""),
        "goes_along": (SUPPORTED, 0.93, 0.91, 0.95, "read downwards"),
        "causes_on_prompts": (AGAINST, 0.02, None, None, "apple <i>"),
        "causes_over_the_corpus": (UNCLEAR, -0.5, -0.7, -0.3, "p = 0.2, q = 0.4"),
        "beyond_luck": (SUPPORTED, 0.0003, None, None, "contribution, p = 0.00002"),
        "alone": (UNCLEAR, 0.72, None, None, "0.44 of the 0.61 that eight neurons reach"),
    }
    pair = {"token_id": AN, "token": " an", "outcome": "top_prediction", "layer": PLANTED[0], "neuron": PLANTED[1]}
    rows = []
    for name in LINE_NAMES:
        verdict, value, low, high, detail = numbers.get(name, (NOT_MEASURED, None, None, None, ""))
        rows.append({**pair, "line": name, "verdict": verdict, "value": value, "low": low, "high": high, "detail": detail})
    return rows


def half(neuron: tuple[int, int], discovery: float, telling: float) -> dict[str, Any]:
    """A neuron found with one contribution and told with another; separations in step with them."""
    found, told = 0.5 + discovery / 10, 0.5 + telling / 10
    return {
        "outcome": "top_prediction", "token_id": AN, "token": " an", "layer": neuron[0], "neuron": neuron[1], "direction": 1,
        "discovery_auroc": found, "telling_auroc": told, "discovery_separation": found, "telling_separation": told,
        "telling_separation_low": told - 0.01, "telling_separation_high": told + 0.01,
        "discovery_average_precision": 0.3, "telling_average_precision": 0.25,
        "discovery_contribution": discovery, "telling_contribution": telling,
        "telling_contribution_low": telling - 0.2, "telling_contribution_high": telling + 0.2,
    }  # fmt: skip


def against(neuron: tuple[int, int], contribution: float) -> dict[str, Any]:
    """What a neuron moves the difference of " an" and " a" by."""
    pair = {"token_id": AN, "token": " an", "other_id": A, "other": " a", "outcome": "top_prediction"}
    return {**pair, "layer": neuron[0], "neuron": neuron[1], "congruence": 0.1, "contribution": contribution}


@pytest.fixture(scope="module")
def data(data: ReportData) -> ReportData:
    sample = data  # as it is for all tests of the report
    others = [
        half((layer, neuron), 0.1, 0.1) for layer, neuron in sample.table("contributions").filter(token_id=AN).select("layer", "neuron").iter_rows()
        if (layer, neuron) not in (PLANTED, OTHER)
    ]  # fmt: skip
    agreement = {
        "outcome": "top_prediction", "token_id": AN, "token": " an", "measure": "contribution", "discovery_positions": 12_000, "telling_positions": 11_900,
        "discovery_cases": 300.0, "telling_cases": 290.0, "rank_correlation": 0.87, "common_of_ten": 8, "largest_by_luck": 0.04, "largest": 2.5,
        "first_layer": PLANTED[0], "first_neuron": PLANTED[1], "first_discovery": 2.4, "first_telling": 2.1, "beyond_luck": 17, "discoveries": 23,
    }  # fmt: skip
    added = {
        "evidence_cards": table("evidence_cards", *lines()),
        # The planted neuron is first where neurons are found, the other one where they are told.
        "half_scores": table("half_scores", half(PLANTED, 2.4, 2.1), half(OTHER, 2.2, 2.5), *others),
        "half_agreement": table("half_agreement", agreement),
        "contrasts": table("contrasts", *(against(neuron, contribution) for neuron, contribution in ((PLANTED, 1.5), (OTHER, 0.5)))),
    }
    return replace(sample, tables={**sample.tables, **added})


@pytest.fixture(scope="module")
def site(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cards")
    build_site(data, folder)
    return folder


def test_a_card_shows_each_line_with_its_number_as_it_is_read(data: ReportData) -> None:
    shown = {one.line.name: one for one in card(data, AN, PLANTED)}
    assert list(shown) == list(LINE_NAMES)
    assert [(one.number, one.interval) for one in shown.values()] == [
        ("+2.10 logits", "+1.90 to +2.30"),
        ("0.930", "0.910 to 0.950"),
        ("2\u202f% restored", ""),
        ("−0.500 nat", "−0.700 to −0.300"),
        ("", ""),
        ("q = 0.00030", ""),
        ("72\u202f%", ""),
        ("", ""),
        ("", ""),
    ]
    assert "".join(one.mark for one in shown.values()) == "++−?·+?··"
    assert shown["beyond_luck"].told == "Beyond luck: supported, q = 0.00030"
    assert card(data, AN, (0, 0)) == []


def test_the_answer_is_who_was_found_and_told_by_the_other_half(data: ReportData) -> None:
    found = answer(data).evidence
    assert found is not None
    assert found.neuron == PLANTED, "first where neurons are found, though not where they are told"
    assert found.contribution is not None
    assert (found.contribution["contribution"], found.contribution["discovery_contribution"]) == (2.1, 2.4)
    assert found.next_contribution == 2.5
    assert found.best is not None
    assert (found.best["auroc"], found.best["discovery_separation"], found.best["place"]) == (0.71, 0.74, 1)
    assert found.is_overtaken
    said = plain(answer(data).sentence)
    assert "was found to write" in said
    assert "the other half of the documents says +2.10 logits" in said
    assert "less than the next neuron's +2.50" in said
    assert "AUROC 0.710" in said


def test_pages_show_the_card_in_full_and_in_every_list(site: Path) -> None:
    index, token, neuron = (
        (site / name).read_text() for name in ("index.html", f"token-{AN}.html", f"neuron-{PLANTED[0]}-{PLANTED[1]}.html")
    )
    for page in (index, token, neuron):
        assert "Holds in the other half" in page
        assert "0.44 of the 0.61 that eight neurons reach" in page
        assert "apple &lt;i&gt;" in page
        assert "<i>" not in page.replace("apple <i>", "", 0)
    assert index.count('class="card-marks"') >= 1
    assert token.count('class="card-marks"') >= 2, "in the list of predictors and in that of writers"
    assert "found with +2.40 in the other half" in index
    assert "95 % interval +1.90 to +2.30" in index
    assert "Most of all where it was found; in this half the next is +2.50." in index
    assert "More than any other neuron" not in index
    assert "was found to write" in token


def test_lists_of_contrasts_and_prompts_mark_the_neurons_that_are_studied_for_the_token(site: Path) -> None:
    contrast = (site / f"token-{AN}.html").read_text().partition(f'id="against-{A}"')[2].partition("</section>")[0]
    restoring = (site / "prompt-apple.html").read_text()
    for page in (contrast, restoring):
        rows = [row for row in page.split("<tr") if 'class="neuron"' in row]
        marked = [row for row in rows if 'class="card-marks"' in row]
        assert marked
        assert all(f"L{PLANTED[0]} N{PLANTED[1]}" in row for row in marked)
        assert len(marked) < len(rows), "a neuron that is not studied for the token has no card"


def test_a_token_s_page_says_what_luck_gives_and_how_far_the_halves_agree(site: Path) -> None:
    token = (site / f"token-{AN}.html").read_text()
    assert "Two halves, and luck" in token
    assert "0.870" in token
    assert "12\u202f000 positions, 300 cases" in token
