"""Top predictions by the embedding, as published: equal to a slow and obvious loop, whatever the cut, beside the model's own."""

import functools
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from assets.contracts import EMBEDDING_TENSORS, histogram_tensors
from assets.counting.batches import batches
from assets.counting.histograms import FURTHER_OUTCOMES, HistogramError, Histograms, empty, merge
from assets.counting.parts import Part, parts
from assets.histograms import row_independence
from assets.histograms.activation_bins import fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.histograms.histogram_store import create_group, finish_group, read_histograms, shapes_of, write_histograms, write_part
from assets.histograms.merged_histograms import merge_histograms
from assets.histograms.row_independence import are_rows_independent, rows_of_batches, rows_of_last_batches
from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.predictions.embedding_predictor import predictions_by_embedding
from assets.study import FixedBins
from tests.assets.counting.made_batches import (
    KERNEL,
    SCREENED,
    VOCABULARY,
    add,
    assert_same_counters,
    counter_of,
    made_bins,
    other_predictions,
    random_batches,
    random_histograms,
    tensors_of,
    windows_frame,
)
from tests.assets.histograms.conftest import STORIES
from tests.assets.prompts.tiny_models import FAMILIES, save_tiny_model
from tests.gained import gained_model
from tests.slow_reimplementation import SlowCounts, slow_histograms

EMBEDDING = [tensor.name for tensor in EMBEDDING_TENSORS]
TRACKED = [6, 14, 2]
BATCH_POSITIONS = 256


@pytest.fixture(scope="module")
def gained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gained_model(tmp_path_factory.mktemp("gained") / "model")


@pytest.fixture(scope="module")
def gained(gained_folder: Path) -> LanguageModel:
    return load.__wrapped__(gained_folder, device="cpu")


@pytest.fixture(scope="module")
def windows() -> pl.DataFrame:
    generator = torch.Generator().manual_seed(3)
    lengths = (3, 9, 20, 20, 33, 8, 40, 17, 12)
    return windows_frame([[0, *torch.randint(1, 30, (length,), generator=generator).tolist()] for length in lengths])


def count(model: LanguageModel, windows: pl.DataFrame, tracked: list[int], part: Part | None = None, **options: Any) -> Histograms:
    bins = fixed_bins(model.facts.layers, model.facts.neurons, FixedBins())
    given = {"count_bos": True, "examples": 2, "batch_positions": BATCH_POSITIONS, "embedding_predictions": True} | options
    return count_windows(model, windows, bins, tracked, part=part, **given)


def slow(model: LanguageModel, folder: Path, windows: pl.DataFrame, tracked: list[int], neurons: list[int] | None = None) -> Any:
    facts = model.facts
    bins = fixed_bins(facts.layers, facts.neurons, FixedBins())
    counts = SlowCounts(bins, tracked, facts.vocabulary, count_bos=True, examples=2, neurons=neurons, embedding_predictions=True)
    rows = rows_of_batches(model, windows, BATCH_POSITIONS, embedding_predictions=True)
    last_rows = rows_of_last_batches(model, windows, rows, embedding_predictions=True)
    return slow_histograms(folder, batches(windows, facts.context_length, facts.beginning_token_id, rows, last_rows), counts)


def test_every_counter_of_a_layer_norm_model_is_that_of_plain_code_and_a_loop_over_positions(
    gained: LanguageModel, gained_folder: Path, windows: pl.DataFrame
) -> None:
    fast = count(gained, windows, TRACKED)
    expected = slow(gained, gained_folder, windows, TRACKED)
    assert_same_counters(dict(fast.tensors), expected)
    # The two conventions are not one: neither over the vocabulary nor for the tracked tokens.
    assert fast["embedding_predictions"].sum() == fast["predictions"].sum() == fast.positions
    assert np.abs(fast["embedding_predictions"] - fast["predictions"]).sum() > 20
    by_token = fast["embedding_prediction_count"].sum((1, 2, 3)) + fast["embedding_prediction_outside"].sum((1, 2, 3))
    assert (by_token == fast["embedding_predictions"][TRACKED] * 3 * 16).all()
    assert (fast["embedding_predictions"][TRACKED] > 0).sum() >= 2
    assert not np.array_equal(fast["embedding_prediction_count"], fast["top_prediction_count"])


