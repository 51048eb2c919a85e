"""Numbers as they are printed, compared with what a careful typesetter would write."""

import math

import pytest

from reports.numbers import count, duration, edge, error, fixed, grouped, moment, number, ordinal, percent, plural, rounded, signed, size

THIN = "\u202f"


def test_thousands_are_set_apart_by_a_narrow_space() -> None:
    assert [count(value) for value in (0, 999, 1000, 12345678, -4200, None)] == [
        "0",
        "999",
        f"1{THIN}000",
        f"12{THIN}345{THIN}678",
        f"−4{THIN}200",
        "–",
    ]


def test_the_commas_of_a_check_become_the_space_of_all_other_numbers() -> None:
    assert grouped("0 of 12,345,678 rows, 2,300 documents, layers 1, 23") == (
        f"0 of 12{THIN}345{THIN}678 rows, 2{THIN}300 documents, layers 1, 23"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (3.14159, "3.14"),
        (-0.00321, "−0.00321"),
        (1234.5, "1234"),
        (2.5e-7, "2.50 · 10⁻⁷"),
        (math.inf, "∞"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_significant_digits(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_fixed_decimals_line_up_and_carry_a_true_minus() -> None:
    assert (fixed(0.5), fixed(-0.12345, 2), fixed(None)) == ("0.500", "−0.12", "–")


def test_nothing_has_no_sign_and_a_change_always_has_one() -> None:
    assert [fixed(-0.0004), fixed(-0.0006), fixed(-0.0)] == ["0.000", "−0.001", "0.000"]
    assert [signed(0.172), signed(-6.96356), signed(0.0), signed(None)] == ["+0.172", "−6.96", "0", "–"]
    assert [percent(-0.0001), percent(-0.00051)] == [f"> −0.1{THIN}%", f"−0.1{THIN}%"]


def test_a_standard_error_is_never_printed_as_zero_unless_it_is() -> None:
    assert [error(value) for value in (0.0021, 0.00023, 0.0, None)] == ["0.002", "0.0002", "0.000", "–"]


def test_edges_lose_needless_zeros() -> None:
    assert [edge(value) for value in (3.4000000000000004, -1.0, math.inf, -math.inf, None)] == ["3.4", "−1", "∞", "−∞", "–"]


def test_a_share_that_is_not_whole_never_reads_as_whole_or_as_nothing() -> None:
    assert percent(0.99999) == f"> 99.9{THIN}%"
    assert percent(0.00001) == f"< 0.1{THIN}%"
    assert [percent(1.0), percent(0.0), percent(0.5032, 0), percent(-0.1)] == [
        f"100.0{THIN}%",
        f"0.0{THIN}%",
        f"50{THIN}%",
        f"−10.0{THIN}%",
    ]


def test_sizes_and_lengths_of_time() -> None:
    assert [size(value) for value in (12, 4_815_814, None)] == [f"12{THIN}B", f"4.8{THIN}MB", "–"]
    assert [duration(value) for value in (2.04, 83.4, 7260)] == [f"2.0{THIN}s", f"1{THIN}min 23{THIN}s", f"2{THIN}h 1{THIN}min"]


def test_a_moment_names_its_zone_and_an_unreadable_one_stays_as_given() -> None:
    assert moment("2026-03-01T04:05:06+00:00") == "2026-03-01 04:05 UTC"
    assert moment("2026-03-01T04:05:06+02:00") == "2026-03-01 04:05 +0200"
    assert moment("yesterday") == "yesterday"


def test_ordinals_and_plurals() -> None:
    assert [ordinal(place) for place in (1, 2, 3, 4, 11, 12, 21, 112)] == ["1st", "2nd", "3rd", "4th", "11th", "12th", "21st", "112th"]
    assert (plural(1, "neuron"), plural(2, "neuron"), plural(2, "entry", "entries")) == ("1 neuron", "2 neurons", "2 entries")


def test_figures_get_five_significant_digits_and_no_value_that_is_not_finite() -> None:
    assert rounded([1 / 3, None, math.nan, -math.inf, 123456.7]) == [0.33333, None, None, None, 123460.0]
