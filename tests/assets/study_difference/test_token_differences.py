"""Who leads for a token in both studies: against ranking in plain Python."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from assets.contracts import STUDY_DIFFERENCE_TOKEN_NEURONS, STUDY_DIFFERENCE_TOKENS
from assets.study_difference.token_differences import FIRST, token_differences
from tests.study_difference import AN, A, scores

PER_LAYER = 9
VALUES = st.lists(st.integers(-3, 9).map(lambda number: number / 10), min_size=2 * PER_LAYER, max_size=2 * PER_LAYER)


def slow_first(values: list[float]) -> list[int]:
    """Places of the first neurons: larger first, of equals the lower; those for which the contribution speaks."""
    ordered = sorted(range(len(values)), key=lambda place: (-values[place], place))
    return [place for place in ordered[:FIRST] if values[place] > 0]


@settings(max_examples=60, deadline=None)
@given(VALUES, VALUES)
def test_leading_neurons_are_those_of_plain_sorting(ours: list[float], theirs: list[float]) -> None:
    tokens, neurons = token_differences(scores({AN: ours}, PER_LAYER), scores({AN: theirs}, PER_LAYER))
    assert (tokens.schema, neurons.schema) == (STUDY_DIFFERENCE_TOKENS.schema, STUDY_DIFFERENCE_TOKEN_NEURONS.schema)
    row = tokens.filter(measure="contribution").row(0, named=True)
    first = [slow_first(values) for values in (ours, theirs)]
    for side, places, values in zip("ab", first, (ours, theirs), strict=True):
        leader = (places[0] // PER_LAYER, places[0] % PER_LAYER, values[places[0]]) if places else (None, None, None)
        assert (row[f"layer_{side}"], row[f"neuron_{side}"], row[f"value_{side}"]) == leader
        assert row[f"listed_{side}"] == len(places)
    assert row["agreeing"] == len(set(first[0]) & set(first[1]))
    listed = neurons.filter(measure="contribution")
    assert {layer * PER_LAYER + neuron for layer, neuron in listed.select("layer", "neuron").iter_rows()} == set(first[0]) | set(first[1])
    if len(set(ours)) > 1 and len(set(theirs)) > 1:
        assert row["rank_correlation"] == pytest.approx(spearmanr(ours, theirs).statistic, abs=1e-12)
    else:
        assert row["rank_correlation"] is None


def test_tokens_that_one_study_alone_tracks_and_unknown_values_are_left_out() -> None:
    ours = scores({AN: [0.9, None, 0.3], A: [0.1, 0.2, 0.3]}, PER_LAYER)
    theirs = scores({AN: [0.2, 0.8, None]}, PER_LAYER)
    tokens, neurons = token_differences(ours, theirs)
    assert tokens["token_id"].unique().to_list() == [AN]
    row = tokens.filter(measure="separation").row(0, named=True)
    assert ((row["layer_a"], row["neuron_a"]), (row["layer_b"], row["neuron_b"])) == ((0, 0), (0, 1))
    assert (row["agreeing"], row["listed_a"], row["listed_b"], row["predictions_a"]) == (1, 2, 2, 7)
    absent = neurons.filter(measure="separation", neuron=1).row(0, named=True)
    assert (absent["rank_a"], absent["value_a"], absent["rank_b"]) == (None, None, 1)


def test_a_token_of_the_same_number_and_another_text_is_another_token() -> None:
    ours = scores({AN: [0.9, 0.1]}, PER_LAYER)
    theirs = {name: frame.with_columns(token=pl.lit("other")) for name, frame in ours.items()}
    tokens, neurons = token_differences(ours, theirs)
    assert tokens.is_empty()
    assert neurons.is_empty()


def test_equal_studies_agree_on_every_neuron() -> None:
    both = scores({AN: np.linspace(0.01, 0.9, 18).tolist()}, PER_LAYER)
    tokens, neurons = token_differences(both, both)
    assert tokens["agreeing"].to_list() == [FIRST, FIRST]
    assert tokens["rank_correlation"].to_list() == pytest.approx([1.0, 1.0])
    assert neurons["rank_a"].equals(neurons["rank_b"])


def test_where_a_measure_was_not_taken_the_other_still_tells() -> None:
    ours = scores({AN: [0.9, 0.1]}, PER_LAYER)
    tokens, _ = token_differences({**ours, "contributions": ours["contributions"].clear()}, ours)
    assert tokens["measure"].to_list() == ["separation"]
