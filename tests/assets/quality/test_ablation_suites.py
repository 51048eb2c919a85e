"""The ablation suites pass on sound tables and on empty ones, and each sentence fails on a table broken in that one way."""

from typing import Any

import polars as pl
import pytest

from assets.contracts import ABLATION_CONTROLS, NEURON_ABLATION, PROMPT_ABLATION
from assets.quality.expectations import Outcome
from tests.assets.quality.judged import ablation_quality, table_quality

SOUND = {"log_probability": -1.0, "flipped": 0.5, "loss": 1.0, "logit": -2.0, "direct": -1.5, "mediated": -0.5}


def table(
    controls: int = 100,
    p_value: float = 0.5,
    source: str = "counted",
    q_value: float = 0.6,
    times: float | None = 0.4,
    ci_low: float | None = -9,
    ci_high: float | None = 9,
    compared: int = 16,
    beside: float = 0.0,
    positions: int = 40,
    **effects: float,
) -> pl.DataFrame:
    rows = [
        (
            7,
            " an",
            1,
            3,
            "predicted",
            "mean",
            measure,
            effect,
            ci_low,
            ci_high,
            p_value,
            source,
            q_value,
            times,
            controls,
            positions,
            20,
            compared,
            effect + beside,
        )
        for measure, effect in (SOUND | effects).items()
    ]
    return pl.DataFrame(rows, schema=NEURON_ABLATION.schema, orient="row")


def controls(**changes: float) -> pl.DataFrame:
    likeness = {"output_norm": 1.0, "share_above_zero": 0.2, "neuron_output_norm": 1.1, "neuron_share_above_zero": 0.3}
    keys = {"token_id": 7, "layer": 1, "neuron": 3, "positions": "predicted", "ablation": "zero", "control": 5}
    return pl.DataFrame([{**keys, **likeness, **SOUND, **changes}], schema=ABLATION_CONTROLS.schema)


def failures(outcomes: list[Outcome]) -> set[str]:
    return {outcome.expectation for outcome in outcomes if not outcome.passed}


def test_sound_and_empty_tables_pass() -> None:
    assert failures(ablation_quality(table(), controls(), tracked=1, wanted=40)) == set()
    assert failures(ablation_quality(table(ci_low=None, ci_high=None), controls(), tracked=1, wanted=40)) == set()
    for p_value, source, times in (
        (1 / 101, "counted", 1.1),
        (0.0004, "tail", 3.0),
        (101.0**-2, "floor", 90.0),
        (1 / 101, "counted", None),
    ):
        sound = table(p_value=p_value, source=source, times=times)
        assert failures(ablation_quality(sound, controls(), tracked=1, wanted=40)) == set()
    assert failures(ablation_quality(table().clear(), controls(), tracked=1, wanted=0)) == set()


def test_a_logit_that_is_not_the_sum_of_its_parts_fails() -> None:
    assert failures(ablation_quality(table(direct=-1.4), controls(), 1, 40)) == {
        "direct and mediated effect sum to the change of the logit"
    }


@pytest.mark.parametrize(
    "broken",
    [
        {"flipped": 1.1},
        {"p_value": 0.0},
        {"p_value": 1.5},
        {"p_value": 0.009, "source": "counted", "times": 2.0},
        {"p_value": 1 / 101, "source": "counted", "times": 0.9},
        {"p_value": 0.00009, "source": "tail", "times": 9.0},
        {"p_value": 0.06, "source": "tail", "times": 2.0},
        {"p_value": 0.001, "source": "floor", "times": 9.0},
        {"p_value": 0.02, "source": "guessed", "times": 2.0},
        {"q_value": 0.4},
        {"q_value": 1.1},
        {"ci_low": 10.0},
        {"ci_high": None},
        {"compared": 0},
        {"compared": 17},
        {"compared": 9, "positions": 8},
        {"compared": 16, "positions": 16, "beside": 0.1},
    ],
    ids=lambda broken: " ".join(map(str, broken.values())),
)
def test_values_that_cannot_be_fail(broken: dict[str, Any]) -> None:
    (failed,) = failures(ablation_quality(table(**broken), controls(), 1, 40))
    assert (
        failed
        == "p-values lie where their source allows, q-values not below p-values, flips are shares, intervals have two ends in order, "
        "and what is compared is a mean over 1 to 16 of the positions"
    )


def test_a_control_that_is_the_neuron_itself_fails() -> None:
    assert failures(ablation_quality(table(), controls(control=3), 1, 40)) == {"every control is another neuron"}


def test_few_controls_and_tokens_without_positions_warn() -> None:
    settled = table(controls=25, p_value=9 / 26)
    assert failures(ablation_quality(settled, controls(), tracked=1, wanted=40)) == set()
    assert failures(ablation_quality(table(beside=0.3), controls(), tracked=1, wanted=40)) == set()  # other positions, another mean
    outcomes = ablation_quality(table(controls=25, p_value=8 / 26), controls(), tracked=3, wanted=40)
    warned = {outcome.expectation: (outcome.severity, outcome.observed) for outcome in outcomes if not outcome.passed}
    assert warned == {
        "every pair has at least 100 controls, or so many of them go as far that fewer settle it": (
            "warning",
            "1 of 1 pairs with fewer; most in token_id 7, layer 1, neuron 3 (1)",
        ),
        "every tracked token has positions in the corpus at which neurons are ablated": ("warning", "2 of 3 tokens without"),
    }


def test_a_probability_above_1_fails() -> None:
    rows = [("apple", "clean", "all", 1, 3, "zero", 7, " an", 0.9, after) for after in (0.1, 1.2)]
    outcomes = table_quality(PROMPT_ABLATION, pl.DataFrame(rows, schema=PROMPT_ABLATION.schema, orient="row"))
    assert failures(outcomes) == {
        "every number lies within the limits of its column",
        "each prompt, variant, positions, layer, neuron, ablation, token_id stands in one row only",
    }