def test_a_real_rms_norm_model_is_counted_by_the_same_definition(stories: LanguageModel, stories_windows: pl.DataFrame) -> None:
    tracked, neurons = [263, 261, 426, 432], [0, 57, 171]
    fast = count(stories, stories_windows, tracked)
    expected = slow(stories, STORIES, stories_windows, tracked, neurons)
    for name in EMBEDDING:
        found = fast[name].take(neurons, axis=2) if fast[name].ndim == 4 else fast[name]
        np.testing.assert_array_equal(found, expected[name], err_msg=name)
    assert fast["embedding_predictions"][tracked].sum() > 0
    assert not np.array_equal(fast["embedding_predictions"], fast["predictions"])


def test_what_else_is_counted_is_the_same_with_and_without(gained: LanguageModel, windows: pl.DataFrame) -> None:
    without = count(gained, windows, TRACKED, embedding_predictions=False)
    assert set(without.tensors) == {tensor.name for tensor in histogram_tensors(False)}
    both = count(gained, windows, TRACKED)
    assert set(both.tensors) == {tensor.name for tensor in histogram_tensors(True)}
    for name, values in without.tensors.items():
        np.testing.assert_array_equal(both[name], values, err_msg=name)


def test_a_final_norm_without_a_gain_of_its_own_predicts_by_the_embedding_what_the_model_predicts(
    planted: LanguageModel, windows: pl.DataFrame
) -> None:
    counted = count(planted, windows, TRACKED)  # the planted gain is one number for all coordinates, and the weights are tied
    np.testing.assert_array_equal(counted["embedding_predictions"], counted["predictions"])
    np.testing.assert_array_equal(counted["embedding_prediction_count"], counted["top_prediction_count"])


