"""The sign of a gated neuron is a convention: with the weights into and out of every other neuron negated, a study says the same.

The model computes the same logits, bit for bit. Every number is then equal, or that of the mirrored activation.
"""

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from assets.contracts import TABLES
from assets.histograms.histogram_store import read_histograms
from assets.reading import Reading
from assets.store import Place, Record
from assets.study_difference.studies import READ, READS, Compared
from assets.study_difference.study_difference import study_difference
from assets.tables import read_table
from reports.answer import Sentence, answer, plain
from reports.evidence import token_row
from reports.report_data import ReportData
from reports.roles import roles
from tests.assets.congruence.tiny_models import tiny_model
from tests.freshness import Ground
from tests.planted import planted_token_id
from tests.stage_runs import run_stages

pytestmark = pytest.mark.slow

BINS = {"per_unit": 16, "low": -4, "high": 4}
TOKENS = sorted({*range(12), planted_token_id(" an"), planted_token_id(" a")})  # those of the prompts and whatever else
IS_FLIPPED = pl.col("neuron") % 2 == 0


class Two:
    """The outputs of a study, and of the same with half of its neurons negated."""

    def __init__(self, folder: Path) -> None:
        ground = Ground(folder / "ground")
        self.records: list[dict[Place, Record]] = []
        for name in ("one", "negated"):
            written = tiny_model(ground.folder / name, "llama", neurons=24)
            if name == "negated":
                negate(written)
            changes: dict[str, Any] = {"model.id": name, "bins": BINS, "tokens": TOKENS, "neurons": [[1, 2], [2, 3]],
                                       "min_count": 2, "best_neurons": 2, "ablation_positions": 2, "corpus.context_length": 32,
                                       "outcomes": ["top_prediction", "next_token", "probability"], "groups": {"two": [3, 4]},
                                       "contrasts": [[3, 4], [5, 6]]}  # fmt: skip
            self.study = ground.study(copy.deepcopy(changes))
            self.records.append(run_stages(self.study, folder / name))

    def tables(self, name: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        one, other = (read_table(self._of(TABLES[name].asset, place).folder, TABLES[name]) for place in range(2))
        return one, other

    def data(self, place: int) -> ReportData:
        names = (
            "token_neuron_scores", "contributions", "prompt_predictions", "neuron_patching", "patched_neuron_sets", "prompt_sets", "prompt_set_patching", "prompt_tokens", "tracked_tokens", "token_counts",
            "proportion_curves", "congruence_tracked_tokens", "neuron_ablation", "token_groups", "token_outcomes", "outcome_scores",
            "outcome_curves", "outcome_contributions", "contrasts",
        )  # fmt: skip
        return ReportData(self.study, {name: self.tables(name)[place] for name in names}, facts={"is_gated": True})

    def counters(self, place: int) -> Any:
        return read_histograms(self._of("merged_histograms", place))

    def _of(self, asset: str, place: int) -> Record:
        return next(record for at, record in self.records[place].items() if at.asset == asset)


def negate(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(folder))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.up_proj.weight[::2] *= -1
            layer.mlp.down_proj.weight[:, ::2] *= -1
    model.save_pretrained(str(folder))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    return Two(tmp_path_factory.mktemp("symmetry"))


def assert_equal(one: pl.DataFrame, other: pl.DataFrame, tolerance: float = 0.0) -> None:
    from polars.testing import assert_frame_equal

    assert_frame_equal(one, other, rel_tol=tolerance, abs_tol=tolerance, check_exact=tolerance == 0)


def test_the_counters_of_a_negated_neuron_are_mirrored_and_all_others_stay(two: Two) -> None:
    one, other = two.counters(0), two.counters(1)
    for name in ("predictions", "occurrences", "screen_count", "screen_current_count"):
        np.testing.assert_array_equal(one[name][:], other[name][:])
    count, mirrored = np.asarray(one["count"][:]), np.asarray(other["count"][:]).copy()
    mirrored[:, ::2] = mirrored[:, ::2, ::-1]
    np.testing.assert_array_equal(count, mirrored)
    for name in ("screen_scaled", "screen_current_sum"):
        sums, negated = np.asarray(one[name][:]), np.asarray(other[name][:]).copy()
        negated[..., ::2] *= -1
        np.testing.assert_array_equal(sums, negated)


@pytest.mark.parametrize("table", ["token_neuron_scores", "outcome_scores"])
def test_scores_are_those_of_the_other_end(two: Two, table: str) -> None:
    one, other = two.tables(table)
    assert one.filter(IS_FLIPPED & (pl.col("direction") == -1)).height > 10
    turned = other.with_columns(
        auroc=pl.when(IS_FLIPPED).then(1 - pl.col("auroc")).otherwise("auroc"),
        auroc_low=pl.when(IS_FLIPPED).then(1 - pl.col("auroc_high")).otherwise("auroc_low"),
        auroc_high=pl.when(IS_FLIPPED).then(1 - pl.col("auroc_low")).otherwise("auroc_high"),
        direction=pl.when(IS_FLIPPED & (pl.col("auroc") != 0.5)).then(-pl.col("direction")).otherwise("direction"),
        **{
            name: pl.when(IS_FLIPPED & (pl.col("auroc") != 0.5)).then(-pl.col(name)).otherwise(name)
            for name in ("half_activation", "highest_proportion_at")
        },
    )
    tied = pl.col("auroc") == 0.5
    assert_equal(one.filter(~tied), turned.filter(~tied), 1e-12)


ENDS = {"top": "bottom", "bottom": "top", "between_top": "between_bottom", "between_bottom": "between_top"}


def test_the_atlas_of_a_negated_neuron_has_its_ends_exchanged(two: Two) -> None:
    one, other = two.tables("atlas_histograms")
    counts = pl.when(IS_FLIPPED).then(pl.col("counts").list.reverse()).otherwise("counts")
    assert_equal(one, other.with_columns(counts=counts))

    one, other = two.tables("atlas_examples")
    side = pl.when(IS_FLIPPED).then(pl.col("side").replace(ENDS)).otherwise("side")
    order = ["layer", "neuron", "side", "rank"]
    turned = other.with_columns(
        side=side,
        activation=pl.when(IS_FLIPPED).then(-pl.col("activation")).otherwise("activation"),
        activations=pl.when(IS_FLIPPED).then(pl.col("activations").list.eval(-pl.element())).otherwise("activations"),
    )
    assert one.filter(IS_FLIPPED).height > 30
    assert set(one.filter(IS_FLIPPED)["side"]) >= {"random", "top", "bottom"}
    assert_equal(one.sort(order), turned.sort(order))

    assert_equal(*two.tables("congruence_reads"))  # of the gate, whose sign is no convention

    one, other = two.tables("atlas_tokens")
    end = pl.when(IS_FLIPPED).then(pl.col("end").replace({"high": "low", "low": "high"})).otherwise("end")
    numbers = ("mean_there", "mean_elsewhere", "standardized_difference")
    negated = {name: pl.when(IS_FLIPPED).then(-pl.col(name)).otherwise(name) for name in numbers}
    order = ["layer", "neuron", "by", "end", "rank"]
    for by in ("predicted", "current"):
        assert one.filter(IS_FLIPPED, by=by).height > 30
    assert_equal(one.sort(order), other.with_columns(end=end, **negated).sort(order), 1e-12)


def test_neighbours_of_a_negated_neuron_change_ends_but_for_what_reads_alike(two: Two) -> None:
    one, other = two.tables("atlas_neighbours")
    is_read, is_other_flipped = pl.col("kind") == "reads", pl.col("other_neuron") % 2 == 0
    sign = pl.when(~is_read & (is_other_flipped != IS_FLIPPED)).then(-1).otherwise(1)
    turned = other.with_columns(likeness=sign * pl.col("likeness"))
    # What was least at one end may now not be told at the other: compared is what both tell.
    pair = ["layer", "neuron", "kind", "other_layer", "other_neuron"]
    both = one.join(turned, on=pair, suffix="_turned")
    assert both.filter(is_other_flipped != IS_FLIPPED).group_by("kind").len().filter(pl.col("len") > 20).height == 3
    assert both.filter(pl.col("likeness") != pl.col("likeness_turned")).is_empty()
    assert_equal(one.filter(is_read), other.filter(is_read))
    is_nearest = pl.col("likeness").abs() == pl.col("likeness").abs().max().over("layer", "neuron", "kind")  # over both ends
    assert_equal(one.filter(is_nearest).select(pair).sort(pair), other.filter(is_nearest).select(pair).sort(pair))


def test_bands_of_a_negated_neuron_have_their_ends_exchanged_and_probes_stay(two: Two) -> None:
    turned_end = pl.when(IS_FLIPPED).then(pl.col("end").replace({"high": "low", "low": "high"})).otherwise("end")
    order = ["layer", "neuron", "end", "band"]
    one, other = two.tables("neuron_bands")
    turned = other.with_columns(
        end=turned_end,
        lowest=pl.when(IS_FLIPPED).then(-pl.col("highest")).otherwise("lowest"),
        highest=pl.when(IS_FLIPPED).then(-pl.col("lowest")).otherwise("highest"),
    )
    assert one.filter(IS_FLIPPED & (pl.col("end") != "middle")).height > 10
    assert_equal(one.sort(order), turned.sort(order))
    one, other = two.tables("neuron_band_tokens")
    keys = [*order, "outcome", "token_id"]
    assert_equal(one.sort(keys), other.with_columns(end=turned_end).sort(keys))
    one, other = two.tables("sparse_probes")
    assert one.height > 0
    assert_equal(one, other, 1e-3)


def test_halves_and_growth_are_equal_but_for_the_direction(two: Two) -> None:
    one, other = two.tables("half_scores")
    assert one.filter(IS_FLIPPED & (pl.col("direction") == -1)).height > 10
    assert one["telling_separation_low"].drop_nulls().len() > 100
    turned = other.with_columns(
        direction=pl.when(IS_FLIPPED).then(-pl.col("direction")).otherwise("direction"),
        **{
            name: pl.when(IS_FLIPPED).then(1 - pl.col(name)).otherwise(name) for name in ("discovery_auroc", "telling_auroc")
        },
        **{
            name: pl.when(IS_FLIPPED).then(-pl.col(name)).otherwise(name) for name in ("telling_half_activation", "telling_highest_proportion_at")
        },
    )  # fmt: skip
    tied = pl.col("direction") == 0  # no direction: curves are read upwards, whatever the sign
    of_curve = [f"telling_{name}" for name in ("highest_proportion", "highest_proportion_at", "half_activation", "recall_beyond_half")]
    assert_equal(one.drop(of_curve), turned.drop(of_curve), 1e-9)
    assert_equal(one.filter(~tied), turned.filter(~tied), 1e-9)
    assert_equal(*two.tables("half_agreement"), 1e-9)
    one, other = (frame.drop("half_activation") for frame in two.tables("corpus_growth"))
    assert_equal(one, other, 1e-9)


def test_contributions_and_patching_are_equal(two: Two) -> None:
    for name, column in ((name, "contribution") for name in ("contributions", "contribution_screen", "outcome_contributions", "contrasts")):
        one, other = two.tables(name)
        turned = ["congruence", *(["auroc", "auroc_low", "auroc_high", "direction"] if name == "contrasts" else [])]
        assert_equal(one.drop(turned), other.drop(turned), 1e-12 if name == "contrasts" else 0)
        assert not one.filter(pl.col(column) != 0).is_empty()
    one, other = two.tables("neuron_patching")
    assert_equal(one.drop("clean_activation", "corrupt_activation"), other.drop("clean_activation", "corrupt_activation"), 1e-6)


def test_corrected_congruence_names_the_same_neurons_and_agrees_as_often(two: Two) -> None:
    for name in ("strongest_neurons", "corrected_mutual_pairs"):
        one, other = two.tables(name)
        turned = other.with_columns(pl.when(IS_FLIPPED).then(-pl.col(column)).otherwise(column) for column in ("congruence", "corrected"))
        assert_equal(one, turned, 1e-5)
        assert one.filter(IS_FLIPPED).height > 2
    for name in ("congruence_hubs", "congruence_agreement"):
        assert_equal(*two.tables(name))


def test_the_same_neurons_are_patched_together_and_restore_the_same(two: Two) -> None:
    one, other = two.tables("patched_neuron_sets")
    assert one.filter(IS_FLIPPED).height >= 2
    assert one.filter(pl.col("size") > 2).height > 0
    assert_equal(one, other, 1e-5)


def test_distributions_over_prompt_sets_are_equal(two: Two) -> None:
    one, other = two.tables("prompt_set_patching")
    assert one.filter(IS_FLIPPED & (pl.col("first_ten_share") == 1)).height > 0
    assert_equal(one, other, 1e-5)
    assert_equal(*two.tables("prompt_set_pairs"), 1e-5)


def test_the_same_neurons_are_studied_for_the_same_reasons(two: Two) -> None:
    one, other = two.tables("candidates")
    assert set(one["line"]) >= {
        "named",
        "separation",
        "average_precision",
        "contribution",
        "contribution_against",
        "congruence",
        "patching",
        "patched_together",
    }
    assert_equal(one, other, 1e-6)


def test_the_difference_of_both_studies_is_none_but_for_the_sign(two: Two) -> None:
    sides = [
        Compared(
            Reading(
                two.study, {place.asset: record for place, record in records.items() if place.asset in READ}, READS, ("*",), "the test"
            ),
            False,
        )
        for records in two.records
    ]
    tables = study_difference(*sides)
    neurons = tables["study_difference_neurons"]
    assert neurons["distance"].unique().to_list() == [0.0]
    assert neurons["likeness"].min() == pytest.approx(1.0, abs=1e-6)
    assert neurons.select((pl.col("sign") == -1) == IS_FLIPPED)["sign"].all()
    assert_equal(neurons.select(mean="mean_a"), neurons.select(mean="mean_b"), 1e-6)
    assert_equal(neurons.select(share="share_above_zero_a"), neurons.select(share="share_above_zero_b"))
    assert neurons["halves_distance"].max() > 0  # type: ignore[operator]
    tokens, pairs = tables["study_difference_tokens"], tables["study_difference_pairs"]
    assert tokens.filter(pl.col("layer_a").ne_missing(pl.col("layer_b")) | pl.col("neuron_a").ne_missing(pl.col("neuron_b"))).is_empty()
    assert tokens["agreeing"].equals(tokens["listed_a"])
    assert pairs.filter(IS_FLIPPED & (pl.col("reliable_bins") > 1)).height > 1
    assert pairs["largest_difference"].drop_nulls().unique().to_list() == [0.0]


EMPTY = pl.DataFrame(schema=TABLES["contributions"].schema)


def read_upwards(sentence: str) -> str:
    """The sentence with what is read downwards as if all activations of its neuron were negated."""
    upwards = re.sub(r"AUROC [^ ]+, read downwards ", "AUROC ", sentence)
    upwards = re.sub(r"falls below (−?)([0-9.e∞]+)", lambda found: f"reaches {mirrored(*found.groups())}", upwards)
    return re.sub(r"below activation (−?)([0-9.e∞]+)", lambda found: f"from activation {mirrored(*found.groups())} up", upwards)


def mirrored(sign: str, size: str) -> str:
    return size if sign or size == "0" else f"−{size}"


def answers(data: ReportData, text: str) -> Sentence:
    return answer(replace(data, study=data.study.model_copy(update={"question": f'Which neuron predicts "{text}"?'}))).sentence


def test_every_sentence_of_the_answer_is_the_same_read_in_the_neurons_direction(two: Two) -> None:
    said = [[plain(answers(two.data(place), text)) for _, text in two.data(place).tracked] for place in range(2)]
    assert [read_upwards(sentence) for sentence in said[0]] == [read_upwards(sentence) for sentence in said[1]]
    assert said[0] != said[1], "no best predictor was negated"
    # Where nothing is known of contributions, the best predictor answers.
    alone = [replace(two.data(place), tables={**two.data(place).tables, "contributions": EMPTY}) for place in range(2)]
    by_predictor = [[plain(answers(data, text)) for _, text in data.tracked] for data in alone]
    assert [read_upwards(sentence) for sentence in by_predictor[0]] == [read_upwards(sentence) for sentence in by_predictor[1]]
    whole = " ".join([*said[0], *by_predictor[0]])
    assert "by size for the token, behind" in whole
    assert "its output weights write against the token" in whole
    assert "read downwards" in whole


def test_places_by_congruence_on_a_tokens_page_are_the_same(two: Two) -> None:
    for token_id, _ in two.data(0).tracked:
        one, other = (token_row(two.data(place), token_id, "logits").drop("congruence") for place in range(2))
        assert_equal(one, other)


def test_the_report_says_the_same(two: Two) -> None:
    said = [
        [plain(sentence) for token_id, token in two.data(place).tracked for sentence in roles(two.data(place), token_id, token)]
        for place in range(2)
    ]
    assert said[0] == said[1] != []
