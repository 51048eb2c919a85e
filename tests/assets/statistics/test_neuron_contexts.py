"""The text around extreme and around random activations: equal to plain forward passes, and drawn without looking at activations."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from assets.contracts import NEURON_CONTEXTS
from assets.counting.histograms import Histograms
from assets.counting.position_predictions import PositionPredictions
from assets.histograms.activation_bins import fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.statistics.neuron_contexts import extreme_contexts, neuron_contexts, with_contexts
from assets.statistics.random_contexts import random_contexts, random_places
from assets.study import FixedBins
from tests import slow_patching as slow
from tests.assets.ablation.small_corpus import random_windows, windows_of
from tests.assets.prompts.tiny_models import FAMILIES, save_tiny_model

STUDIED = [(0, 3), (2, 1), (2, 20)]
PLACE = ["document", "window_in_document", "peak_position"]
PARTS = ("document", "window", "position")


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


@dataclass(frozen=True)
class Passed:
    """One pass over windows, and the predictions that it kept."""

    windows: pl.DataFrame
    histograms: Histograms
    predictions: pl.DataFrame

    def contexts(self, tiny: Tiny, contexts: pl.DataFrame) -> pl.DataFrame:
        return neuron_contexts(contexts, self.windows.lazy(), self.predictions.lazy(), tiny.model.token_texts)


@pytest.fixture(scope="module")
def passed(tiny: Tiny) -> Passed:
    """Fourteen windows of the tiny model, the first two of one document."""
    windows = random_windows(14).with_columns(
        document=pl.Series([0, 0, *range(1, 13)]), window_in_document=pl.Series([0, 1, *[0] * 12], dtype=pl.Int32)
    )
    facts, predictions = tiny.model.facts, PositionPredictions()
    bins = fixed_bins(facts.layers, facts.neurons, FixedBins())
    how = {"count_bos": False, "examples": 4, "batch_positions": 64}
    return Passed(windows, count_windows(tiny.model, windows, bins, [4], predictions=predictions, **how), predictions.frame())  # type: ignore[arg-type]


def assert_plain(tiny: Tiny, windows: pl.DataFrame, frame: pl.DataFrame, share: float) -> None:
    """Every token, activation and prediction is that of a plain forward pass, the activations to this share of their size."""
    assert frame.schema == NEURON_CONTEXTS.schema
    assert frame.select(NEURON_CONTEXTS.key).is_duplicated().sum() == 0
    for row in frame.iter_rows(named=True):
        ids = windows.filter(document=row["document"], window_in_document=row["window_in_document"])["token_ids"][0].to_list()
        assert row["token_id"] == ids[row["position"]]
        assert row["token"] == tiny.model.token_texts[row["token_id"]]
        plain = plain_activation(tiny, ids, row["layer"], row["neuron"], row["position"])
        is_peak = row["position"] == row["peak_position"]
        assert row["activation"] == pytest.approx(plain, rel=0 if is_peak else share, abs=1e-4)
        assert row["prediction_id"] == int(slow.logits(tiny.plain, ids[: row["position"] + 1]).argmax())
        assert row["prediction"] == tiny.model.token_texts[row["prediction_id"]]
    peaks = frame.filter(pl.col("position") == pl.col("peak_position"))
    assert peaks.height == frame.select("layer", "neuron", "side", "rank").n_unique()
    assert peaks["peak_activation"].to_list() == peaks["activation"].to_list()


def test_what_is_drawn_has_the_activations_and_predictions_of_a_plain_forward_pass(tiny: Tiny, passed: Passed) -> None:
    places = random_places(passed.windows.lazy(), 6, count_bos=False)
    frame = passed.contexts(tiny, random_contexts(tiny.model, places, STUDIED, passed.windows.lazy()))
    assert_plain(tiny, passed.windows, frame, share=0)
    shown = frame.select("layer", "neuron", "side", "rank", *PLACE).unique(maintain_order=True)
    assert shown.rows() == [(*neuron, "random", *place) for neuron in STUDIED for place in places.select("rank", *PLACE).rows()]


def test_extremes_have_those_of_the_pass_and_their_own_activation_to_the_last_bit(tiny: Tiny, passed: Passed) -> None:
    frame = passed.contexts(tiny, extreme_contexts(passed.histograms, STUDIED[::-1]))
    assert_plain(tiny, passed.windows, frame, share=2**-11)
    shown = frame.select("layer", "neuron", "side", "rank", *PLACE, "peak_activation").unique(maintain_order=True)
    expected = [
        (*neuron, side, rank + 1, *(passed.histograms[f"{side}_{part}"][(*neuron, rank)] for part in (*PARTS, "value")))
        for neuron in STUDIED[::-1]
        for side in ("top", "bottom")
        for rank in range(4)
    ]
    assert shown.rows() == expected


def test_a_context_is_cut_around_its_place_and_at_the_ends_of_its_window(tiny: Tiny) -> None:
    ids = [0, *np.random.default_rng(2).integers(2, 25, 80).tolist()]
    windows = windows_of([ids])
    predictions = windows.select("document", "window_in_document", predictions="token_ids")
    for peak in (0, 9, 40, 41, 60, 80):
        place = {"layer": 1, "neuron": 4, "side": "top", "rank": 1, "document": 0, "window_in_document": 0, "peak_position": peak}
        around = np.arange(peak - 40, peak + 13, dtype=np.float32)[None]
        contexts = with_contexts(pl.DataFrame([{**place, "peak_activation": 7.5}]), around)
        frame = neuron_contexts(contexts, windows.lazy(), predictions.lazy(), [str(entry) for entry in range(30)])
        positions = list(range(max(0, peak - 40), min(81, peak + 13)))
        assert frame["position"].to_list() == positions
        assert frame["activation"].to_list() == [7.5 if position == peak else position for position in positions]
        assert frame["token"].to_list() == frame["prediction"].to_list() == [str(ids[position]) for position in positions]


def test_no_neurons_and_no_places_give_an_empty_table(tiny: Tiny, passed: Passed) -> None:
    nothing = random_places(passed.windows[:0].lazy(), 5, count_bos=False)
    for contexts in (
        extreme_contexts(passed.histograms, []),
        random_contexts(tiny.model, nothing, STUDIED, passed.windows.lazy()),
        random_contexts(tiny.model, random_places(passed.windows.lazy(), 5, count_bos=False), [], passed.windows.lazy()),
    ):
        assert passed.contexts(tiny, contexts).schema == NEURON_CONTEXTS.schema
        assert contexts.height == 0


def drawn(windows: pl.DataFrame, wanted: int, count_bos: bool = False, seed: int = 1) -> list[tuple[int, ...]]:
    places = random_places(windows.lazy(), wanted, count_bos, seed)
    assert places["rank"].to_list() == list(range(1, places.height + 1))
    return places.select(PLACE).rows()


def test_the_same_seed_draws_the_same_positions_however_the_corpus_is_cut() -> None:
    windows = random_windows(30)
    places = random_places(windows.lazy(), 8, count_bos=False)
    shards = pl.concat([windows[20:].lazy(), windows[:20].lazy()])
    assert random_places(shards, 8, count_bos=False).equals(places)
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
