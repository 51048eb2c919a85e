"""What the prompt page says of a gradient's estimates beside the exact values."""

import polars as pl

from reports.pages.prompts import agreement


def neurons(improvement: list[float], attribution: list[float]) -> pl.DataFrame:
    return pl.DataFrame(
        {"layer": [0] * len(improvement), "neuron": range(len(improvement)), "improvement": improvement, "attribution": attribution}
    )


def test_estimates_in_the_same_order_find_all_and_correlate_fully() -> None:
    exact = [float(value * value) for value in range(200)]
    assert agreement(neurons(exact, [float(value) for value in range(200)])) == (
        "Rank correlation over 200 neurons: 1.000; of the 50 neurons that restore most, the 50 highest estimates hold 50."
    )


def test_a_correlation_just_below_one_is_not_printed_as_one() -> None:
    exact = [float(value) for value in range(200)]
    swapped = [1.0, 0.0, *exact[2:]]
    assert agreement(neurons(exact, swapped)).startswith("Rank correlation over 200 neurons: > 0.999;")


def test_estimates_in_the_opposite_order_find_none() -> None:
    exact = [float(value) for value in range(200)]
    assert agreement(neurons(exact, exact[::-1])) == (
        "Rank correlation over 200 neurons: −1.000; of the 50 neurons that restore most, the 50 highest estimates hold 0."
    )


def test_a_small_model_is_asked_for_half_of_its_neurons_and_equal_values_for_no_correlation() -> None:
    assert agreement(neurons([4.0, 3.0, 2.0, 1.0], [0.0] * 4)) == ("Of the 2 neurons that restore most, the 2 highest estimates hold 2.")
    assert agreement(neurons([], [])) == ""
