"""The ablation section of a neuron's page: what it says, what its figures show, and that it stays away where nothing was run."""

import dataclasses

import polars as pl
import pytest

from reports.numbers import number
from reports.pages.ablation import ablation_figures, ablation_section
from reports.report_data import ReportData
from tests.reports.sample_data import AN, PLANTED, SCRIPT_TOKEN, A


def test_the_sentence_says_how_much_for_certain_how_rare_and_which_way(data: ReportData) -> None:
    standing_out, ordinary = ablation_section(data, PLANTED)["sentences"]
    assert standing_out == (
        "Where the model predicts “␣an”, replacing the activation by its mean lowers the token's log-probability by "
        "2.250 nat (95 % interval 2.150 to 2.350) and flips 50.0\u202f% of the top predictions. That stands out: it is 129 times the largest "
        "change among 40 control neurons, over 16 of these positions (p = 0.00059, the lowest told with so many controls, q = 0.0012). It works mostly straight to the logit."
    )
    changes = data.tables["ablation_controls"].filter(token_id=SCRIPT_TOKEN, positions="predicted", ablation="mean")["log_probability"]
    as_far = int((changes.abs() >= 0.0018).sum())
    p_value = number((1 + as_far) / 41, 2)
    counted = f"{as_far} of 40 control neurons change it as much, over 16 of these positions (p = {p_value}, q = {p_value})."
    assert f"That is not out of the ordinary: {counted}" in ordinary


@pytest.mark.parametrize(
    ("times", "effect", "source", "words"),
    [
        (None, 0.0018, "counted", "none of 40 control neurons changes it at all, over 16 of these positions (p = 0.70, q = 0.70)."),
        (
            3.04,
            0.0018,
            "tail",
            "it is 3.0 times the largest change among 40 control neurons, over 16 of these positions (p = 0.70, by the tail of the controls' changes, q",
        ),
        (0.9, 0.0, "counted", "40 of 40 control neurons change it as much, over 16 of these positions (p = 0.70, q = 0.70)."),
    ],
)
def test_the_sentence_sets_the_effect_beside_its_controls(
    data: ReportData, times: float | None, effect: float, source: str, words: str
) -> None:
    told = data.tables["neuron_ablation"].with_columns(
        times_largest_control=pl.lit(times, pl.Float64), p_value_source=pl.lit(source), p_value=0.7, q_value=0.7,
        compared_effect=pl.when(pl.col("token_id") == SCRIPT_TOKEN).then(effect).otherwise(pl.col("effect")),
    )  # fmt: skip
    section = ablation_section(dataclasses.replace(data, tables={**data.tables, "neuron_ablation": told}), PLANTED)
    assert words in section["sentences"][1]


def test_an_effect_that_stands_out_alone_but_not_among_all_pairs_is_told_as_such(data: ReportData) -> None:
    corrected = data.tables["neuron_ablation"].with_columns(q_value=pl.lit(0.2))
    section = ablation_section(dataclasses.replace(data, tables={**data.tables, "neuron_ablation": corrected}), PLANTED)
    assert section["pairs"] == 2
    assert section["sentences"][0].endswith(
        "By itself that would stand out, but not among the 2 pairs told of: it is 129 times the largest change among "
        "40 control neurons, over 16 of these positions (p = 0.00059, the lowest told with so many controls, q = 0.20)."
    )


def test_an_effect_that_stands_out_among_controls_unlike_the_neuron_says_so(data: ReportData) -> None:
    apart = data.tables["ablation_controls"].with_columns(neuron_output_norm=pl.lit(2.0))
    changed = dataclasses.replace(data, tables={**data.tables, "ablation_controls": apart})
    assert "q = 0.0012), though it writes more strongly than any of them. It works" in ablation_section(changed, PLANTED)["sentences"][0]


