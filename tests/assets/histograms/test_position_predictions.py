"""The predictions kept of a whole pass: plain Hugging Face's, those that were counted, the same for any sharding and batch."""

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from assets.counting.histograms import ActivationBins, Histograms
from assets.counting.position_predictions import PositionPredictions
from assets.histograms.activation_bins import fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.model.language_model import LanguageModel
from assets.quality.prediction_violations import prediction_violations
from assets.study import FixedBins


def passed(
    model: LanguageModel, windows: pl.DataFrame, batch_positions: int = 256, count_bos: bool = False, embedding: bool = False
) -> tuple[pl.DataFrame, Histograms]:
    """The predictions kept of one pass, and its counters."""
    bins: ActivationBins = fixed_bins(model.facts.layers, model.facts.neurons, FixedBins())
    predictions = PositionPredictions()
    how = {"count_bos": count_bos, "examples": 1, "batch_positions": batch_positions, "embedding_predictions": embedding}
    counted = count_windows(model, windows, bins, [2, 3], predictions=predictions, **how)  # type: ignore[arg-type]
    return predictions.frame(), counted


@pytest.fixture(params=["stories", "planted"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return request.getfixturevalue(request.param)


@pytest.fixture
def windows(model: LanguageModel, stories_windows: pl.DataFrame) -> pl.DataFrame:
    """The stories' windows, of ids that the model has."""
    ids = pl.col("token_ids").list.eval(pl.element() % model.facts.vocabulary)
    return stories_windows.with_columns(ids)


@pytest.mark.parametrize("embedding", [False, True])
def test_every_prediction_is_the_argmax_of_plain_code_on_the_window_alone(
    model: LanguageModel, windows: pl.DataFrame, embedding: bool
) -> None:
    found, _ = passed(model, windows, embedding=embedding)
    assert found.select("document", "window_in_document").equals(windows.select("document", "window_in_document"))
    for ids, predictions in zip(windows["token_ids"], found["predictions"], strict=True):
        with torch.inference_mode():
            logits = model.plain(torch.tensor([ids.to_list()])).logits[0]
        assert predictions.to_list() == logits.argmax(-1).tolist()


@pytest.mark.parametrize("count_bos", [False, True])
def test_they_are_those_that_were_counted_and_no_other_window_passes_for_them(
    model: LanguageModel, windows: pl.DataFrame, count_bos: bool
) -> None:
    found, counted = passed(model, windows, count_bos=count_bos)
    wrong = prediction_violations(found, windows.lazy(), counted, count_bos=count_bos)
    assert wrong.row(0) == (windows.height, 0, model.facts.vocabulary, 0)
    assert prediction_violations(found[1:], windows.lazy(), counted, count_bos=count_bos)["unlike_window"].item() == 1
    assert prediction_violations(found, windows.lazy(), counted, count_bos=not count_bos)["unlike_counted"].item() > 0


def test_any_sharding_and_batch_gives_the_same(model: LanguageModel, windows: pl.DataFrame) -> None:
    whole, _ = passed(model, windows)
    assert_frame_equal(passed(model, windows, batch_positions=64)[0], whole)
    cuts = np.array_split(np.arange(windows.height), 5)
    shards = [passed(model, windows[cut.tolist()])[0] for cut in cuts]
    assert_frame_equal(pl.concat(shards), whole)
