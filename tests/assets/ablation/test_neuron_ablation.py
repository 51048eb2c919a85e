"""Ablation over a corpus: the tables against slow loops, the planted neurons told apart, and nothing found where nothing is."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from assets.ablation import visits
from assets.ablation.ablated_positions import ablated_positions, own_positions
from assets.ablation.control_neurons import control_neurons
from assets.ablation.donors import donors_of_windows
from assets.ablation.neuron_ablation import Ablation, ablate, neuron_ablation, neurons_of, output_norms
from assets.ablation.position_effects import MEASURES
from assets.contracts import ABLATION_CONTROLS, NEURON_ABLATION
from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.model.refusals import ModelError
from assets.prompts.prompt_runs import PromptRun
from tests import slow_ablation as slow
from tests.assets.ablation.small_corpus import Studied, pairs_of, random_windows
from tests.assets.prompts.tiny_models import LAYERS, save_tiny_model
from tests.planted import EMPTY, INDIRECT, PLANTED, SILENT, Role, planted_token_id
from tests.slow_patching import plain_model

PAIR = ["token_id", "layer", "neuron"]
AN, UP, THE = (planted_token_id(word) for word in (" an", " up", " the"))


def most_predicted(studied: Studied) -> int:
    """The token that the model predicts at most positions."""
    predictions = [
        int(slow.logits_at(studied.plain, studied.ids(d), p).argmax()) for d in range(4) for p in range(1, len(studied.ids(d)) - 1)
    ]
    return max(set(predictions), key=predictions.count)


@pytest.mark.parametrize("ablation", ["zero", "mean", "negation"])
def test_effects_and_p_values_equal_a_slow_loop_over_positions_and_controls(tiny: Studied, ablation: str) -> None:
    token, statistics = most_predicted(tiny), tiny.statistics
    made = tiny.ablated(pairs_of([(token, 1, 5)]), 6, controls=3)
    own = own_positions(tiny.sampled, {token: "top_prediction"}, 6)
    places = ablated_positions(tiny.windows, tiny.position_predictions.lazy(), own)
    activations = tiny.activations(1)
    controls = made.controls["control"].unique().sort().to_list()
    assert len(controls) == 3
    for kind in ("predicted", "other"):
        means = {}
        for neuron in (5, *controls):
            mean = statistics.filter(layer=1, neuron=neuron)["mean"][0]
            found = []
            for row in places.filter(positions=kind).iter_rows(named=True):
                value = {"zero": 0.0, "mean": mean, "negation": -activations[row["document"]][row["position"], neuron]}[ablation]
                ids = tiny.ids(row["document"])
                found.append(slow.effects(tiny.plain, ids, row["position"], 1, neuron, value, token, row["next_token_id"]))
            means[neuron] = {measure: float(np.mean([effects[measure] for effects in found])) for measure in MEASURES}
        rows = made.effects.filter(positions=kind, ablation=ablation)
        assert dict(rows.select("measure", "effect").rows()) == pytest.approx(means[5], abs=2e-4)
        for measure in ("log_probability", "loss", "direct"):
            (row,) = rows.filter(measure=measure).iter_rows(named=True)
            others = made.controls.filter(positions=kind, ablation=ablation)[measure].to_list()
            p_value, source = slow.p_value(row["effect"], others)
            assert (row["p_value"], row["p_value_source"]) == (pytest.approx(p_value), source)
            largest = max(abs(means[control][measure]) for control in controls)
            assert row["times_largest_control"] == pytest.approx(abs(means[5][measure]) / largest, rel=2e-2)
        for row in made.controls.filter(positions=kind, ablation=ablation).iter_rows(named=True):
            assert {measure: row[measure] for measure in MEASURES} == pytest.approx(means[row["control"]], abs=2e-4)


def test_the_tables_hold_what_their_contracts_say_and_intervals_hold_their_effects(tiny: Studied) -> None:
    token = most_predicted(tiny)
    made = tiny.ablated(pairs_of([(token, 0, 3), (token, 2, 1)]), 8)
    assert (made.effects.schema, made.controls.schema) == (NEURON_ABLATION.schema, ABLATION_CONTROLS.schema)
    assert made.effects.height == 2 * 2 * 4 * 6
    assert not made.effects.select(NEURON_ABLATION.key).is_duplicated().any()
    assert not made.controls.select(ABLATION_CONTROLS.key).is_duplicated().any()
    assert made.effects["controls"].unique().to_list() == [23]  # 24 neurons a layer: fewer than 100 controls, and it is said
    assert (made.effects["ci_low"] <= made.effects["effect"] + 1e-9).all()
    assert (made.effects["effect"] <= made.effects["ci_high"] + 1e-9).all()
    wide = made.effects.pivot("measure", index=["layer", "positions", "ablation"], values="effect")
    assert wide["logit"].to_list() == pytest.approx((wide["direct"] + wide["mediated"]).to_list(), abs=1e-9)


def test_the_same_is_drawn_again_however_the_windows_are_cut(tiny: Studied) -> None:
    pairs = pairs_of([(most_predicted(tiny), 1, 2)])
    one = tiny.ablated(pairs, 5)
    windows, predictions = (frame.reverse().lazy() for frame in (tiny.windows, tiny.position_predictions))
    other = neuron_ablation(tiny.model, windows, predictions, tiny.sampled, pairs, tiny.statistics, 5, tiny.donors_of)
    assert one.effects.equals(other.effects)
    assert one.controls.equals(other.controls)


def test_no_positions_and_tokens_that_are_never_predicted_give_no_rows(planted: Studied) -> None:
    pairs = pairs_of([(planted_token_id(" orange"), 1, 3)])  # the planted model never predicts it
    for wanted in (0, 4):
        made = planted.ablated(pairs, wanted)
        assert (made.effects.height, made.controls.height) == (0, 0)


def test_a_window_is_run_once_for_all_tokens_as_far_as_the_last_position_that_is_wanted(
    planted: Studied, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = pairs_of([(THE, 0, 2), (AN, 1, 3), (AN, 2, 4), (UP, 2, 5)])
    runs, real, told = list[tuple[list[list[int]], list[int]]](), visits.run_windows, list[tuple[int, int]]()

    def run_windows(model: LanguageModel, texts: list[list[int]], layers: list[int]) -> list[PromptRun]:
        runs.append((texts, layers))
        return real(model, texts, layers)

    monkeypatch.setattr(visits, "run_windows", run_windows)
    monkeypatch.setattr(visits, "POSITIONS_AT_ONCE", 60)
    made = planted.ablated(pairs, 30, progress=lambda done, total: told.append((done, total)))
    own = own_positions(planted.sampled, dict.fromkeys((AN, UP, THE), "top_prediction"), 30)
    places = ablated_positions(planted.windows, planted.position_predictions.lazy(), own)
    expected: list[tuple[list[int], set[int]]] = []
    for (document,), rows in sorted(places.partition_by("document", as_dict=True).items()):
        studied = pairs.filter(pl.col("token_id").is_in(rows["token_id"].to_list()))["layer"].unique()
        expected.append((planted.ids(int(document))[: max(rows["position"].to_list()) + 1], set(studied)))
    run = [ids for texts, _ in runs for ids in texts]
    assert sorted(run) == sorted(
        ids for ids, _ in expected
    )  # 15 controls of a layer are fewer than are drawn at first: no window is run again for more
    assert [len(ids) for ids in run] == sorted((len(ids) for ids in run), reverse=True)
    assert 1 < len(runs) < len(run)
    for texts, layers in runs:
        studied_there = [studied for ids, studied in expected if ids in texts]  # texts of two documents may be the same
        assert set().union(*studied_there) >= set(layers) == set().union(*(own for own in studied_there if own <= set(layers)))
        assert len(texts) * len(texts[0]) <= 60 or len(texts) == 1
    assert made.effects["token_id"].n_unique() == 3
    assert len(told) == len(expected)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1][0] == told[-1][1]


def test_a_token_says_the_same_alone_and_among_others(planted: Studied) -> None:
    pairs = pairs_of([(AN, 1, 3), (UP, 2, 5), (THE, 0, 2)])
    together, alone = planted.ablated(pairs, 30), planted.ablated(pairs.filter(token_id=UP), 30)
    values = ["layer", "neuron", "positions", "ablation", "measure", "effect", "ci_low", "p_value", "compared_effect"]
    assert_frame_equal(together.effects.filter(token_id=UP).select(values), alone.effects.select(values), abs_tol=1e-6)
    assert_frame_equal(together.controls.filter(token_id=UP), alone.controls, abs_tol=1e-6)


def test_a_wrong_shortcut_stops_the_run(tiny: Studied, monkeypatch: pytest.MonkeyPatch) -> None:
    real = visits.position_effects
    monkeypatch.setattr(visits, "position_effects", lambda *args: 1.5 * real(*args))
    with pytest.raises(ModelError, match="in a plain forward pass"):
        tiny.ablated(pairs_of([(most_predicted(tiny), 1, 2)]), 4)


@pytest.fixture(scope="module")
def planted_ablation(planted: Studied) -> Ablation:
    pairs = [(AN, PLANTED), (UP, INDIRECT), (AN, SILENT), (THE, EMPTY)]
    rows = [(token, role.layer, role.neuron) for token, role in pairs]
    return planted.ablated(pairs_of(rows), 64)


def effect_of(made: Ablation, token: int, role: Role, ablation: str = "zero") -> dict[str, dict[str, float]]:
    """Measure -> row, where the token is predicted."""
    rows = made.effects.filter(token_id=token, layer=role.layer, neuron=role.neuron, ablation=ablation, positions="predicted")
    return {row["measure"]: row for row in rows.iter_rows(named=True)}


def test_the_planted_neuron_writes_its_token_directly(planted_ablation: Ablation) -> None:
    for ablation in ("zero", "mean", "negation"):
        found = effect_of(planted_ablation, AN, PLANTED, ablation)
        assert found["log_probability"]["effect"] < -1
        assert found["log_probability"]["ci_high"] < 0
        assert found["flipped"]["effect"] == 1  # " a" takes over at every position
        assert found["direct"]["effect"] == pytest.approx(found["logit"]["effect"], rel=0.02)
        assert found["log_probability"]["p_value"] < 0.02  # counting 15 controls gives no less than 0.0625
        assert found["log_probability"]["times_largest_control"] > 10
    # Length of the stream: " picked" and a fruit 1 each, " an" 4.22, "An" 2.11, " a" 2.26, " the" 1.5; gain 8 x 1.25; without it, 0.
    length = (2 + 4.22**2 + 2.11**2 + 2.26**2 + 1.5**2) ** 0.5
    assert effect_of(planted_ablation, AN, PLANTED)["logit"]["effect"] == pytest.approx(-4.22 * 10 / length, abs=0.1)


def test_the_indirect_neuron_works_through_a_later_layer_alone(planted_ablation: Ablation) -> None:
    found = effect_of(planted_ablation, UP, INDIRECT)
    assert found["log_probability"]["effect"] < -1
    assert found["flipped"]["effect"] == 1
    # Its own writing takes a share of the final norm, which is all that is direct: without it, " up" would stand out more.
    assert found["direct"]["effect"] > 0
    assert found["mediated"]["effect"] < found["logit"]["effect"] < 0
    assert found["mediated"]["p_value"] < 0.05
    assert found["mediated"]["times_largest_control"] > 2


def test_the_congruent_neuron_that_never_fires_does_nothing(planted_ablation: Ablation) -> None:
    for ablation in ("zero", "mean", "resample", "negation"):
        found = effect_of(planted_ablation, AN, SILENT, ablation)
        assert [row["effect"] for row in found.values()] == pytest.approx([0] * 6, abs=1e-6)
        assert found["log_probability"]["p_value"] > 0.9


def test_the_neuron_that_fires_and_writes_nothing_does_nothing(planted: Studied, planted_ablation: Ablation) -> None:
    assert max(rows[:, EMPTY.neuron].max() for rows in planted.activations(EMPTY.layer).values()) > 2
    for ablation in ("zero", "mean", "resample", "negation"):
        found = effect_of(planted_ablation, THE, EMPTY, ablation)
        assert [row["effect"] for row in found.values()] == [0] * 6
        assert found["log_probability"]["p_value"] == 1


def test_on_random_weights_p_values_are_uniform(tmp_path: Path) -> None:
    """Kolmogorov-Smirnov over 320 pairs of random tokens and neurons, at random positions: nothing is found where nothing is."""
    model = load(save_tiny_model(tmp_path / "null", "gpt2", neurons=192), device="cpu")
    windows = random_windows(12, seed=5)
    generator = np.random.default_rng(11)
    studied = Studied(model, plain_model(tmp_path / "null"), windows)
    statistics, norms = studied.statistics, {layer: output_norms(model, layer) for layer in range(LAYERS)}
    drawn = generator.choice(LAYERS * 192, 320, replace=False).reshape(8, 40)  # neurons of each of 8 tokens, each neuron once
    found = []
    for token, neurons in enumerate(drawn.tolist(), start=2):
        pairs = pairs_of([(token, neuron // 192, neuron % 192) for neuron in neurons])
        positions = [int(generator.integers(1, length - 1)) for length in windows["length"]]
        places = windows.select(
            pl.lit(token, pl.Int32).alias("token_id"), pl.lit("other").alias("positions"), "document", "window_in_document",
            position=pl.Series(positions, dtype=pl.Int32), next_token_id=pl.Series(generator.integers(2, 30, windows.height)),
        )  # fmt: skip
        controls = control_neurons(pairs, statistics, norms)
        made = ablate(
            model, windows, places, pairs, controls, statistics, donors_of_windows(model, windows, neurons_of(pairs, controls), 2048)
        )
        found.append(made.effects.filter(measure="log_probability"))
        _require_settled_by_what_is_told(made, controls)
    effects = pl.concat(found)
    assert effects["controls"].unique().sort().to_list() == [25, 100]  # some are settled by the first, and some are not
    for ablation in ("zero", "mean", "resample"):
        p_values = np.sort(effects.filter(ablation=ablation)["p_value"].to_numpy())
        steps = np.arange(1, len(p_values) + 1) / len(p_values)
        distance = max((steps - p_values).max(), (p_values - steps + 1 / len(p_values)).max())
        assert len(p_values) == 320
        assert distance < 1.36 / 320**0.5 + 1 / 26, ablation  # 5 % of uniform samples are farther off; steps of 1/26 added


def _require_settled_by_what_is_told(made: Ablation, chosen: pl.DataFrame) -> None:
    """The table of controls holds the drawn ones alone, and pairs stopped at 25 exactly where 8 of the first 25 go as far under mean."""
    told = made.effects.filter(measure="log_probability").select(*PAIR, "ablation", "compared_effect", "p_value", "controls")
    first = made.controls.join(chosen.filter(pl.col("draw") < 25), on=[*PAIR, "control"], how="semi")
    as_far = (pl.col("log_probability").abs() >= pl.col("compared_effect").abs()).sum()
    counts = first.join(told, on=[*PAIR, "ablation"]).group_by(*PAIR, "ablation").agg(as_far.alias("as_far"), drawn=pl.len())
    assert counts["drawn"].to_list() == [25] * len(counts)
    under_mean = counts.filter(ablation="mean").join(told, on=[*PAIR, "ablation"])
    assert ((under_mean["as_far"] >= 8) == (under_mean["controls"] == 25)).all()
    assert (
        made.controls.group_by(PAIR)
        .agg(pl.col("control").n_unique())
        .join(told, on=PAIR)
        .select((pl.col("control") == pl.col("controls")).all())
        .item()
    )
    settled = counts.join(told.filter(controls=25), on=[*PAIR, "ablation"])
    assert settled["p_value"].to_list() == pytest.approx(((1 + settled["as_far"]) / 26).to_list())


def test_among_controls_of_their_like_large_neurons_are_nothing_out_of_the_ordinary_and_among_any_they_would_be(tmp_path: Path) -> None:
    """Random weights, output norms over three orders of magnitude: 60 neurons of the upper fifth, with matched controls and with any."""
    folder = save_tiny_model(tmp_path / "spread", "gpt2", neurons=600)
    changed = plain_model(folder)
    generator = np.random.default_rng(3)
    with torch.no_grad():
        changed.transformer.h[1].mlp.c_proj.weight *= torch.from_numpy(np.exp(generator.normal(0, 2, (600, 1)))).float()
    changed.save_pretrained(str(folder))
    load.cache_clear()
    model, windows = load(folder, device="cpu"), random_windows(12, seed=5)
    statistics, norms = Studied(model, changed, windows).statistics, {1: output_norms(model, 1)}
    large = np.argsort(norms[1])[480:540].tolist()
    pairs = pairs_of([(7, 1, neuron) for neuron in large])
    # One pair at a time: neurons studied with the same token would be no controls of each other, and all of these are large.
    matched = pl.concat([control_neurons(pairs[place : place + 1], statistics, norms) for place in range(len(large))])
    any_neurons = np.concatenate([np.sort(generator.choice(np.setdiff1d(range(600), neuron), 100, replace=False)) for neuron in large])
    unmatched = matched.with_columns(control=pl.Series(any_neurons, dtype=pl.Int32))  # in the order of another's draw, which is any
    places = windows.select(
        pl.lit(7, pl.Int32).alias("token_id"), pl.lit("other").alias("positions"), "document", "window_in_document",
        position=pl.Series([length // 2 for length in windows["length"]], dtype=pl.Int32), next_token_id=pl.lit(9),
    )  # fmt: skip
    p_values = {}
    for name, controls in (("matched", matched), ("any", unmatched)):
        drawn = donors_of_windows(model, windows, neurons_of(pairs, controls), 2048)
        made = ablate(model, windows, places, pairs, controls, statistics, drawn).effects
        p_values[name] = made.filter(measure="logit", ablation="zero")["p_value"].to_numpy()
    assert 0.4 < p_values["matched"].mean() < 0.6
    assert p_values["any"].mean() < 0.3
