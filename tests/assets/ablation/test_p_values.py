"""How rare an effect is among controls: by hand, against a loop, never called rare too often, and rare where it is."""

import json
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from assets.ablation.donors import Donors, donors_of_windows
from assets.ablation.false_discoveries import with_q_values
from assets.ablation.p_values import COUNTED, FLOOR, TAIL_MODEL, p_values
from assets.ablation.position_effects import MEASURES
from assets.ablation.readout import Target
from assets.ablation.replacements import ABLATIONS
from assets.ablation.visits import Subjects, Visit, visited
from assets.model.loading import load
from tests import slow_ablation as slow
from tests.assets.ablation.small_corpus import windows_of
from tests.real_inputs import SHARED_REAL

LEVELS = (0.05, 0.01, 0.001)
PAIRS = 20_000
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

LIGHT: dict[str, Draw] = {
    "uniform": lambda generator, size: generator.uniform(-1, 1, size),
    "normal": lambda generator, size: generator.normal(size=size),
    "two-sided exponential": lambda generator, size: generator.laplace(size=size),
    "skewed exponential": lambda generator, size: generator.exponential(size=size) - 0.2,
    "log-normal, heavy": lambda generator, size: generator.lognormal(0, 3, size),
    "Student's t of 3": lambda generator, size: generator.standard_t(3, size),
    "four in five without effect": lambda generator, size: generator.normal(size=size) * (generator.random(size) < 0.2),
    "flips of 48 positions": lambda generator, size: generator.binomial(48, 0.02, size) / 48,
}
PARETO: dict[str, Draw] = {
    "Pareto of 2": lambda generator, size: 1 + generator.pareto(2, size),
    "Pareto of 1/2, skewed": lambda generator, size: (1 + generator.pareto(0.5, size)) * np.where(generator.random(size) < 0.9, 1, -0.1),
}


def allowed(level: float, pairs: int) -> float:
    """Three binomial standard errors."""
    return 3 * (level * (1 - level) / pairs) ** 0.5


def test_p_values_are_those_worked_out_by_hand() -> None:
    # 15 controls, the largest five above u = 1: e, e^2, ... e^5; t h = 1 + 2 + ... + 5 = 15.
    controls = np.concatenate([np.exp(np.arange(6.0)), np.linspace(0.1, 0.9, 9)])
    far = p_values(np.array(-np.exp(30.0)), controls)
    assert float(far.p_value) == pytest.approx(6 / 16 * (1 + 30 / 15) ** -5 if 6 / 16 * 3**-5 > 1 / 256 else 1 / 256)
    beyond = p_values(np.array(np.exp(12.0)), controls)
    assert (float(beyond.p_value), str(beyond.source)) == (pytest.approx(6 / 16 * (1 + 12 / 15) ** -5), TAIL_MODEL)
    assert float(beyond.times_largest) == pytest.approx(np.exp(7.0))
    # One of 15 goes as far: counted, as a fifteenth is more than a twenty-fifth. And never above what counting then gives.
    assert float(p_values(np.array(np.exp(4.5)), controls).p_value) == 2 / 16
    assert str(p_values(np.array(np.exp(4.5)), controls).source) == COUNTED
    just = p_values(np.array(np.exp(5.01)), controls)
    assert float(just.p_value) == pytest.approx(min(2 / 16, 6 / 16 * (1 + 5.01 / 15) ** -5))


def test_what_is_rarer_than_the_square_of_the_controls_is_told_as_the_floor() -> None:
    controls = np.random.default_rng(0).normal(size=100)
    found = p_values(np.array(1e6), controls)
    assert (float(found.p_value), str(found.source)) == (101.0**-2, FLOOR)


@pytest.mark.parametrize(
    "controls",
    [np.zeros(100), np.append(np.zeros(99), 2.0), np.repeat([0.0, 1 / 48, 2 / 48], 40), np.array([]), np.full(100, np.nan)],
    ids=["no effects", "one effect", "ties", "none", "no numbers"],
)
def test_without_a_tail_controls_are_counted(controls: np.ndarray) -> None:
    found = p_values(np.array(5.0), controls)
    assert (float(found.p_value), str(found.source)) == (1 / (1 + len(controls)), COUNTED)


def test_without_any_effect_among_the_controls_nothing_is_a_multiple_of_it() -> None:
    assert np.isnan(p_values(np.array(5.0), np.zeros(10)).times_largest)
    assert float(p_values(np.array(0.0), np.array([0.0, 2.0])).times_largest) == 0


@pytest.mark.parametrize("amount", [2, 7, 15, 40, 100, 300])
def test_p_values_equal_a_loop_over_controls(amount: int) -> None:
    generator = np.random.default_rng(amount)
    for draw in (LIGHT["normal"], LIGHT["four in five without effect"], LIGHT["flips of 48 positions"], PARETO["Pareto of 2"]):
        controls = draw(generator, (amount, 3, 50))
        effect = draw(generator, (3, 50)) * generator.choice([1, 3, 30], (3, 50))
        found = p_values(effect, controls)
        for place in np.ndindex(3, 50):
            p_value, source = slow.p_value(float(effect[place]), controls[(slice(None), *place)].tolist())
            assert (float(found.p_value[place]), str(found.source[place])) == (pytest.approx(p_value), source)


