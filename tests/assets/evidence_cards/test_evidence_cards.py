"""Cards are what their tables say: for each line a pair that is supported, one that is not, one that is unclear, one that was not measured."""

from typing import Any

import polars as pl
import pytest

from assets.contracts import TABLES
from assets.evidence_cards.evidence_cards import evidence_cards
from assets.evidence_cards.evidence_lines import (
    AGAINST,
    ALONE,
    BEYOND_LUCK,
    EVERY_DOMAIN,
    GOES_ALONG,
    LINE_NAMES,
    NOT_MEASURED,
    NOTHING_ELSE,
    ON_PROMPTS,
    OTHER_HALF,
    OVER_THE_CORPUS,
    SUPPORTED,
    UNCLEAR,
    WRITES,
)

AN, LAYER = 3, 0
HALF: dict[str, Any] = {
    "direction": 1,
    "discovery_auroc": 0.9,
    "telling_auroc": 0.9,
    "discovery_separation": 0.9,
    "telling_separation": 0.9,
    "telling_separation_low": 0.85,
    "telling_separation_high": 0.94,
    "discovery_average_precision": 0.4,
    "telling_average_precision": 0.4,
    "telling_average_precision_low": 0.3,
    "telling_average_precision_high": 0.5,
    "discovery_contribution": 1.0,
    "telling_contribution": 1.0,
    "telling_contribution_low": 0.8,
    "telling_contribution_high": 1.2,
    "separation_p": 0.001,
    "separation_q": 0.01,
    "contribution_p": 0.001,
    "contribution_q": 0.02,
}


def table(name: str, *rows: dict[str, Any], **more: pl.DataType) -> pl.DataFrame:
    """Rows of a contract's table; columns that a test does not give are missing."""
    schema = pl.Schema({**TABLES[name].schema, **more})
    return pl.DataFrame([{column: row.get(column) for column in schema} for row in rows], schema=schema)


def cards_of(neurons: int = 1, **tables: pl.DataFrame) -> dict[tuple[int, str], dict[str, Any]]:
    """The rows of card_frame by (neuron, line)."""
    found = card_frame(neurons, **tables)
    assert found.height == neurons * len(LINE_NAMES)
    return {(row["neuron"], row["line"]): row for row in found.iter_rows(named=True)}


def card_frame(neurons: int = 1, **tables: pl.DataFrame) -> pl.DataFrame:
    """Cards of neurons 0, 1, ... of one layer for one token; tables that are not given are empty."""
    pairs = pl.DataFrame(
        {"token_id": [AN] * neurons, "token": [" an"] * neurons, "layer": [LAYER] * neurons, "neuron": range(neurons), "outcome": ["next_token"] * neurons},
        schema={"token_id": pl.Int32, "token": pl.String, "layer": pl.Int32, "neuron": pl.Int32, "outcome": pl.String},
    )  # fmt: skip
    empty = {
        name: table(name)
        for name in (
            "half_scores",
            "neuron_ablation",
            "domain_scores",
            "domain_tests",
            "sparse_probes",
            "neuron_bands",
            "neuron_band_tokens",
        )
    }
    empty["patched"] = table("neuron_patching", token_id=pl.Int32())
    return evidence_cards(pairs, {**empty, **tables})


def halves(*changes: dict[str, Any]) -> pl.DataFrame:
    """half_scores of neurons 0, 1, ..., each with its changes."""
    place = {"outcome": "next_token", "token_id": AN, "token": " an", "layer": LAYER}
    return table("half_scores", *({**place, "neuron": neuron, **HALF, **change} for neuron, change in enumerate(changes)))


def test_what_no_table_tells_was_not_measured() -> None:
    for row in cards_of().values():
        assert (row["verdict"], row["value"], row["detail"]) == (NOT_MEASURED, None, "")


