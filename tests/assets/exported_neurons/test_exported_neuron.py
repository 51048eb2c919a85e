"""A neuron in the form of neuron-explainer: its fields, its numbers against the record, and what is left out rather than made up."""

import json
import math
from typing import Any

import pytest

from assets.exported_neurons.exported_neuron import ENDS, exported_neuron
from tests.assets.exported_neurons.neuron_explainer_form import check_neuron_record

HIGH, LOW = ENDS
TEXTS = {0: "<|endoftext|>", 1: " an", 2: '"\n</script>', 3: '{"dataclass_name":"NeuronId"}', 4: "\x00\u202e\ufffd", 5: "é"}


def example(side: str, rank: int, activations: list[float | None], peak: int, activation: float | None, first: int = 0) -> dict[str, Any]:
    return {
        "side": side, "rank": rank, "document": 7, "window_in_document": 0, "position": first + peak, "activation": activation, "first_position": first,
        "token_ids": [place % 6 for place in range(len(activations))], "activations": activations, "prediction_ids": [1] * len(activations),
    }  # fmt: skip


def record(*examples: dict[str, Any], **statistics: float | None) -> dict[str, Any]:
    told = {"mean": -0.25, "variance": 2.5, "skewness": 0.0, "kurtosis": 4.5, "count": 10, **statistics}
    return {"layer": 3, "neuron": 14, "statistics": told, "histogram": None, "examples": list(examples), "writes": []}


def test_the_high_end_is_the_record_by_their_names() -> None:
    given = record(
        example("top", 1, [9.0, 0.5, -1.5, 7.13, 0.0], 3, 7.1259765),
        example("top", 2, [0.25, 6.5], 1, 6.5, first=20),
        example("bottom", 1, [0.1, -2.0], 1, -2.0, first=4),
    )
    exported = exported_neuron(given, HIGH, TEXTS, first_counted=1)
    check_neuron_record(exported)
    assert exported["neuron_id"] == {"dataclass_name": "NeuronId", "layer_index": 3, "neuron_index": 14}
    assert [exported[name] for name in ("mean", "variance", "skewness", "kurtosis")] == [-0.25, 2.5, 0.0, 4.5]
    first, second = exported["most_positive_activation_records"]
    assert first["tokens"] == [TEXTS[1], TEXTS[2], TEXTS[3], TEXTS[4]]  # position 0 is not counted
    assert first["activations"] == [0.5, -1.5, 7.1259765, 0.0]  # the peak as it was counted
    assert (second["tokens"], second["activations"]) == ([TEXTS[0], TEXTS[1]], [0.25, 6.5])
    assert exported["random_sample"] == []


def test_the_low_end_is_the_negated_neuron() -> None:
    examples = [example("top", 1, [1.0, 2.0], 1, 2.0, first=9), example("bottom", 1, [0.0, 0.5, -3.0], 2, -3.001, first=9)]
    negated = [
        {
            **one,
            "side": {"top": "bottom", "bottom": "top"}[one["side"]],
            "activation": -one["activation"],
            "activations": [-value for value in one["activations"]],
        }
        for one in examples
    ]
    low = exported_neuron(record(*examples), LOW, TEXTS, 1)
    check_neuron_record(low)
    assert low["most_positive_activation_records"][0]["activations"] == [0.0, -0.5, 3.001]
    assert (low["mean"], low["variance"], low["kurtosis"]) == (0.25, 2.5, 4.5)
    assert "-0.0" not in json.dumps(low)
    assert low == exported_neuron(record(*negated, mean=0.25, skewness=-0.0), HIGH, TEXTS, 1)  # a gated neuron's sign is a convention


def test_what_is_no_number_ends_a_passage_and_without_its_peak_it_is_left_out() -> None:
    given = record(
        example("top", 1, [1.0, None, 2.0, 8.0, 3.0, None, 4.0], 3, 8.0, first=30),
        example("top", 2, [1.0, None], 1, None, first=30),
        example("top", 3, [None, None, None], 1, 70_000.0, first=30),
    )
    first, third = exported_neuron(given, HIGH, TEXTS, 1)["most_positive_activation_records"]
    assert (first["tokens"], first["activations"]) == ([TEXTS[2], TEXTS[3], TEXTS[4]], [2.0, 8.0, 3.0])
    assert third["activations"] == [70_000.0]  # beyond half precision, in which its surroundings were kept


@pytest.mark.parametrize(("first_counted", "told"), [(0, 3), (1, 2)])
def test_the_first_token_of_a_window_is_told_where_it_is_counted(first_counted: int, told: int) -> None:
    given = record(example("top", 1, [50.0, 1.0, 2.0], 2, 2.0))
    (passage,) = exported_neuron(given, HIGH, TEXTS, first_counted)["most_positive_activation_records"]
    assert len(passage["tokens"]) == told


def test_a_neuron_without_statistics_or_examples_has_none() -> None:
    exported = exported_neuron({**record(), "statistics": None}, HIGH, TEXTS, 1)
    check_neuron_record(exported)
    assert exported["mean"] is None
    assert exported["most_positive_activation_records"] == []
    assert exported_neuron(record(skewness=None), LOW, TEXTS, 1)["skewness"] is None


def test_random_places_are_the_random_sample_of_either_end() -> None:
    given = record(example("random", 1, [0.5, -0.5], 0, 0.5, first=2))
    for end in ENDS:
        exported = exported_neuron(given, end, TEXTS, 1)
        check_neuron_record(exported)
        assert [passage["activations"] for passage in exported["random_sample"]] == [[end.sign * 0.5, end.sign * -0.5]]
        assert exported["most_positive_activation_records"] == []


def test_texts_come_back_as_they_are() -> None:
    exported = exported_neuron(record(example("top", 1, [1.0] * 6, 2, 1.0, first=8)), HIGH, TEXTS, 1)
    read = json.loads(json.dumps(exported, allow_nan=False, ensure_ascii=False).encode().decode())
    check_neuron_record(read)  # a token that looks like an object of the form stays a text
    assert read["most_positive_activation_records"][0]["tokens"] == [TEXTS[place] for place in range(6)]
    assert math.isclose(read["variance"], 2.5)
