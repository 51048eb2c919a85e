"""Which tokens are screened: chosen before the pass on the first shard, so that all shards count the same groups.

The tracked tokens come first, then those that the model predicts most often in a pilot; among equals, those that occur most
often in the first shard's text, then the lower id. The order of the whole vocabulary is fixed by this, whatever the number of
groups: a larger budget adds groups and takes none away. Counting the groups is in screen_counter.
"""

from collections import Counter

import numpy as np
import polars as pl

from assets.contracts import SCREENED_TOKENS, conform
from assets.histograms.activation_bins import evenly_spread
from assets.histograms.batches import batches, padded_lengths
from assets.histograms.top_predictions import predictor
from assets.model.language_model import LanguageModel
from assets.study import Screen

BYTES_OF_COUNTERS = 16  # a sum and a sum of squares, int64, for each neuron and group
# A pilot costs a forward pass of so many tokens: a 512th of the first shard, within these bounds. It need only tell which tokens are
# frequent; those that it never meets are ordered by their occurrences, which cost nothing to count. Of the predictions of the story model
# on 413,717 tokens, 128 of its 512 tokens hold 91.2 % so, 92.1 % with a pilot four times as large, 93.3 % if chosen in hindsight.
PILOT_SHARE, PILOT_LEAST, PILOT_MOST = 512, 512, 65_536
# Most positions of a batch of the pilot, which holds no more rows than there are windows. Its shapes are not tried on row independence:
# the pilot alone reads them, always in the same order.
PILOT_BATCH_POSITIONS = 256


def screened_number(choice: Screen, layers: int, neurons: int, vocabulary: int) -> int:
    """How many tokens are screened: as many as the study's limits allow, at most the vocabulary; 0 is no screen."""
    groups = int(choice.memory) // (BYTES_OF_COUNTERS * layers * neurons) - 1  # the group of all other tokens takes one
    wanted = vocabulary if choice.tokens is None else choice.tokens
    return max(0, min(wanted, groups, vocabulary))


def screened_tokens(model: LanguageModel, windows: pl.DataFrame, tracked: list[int], choice: Screen, *, count_bos: bool) -> pl.DataFrame:
    """The table `screened_tokens` from the first shard's windows. No model is run where the whole vocabulary is screened, or nothing."""
    facts = model.facts
    number = screened_number(choice, facts.layers, facts.neurons, facts.vocabulary)
    predictions = np.zeros(facts.vocabulary, np.int64)
    if 0 < number < facts.vocabulary:
        predictions = pilot_predictions(model, windows, count_bos=count_bos)
    occurrences = _occurrences(windows, facts.vocabulary)
    chosen = in_order(predictions, occurrences, tracked)[:number]
    texts = model.token_texts
    frame = pl.DataFrame(
        {
            "rank": np.arange(1, number + 1, dtype=np.int32),
            "token_id": chosen.astype(np.int32),
            "token": pl.Series(texts, dtype=pl.String).gather(chosen),
            "is_tracked": np.isin(chosen, tracked),
            "pilot_predictions": predictions[chosen],
            "occurrences": occurrences[chosen],
        }
    )
    return conform(SCREENED_TOKENS, frame)


def in_order(predictions: np.ndarray, occurrences: np.ndarray, tracked: list[int]) -> np.ndarray:
    """Int64 [vocabulary]: every entry once, the first to be screened first. Counts are int64 [vocabulary]."""
    entries = np.arange(predictions.size)
    place_of_tracked = np.full(predictions.size, len(tracked))
    place_of_tracked[tracked] = np.arange(len(tracked))
    return np.lexsort((entries, -occurrences, -predictions, place_of_tracked))


def pilot_predictions(model: LanguageModel, windows: pl.DataFrame, *, count_bos: bool) -> np.ndarray:
    """Int64 [vocabulary]: how often each entry is the top prediction over windows spread evenly over the shard."""
    import torch

    facts = model.facts
    tokens = min(PILOT_MOST, max(PILOT_LEAST, int(windows["length"].sum()) // PILOT_SHARE))
    chosen = evenly_spread(windows, tokens)
    windows_of_length = Counter(padded_lengths(chosen["length"].to_numpy().astype(np.int64), facts.context_length).tolist())
    rows = {length: min(number, max(1, PILOT_BATCH_POSITIONS // length)) for length, number in windows_of_length.items()}
    top_predictions = predictor(model)
    found = np.zeros(facts.vocabulary, np.int64)
    with torch.inference_mode():
        for batch in batches(chosen, facts.context_length, facts.beginning_token_id, rows):
            predictions = top_predictions(torch.from_numpy(batch.token_ids).to(model.device)).cpu().numpy().reshape(-1)
            found += np.bincount(predictions[batch.counted(count_bos)], minlength=facts.vocabulary)
    return found


def _occurrences(windows: pl.DataFrame, vocabulary: int) -> np.ndarray:
    """Int64 [vocabulary]: how often each entry stands in the windows."""
    counted = windows.lazy().select(pl.col("token_ids").explode().alias("entry")).group_by("entry").len().drop_nulls().collect()
    found = np.zeros(vocabulary, np.int64)
    found[counted["entry"].to_numpy()] = counted["len"].to_numpy()
    return found