@pytest.mark.parametrize("name", [*LIGHT, *PARETO])
def test_of_nulls_no_more_are_called_rare_than_the_level_says(name: str) -> None:
    generator, draw = np.random.default_rng(0), (LIGHT | PARETO)[name]
    found = p_values(draw(generator, (PAIRS,)), draw(generator, (100, PAIRS))).p_value
    for level in LEVELS:
        rate = float((found <= level).mean())
        assert rate <= level + allowed(level, PAIRS), level
        if name in PARETO:  # whose tail is the model's: there the rate is the level
            assert rate >= level - allowed(level, PAIRS), level


@pytest.mark.skipif(not (SHARED_REAL / "stories260k").is_dir(), reason="set NEURON_ATLAS_REAL to the folder of the real inputs")
def test_of_real_neurons_drawn_at_random_no_more_are_called_rare_than_the_level_says() -> None:
    """Every neuron of a real model against 100 others of its layer, drawn at random: exchangeable, so null by construction."""
    model = load.__wrapped__(SHARED_REAL / "stories260k", device="cpu")
    layers, neurons = range(model.facts.layers), model.facts.neurons
    with (SHARED_REAL / "tinystories-1000.jsonl").open() as lines:
        texts = [json.loads(next(lines))["text"] for _ in range(60)]
    windows = windows_of([[1, *model.tokenizer(text, add_special_tokens=False)["input_ids"][:40]] for text in texts])
    drawn = donors_of_windows(model, windows, {layer: list(range(neurons)) for layer in layers}, 2048)
    subjects = Subjects.of(model, drawn.neurons, _means(drawn), drawn)
    generator, found = np.random.default_rng(5), []
    for place in range(8):  # after the word at this place of ten documents, whatever token really follows the first
        ids, position = windows["token_ids"].to_list(), 5 + 4 * place
        chosen = range(place, 60, 6)
        donor = drawn.drawn_for(np.array(chosen), np.random.default_rng(place))
        targets = [Target(position, ids[place][position + 1], ids[one][position + 1]) for one in chosen]
        visits = [Visit((one, 0), (0, one), target, int(of), subjects) for one, target, of in zip(chosen, targets, donor, strict=True)]
        values = np.mean([effects for _, effects in visited(model, windows, visits)], axis=0)  # [ablation, column, measure]
        by_layer = values[..., MEASURES.index("log_probability")].reshape(len(ABLATIONS), len(layers), neurons)
        for effects in by_layer[:3].reshape(-1, neurons):  # without the negation
            others = np.stack([generator.permuted(np.delete(np.arange(neurons), one))[:100] for one in range(neurons)], axis=1)
            found.append(p_values(effects, effects[others]).p_value)
    p_value = np.concatenate(found)
    assert len(p_value) >= PAIRS
    for level in LEVELS:
        assert (p_value <= level).mean() <= level + allowed(level, PAIRS), level
    assert (p_value <= 0.05).mean() > 0.04


def _means(drawn: Donors) -> pl.DataFrame:
    rows = [
        pl.DataFrame({"layer": layer, "neuron": range(len(chosen)), "mean": drawn.activations[layer].double().mean(0).numpy()})
        for layer, chosen in drawn.neurons.items()
    ]
    return pl.concat(rows)


def q_values(p_value: np.ndarray) -> np.ndarray:
    told = {"positions": "predicted", "ablation": "mean", "measure": "log_probability"}
    return with_q_values(pl.DataFrame({"p_value": p_value, **told}))["q_value"].to_numpy()


@pytest.mark.parametrize("name", ["normal", "two-sided exponential", "Student's t of 3"])
def test_an_effect_ten_times_the_largest_control_stands_out_among_sixty_pairs(name: str) -> None:
    generator, draw = np.random.default_rng(1), LIGHT[name]
    declared = []
    for _ in range(100):
        controls, effects = draw(generator, (100, 60)), draw(generator, (60,))
        effects[7] = 10 * np.abs(controls[:, 7]).max()
        found = p_values(effects, controls).p_value
        declared.append(found[7] <= 0.05 and q_values(found)[7] <= 0.05)
        assert (1 + 0) / 101 * 60 > 0.05  # what counting alone could never have declared
    assert np.mean(declared) > 0.9


@pytest.mark.parametrize("name", [*LIGHT, *PARETO])
def test_of_a_thousand_null_pairs_none_stands_out_more_often_than_in_one_study_of_twenty(name: str) -> None:
    generator, draw = np.random.default_rng(2), (LIGHT | PARETO)[name]
    studies = [p_values(draw(generator, (1000,)), draw(generator, (100, 1000))).p_value for _ in range(60)]
    found = np.concatenate(studies[:1])
    assert (found <= 0.05).mean() <= 0.05 + allowed(0.05, 1000)
    claims = [(q_values(study) <= 0.05).any() for study in studies]
    assert np.mean(claims) <= 0.05 + allowed(0.05, len(studies))
