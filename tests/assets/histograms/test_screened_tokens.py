"""Which tokens are screened: tracked ones, then the most predicted, then the most frequent; a budget that is too small cuts the last."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ByteSize

from assets.histograms.screened_tokens import in_order, pilot_windows, screened_number, screened_tokens
from assets.model.language_model import LanguageModel
from assets.study import Screen
from tests.assets.counting.made_batches import windows_frame
from tests.planted import PREDICTIONS_OF_A, PREDICTIONS_OF_AN, VOCABULARY, planted_corpus, planted_token_id
from tests.told import steps_told

BYTES_OF_GROUP = 3 * 16 * 40  # layers x neurons x five int64


@pytest.fixture(scope="module")
def windows(planted: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    texts = pl.read_ndjson(planted_corpus(tmp_path_factory.mktemp("corpus")))["text"]
    return windows_frame([[0, *planted.tokenizer(text, add_special_tokens=False)["input_ids"]] for text in texts])


def choose(planted: LanguageModel, windows: pl.DataFrame, screen: Screen, tracked: list[int]) -> pl.DataFrame:
    return screened_tokens(planted, windows, tracked, screen, count_bos=False)


def test_tracked_tokens_come_first_then_predictions_then_occurrences_then_the_lower_id() -> None:
    predictions, occurrences = np.array([0, 7, 9, 0, 0, 9]), np.array([5, 0, 1, 5, 6, 2])
    assert in_order(predictions, occurrences, [4, 1], unread=0.0).tolist() == [4, 1, 5, 2, 0, 3]


def test_occurrences_in_text_that_the_pilot_did_not_read_weigh_as_much_as_2048_predictions() -> None:
    predictions, occurrences = np.array([1, 0, 2, 110, 0]), np.array([0, 50, 1, 0, 949])  # 50 of 1,000 occurrences are 102.4 predictions
    assert in_order(predictions, occurrences, [], unread=1.0).tolist() == [4, 3, 1, 2, 0]
    assert in_order(predictions, occurrences, [], unread=0.5).tolist() == [4, 3, 1, 2, 0]
    assert in_order(predictions, occurrences, [], unread=0.05).tolist() == [3, 4, 1, 2, 0]
    assert in_order(predictions, occurrences, [], unread=0.01).tolist() == [3, 4, 2, 1, 0]
    assert in_order(predictions, np.zeros(5, np.int64), [], unread=1.0).tolist() == [3, 2, 0, 1, 4]


def test_the_pilot_reads_the_beginnings_of_windows_spread_over_the_shard() -> None:
    windows = windows_frame([[0] * length for length in np.random.default_rng(0).integers(3, 200, 1000).tolist()])
    pilot = pilot_windows(windows)
    assert pilot["length"].to_list() == [len(ids) for ids in pilot["token_ids"]]
    assert 400 < pilot["length"].sum() < 640
    assert pilot["length"].max() == 64
    assert pilot["document"].to_list()[-1] > 850
    few = windows_frame([[0, 1, 2], [0, 3]])
    assert pilot_windows(few).equals(few)  # all of a small shard


@pytest.mark.parametrize(
    ("screen", "number"),
    [
        (Screen(tokens=0), 0),
        (Screen(tokens=5), 5),
        (Screen(), len(VOCABULARY)),
        (Screen(tokens=1000), len(VOCABULARY)),
        (Screen(memory=ByteSize(10 * BYTES_OF_GROUP)), 9),  # the tenth group is all other tokens
        (Screen(memory=ByteSize(10 * BYTES_OF_GROUP - 1)), 8),
        (Screen(tokens=4, memory=ByteSize(10 * BYTES_OF_GROUP)), 4),
        (Screen(memory=ByteSize(1)), 0),
    ],
)
def test_the_number_of_tokens_follows_from_the_limits_and_the_vocabulary(screen: Screen, number: int) -> None:
    assert screened_number(screen, 3, 16, len(VOCABULARY)) == number


def test_a_small_budget_keeps_the_most_predicted_tokens_and_leaves_out_the_least(planted: LanguageModel, windows: pl.DataFrame) -> None:
    chosen = choose(planted, windows, Screen(tokens=4), [planted_token_id("An")])
    # " the" is predicted nearly everywhere, " up" at every " climbed" (22 documents), " a" 17 times, " an" 14 times: left out
    assert chosen["token"].to_list() == ["An", " the", " up", " a"]
    assert chosen["is_tracked"].to_list() == [True, False, False, False]
    assert chosen["pilot_predictions"].to_list()[2:] == [22, PREDICTIONS_OF_A]
    larger = choose(planted, windows, Screen(tokens=5), [planted_token_id("An")])
    assert larger.head(4).equals(chosen)
    assert larger.row(4, named=True)["token"] == " an"
    assert larger.row(4, named=True)["pilot_predictions"] == PREDICTIONS_OF_AN


def test_no_model_is_run_where_every_token_fits_or_none_is_asked_for(
    planted: LanguageModel, windows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("assets.histograms.screened_tokens.pilot_predictions", None)
    assert choose(planted, windows, Screen(tokens=0), []).is_empty()
    every = choose(planted, windows, Screen(), [3])
    assert sorted(every["token_id"]) == list(range(len(VOCABULARY)))
    occurrences = dict(every.select("token", "occurrences").iter_rows())
    assert (occurrences["<|endoftext|>"], occurrences[" climbed"], occurrences["<unk>"]) == (28, 22, 0)


def test_progress_counts_the_tokens_of_the_pilot(planted: LanguageModel, windows: pl.DataFrame) -> None:
    steps = steps_told(lambda progress: screened_tokens(planted, windows, [2], Screen(tokens=5), count_bos=False, progress=progress))
    assert steps[-1] == pilot_windows(windows)["length"].sum()