@pytest.mark.parametrize("number", [2, 5])
def test_any_sharding_gives_the_same_integers(gained: LanguageModel, windows: pl.DataFrame, number: int, tmp_path: Path) -> None:
    whole = count(gained, windows, TRACKED)
    cuts = [len(windows) * place // number for place in range(number + 1)]
    shards = [count(gained, windows[start:end], TRACKED) for start, end in zip(cuts, cuts[1:], strict=False)]
    assert_same_counters(dict(functools.reduce(merge, shards[::-1]).tensors), dict(whole.tensors))
    merge_histograms(shards, tmp_path / "merged")
    merged = read_histograms(tmp_path / "merged")
    assert_same_counters({name: merged[name][:] for name in merged.tensors}, dict(whole.tensors))


@pytest.mark.parametrize(("layer_parts", "token_parts"), [(3, 1), (1, 3), (2, 2)])
def test_several_passes_hold_the_integers_of_one(
    gained: LanguageModel, windows: pl.DataFrame, tmp_path: Path, layer_parts: int, token_parts: int
) -> None:
    screened = [6, 14, 2, 12]
    whole = count(gained, windows, TRACKED, screened_ids=screened)
    group = create_group(tmp_path, shapes_of(gained.facts, 80, len(TRACKED), len(screened), 2, embedding_predictions=True))
    for part in parts(3, len(TRACKED), len(screened), layer_parts, token_parts):
        write_part(group, part, count(gained, windows, TRACKED, part, screened_ids=screened))
    finish_group(group, whole.positions, TRACKED)
    together = read_histograms(tmp_path)
    assert together.counts_embedding_predictions
    for name, expected in whole.tensors.items():
        np.testing.assert_array_equal(together[name][:], expected, err_msg=name)


@pytest.mark.parametrize("kind", ["compiled", "device", KERNEL])
@pytest.mark.parametrize("bins", [80, 300])  # slots of one byte and of two
@pytest.mark.parametrize("seed", range(3))
def test_both_counters_equal_the_loop_over_positions(kind: str, bins: int, seed: int) -> None:
    fast, loop = (counter_of(name, made_bins(2, 5, bins=bins), screened=SCREENED, embedding_predictions=True) for name in (kind, "slow"))
    for place, made in enumerate(random_batches(seed, layers=2, neurons=5)):
        for counter in (fast, loop):
            add(counter, *made, other_predictions(made[0], place))
    assert loop.embedding_prediction_count.sum() > 0
    assert_same_counters(tensors_of(fast), tensors_of(loop))


@pytest.mark.parametrize("kind", ["compiled", "device", KERNEL])
def test_predictions_that_a_counter_does_not_expect_or_misses_are_refused(kind: str) -> None:
    made = random_batches(0, layers=2, neurons=5)[0]
    with pytest.raises(ValueError, match=r"counted here: True, given with the batch: False; both or neither"):
        add(counter_of(kind, made_bins(2, 5), embedding_predictions=True), *made)
    with pytest.raises(ValueError, match=r"counted here: False, given with the batch: True; both or neither"):
        add(counter_of(kind, made_bins(2, 5)), *made, other_predictions(made[0], 0))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_predictions_by_the_embedding_that_follow_from_its_last_residual_stream(family: str, tmp_path: Path) -> None:
    model = load.__wrapped__(save_tiny_model(tmp_path / family, family), device="cpu")
    ids = torch.randint(0, model.facts.vocabulary, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode(), predictions_by_embedding(model) as last:
        model.plain(ids, use_cache=False)
        found = last()
        # the bridge's own stream behind the last block, and its own W_E
        _, cache = model.bridge.run_with_cache(ids, names_filter=[f"blocks.{model.facts.layers - 1}.hook_out"], use_cache=False)
    (stream,) = (value for name, value in cache.items() if name.endswith("hook_out"))
    stream = stream.double() - (stream.double().mean(-1, keepdim=True) if model.facts.normalization == "LN" else 0)
    assert found.tolist() == (stream @ model.bridge.W_E.double().T).argmax(-1).tolist()


def test_the_predictions_of_a_forward_are_given_once(gained: LanguageModel) -> None:
    with torch.inference_mode(), predictions_by_embedding(gained) as last:
        gained.plain(torch.tensor([[0, 5, 6]]), use_cache=False)
        assert last().shape == (1, 3)
        with pytest.raises(IndexError):
            last()  # not those of an earlier forward for a later one
    assert not gained.plain.transformer.ln_f._forward_pre_hooks


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: replace(model, bridge_if_known=SimpleNamespace(cfg=model.bridge.cfg)), "it has no norm in front of its unembedding"),
        (lambda model: replace(model, facts=replace(model.facts, normalization="RMS")), "is not its final norm's output"),
    ],
)
def test_a_model_in_which_the_definition_means_nothing_is_refused_with_the_reason(
    gained_folder: Path, change: Callable[[LanguageModel], LanguageModel], reason: str
) -> None:
    model = change(load.__wrapped__(gained_folder, device="cpu"))
    with pytest.raises(HistogramError, match=f"cannot be taken of GPT2LMHeadModel, for .*{reason}; leave the field out of the study"):
        predictions_by_embedding(model).__enter__()


