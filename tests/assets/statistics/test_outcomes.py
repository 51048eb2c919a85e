"""Next token, probability and contrasts: scores, curves and contributions against plain code that looks at one position at a time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from assets.contracts import TOKEN_GROUPS
from assets.counting.batches import Batch
from assets.counting.histograms import FURTHER_OUTCOMES, Histograms
from assets.histograms.activation_bins import fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.model.loading import load
from assets.statistics.contrasts import Contrast, contrasted, contrasts
from assets.statistics.contributions import contributions, group_contributions, outcome_contributions
from assets.statistics.grouped_histograms import GroupedRows, with_groups
from assets.statistics.outcome_scores import outcome_scores
from assets.statistics.outcomes import token_levels, token_outcomes
from assets.statistics.proportion_curves import outcome_curves
from assets.statistics.token_neuron_scores import area_under_roc
from assets.study import FixedBins, Prompt
from tests.assets.congruence.tiny_models import FAMILIES, tiny_model
from tests.assets.counting.made_batches import add, counter_of, made_bins, probabilities_of, random_batches
from tests.assets.statistics.test_contributions import direct_effects, random_windows
from tests.slow_statistics import Recording, area_under_roc_slowly, level_of, scores_slowly, wilson_slowly

TRACKED = (1, 2, 6)
TEXTS = [str(entry) for entry in range(40)]
BINS = made_bins(2, 3, per_unit=1.0, first_bin=-6, bins=12)


def counted(number: int = 12) -> tuple[Histograms, list[tuple[np.ndarray, int | None, np.ndarray]]]:
    """Histograms of random batches, and each counted position: activations [layer, neuron], next token, probabilities [token]."""
    counter = counter_of("compiled", BINS, TRACKED, outcomes=FURTHER_OUTCOMES)
    positions = []
    for place, (made, activations, predictions) in enumerate(random_batches(11, 2, 3, number)):
        activations = np.nan_to_num(activations, nan=0.3)
        batch = replace(made, documents=np.where(made.documents < 0, -1, made.documents + 4 * place))  # of many folds
        add(counter, batch, activations, predictions)
        positions += list(_positions(batch, activations, probabilities_of(predictions)))
    return counter.histograms(), positions


def _positions(batch: Batch, activations: np.ndarray, probabilities: np.ndarray):
    for row, length in enumerate(batch.lengths.tolist()):
        for position in range(1, length):
            follows = int(batch.token_ids[row, position + 1]) if position + 1 < length else None
            yield activations[:, row, position], follows, probabilities[row, position, : len(TRACKED)]


def _level(here: np.ndarray, layer: int, neuron: int) -> int:
    level = level_of(float(here[layer, neuron]), -6, 1.0, 12)
    assert level is not None, "no activation is NaN"
    return level


def test_scores_by_next_token_are_the_slow_scores_over_positions_that_have_one() -> None:
    histograms, positions = counted()
    known = [(here, follows) for here, follows, _ in positions if follows is not None]
    assert 0 < len(known) < len(positions)
    recording = Recording(np.stack([here for here, _ in known], axis=-1), [0] * len(known), [follows for _, follows in known])
    found = outcome_scores(histograms, BINS, TEXTS, 2).filter(outcome="next_token")
    assert found.height == len(TRACKED) * 6
    for row in found.iter_rows(named=True):
        expected = scores_slowly(recording, BINS, row["token_id"], row["layer"], row["neuron"], 2)
        for name, value in expected.items():
            assert row[name] == (None if value is None else pytest.approx(value, abs=1e-12)), name


def test_scores_by_probability_are_those_of_weighted_positions() -> None:
    histograms, positions = counted()
    found = outcome_scores(histograms, BINS, TEXTS, 2).filter(outcome="probability")
    assert found["auroc_standard_error"].null_count() == found.height
    for row in found.iter_rows(named=True):
        place = TRACKED.index(row["token_id"])
        levels = [_level(here, row["layer"], row["neuron"]) for here, *_ in positions]
        weights = [float(given[place]) for *_, given in positions]
        won = sum(
            own * (1 - other) * (1.0 if high > low else 0.5 if high == low else 0.0)
            for high, own in zip(levels, weights, strict=True)
            for low, other in zip(levels, weights, strict=True)
        )
        assert row["auroc"] == pytest.approx(won / (sum(weights) * sum(1 - weight for weight in weights)), abs=1e-7)
        sign, precision = row["direction"], 0.0
        for level in set(levels):
            here = sum(weight for held, weight in zip(levels, weights, strict=True) if held == level)
            beyond = [weight for held, weight in zip(levels, weights, strict=True) if sign * held >= sign * level]
            precision += here / sum(weights) * sum(beyond) / len(beyond)
        assert row["average_precision"] == pytest.approx(precision, abs=1e-7)


def test_curves_hold_each_levels_positions_and_cases() -> None:
    histograms, positions = counted()
    pairs = pl.DataFrame(
        {"layer": [1], "neuron": [2], "token_id": [6]}, schema={"layer": pl.Int32, "neuron": pl.Int32, "token_id": pl.Int32}
    )
    curves = outcome_curves(histograms, BINS, pairs, TEXTS, 3)
    for outcome, held in (("next_token", [one for one in positions if one[1] is not None]), ("probability", positions)):
        for row in curves.filter(outcome=outcome).iter_rows(named=True):
            here = [one for one in held if row["bin_left"] <= one[0][1, 2] < row["bin_right"]]
            cases = sum(float(one[1] == 6) if outcome == "next_token" else float(one[2][2]) for one in here)
            assert (row["count"], row["reliable"]) == (len(here), len(here) >= 3)
            assert row["cases"] == pytest.approx(cases, abs=1e-8)
            assert row["proportion"] == (pytest.approx(cases / len(here), abs=1e-8) if here else None)
            if outcome == "next_token" and here:
                assert (row["ci_low"], row["ci_high"]) == pytest.approx(wilson_slowly(int(cases), len(here)), abs=1e-9)
            else:
                assert row["ci_low"] is row["ci_high"] is None


def test_the_studys_outcome_leads_unless_it_is_too_rare_and_another_is_not() -> None:
    histograms, positions = counted(20)
    following = {token: sum(follows == token for _, follows, _ in positions) for token in TRACKED}
    predicted = {token: int(histograms["predictions"][token]) for token in TRACKED}
    most = max(following, key=lambda token: following[token] - predicted[token])
    assert following[most] > predicted[most]

    def leading(wanted: str, min_count: int) -> str:
        frame = token_outcomes(histograms, TEXTS, wanted, min_count)
        assert frame.filter(outcome="next_token", token_id=most)["cases"].item() == following[most]
        return frame.filter("leads", token_id=most)["outcome"].item()

    assert leading("top_prediction", predicted[most]) == "top_prediction"
    assert leading("top_prediction", following[most]) == "next_token"
    assert leading("top_prediction", 10_000) == "top_prediction"
    assert leading("next_token", 1) == "next_token"
    assert leading("probability", 1) in ("probability", "top_prediction")


def test_a_group_is_scored_as_one_token_that_is_any_of_its_members() -> None:
    histograms, positions = counted()
    grouped = with_groups(histograms, {40: (1, 6)})
    texts = {**dict(enumerate(TEXTS)), 40: "either"}
    assert grouped.token_ids == (*TRACKED, 40)
    known = [(here, follows) for here, follows, _ in positions if follows is not None]
    either = [40 if follows in (1, 6) else 0 for _, follows in known]
    recording = Recording(np.stack([here for here, _ in known], axis=-1), [0] * len(known), either)
    found = outcome_scores(grouped, BINS, texts, 2)
    for row in found.filter(outcome="next_token", token_id=40).iter_rows(named=True):
        expected = scores_slowly(recording, BINS, 40, row["layer"], row["neuron"], 2)
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    alone = outcome_scores(histograms, BINS, texts, 2)
    assert found.filter(pl.col("token_id") != 40).equals(alone)
    counts = token_outcomes(grouped, texts, "next_token", 1)
    for outcome in ("top_prediction", *FURTHER_OUTCOMES):
        cases = counts.filter(outcome=outcome).select("token_id", "cases")
        one, other, both = (cases.filter(token_id=entry)["cases"].item() for entry in (1, 6, 40))
        assert both == pytest.approx(one + other, abs=1e-12)
    assert counts.filter(outcome="next_token")["positions"].unique().to_list() == [len(known)]


def test_without_groups_the_histograms_stay_what_they_are() -> None:
    histograms, _ = counted()
    assert with_groups(histograms, {}) is histograms


@pytest.mark.parametrize("key", [(slice(2, 4), 1), (slice(None), 0), (slice(0, 2), 1, slice(1, 3)), 3, (np.array([3, 0]), 0)])
def test_rows_of_groups_are_read_like_rows_of_an_array(key: Any) -> None:
    array = np.random.default_rng(0).integers(0, 99, (3, 2, 4, 5))
    whole = np.concatenate([array, array[[0, 2]].sum(0, keepdims=True)])
    rows = GroupedRows(array, [[0, 2]], axis=0)
    assert rows.shape == whole.shape
    np.testing.assert_array_equal(rows[key], whole[key])


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("outcomes") / request.param, request.param)


def test_contributions_and_contrasts_are_those_of_direct_logit_attribution_position_by_position(folder: Path) -> None:
    windows, model, tracked = random_windows(), load.__wrapped__(folder, device="cpu"), [2, 6, 4, 9]
    bins = fixed_bins(model.facts.layers, model.facts.neurons, FixedBins())
    histograms = count_windows(
        model, windows, bins, tracked, count_bos=False, examples=1, batch_positions=128, screened_ids=range(30), outcomes=FURTHER_OUTCOMES
    )
    effects, predictions = direct_effects(folder, windows)  # [position, layer, neuron, token]
    following, shares = plain_outcomes(folder, windows)
    allowed = 2e-5 * np.abs(effects).max()
    found, cases = outcome_contributions(model, histograms, tracked), {}
    for token in tracked:
        cases["next_token", token] = np.where(following == token, 1.0, 0.0), (following >= 0).astype(float)
        cases["probability", token] = shares[:, token], np.ones(len(shares))
        cases["top_prediction", token] = np.where(np.array(predictions) == token, 1.0, 0.0), np.ones(len(shares))
    for outcome in FURTHER_OUTCOMES:
        for token in tracked:
            here, read = cases[outcome, token]
            rows = found.filter(outcome=outcome, token_id=token)
            if not 0 < here.sum() < read.sum():
                assert rows.is_empty()
                continue
            there = np.einsum("p,pln->ln", here, effects[..., token]) / here.sum()
            elsewhere = np.einsum("p,pln->ln", read - here, effects[..., token]) / (read - here).sum()
            np.testing.assert_allclose(rows["contribution_where_predicted"].to_numpy(), there.reshape(-1), atol=allowed)
            np.testing.assert_allclose(rows["contribution"].to_numpy(), (there - elsewhere).reshape(-1), atol=allowed)
    groups = pl.DataFrame([(500, "two", 2, "x"), (500, "two", 9, "y")], schema=TOKEN_GROUPS.schema, orient="row")
    of_group = group_contributions(model, histograms, groups)
    for outcome in ("top_prediction", *FURTHER_OUTCOMES):
        members = {token: cases[outcome, token][0] for token in (2, 9)}
        read, both = cases[outcome, 2][1], members[2] + members[9]
        rows = of_group.filter(outcome=outcome)
        if not 0 < both.sum() < read.sum():
            assert rows.is_empty()
            continue
        there = np.sum([np.einsum("p,pln->ln", members[token], effects[..., token]) for token in members], axis=0) / both.sum()
        outside = (read - both) / (read - both).sum()
        weights = {token: members[token].sum() / both.sum() for token in members}
        elsewhere = np.sum([weights[token] * np.einsum("p,pln->ln", outside, effects[..., token]) for token in members], axis=0)
        np.testing.assert_allclose(rows["contribution"].to_numpy(), (there - elsewhere).reshape(-1), atol=2 * allowed)
    pairs = [Contrast(2, 6), Contrast(4, 9)]
    told = contrasts(model, histograms, pairs)
    assert told.height == 2 * 3 * model.facts.layers * model.facts.neurons
    compared = 0
    for pair in pairs:
        for outcome in ("top_prediction", *FURTHER_OUTCOMES):
            rows = told.filter(outcome=outcome, token_id=pair.token_id, other_id=pair.other_id).sort("layer", "neuron")
            one, other = (cases[outcome, token][0] for token in pair)
            if not one.sum() or not other.sum():
                assert rows["contribution"].null_count() == rows["auroc"].null_count() == rows.height
                continue
            difference = effects[..., pair.token_id] - effects[..., pair.other_id]
            expected = np.einsum("p,pln->ln", one / one.sum() - other / other.sum(), difference)
            np.testing.assert_allclose(rows["contribution"].to_numpy(), expected.reshape(-1), atol=2 * allowed)
            compared += 1
    assert compared >= 3


def plain_outcomes(folder: Path, windows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The next token at each counted position (-1: none), and the probabilities of all tokens there [position, token]."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(folder), attn_implementation="eager", dtype=torch.float32).eval()
    following: list[int] = []
    shares = []
    with torch.no_grad():
        for ids in windows["token_ids"].to_list():
            shares.append(model(torch.tensor([ids])).logits[0, 1:].double().softmax(-1).numpy())
            following += [*ids[2:], -1]
    return np.array(following), np.concatenate(shares)


def test_a_contrasts_auroc_compares_the_positions_of_two_tokens() -> None:
    histograms, positions = counted()
    levels = [token_levels(histograms, "next_token", slice(place, place + 1), 0)[0] for place in (0, 1)]
    area, error = area_under_roc(*levels)
    for neuron in range(3):
        ones, others = (
            [level_of(float(here[0, neuron]), -6, 1.0, 12) for here, follows, _ in positions if follows == token] for token in TRACKED[:2]
        )
        expected = area_under_roc_slowly(ones, others)  # type: ignore[arg-type]
        assert (area[neuron], error[neuron]) == pytest.approx(expected, abs=1e-12)


def test_pairs_are_the_studys_or_those_of_prompts_whose_two_answers_are_tracked() -> None:
    tokens = pl.DataFrame({"given": [" an", "9", " the"], "token": [" an", " a", " the"], "token_id": [5, 9, 7]})
    prompts = [
        Prompt(name=str(place), text="x", answer=answer, wrong_answer=wrong, corrupt=None)
        for place, (answer, wrong) in enumerate(((" an", " a"), (" an", " no"), (" an", " a"), (" the", " an")))
    ]
    assert contrasted(tokens, None, prompts) == [(5, 9), (7, 5)]
    assert contrasted(tokens, [(9, " the")], prompts) == [(9, 7)]
    assert contrasted(tokens, [], prompts) == []


def test_without_a_screen_a_contrast_has_no_contribution_and_outcomes_have_none(tmp_path: Path) -> None:
    model = load.__wrapped__(tiny_model(tmp_path / "gpt2", "gpt2"), device="cpu")
    bins = fixed_bins(model.facts.layers, model.facts.neurons, FixedBins())
    histograms = count_windows(
        model, random_windows(), bins, [2, 6], count_bos=False, examples=1, batch_positions=128, outcomes=FURTHER_OUTCOMES
    )  # fmt: skip
    assert outcome_contributions(model, histograms, [2, 6]).is_empty()
    told = contrasts(model, histograms, [Contrast(2, 6)])
    assert told["contribution"].null_count() == told.height > 0
    assert told["auroc"].null_count() < told.height
    assert contributions(model, histograms, [2, 6], 1).every.is_empty()