@pytest.mark.parametrize(
    ("line", "change", "verdict"),
    [
        (WRITES, {}, SUPPORTED),
        (WRITES, {"telling_contribution_low": -0.1}, UNCLEAR),
        (WRITES, {"telling_contribution": -1.0, "telling_contribution_low": -1.2, "telling_contribution_high": -0.8}, AGAINST),
        (WRITES, {"telling_contribution_low": None, "telling_contribution_high": None}, UNCLEAR),
        (WRITES, {"telling_contribution": None}, NOT_MEASURED),
        (GOES_ALONG, {}, SUPPORTED),
        (GOES_ALONG, {"telling_separation_low": 0.45}, UNCLEAR),
        (GOES_ALONG, {"telling_separation_low": 0.4, "telling_separation_high": 0.48}, AGAINST),
        (OTHER_HALF, {}, SUPPORTED),
        (OTHER_HALF, {"telling_contribution": 0.1, "telling_contribution_low": -0.2, "telling_contribution_high": 0.4}, AGAINST),
        (OTHER_HALF, {"telling_contribution": 0.3, "telling_contribution_low": 0.2, "telling_contribution_high": 0.4}, UNCLEAR),
        (
            OTHER_HALF,
            {
                "discovery_contribution": -1.0,
                "telling_contribution": -0.9,
                "telling_contribution_low": -1.1,
                "telling_contribution_high": -0.7,
            },
            SUPPORTED,
        ),
        (OTHER_HALF, {"discovery_contribution": None, "telling_separation": 0.5, "telling_separation_low": 0.45}, AGAINST),
        (BEYOND_LUCK, {}, SUPPORTED),
        (BEYOND_LUCK, {"contribution_q": 0.2}, AGAINST),
        (BEYOND_LUCK, {"contribution_q": None}, SUPPORTED),
        (BEYOND_LUCK, {"contribution_q": None, "separation_q": None}, NOT_MEASURED),
    ],
)
def test_lines_of_the_halves(line: str, change: dict[str, Any], verdict: str) -> None:
    assert cards_of(half_scores=halves(change))[0, line]["verdict"] == verdict


def test_the_share_that_holds_is_told_with_its_interval_whatever_the_sign() -> None:
    against = {
        "discovery_contribution": -2.0,
        "telling_contribution": -1.0,
        "telling_contribution_low": -1.4,
        "telling_contribution_high": -0.6,
    }
    row = cards_of(half_scores=halves(against))[0, OTHER_HALF]
    assert (row["value"], row["low"], row["high"], row["detail"]) == (0.5, pytest.approx(0.3), pytest.approx(0.7), "contribution")


def test_of_several_prompts_the_one_that_restores_most_is_told() -> None:
    rows = [
        {"prompt": prompt, "positions": positions, "layer": LAYER, "neuron": neuron, "improvement": value, "token_id": AN}
        for neuron, prompt, positions, value in [(0, "apple", "last", 0.1), (0, "ant", "last", 0.6), (0, "apple", "all", 0.9), (1, "ant", "last", -0.3)]
    ]  # fmt: skip
    found = cards_of(3, patched=table("neuron_patching", *rows, token_id=pl.Int32()))
    assert [found[neuron, ON_PROMPTS]["verdict"] for neuron in range(3)] == [SUPPORTED, AGAINST, NOT_MEASURED]
    assert (found[0, ON_PROMPTS]["value"], found[0, ON_PROMPTS]["detail"]) == (pytest.approx(0.6), "ant")


def test_an_ablation_counts_only_where_it_stands_out_among_controls() -> None:
    def row(neuron: int, **values: Any) -> dict[str, Any]:
        own = {
            "positions": "next_token",
            "ablation": "mean",
            "measure": "log_probability",
            "p_value": 0.01,
            "q_value": 0.02,
            "effect": -0.5,
            "compared_effect": -0.6,
        }
        return {"token_id": AN, "layer": LAYER, "neuron": neuron, **own, **values}

    higher = row(1, effect=0.4, compared_effect=0.3)
    mixed = row(5, compared_effect=0.1)  # what is rare is over few positions, and the other way
    rows = [row(0), higher, row(2, q_value=0.2), row(3, positions="other"), row(4, ablation="zero"), mixed]
    found = cards_of(6, neuron_ablation=table("neuron_ablation", *rows))
    verdicts = [found[neuron, OVER_THE_CORPUS]["verdict"] for neuron in range(6)]
    assert verdicts == [SUPPORTED, AGAINST, UNCLEAR, NOT_MEASURED, NOT_MEASURED, UNCLEAR]
    assert found[0, OVER_THE_CORPUS]["detail"] == "p = 0.01, q = 0.02"


