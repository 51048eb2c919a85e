"""Which tokens are screened: chosen before the pass on the first shard, so that all shards count the same groups.

The tracked tokens come first, then those that are expected to be predicted most often: by a pilot, a short run of the model, and
by their occurrences in the first shard's text, which weigh less the more of it the pilot has read; among equals those that occur
more often, then the lower id. The order of the whole vocabulary is fixed by this, whatever the number of groups: a larger budget
adds groups and takes none away. Counting the groups is in token_sums.
"""

from collections import Counter

import numpy as np
import polars as pl

from assets.contracts import SCREENED_TOKENS, conform
from assets.counting.batches import batches, padded_lengths
from assets.histograms.activation_bins import evenly_spread
from assets.model.language_model import LanguageModel
from assets.predictions.top_predictions import predictor
from assets.progress import Tally, Told
from assets.study import Screen

# A sum, one of squares, one over the final norm's scale, one under null labels and one by current token, int64, for each neuron and group.
BYTES_OF_COUNTERS = 40
# A pilot costs a forward pass of so many tokens: a 512th of the first shard, within these bounds. It reads the beginnings of windows,
# so that the tokens come from many places and its batches have few shapes. Of the story model's predictions on 478,318 positions, 128 of its
# 512 tokens hold 92.0 % so (mean of 12 pilots of 512 tokens), 90.4 % if occurrences decide between equals only, 91.1 % by occurrences alone,
# 93.6 % if chosen in hindsight.
PILOT_SHARE, PILOT_LEAST, PILOT_MOST = 512, 512, 65_536
PILOT_WINDOW = 64
OCCURRENCES_WEIGH = 2048  # predictions; of the story model's, 800 would hold 91.4 %, 1,600 91.8 %, 3,200 91.9 %
# Most positions of a batch of the pilot. Its shapes are not tried on row independence: the pilot alone reads them, in the same order.
PILOT_BATCH_POSITIONS = 512


def screened_number(choice: Screen, layers: int, neurons: int, vocabulary: int) -> int:
    """How many tokens are screened: as many as the study's limits allow, at most the vocabulary; 0 is no screen."""
    groups = int(choice.memory) // (BYTES_OF_COUNTERS * layers * neurons) - 1  # the group of all other tokens takes one
    wanted = vocabulary if choice.tokens is None else choice.tokens
    return max(0, min(wanted, groups, vocabulary))


def screened_tokens(
    model: LanguageModel,
    windows: pl.DataFrame,
    tracked: list[int],
    choice: Screen,
    *,
    count_bos: bool,
    progress: Told | None = None,
) -> pl.DataFrame:
    """The table `screened_tokens` from the first shard's windows. No model is run where the whole vocabulary is screened, or nothing.

    `progress` is told tokens of the pilot done and in all after each batch.
    """
    facts = model.facts
    number = screened_number(choice, facts.layers, facts.neurons, facts.vocabulary)
    predictions, unread = np.zeros(facts.vocabulary, np.int64), 1.0
    if 0 < number < facts.vocabulary:
        pilot = pilot_windows(windows)
        predictions = pilot_predictions(model, pilot, count_bos=count_bos, progress=progress)
        unread = 1 - int(pilot["length"].sum()) / max(int(windows["length"].sum()), 1)
    occurrences = _occurrences(windows, facts.vocabulary)
    chosen = in_order(predictions, occurrences, tracked, unread)[:number]
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


def in_order(predictions: np.ndarray, occurrences: np.ndarray, tracked: list[int], unread: float) -> np.ndarray:
    """Int64 [vocabulary]: every entry once, the first to be screened first. Counts are int64 [vocabulary].

    `unread` is the share of the text that no prediction was made for: the occurrences count as so many of OCCURRENCES_WEIGH predictions.
    """
    entries = np.arange(predictions.size)
    place_of_tracked = np.full(predictions.size, len(tracked))
    place_of_tracked[tracked] = np.arange(len(tracked))
    expected = predictions + OCCURRENCES_WEIGH * unread * occurrences / max(int(occurrences.sum()), 1)
    return np.lexsort((entries, -occurrences, -expected, place_of_tracked))


def pilot_windows(windows: pl.DataFrame) -> pl.DataFrame:
    """The beginnings of windows spread evenly over the shard, as `token_windows`."""
    tokens = min(PILOT_MOST, max(PILOT_LEAST, int(windows["length"].sum()) // PILOT_SHARE))
    spread = evenly_spread(windows.with_columns(pl.col("length").clip(upper_bound=PILOT_WINDOW)), tokens)
    return spread.with_columns(pl.col("token_ids").list.head(PILOT_WINDOW))  # only now: ids of a whole shard may be gigabytes


def pilot_predictions(model: LanguageModel, pilot: pl.DataFrame, *, count_bos: bool, progress: Told | None = None) -> np.ndarray:
    """Int64 [vocabulary]: how often each entry is the top prediction in the windows of `pilot`."""
    import torch

    facts = model.facts
    windows_of_length = Counter(padded_lengths(pilot["length"].to_numpy().astype(np.int64), facts.context_length).tolist())
    rows = {length: _rows(number, PILOT_BATCH_POSITIONS // length) for length, number in windows_of_length.items()}
    top_predictions = predictor(model)
    found = np.zeros(facts.vocabulary, np.int64)
    tally = Tally(progress, int(pilot["length"].sum()))
    with torch.inference_mode():
        for batch in batches(pilot, facts.context_length, facts.beginning_token_id, rows):
            predictions = top_predictions(torch.from_numpy(batch.token_ids).to(model.device)).cpu().numpy().reshape(-1)
            found += np.bincount(predictions[batch.counted(count_bos)], minlength=facts.vocabulary)
            tally.add(int(batch.lengths.sum()))
    return found


def _rows(windows: int, most: int) -> int:
    """Rows of each batch, at most so many, that leave the fewest of the last one empty."""
    return -(-windows // -(-windows // most))


def _occurrences(windows: pl.DataFrame, vocabulary: int) -> np.ndarray:
    """Int64 [vocabulary]: how often each entry stands in the windows.

    What begins each window counts: where it ends texts too, it is predicted at their ends, which no beginning shows.
    """
    counted = windows.lazy().select(pl.col("token_ids").explode().alias("entry")).group_by("entry").len().drop_nulls().collect()
    found = np.zeros(vocabulary, np.int64)
    found[counted["entry"].to_numpy()] = counted["len"].to_numpy()
    return found