def test_an_effect_without_a_mediated_part_is_not_said_to_be_mostly_direct(data: ReportData) -> None:
    last = data.tables["neuron_ablation"].with_columns(
        effect=pl.when(pl.col("measure") == "mediated").then(0.0).otherwise(pl.col("effect"))
    )
    changed = dataclasses.replace(data, tables={**data.tables, "neuron_ablation": last})
    assert ablation_section(changed, PLANTED)["sentences"][0].endswith(" All of it goes straight to the logit.")


def test_the_token_that_the_neuron_predicts_best_comes_first(data: ReportData) -> None:
    scores = data.tables["token_neuron_scores"].with_columns(
        separation=pl.when(pl.col("token_id") == SCRIPT_TOKEN).then(0.999).otherwise(pl.col("separation") / 2)
    )
    changed = dataclasses.replace(data, tables={**data.tables, "token_neuron_scores": scores})
    assert ablation_section(data, PLANTED)["rows"][0]["token_id"] == AN
    assert ablation_section(changed, PLANTED)["rows"][0]["token_id"] == SCRIPT_TOKEN
    assert ablation_figures(changed, PLANTED)[0].views[0].label.startswith("“</script>")


def test_the_figure_says_how_alike_the_controls_are(data: ReportData) -> None:
    assert ablation_figures(data, PLANTED)[0].views[0].note == (
        "30 positions of 20 documents, 40 control neurons of the same layer, ablated at 16 of these positions. Their output norm lies between "
        "0.900 and 1.29, this neuron's is 1.15; they are above zero at 5.0\u202f% to 8.9\u202f% of positions, this neuron at 6.2\u202f%."
    )


def test_the_figure_says_where_the_neuron_is_unlike_all_of_its_controls(data: ReportData) -> None:
    apart = data.tables["ablation_controls"].with_columns(neuron_output_norm=pl.lit(2.0), neuron_share_above_zero=pl.lit(0.01))
    changed = dataclasses.replace(data, tables={**data.tables, "ablation_controls": apart})
    note = ablation_figures(changed, PLANTED)[0].views[0].note
    assert "this neuron's is 2.00, more than any of them;" in note
    assert note.endswith("this neuron at 1.0\u202f%, less than any of them.")


def test_the_strip_shows_every_control_and_the_neuron_with_its_interval(data: ReportData) -> None:
    strip, _ = ablation_figures(data, PLANTED)
    assert [view.label for view in strip.views][:2] == ["“␣an” where predicted", "“␣an” where not"]
    controls, neuron = strip.views[0].data
    shown = data.tables["ablation_controls"].filter(positions="predicted").head(160)
    assert len(controls["y"]) == 4 * 40
    assert sorted(controls["y"]) == pytest.approx(sorted(shown["log_probability"]), abs=1e-5)
    assert {round(x) for x in controls["x"]} == {0, 1, 2, 3}
    assert neuron["y"] == pytest.approx([-2.5, -2.25, -2.375, -5])
    assert neuron["error_y"]["array"] == pytest.approx([0.1] * 4)
    assert strip.views[1].data[1]["error_y"]["array"] == [0, 0, 0, 0]  # no interval from one document


def test_the_bars_are_the_two_parts_of_the_logit(data: ReportData) -> None:
    direct, mediated = ablation_figures(data, PLANTED)[1].views[0].data
    assert (direct["name"], mediated["name"]) == ("direct", "mediated")
    assert [one + other for one, other in zip(direct["y"], mediated["y"], strict=True)] == pytest.approx([-2.5, -2.25, -2.375, -5])


def test_a_neuron_that_was_not_ablated_has_no_section(data: ReportData) -> None:
    other = (0, A)
    assert ablation_figures(data, other) == []
    assert ablation_section(data, other) == {"sentences": [], "pairs": 2, "rows": [], "prompts": []}


def test_a_token_that_is_nowhere_else_has_no_view_of_its_own_for_it(data: ReportData) -> None:
    only = data.tables["neuron_ablation"].filter(pl.col("positions") == "predicted")
    fewer = dataclasses.replace(data, tables={**data.tables, "neuron_ablation": only})
    assert len(ablation_figures(fewer, PLANTED)[0].views) == 2
