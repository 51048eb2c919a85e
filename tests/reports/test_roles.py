"""Who writes a token and who goes along, in words: worked out by hand on the sample, and on tables in which the roles are others."""

from dataclasses import replace

import polars as pl
import pytest

from reports.answer import plain
from reports.report_data import ReportData
from reports.roles import roles
from tests.reports.sample_data import AN, NEVER, SCRIPT_TOKEN, A, report_data


@pytest.fixture(scope="module")
def data() -> ReportData:
    return report_data()


def told(data: ReportData, token_id: int, token: str) -> list[str]:
    return [plain(sentence) for sentence in roles(data, token_id, token)]


def with_contributions(data: ReportData, change: pl.Expr) -> ReportData:
    return replace(data, tables={**data.tables, "contributions": data.table("contributions").with_columns(contribution=change)})


def test_the_writer_that_is_the_best_predictor_is_named_once_with_the_next_and_the_prompts_cause(data: ReportData) -> None:
    first, against, cause = told(data, AN, " an")
    assert (
        first
        == "Layer 1 neuron 17 writes “␣an” most: where the model predicts it, +2.40 logits more than elsewhere; next is layer 2 neuron 9 with +0.310."
    )
    assert against.startswith("Layer ")
    assert " writes against it most: −0.1" in against
    assert cause.startswith("On prompt apple, layer ")


def test_a_predictor_that_writes_against_the_token_is_told_as_such(data: ReportData) -> None:
    first, predictor, *others = told(data, A, " a")
    assert first.startswith("Layer 2 neuron 11 writes “␣a” most: where the model predicts it, +0.800 logits more than elsewhere")
    assert predictor == (
        "The best predictor, layer 0 neuron 5, writes against it more than any other neuron (−1.70 logits): "
        "it goes along with the prediction and holds it back."
    )
    assert not [sentence for sentence in others if "against" in sentence], "it is told once"


def neuron_is(layer: int, neuron: int) -> pl.Expr:
    return (pl.col("layer") == layer) & (pl.col("neuron") == neuron)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0.5, "The best predictor, layer 0 neuron 5, writes it too (+0.500, 2nd)."),
        (0.0, "The best predictor, layer 0 neuron 5, goes along rather than writes: 0 logits, "),
        (
            -0.1,
            "The best predictor, layer 0 neuron 5, writes against it (−0.100 logits): it goes along with the prediction and holds it back.",
        ),
    ],
)
def test_a_best_predictor_that_is_not_the_writer_is_told_by_what_it_writes(data: ReportData, size: float, said: str) -> None:
    own = pl.when(neuron_is(0, 5)).then(size).otherwise(pl.col("contribution").clip(-0.2, 0.8))
    others = pl.when(neuron_is(2, 60)).then(-0.2).otherwise(own)
    assert told(with_contributions(data, others), A, " a")[1].startswith(said)


def test_where_no_neuron_adds_anything_that_is_said(data: ReportData) -> None:
    sentences = told(with_contributions(data, -pl.col("contribution").abs() - 0.01), A, " a")
    assert sentences[0] == "No neuron adds more to the logit of “␣a” where the model predicts it than elsewhere."


def test_of_a_token_that_is_never_predicted_only_the_prompts_speak(data: ReportData) -> None:
    assert told(data, NEVER, " never") == []
    nothing_predicted = replace(data, tables={**data.tables, "contributions": data.table("contributions").clear()})
    (cause,) = told(nothing_predicted, AN, " an")
    assert cause.startswith("On prompt apple, layer ")


def test_a_prompt_that_no_single_neuron_decides_is_told(data: ReportData) -> None:
    weak = data.table("neuron_patching").with_columns(improvement=pl.col("improvement").clip(-0.5, 0.02))
    *_, cause = told(replace(data, tables={**data.tables, "neuron_patching": weak}), AN, " an")
    assert cause == "On prompt apple, no single neuron restores more than 2.0 % of the logit difference.".replace(" %", "\u202f%")


def test_hostile_tokens_are_parts_and_no_markup(data: ReportData) -> None:
    (first, *_) = roles(data, SCRIPT_TOKEN, "</script>")
    assert [part.token for part in first if part.token] == [(SCRIPT_TOKEN, "</script>")]
