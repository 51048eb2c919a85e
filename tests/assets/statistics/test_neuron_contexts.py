"""The text around extreme and around random activations: equal to plain forward passes, and drawn without looking at activations."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from assets.contracts import NEURON_CONTEXTS
from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.statistics.neuron_contexts import AFTER, BEFORE, neuron_contexts, random_places
from tests import slow_patching as slow
from tests.assets.ablation.small_corpus import random_windows, windows_of
from tests.assets.prompts.tiny_models import FAMILIES, save_tiny_model

STUDIED = [(0, 3), (2, 1), (2, 20)]
PLACE = ["document", "window_in_document", "peak_position"]


@dataclass(frozen=True)
class Tiny:
    model: LanguageModel
    plain: Any


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder: Path = save_tiny_model(tmp_path_factory.mktemp("models") / request.param, request.param)
    return Tiny(load(folder, device="cpu"), slow.plain_model(folder))


def plain_activation(tiny: Tiny, ids: list[int], layer: int, neuron: int, position: int) -> float:
    return float(slow.input_of(tiny.plain, slow.down_projection(tiny.plain, layer), ids)[position, neuron])


def test_every_activation_and_prediction_is_that_of_a_plain_forward_pass(tiny: Tiny) -> None:
    windows = random_windows(9)
    places = random_places(windows.lazy(), STUDIED, 6, count_bos=False)
    frame = neuron_contexts(tiny.model, places, windows.lazy())
    assert frame.schema == NEURON_CONTEXTS.schema
    assert frame.select(NEURON_CONTEXTS.key).is_duplicated().sum() == 0
    assert frame.select(places.columns[:4]).unique(maintain_order=True).rows() == places.select(places.columns[:4]).rows()
    for row in frame.iter_rows(named=True):
        ids = windows.filter(document=row["document"])["token_ids"][0].to_list()
        assert row["token_id"] == ids[row["position"]]
        assert row["activation"] == pytest.approx(plain_activation(tiny, ids, row["layer"], row["neuron"], row["position"]), abs=1e-4)
        assert row["prediction_id"] == int(slow.logits(tiny.plain, ids[: row["position"] + 1]).argmax())
    peaks = frame.filter(pl.col("position") == pl.col("peak_position"))
    assert peaks.height == 6 * len(STUDIED)
    assert peaks["peak_activation"].to_list() == peaks["activation"].to_list()


def test_a_context_is_cut_around_its_place_and_an_extreme_keeps_the_activation_that_was_counted(tiny: Tiny) -> None:
    ids = [0, *np.random.default_rng(2).integers(2, 25, 31).tolist()]
    windows = windows_of([ids])
    place = {"layer": 1, "neuron": 4, "side": "top", "rank": 1, "document": 0, "window_in_document": 0, "peak_position": 9}
    schema = {name: NEURON_CONTEXTS.schema[name] for name in [*place, "peak_activation"]}
    frame = neuron_contexts(tiny.model, pl.DataFrame([{**place, "peak_activation": 7.5}], schema=schema), windows.lazy())
    assert frame["position"].to_list() == list(range(9 + AFTER + 1))
    assert frame["peak_activation"].unique().to_list() == [7.5]
    late = pl.DataFrame([{**place, "peak_position": 31, "peak_activation": None}], schema=schema)
    assert neuron_contexts(tiny.model, late, windows.lazy())["position"].to_list() == list(range(max(0, 31 - BEFORE), 32))
    assert neuron_contexts(tiny.model, late.clear(), windows.lazy()).schema == NEURON_CONTEXTS.schema


def drawn(windows: pl.DataFrame, wanted: int, count_bos: bool = False, seed: int = 1) -> list[tuple[int, ...]]:
    places = random_places(windows.lazy(), [(0, 0)], wanted, count_bos, seed)
    assert places["rank"].to_list() == list(range(1, places.height + 1))
    return places.select(PLACE).rows()


def test_the_same_seed_draws_the_same_positions_for_every_neuron_however_the_corpus_is_cut() -> None:
    windows = random_windows(30)
    places = random_places(windows.lazy(), STUDIED, 8, count_bos=False)
    by_neuron = [rows.select("rank", *PLACE).rows() for rows in places.partition_by("layer", "neuron")]
    assert by_neuron[0] == by_neuron[1] == by_neuron[2]
    assert (places["side"] == "random").all()
    shards = pl.concat([windows[20:].lazy(), windows[:20].lazy()])
    assert random_places(shards, STUDIED, 8, count_bos=False).equals(places)
    assert drawn(windows, 8, seed=1) == drawn(windows, 8, seed=1) != drawn(windows, 8, seed=2)


@pytest.mark.parametrize("count_bos", [False, True])
def test_every_counted_position_is_as_likely_as_any_other(count_bos: bool) -> None:
    windows = windows_of([[0, *range(2, 2 + length)] for length in (1, 7, 0, 3, 19, 5)])
    counted = [(d, 0, p) for d, length in enumerate(windows["length"]) for p in range(0 if count_bos else 1, length)]
    assert sorted(drawn(windows, 1000, count_bos)) == counted  # a corpus of fewer positions gives each of them once
    times: dict[tuple[int, ...], int] = dict.fromkeys(counted, 0)
    for seed in range(1000):
        places = drawn(windows, 4, count_bos, seed)
        assert len(set(places)) == 4
        for place in places:
            times[place] += 1
    expected = 4 * 1000 / len(counted)
    chi_square = sum((value - expected) ** 2 for value in times.values()) / expected
    freedom = len(counted) - 1
    assert chi_square < freedom + 4 * (2 * freedom) ** 0.5  # 4 standard deviations above what uniform draws give


def test_a_corpus_without_a_counted_position_gives_no_random_context() -> None:
    assert drawn(windows_of([[0], [0]]), 5) == []
    assert drawn(windows_of([]), 5) == []
