"""Text on a neuron's page: one colour scale for contexts, random contexts and prompts, and the sentence that compares them."""

import dataclasses

import polars as pl
import pytest

from reports.pages.neuron_text import neuron_text
from reports.report_data import ReportData
from tests.reports.sample_data import AN, PLANTED, study


def test_a_word_has_the_same_colour_for_the_same_activation_wherever_it_stands(data: ReportData) -> None:
    shown = neuron_text(data, PLANTED, {AN})
    assert [len(shown[side]) for side in ("top", "random", "bottom", "prompts")] == [4, 4, 4, 3]
    entries = [entry for side in ("top", "random", "bottom", "prompts") for entry in shown[side]]
    counted = [word for entry in entries for word in entry["words"][0 if entry["starts_inside"] else 1 :]]
    largest = max(word["activation"] for word in counted)
    assert largest == pytest.approx(8, abs=0.02)  # the best top context; position 0 of the prompts has 60
    assert [word["strength"] for word in counted] == [round(100 * word["activation"] / largest) for word in counted]
    assert {entry["words"][0]["strength"] for entry in entries if not entry["starts_inside"]} == {0}
    assert {entry["words"][0]["activation"] for entry in shown["prompts"]} == {60}


def test_the_beginning_token_sets_the_scale_only_where_the_study_counts_it(data: ReportData) -> None:
    counting = dataclasses.replace(data, study=study(count_bos=True))
    first = neuron_text(counting, PLANTED, set())["prompts"][0]
    assert (first["words"][0]["strength"], first["position"], first["peak"]) == (100, 0, 60)


def test_a_prompt_is_framed_at_its_highest_counted_token_and_marked_where_the_token_is_predicted(data: ReportData) -> None:
    clean, corrupt, plain = neuron_text(data, PLANTED, {AN})["prompts"]
    assert [(entry["prompt"], entry["variant"]) for entry in (clean, corrupt, plain)] == [
        ("apple", "clean"),
        ("apple", "corrupt"),
        ("plain", "clean"),
    ]
    assert (clean["position"], clean["peak"]) == (8, pytest.approx(4.9))
    assert [word["token"] for word in clean["words"] if word["is_peak"]] == [" picked"]
    assert [word["token"] for word in clean["words"] if word["is_watched"]] == ["<|endoftext|>", " picked"]


def test_the_sentence_says_where_random_positions_lie_and_how_many_reach_the_highest(data: ReportData) -> None:
    contexts = data.tables["neuron_contexts"]
    values = {"top": [6.0, 9.0, 7.0, 5.0], "random": [-0.5, 0.25, 1.0, 5.5]}
    for side, peaks in values.items():
        for rank, value in enumerate(peaks, start=1):
            here = (pl.col("side") == side) & (pl.col("rank") == rank)
            contexts = contexts.with_columns(peak_activation=pl.when(here).then(pl.lit(value, pl.Float32)).otherwise("peak_activation"))
    changed = dataclasses.replace(data, tables={**data.tables, "neuron_contexts": contexts})
    assert neuron_text(changed, PLANTED, set())["sentence"] == (
        "At 4 positions drawn at random from the corpus the activation lies between −0.500 and 5.50 (median 0.625); 1 of them reaches the "
        "lowest of the highest activations shown, 5.00."
    )
    only_top = dataclasses.replace(data, tables={**data.tables, "neuron_contexts": contexts.filter(pl.col("side") == "top")})
    assert neuron_text(only_top, PLANTED, set())["sentence"] == ""