def test_a_shape_in_which_only_these_predictions_depend_on_the_row_is_found_out(
    gained: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_independence, "_tried", weakref.WeakKeyDictionary())

    def lopsided(module: Any, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[-1] = output[-1].flip(-1)  # the last residual stream of the last row is another one, its activations are not
        return output

    with predictions_by_embedding(gained):
        pass  # the model is tried once, as it is
    last_mlp = gained.plain.transformer.h[-1]
    handle = last_mlp.register_forward_hook(lambda module, given, output: lopsided(module, given, output))
    own = gained.plain.transformer.ln_f.register_forward_hook(lambda module, given, output: torch.zeros_like(output))
    try:
        assert are_rows_independent(gained, 4, 16)
        assert not are_rows_independent(gained, 4, 16, embedding_predictions=True)
    finally:
        handle.remove()
        own.remove()
    monkeypatch.setattr(row_independence, "_tried", weakref.WeakKeyDictionary())
    assert are_rows_independent(gained, 4, 16, embedding_predictions=True)


# --- Stored and merged -------------------------------------------------------------------------------------------------------


def test_merging_is_a_monoid_and_what_was_counted_without_is_not_merged_with_what_was_counted_with() -> None:
    a, b, c = (random_histograms(seed, embedding_predictions=True) for seed in (1, 2, 3))
    one, other = merge(merge(a, b), c), merge(a, merge(c, b))
    for name in EMBEDDING:
        np.testing.assert_array_equal(one[name], other[name])
        np.testing.assert_array_equal(one[name], a[name] + b[name] + c[name])
    nothing = empty(2, 3, 80, (1, 2), VOCABULARY, 3, SCREENED, embedding_predictions=True, outcomes=FURTHER_OUTCOMES)
    assert all(np.array_equal(merge(a, nothing)[name], a[name]) for name in a.tensors)
    with pytest.raises(ValueError, match="cannot be merged"):
        merge(a, random_histograms(2))


def test_shards_of_which_only_one_counts_them_are_refused_by_name(tmp_path: Path) -> None:
    shards = [random_histograms(1, embedding_predictions=True), random_histograms(2)]
    for order in (shards, shards[::-1]):
        with pytest.raises(
            HistogramError, match=r"shards \w and \w: only a counts top predictions by the embedding; materialize both again"
        ):
            merge_histograms(order, tmp_path / "merged", names=["a", "b"] if order is shards else ["b", "a"])


def test_a_group_without_them_is_read_and_one_with_a_part_of_them_is_refused(tmp_path: Path) -> None:
    import zarr

    write_histograms(tmp_path / "without", random_histograms(4))
    assert not read_histograms(tmp_path / "without").counts_embedding_predictions
    write_histograms(tmp_path / "with", random_histograms(4, embedding_predictions=True))
    read = read_histograms(tmp_path / "with")
    assert [read[name].dtype for name in EMBEDDING] == [np.int64] * 3
    del zarr.open_group(str(tmp_path / "with"), mode="r+")["embedding_prediction_outside"]
    with pytest.raises(HistogramError, match="tensor embedding_prediction_outside is missing; materialize it again"):
        read_histograms(tmp_path / "with")


@pytest.mark.parametrize(
    ("name", "index", "by", "message"),
    [
        ("embedding_prediction_count", (0, 1, 1, 79), 10_000, r"layer 1, neuron 1 .*embedding_prediction_count of token 1 above count"),
        ("embedding_prediction_outside", (1, 0, 0, 0), -10_000, r"layer 0, neuron 0 .*embedding_prediction_outside of token 2 below 0"),
        (
            "embedding_prediction_count",
            (0, 0, 2, 24),
            -1,
            r"embedding_prediction_count of token 1 (that does not sum to its \d+ embedding|below 0)",
        ),
        ("embedding_predictions", (0,), -10_000, r"embedding_predictions of token 0 is below 0"),
        ("embedding_predictions", (0,), 1, r"embedding_predictions sum to \d+, but \d+ positions were counted"),
    ],
)
def test_a_shard_whose_counts_contradict_each_other_is_refused(
    tmp_path: Path, name: str, index: tuple[int, ...], by: int, message: str
) -> None:
    part = random_histograms(9, embedding_predictions=True)
    tensor = part[name].copy()
    tensor[index] += by
    broken = Histograms({**part.tensors, name: tensor}, part.positions, part.token_ids)
    with pytest.raises(HistogramError, match=f"shard b: .*{message}"):
        merge_histograms([random_histograms(8, embedding_predictions=True), broken], tmp_path / "merged", names=["a", "b"])
