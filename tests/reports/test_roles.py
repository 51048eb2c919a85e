"""Who writes a token and who goes along, in words: worked out by hand on the sample, and on tables in which the roles are others."""

from dataclasses import replace

import polars as pl
import pytest

from reports.answer import plain
from reports.report_data import ReportData
from reports.roles import roles
from tests.reports.sample_data import AN, NEVER, SCRIPT_TOKEN, A


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


def with_sets(data: ReportData, *rows: tuple[float, float, bool]) -> ReportData:
    """The sample with another set on its prompt: what each neuron restores alone, what the set up to it restores, whether it is told."""
    schema = data.table("patched_neuron_sets").schema
    made = [("apple", size, 1, 10 + size, alone, restored, 0.1, told) for size, (alone, restored, told) in enumerate(rows, start=1)]
    return replace(data, tables={**data.tables, "patched_neuron_sets": pl.DataFrame(made, schema=schema, orient="row")})


def together(data: ReportData, *rows: tuple[float, float, bool]) -> str:
    """What is said of the set, behind the sentence on single neurons."""
    *_, cause = told(with_sets(data, *rows), AN, " an")
    return cause.partition(" Together, ")[2].replace("\u202f%", " %")


def test_neurons_that_restore_it_only_together_are_told_behind_the_best_single_one(data: ReportData) -> None:
    assert together(data, (0.41, 0.41, True), (0.38, 0.93, True)) == (
        "layer 1 neuron 11 and layer 1 neuron 12 restore 93 % of the logit difference; alone 41 % and 38 %."
    )
    assert together(data, (0.1, 0.1, True), (0.0, 0.25, True), (-0.02, 0.31, True), (0.05, 0.32, False)) == (
        "layer 1 neuron 11, layer 1 neuron 12, and layer 1 neuron 13 restore 31 % of the logit difference; alone 10 %, 0 %, and −2 %."
    )


@pytest.mark.parametrize(
    "rows",
    [
        (),
        ((0.41, 0.41, True), (0.38, 0.43, False)),  # one neuron does as much as all
        ((0.5, 0.5, True), (0.38, 1.0, True)),  # one alone restores half
        ((0.41, 0.41, True), (0.38, 0.7, True)),  # neither twice as much nor three quarters
        ((0.01, 0.01, True), (0.0, 0.04, True)),  # next to nothing
    ],
)
def test_no_set_is_told_that_adds_little_to_its_best_neuron(data: ReportData, rows: tuple[tuple[float, float, bool], ...]) -> None:
    assert together(data, *rows) == ""


def test_a_set_that_restores_three_quarters_is_told_though_it_is_not_twice_its_best(data: ReportData) -> None:
    assert together(data, (0.41, 0.41, True), (0.38, 0.76, True)) != ""


def test_hostile_tokens_are_parts_and_no_markup(data: ReportData) -> None:
    (first, *_) = roles(data, SCRIPT_TOKEN, "</script>")
    assert [part.token for part in first if part.token] == [(SCRIPT_TOKEN, "</script>")]
