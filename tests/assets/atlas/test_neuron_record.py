"""The record of a neuron against the rows of the tables, looked up one by one."""

import json
import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from assets.ablation.replacements import TOLD_ABLATION
from assets.atlas import neuron_record as module
from assets.atlas.neuron_record import ABLATION, BLOCK, DIGITS, RIGHT, SHADES, TABLES_OF_NEURONS, neuron_record, neuron_records
from assets.contracts import TABLES

NEURONS = 5
LISTED = {
    "examples": "atlas_examples", "writes": "congruence_neurons", "reads": "congruence_reads", "tokens": "atlas_tokens", "current_tokens": "atlas_tokens", "scores": "token_neuron_scores",
    "screened": "token_neuron_screen", "contributions": "contribution_screen",
    "neighbours": "atlas_neighbours", "evidence": "evidence_cards", "patched": "neuron_patching", "ablated": "neuron_ablation",
    "prompt_ablated": "prompt_ablation",
}  # fmt: skip


def made_up(name: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows of a table; a column that is left out is empty."""
    return pl.DataFrame(rows, schema=TABLES[name].schema)


def example(layer: int, neuron: int, side: str, rank: int, activations: list[float]) -> dict[str, Any]:
    return {
        "layer": layer, "neuron": neuron, "side": side, "rank": rank, "document": 2**40 + rank, "window_in_document": 1, "position": 9,
        "activation": activations[0], "first_position": 9, "activations": activations,
    }  # fmt: skip


def piece(rank: int) -> dict[str, Any]:
    """The text of the document that the examples of a rank are in."""
    tokens = [7 * rank + place for place in range(20)]
    return {"document": 2**40 + rank, "window_in_document": 1, "first_position": 0, "token_ids": tokens, "prediction_ids": tokens[1:] + [3]}


TEXTS = [piece(rank) for rank in (1, 2)]


@pytest.fixture
def tables() -> dict[str, pl.DataFrame]:
    generator = np.random.default_rng(3)
    places = [{"layer": layer, "neuron": neuron} for layer in range(2) for neuron in range(NEURONS)]
    some = [place for place in places if place["neuron"] != 2]  # neuron 2 stands in no other table

    def numbers(**columns: float) -> list[dict[str, Any]]:
        return [{**place, "token_id": int(generator.integers(50)), **{name: value * generator.normal() for name, value in columns.items()}}
                for place in some for _ in range(2)]  # fmt: skip

    return {
        "atlas_histograms": made_up("atlas_histograms", [{**place, "counts": generator.integers(0, 2**40, 6).tolist()} for place in places]),
        "activation_bins": made_up("activation_bins", [{**place, "per_unit": 4.0, "first_bin": -3, "bins": 6} for place in places]),
        "neuron_statistics": made_up("neuron_statistics", [{**place, "count": 2**40 + 1, "mean": 1 / 3, "kurtosis": math.nan, "minimum": -0.1,
                                                            "is_dead": False} for place in some]),
        "atlas_examples": made_up("atlas_examples", [example(**place, side=side, rank=rank, activations=(scale * generator.normal(size=4)).tolist())
                                                     for place in some for side in ("top", "bottom") for rank, scale in ((1, 300), (2, 0.02))]),
        "atlas_texts": made_up("atlas_texts", TEXTS),
        "congruence_neurons": made_up("congruence_neurons", [{**row, "convention": convention, "end": "top", "rank": 1}
                                                             for convention in ("published", RIGHT) for row in numbers(congruence=1)]),
        "congruence_reads": made_up("congruence_reads", [{**row, "end": "top", "rank": 1} for row in numbers(congruence=1)]),
        "atlas_tokens": made_up("atlas_tokens", [{**row, "by": by, "end": "high", "rank": 1}
                                                  for by in ("predicted", "current") for row in numbers(standardized_difference=2, mean_elsewhere=1e-7)]),
        "token_neuron_scores": made_up("token_neuron_scores", [{**row, "direction": -1} for row in numbers(auroc=1, separation=1)]),
        "token_neuron_screen": made_up("token_neuron_screen", [{**row, "rank": 4} for row in numbers(variance_explained=1)]),
        "contribution_screen": made_up("contribution_screen", [{**row, "end": "writes", "rank": 2} for row in numbers(contribution=1)]),
        "atlas_neighbours": made_up("atlas_neighbours", [{**place, "kind": "reads", "end": "alike", "rank": rank, "other_layer": 1, "other_neuron": rank,
                                                          "likeness": 0.987654 / rank} for place in some for rank in (1, 2)]),
        "evidence_cards": made_up("evidence_cards", [{**row, "line": "ablation", "verdict": "against"} for row in numbers(value=1) if row["neuron"] == 1]),
        "neuron_patching": made_up("neuron_patching", [{**place, "prompt": prompt, "positions": "last", "improvement": round(float(generator.normal()))}
                                                       for prompt in ("first", "second") for place in some]),
        "neuron_ablation": made_up("neuron_ablation", [{**row, "positions": "predicted", "ablation": ablation, "measure": measure}
                                                       for ablation in ("mean", "zero") for measure in ("loss", "log_probability") for row in numbers(effect=1, q_value=1)]),
        "prompt_ablation": made_up("prompt_ablation", [{**row, "prompt": "first", "variant": variant, "positions": "all", "ablation": ablation}
                                                       for ablation in ("mean", "zero") for variant in ("clean", "corrupt") for row in numbers(before=1, after=1)]),
    }  # fmt: skip


def slowly(tables: dict[str, pl.DataFrame], layer: int, neuron: int) -> dict[str, Any]:
    """The record by one row after the other, each number rounded by itself."""
    own = {
        name: [row for row in frame.iter_rows(named=True) if (row["layer"], row["neuron"]) == (layer, neuron)]
        for name, frame in tables.items()
        if name != "atlas_texts"
    }
    counts = own["atlas_histograms"][0]["counts"]
    bins = own["activation_bins"][0]
    statistics = [{name: told(row[name]) for name in module._STATISTICS} for row in own["neuron_statistics"]]
    record: dict[str, Any] = {
        "layer": layer, "neuron": neuron, "statistics": statistics[0] if statistics else None,
        "histogram": {"per_unit": bins["per_unit"], "first_bin": bins["first_bin"], "counts": counts},
    }  # fmt: skip
    for part in module._LISTS:
        rows = [row for row in own[part.table] if all(row[name] == value for name, value in part.where.items())]
        if part.name == "patched":
            every = tables["neuron_patching"].rows(named=True)
            rows = [
                {**row, "rank": 1 + sum(one["prompt"] == row["prompt"] and one["improvement"] > row["improvement"] for one in every)}
                for row in rows
            ]
            rows = [row for row in rows if row["rank"] <= module.FIRST_PATCHED or own["evidence_cards"]]
        record[part.name] = [{name: told(row[name]) for name in part.columns} for row in rows]
        if part.name == "examples":
            for place, row in enumerate(rows):
                record["examples"][place] |= {
                    "activation": float(str(np.float32(row["activation"]))),
                    "activations": shades(row["activations"]),
                }
    return record


def with_text(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the tokens and predictions around each example, four from the tenth on."""
    texts = [{name: list(piece(row["rank"])[name][9:13]) for name in ("token_ids", "prediction_ids")} for row in record["examples"]]
    return {**record, "examples": [{**row, **text} for row, text in zip(record["examples"], texts, strict=True)]}


def told(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def shades(activations: list[float]) -> list[float]:
    largest = max(abs(value) for value in activations)
    places = max(0, min(12, SHADES - 1 - math.floor(math.log10(largest))))
    return [round(value * 10**places) / 10**places for value in activations]


def test_records_are_what_the_tables_say(tables: dict[str, pl.DataFrame]) -> None:
    found = [record for records in neuron_records(tables) for record in records]
    assert found == [slowly(tables, layer, neuron) for layer in range(2) for neuron in range(NEURONS)]
    assert found[2]["statistics"] is None
    assert found[2]["examples"] == []
    assert len(found[0]["writes"]) == len(found[0]["tokens"]) == len(found[0]["current_tokens"]) == 2
    assert found[0]["tokens"] != found[0]["current_tokens"]


def test_patching_is_told_of_the_first_neurons_of_a_prompt_and_of_the_studied_ones(
    tables: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PATCHED", 2)
    found = {(record["layer"], record["neuron"]): record for records in neuron_records(tables) for record in records}
    assert {place: record["patched"] for place, record in found.items()} == {place: slowly(tables, *place)["patched"] for place in found}
    assert all(len(found[layer, 1]["patched"]) == 2 for layer in range(2))  # studied: on both prompts
    assert 0 < sum(len(record["patched"]) for record in found.values()) < tables["neuron_patching"].height
    assert neuron_record(tables, 0, 1) == with_text(found[0, 1])


def test_the_ablation_that_is_told_is_the_one_that_reports_tell(tables: dict[str, pl.DataFrame]) -> None:
    assert ABLATION == TOLD_ABLATION
    record = neuron_record(tables, 0, 1)
    assert record is not None
    assert (len(record["ablated"]), len(record["prompt_ablated"])) == (2, 2)  # of eight rows each


def test_one_record_is_that_of_all(tables: dict[str, pl.DataFrame]) -> None:
    assert neuron_record(tables, 1, 3) == with_text(slowly(tables, 1, 3))
    assert neuron_record(tables, 1, 2) == slowly(tables, 1, 2)  # it has no example
    assert neuron_record(tables, 1, NEURONS) is None


def test_records_do_not_depend_on_how_many_are_made_at_a_time(tables: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [record for records in neuron_records(tables) for record in records]
    monkeypatch.setattr(module, "BLOCK", 3)
    parts = list(neuron_records(tables))
    assert [len(part) for part in parts] == [3, 3, 3, 1]
    assert [record for part in parts for record in part] == whole
    assert BLOCK > 3


def test_records_are_json_and_small_numbers_leave_no_sign_behind(tables: dict[str, pl.DataFrame]) -> None:
    text = json.dumps(list(neuron_records(tables)), allow_nan=False)
    assert "-0.0," not in text
    assert "-0.0]" not in text
    rows = [example(0, 0, "top", 1, [8.0, -0.001, math.nan, math.inf])]
    record = neuron_record(
        {**{name: tables[name] for name in ("atlas_histograms", "atlas_texts")}, "atlas_examples": made_up("atlas_examples", rows)}, 0, 0
    )
    assert record is not None
    assert record["examples"][0]["activations"] == [8.0, 0.0, None, None]
    assert math.copysign(1, record["examples"][0]["activations"][1]) == 1


def test_an_example_of_nothing_but_zeros_is_told(tables: dict[str, pl.DataFrame]) -> None:
    rows = [example(0, 0, "top", 1, [0.0, 0.0])]
    record = neuron_record(
        {**{name: tables[name] for name in ("atlas_histograms", "atlas_texts")}, "atlas_examples": made_up("atlas_examples", rows)}, 0, 0
    )
    assert record is not None
    assert record["examples"][0]["activations"] == [0.0, 0.0]


@pytest.mark.parametrize("empty", TABLES_OF_NEURONS)
def test_any_table_may_be_empty(tables: dict[str, pl.DataFrame], empty: str) -> None:
    found = [record for records in neuron_records({**tables, empty: tables[empty].clear()}) for record in records]
    without = [record for records in neuron_records({name: frame for name, frame in tables.items() if name != empty}) for record in records]
    assert found == without
    assert len(found) == (0 if empty == "atlas_histograms" else 2 * NEURONS)
    for part, table in LISTED.items():
        if table == empty:
            assert all(record[part] == [] for record in found)


def test_negated_weights_turn_signs_and_nothing_else(tables: dict[str, pl.DataFrame]) -> None:
    swapped = {"top": "bottom", "bottom": "top"}
    examples = tables["atlas_examples"].with_columns(
        side=pl.col("side").replace_strict(swapped), activation=-pl.col("activation"), activations=pl.col("activations") * -1
    )
    plain = neuron_record(tables, 0, 1)
    turned = neuron_record({**tables, "atlas_examples": examples}, 0, 1)
    assert plain is not None
    assert turned is not None
    for one, other in zip(plain["examples"], turned["examples"], strict=True):
        assert other["side"] == swapped[one["side"]]
        assert [-value + 0.0 for value in other["activations"]] == one["activations"]
        assert -other["activation"] == one["activation"]
