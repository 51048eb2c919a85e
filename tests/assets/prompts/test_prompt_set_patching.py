"""Patching over prompt sets against each pair given as a prompt, and its distributions against the obvious computation."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from assets.contracts import PROMPT_SET_PAIRS, PROMPT_SET_PATCHING, PROMPT_SETS
from assets.prompts import prompt_set_patching as module
from assets.prompts.neuron_patching import neuron_patching
from assets.prompts.prompt_set_patching import first_ten, prompt_set_patching, quartiles
from assets.prompts.prompt_sets import Ends, encode_prompt_sets, ends_of
from assets.prompts.prompts import PromptError, encode_prompts
from assets.study import Prompt, PromptSet
from tests.assets.prompts.conftest import Loaded, fruit_set
from tests.assets.prompts.tiny_models import LAYERS, NEURONS
from tests.planted import PLANTED
from tests.told import steps_told


def made(loaded: Loaded, *sets: PromptSet, layers: list[int] | None = None) -> dict[str, pl.DataFrame]:
    return prompt_set_patching(loaded.model, encode_prompt_sets(loaded.model, sets), layers)


def alone(loaded: Loaded, given: PromptSet) -> pl.DataFrame:
    """neuron_patching of every pair of the set, each given as a prompt of a study."""
    pairs = [(one, other) for one in given.fillers for other in given.corrupt_fillers]
    prompts = [
        Prompt(
            name=f"pair-{place}", text=given.filled(one), corrupt=given.filled(other), answer=given.answer, wrong_answer=given.wrong_answer
        )
        for place, (one, other) in enumerate(pairs)
    ]
    return neuron_patching(loaded.model, encode_prompts(loaded.model, prompts)).filter(positions="last")


def test_distributions_are_exactly_those_of_the_pairs_given_as_prompts(tiny: Loaded) -> None:
    given = fruit_set(fillers=("apple", "orange", "it"), corrupt_fillers=("lemon", "pear"))
    tables = made(tiny, given)
    prompts = alone(tiny, given)
    frame = tables["prompt_set_patching"]
    assert {name: tables[name].schema for name in tables} == {
        table.name: table.schema for table in (PROMPT_SETS, PROMPT_SET_PAIRS, PROMPT_SET_PATCHING)
    }
    assert frame.height == LAYERS * NEURONS
    ranked = prompts.sort("prompt", "improvement", "layer", "neuron", descending=[False, True, False, False]).with_columns(
        place=pl.int_range(pl.len()).over("prompt")
    )
    for row in frame.iter_rows(named=True):
        own = ranked.filter(layer=row["layer"], neuron=row["neuron"])
        shares = sorted(own["improvement"].cast(pl.Float64))
        assert own.height == row["pairs"] == 6
        # Six pairs: a quarter of the way from the first to the sixth is 1.25 places, half of it 2.5, three quarters 3.75.
        assert row["lower_quartile"] == pytest.approx(shares[1] + 0.25 * (shares[2] - shares[1]), abs=1e-12, rel=1e-12)
        assert row["median"] == pytest.approx((shares[2] + shares[3]) / 2, abs=1e-12, rel=1e-12)
        assert row["upper_quartile"] == pytest.approx(shares[3] + 0.75 * (shares[4] - shares[3]), abs=1e-12, rel=1e-12)
        assert row["first_ten_share"] == own.filter((pl.col("place") < 10) & (pl.col("improvement") > 0)).height / 6
    leaders = ranked.filter(place=0)
    assert tables["prompt_set_pairs"].select("layer", "neuron", "improvement").equals(leaders.select("layer", "neuron", "improvement"))


def test_a_set_of_one_pair_is_the_prompt_to_the_last_bit(tiny: Loaded) -> None:
    given = fruit_set(fillers=("apple",), corrupt_fillers=("lemon",))
    frame, prompt = made(tiny, given)["prompt_set_patching"], alone(tiny, given)
    for column in ("median", "lower_quartile", "upper_quartile"):
        assert frame[column].cast(pl.Float32).equals(prompt["improvement"], check_names=False)


def test_pairs_say_what_they_are_and_what_the_model_makes_of_them(planted: Loaded) -> None:
    given = fruit_set(fillers=("apple", "it"), corrupt_fillers=("lemon", "pear"))
    tables = made(planted, given)
    pairs = tables["prompt_set_pairs"]
    assert pairs.select("pair", "filler", "corrupt_filler").rows() == [
        (0, "apple", "lemon"),
        (1, "apple", "pear"),
        (2, "it", "lemon"),
        (3, "it", "pear"),
    ]
    assert pairs.row(1, named=True)["text"] == "I climbed up the apple tree and picked"
    assert pairs.row(1, named=True)["corrupt"] == "I climbed up the pear tree and picked"
    assert set(pairs.select("answer", "wrong_answer").rows()) == {(" an", " a")}
    assert pairs["prefers_both"].to_list() == [True, True, False, False]  # after " it" nothing tells the model of a vowel
    assert pairs.filter("prefers_both").select("layer", "neuron").unique().rows() == [(PLANTED.layer, PLANTED.neuron)]
    encoded = encode_prompt_sets(planted.model, [given])[0].pairs
    assert [Ends(*row) for row in pairs.select("clean_difference", "corrupt_difference", "is_patched").rows()] == [
        ends_of(planted.model, pair) for pair in encoded
    ]
    row = tables["prompt_sets"].row(0, named=True)
    assert (row["prompt_set"], row["text"], row["fillers"], row["corrupt_fillers"]) == ("fruit", given.text, 2, 2)
    assert (row["answer"], row["wrong_answer"], row["of_equal_length"], row["drawn"]) == (" an", " a", 4, 4)


def test_the_planted_neuron_restores_the_answer_in_every_pair_and_no_silent_one_counts_among_the_first(planted: Loaded) -> None:
    frame = made(planted, fruit_set())["prompt_set_patching"]
    own = frame.filter(layer=PLANTED.layer, neuron=PLANTED.neuron).row(0, named=True)
    assert own["median"] > 0.9
    assert own["first_ten_share"] == 1
    assert (frame.filter(pl.col("upper_quartile") <= 0)["first_ten_share"] < 1).all()
    assert frame["first_ten_share"].sum() <= 10


def test_a_pair_whose_answer_does_not_move_is_left_out_and_told(planted: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fruit_set(fillers=("apple", "orange"), corrupt_fillers=("lemon",))

    def ends(model: Any, pair: Any) -> Ends:
        return Ends(1.0, 1.0, False) if pair.fillers[0] == "orange" else ends_of(model, pair)

    monkeypatch.setattr(module, "ends_of", ends)
    tables = made(planted, whole)
    assert tables["prompt_set_pairs"].select("filler", "is_patched", "layer").rows() == [
        ("apple", True, PLANTED.layer),
        ("orange", False, None),
    ]
    assert tables["prompt_sets"].select("of_equal_length", "drawn", "patched").rows() == [(2, 2, 1)]
    assert set(tables["prompt_set_patching"]["pairs"]) == {1}
    only = made(planted, fruit_set(fillers=("apple",), corrupt_fillers=("lemon",)))
    assert tables["prompt_set_patching"].equals(only["prompt_set_patching"])
    monkeypatch.setattr(module, "ends_of", lambda model, pair: Ends(1.0, 1.0, False))
    with pytest.raises(PromptError, match="prompt set fruit: the logit difference .* is the same"):
        made(planted, whole)


def test_several_sets_chosen_layers_and_studies_without_sets(tiny: Loaded) -> None:
    first, second = fruit_set(), fruit_set(name="other", fillers=("apple",))
    both = made(tiny, first, second, layers=[2, 0])
    assert both["prompt_sets"]["prompt_set"].to_list() == ["fruit", "other"]
    assert both["prompt_set_patching"]["layer"].unique().sort().to_list() == [0, 2]
    for name, frame in both.items():
        assert frame.filter(prompt_set="other").equals(made(tiny, second, layers=[0, 2])[name])
    assert {name: frame.height for name, frame in made(tiny).items()} == {"prompt_sets": 0, "prompt_set_pairs": 0, "prompt_set_patching": 0}


def test_progress_is_of_all_pairs_of_all_sets(tiny: Loaded) -> None:
    sets = encode_prompt_sets(tiny.model, [fruit_set(), fruit_set(name="other", fillers=("apple",))])
    steps = steps_told(lambda told: prompt_set_patching(tiny.model, sets, progress=told))
    assert len(steps) == 6 * LAYERS
    assert steps[-1] == 6 * NEURONS * sum(range(1, LAYERS + 1))


def test_ten_neurons_at_most_are_the_first_and_none_that_restores_nothing() -> None:
    numbers = np.random.default_rng(5)
    for values in (numbers.normal(0, 1, 300), numbers.integers(-2, 3, 300), np.zeros(30), -np.ones(4), np.array([0.1, 0.0, 0.2])):
        shares = values.astype(np.float32)
        expected = sorted((neuron for neuron in range(len(shares)) if shares[neuron] > 0), key=lambda neuron: (-shares[neuron], neuron))[
            :10
        ]
        assert first_ten(shares).tolist() == expected


def test_quartiles_in_blocks_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = np.random.default_rng(2).normal(0, 1, (7, 50)).astype(np.float32)
    whole = quartiles(shares)
    monkeypatch.setattr(module, "BLOCK", 8)
    np.testing.assert_array_equal(quartiles(shares), whole)
    # Of seven pairs the second and third in order from below, by half; the fourth; and likewise from above.
    ordered = np.sort(shares.astype(np.float64), axis=0)
    np.testing.assert_allclose(whole, [(ordered[1] + ordered[2]) / 2, ordered[3], (ordered[4] + ordered[5]) / 2], rtol=1e-12)