def test_a_neuron_is_held_against_eight_together() -> None:
    probe = {"outcome": "next_token", "token_id": AN, "kind": "neurons", "size": 8, "average_precision": 0.5}
    changes = [{"telling_average_precision": value} for value in (0.45, 0.3, 0.1, 0.6)]
    found = cards_of(4, half_scores=halves(*changes), sparse_probes=table("sparse_probes", probe))
    assert [found[neuron, ALONE]["verdict"] for neuron in range(4)] == [SUPPORTED, UNCLEAR, AGAINST, SUPPORTED]
    assert [found[neuron, ALONE]["value"] for neuron in range(4)] == pytest.approx([0.9, 0.6, 0.2, 1.0])


def test_a_neuron_of_one_domain_is_told() -> None:
    def domain(neuron: int, name: str, low: float | None, high: float | None) -> dict[str, Any]:
        middle = None if low is None or high is None else (low + high) / 2
        pair = {"outcome": "next_token", "token_id": AN, "layer": LAYER, "neuron": neuron}
        return {**pair, "name": name, "auroc": middle, "auroc_low": low, "auroc_high": high}

    scores = [
        *(domain(0, name, 0.8, 0.9) for name in ("code", "law", "news")),
        *(domain(1, name, low, high) for name, low, high in [("code", 0.8, 0.9), ("law", 0.4, 0.6), ("news", 0.45, 0.6)]),
        *(domain(2, name, low, high) for name, low, high in [("code", 0.1, 0.2), ("law", 0.1, 0.3), ("news", 0.55, 0.8)]),
        *(domain(3, name, low, high) for name, low, high in [("code", 0.8, 0.9), ("law", None, None), ("news", None, None)]),
        *(domain(4, name, low, high) for name, low, high in [("code", 0.6, 0.9), ("law", 0.45, 0.95), ("news", 0.6, 0.9)]),
    ]
    tests = [
        {"outcome": "next_token", "token_id": AN, "layer": LAYER, "neuron": neuron, "measure": "auroc", "p_value": p}
        for neuron, p in [(0, 0.6), (1, 0.001), (2, 0.001), (4, 0.5)]
    ]
    found = cards_of(5, domain_scores=table("domain_scores", *scores), domain_tests=table("domain_tests", *tests))
    verdicts = [found[neuron, EVERY_DOMAIN]["verdict"] for neuron in range(5)]
    assert verdicts == [SUPPORTED, AGAINST, AGAINST, NOT_MEASURED, UNCLEAR]
    assert found[1, EVERY_DOMAIN]["detail"] == "not in law, news; that domains do not differ: p = 0.001"
    assert found[1, EVERY_DOMAIN]["value"] == pytest.approx(1 / 3)


def test_what_else_stands_at_a_neurons_highest_positions() -> None:
    def band(neuron: int, end: str, found_id: int, text: str, share: float, rank: int | None, number: int = 1) -> dict[str, Any]:
        place = {"layer": LAYER, "neuron": neuron, "end": end, "band": number, "outcome": "next_token"}
        return {**place, "token_id": found_id, "token": text, "share": share, "rank": rank}

    tokens = [
        band(0, "high", AN, " an", 0.7, 1), band(0, "high", 9, " a", 0.2, 2), band(0, "low", AN, " an", 0.0, None), band(0, "high", AN, " an", 0.01, None, 2),
        band(1, "high", 9, " a", 0.6, 1), band(1, "high", 8, " the", 0.3, 2), band(1, "high", AN, " an", 0.05, 3),
        band(2, "low", AN, " an", 0.3, 1), band(2, "high", AN, " an", 0.0, None),
    ]  # fmt: skip
    bands = [{"layer": LAYER, "neuron": neuron, "end": end, "band": 1, "positions": 20} for neuron in range(3) for end in ("high", "low")]
    found = cards_of(
        4,
        half_scores=halves({}, {}, {"direction": -1}, {}),
        neuron_bands=table("neuron_bands", *bands),
        neuron_band_tokens=table("neuron_band_tokens", *tokens),
    )
    assert [found[neuron, NOTHING_ELSE]["verdict"] for neuron in range(4)] == [SUPPORTED, AGAINST, UNCLEAR, NOT_MEASURED]
    assert found[1, NOTHING_ELSE]["detail"] == "of 20 positions; beside it  a 60 %,  the 30 %"
    assert found[2, NOTHING_ELSE]["detail"] == "of 20 positions; beside it nothing"
