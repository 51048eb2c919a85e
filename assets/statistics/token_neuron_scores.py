"""The table `token_neuron_scores`: how well each neuron's activation tells where each tracked token is the top prediction.

Everything is read off the histograms, so one pass over the corpus serves every (token, neuron) pair. A position is known by its
level only: below the bins, a bin, or above the bins; positions of one level are ties. NaN has no level and is left out.

With p and n the positions of a level at which the token is and is not the top prediction, P and N their sums:

- AUROC = sum p (n below + n / 2) / (P N): the chance that a position that predicts the token has the higher activation, a tie
  counting half (Mann-Whitney; Hanley & McNeil 1982). 1 minus it is the AUROC of "the token is not the top prediction".
- Its standard error after DeLong, DeLong & Clarke-Pearson (1988), with the same ties, from the same counts:
  sqrt(S10 / P + S01 / N), sample variances of the share of negatives below a positive and of positives above a negative.
- The sign of an activation can be a convention, so a token predicted at low activations is told as well as one predicted at high
  ones. Direction is 1 or, for an AUROC below one half, -1: then all of the following is read with every activation negated, from the
  lowest level up, and is given in the activations as they are. Separation is the AUROC so read.
- Average precision = sum over levels, highest first, of (p / P) x precision, where precision is the share of the token among
  all positions at that level or higher. Steps, no interpolation: ties enter together.
- Proportion of a level = p / (p + n). "Over reliable bins" means bins proper with at least min_count positions: underflow and
  overflow have no width, so they count towards everything above but are never named as the place of a proportion.

Memory: the counters of a block of neurons of one layer, the table, and a few arrays of BLOCK_COUNTERS float64 numbers.
"""

import numpy as np
import polars as pl

from assets.contracts import TOKEN_NEURON_SCORES, conform
from assets.counting.histograms import TOP_PREDICTION, ActivationBins, Histograms
from assets.histograms.histogram_store import counter_blocks
from assets.histograms.layers_at_once import of_every_layer
from assets.progress import Tally, Told
from assets.statistics.levels import TokenTexts, lower_edges
from assets.statistics.outcomes import all_levels, token_levels
from assets.statistics.score_intervals import INTERVALS, score_intervals

SCORES = (
    "auroc",
    "auroc_standard_error",
    "average_precision",
    "highest_proportion",
    "highest_proportion_at",
    "half_activation",
    "recall_beyond_half",
)
READINGS = 2  # of a layer: for its scores, and for their intervals
BLOCK_COUNTERS = 2**17  # [token, neuron, level] numbers at once: 1 MiB of float64, so that the dozen passes over them stay in cache


def token_neuron_scores(
    histograms: Histograms, bins: ActivationBins, token_texts: TokenTexts, min_count: int, progress: Told | None = None
) -> pl.DataFrame:
    """One row per tracked token and neuron, in (token, layer, neuron) order of the histograms.

    Missing where nothing can be said: AUROC without both kinds of position, its error with fewer than two of either, average
    precision without a top prediction, half_activation and recall where no reliable bin reaches one half, highest_proportion
    where no bin is reliable. A token that is never predicted has a highest proportion of 0 and no other score. Without an AUROC
    there is no direction either; what is left is read from the highest level down. `progress` is told layers, each once for its scores and once
    for their intervals.
    """
    tally = Tally(progress, READINGS * histograms.layers)
    return conform(TOKEN_NEURON_SCORES, scores_of(histograms, bins, TOP_PREDICTION, token_texts, min_count, tally))


def scores_of(
    histograms: Histograms, bins: ActivationBins, outcome: str, token_texts: TokenTexts, min_count: int, tally: Tally | None = None
) -> pl.DataFrame:
    """The same rows of any outcome that was counted: p and n are the positions of a level with it and without. `tally` is given 1 after each of
    READINGS of a layer."""
    tokens, layers, neurons = len(histograms.token_ids), histograms.layers, histograms.neurons
    scores = {name: np.empty((tokens, layers, neurons)) for name in SCORES}

    def of_layer(layer: int) -> None:
        for block in counter_blocks(histograms, layer):
            # Counters of these neurons: [neuron, level] and [token, neuron, level].
            if block.is_first_of_tokens:
                count = all_levels(histograms, outcome, layer, block.neurons)
            predicted = token_levels(histograms, outcome, block.tokens, layer, block.neurons)
            width = max(1, BLOCK_COUNTERS // (max(len(predicted), 1) * count.shape[-1]))
            for start in range(0, len(count), width):
                part = slice(start, min(start + width, len(count)))
                there = slice(block.neurons.start + part.start, block.neurons.start + part.stop)
                edges = lower_edges(bins, layer, there)
                for name, values in _scores(predicted[:, part], count[part], edges, min_count).items():
                    scores[name][block.tokens, layer, there] = values

    of_every_layer(layers, of_layer, tally)
    scores |= score_intervals(histograms, outcome, tally)
    token, layer_index, neuron = (index.reshape(-1) for index in np.indices((tokens, layers, neurons), dtype=np.int32))
    token_ids = np.asarray(histograms.token_ids, dtype=np.int32)
    texts = pl.Series([token_texts[entry] for entry in histograms.token_ids], dtype=pl.String)
    frame = pl.DataFrame(
        {
            "token_id": token_ids[token],
            "token": texts.gather(token),
            "layer": layer_index,
            "neuron": neuron,
            **{name: values.reshape(-1) for name, values in scores.items()},
        }
    )
    return with_direction(frame.with_columns(pl.col(*SCORES, *INTERVALS).fill_nan(None)))


def with_direction(scores: pl.DataFrame) -> pl.DataFrame:
    """The frame with `direction` and `separation` as they follow from its column auroc; missing where that is."""
    auroc = pl.col("auroc")
    direction = pl.when(auroc < 0.5).then(-1).when(auroc.is_not_null()).then(1).cast(pl.Int8)
    return scores.with_columns(direction=direction, separation=pl.max_horizontal(auroc, 1 - auroc))


def _scores(predicted: np.ndarray, count: np.ndarray, edges: np.ndarray, min_count: int) -> dict[str, np.ndarray]:
    """Every score [token, neuron] of a block; NaN where missing. `predicted` [token, neuron, level], `count`, `edges` [neuron, level]."""
    positives = predicted  # float64 holds counts exactly to 9e15, and products of them do not overflow
    all_positions = count.astype(np.float64)
    area, error = area_under_roc(positives, all_positions - positives)
    downwards = area < 0.5
    positives, all_positions = _turned(positives, downwards), _turned(all_positions, downwards)
    return {
        "auroc": area,
        "auroc_standard_error": error,
        "average_precision": average_precision(positives, all_positions),
        **_proportion_scores(positives, all_positions, _turned_edges(edges, downwards), min_count),
    }


def half_activations(positives: np.ndarray, all_positions: np.ndarray, edges: np.ndarray, min_count: int) -> np.ndarray:
    """half_activation of curves, float64 [curve], from positives, all_positions and edges [curve, level]; NaN where none is."""
    area, _ = area_under_roc(positives, all_positions - positives)
    return proportion_scores(positives, all_positions, edges, area < 0.5, min_count)["half_activation"]


def proportion_scores(
    positives: np.ndarray, all_positions: np.ndarray, edges: np.ndarray, downwards: np.ndarray, min_count: int
) -> dict[str, np.ndarray]:
    """The last four of SCORES [...] of curves, float64 [..., level], lowest level first, read downwards where `downwards` [...]; NaN where missing."""
    own, every = _turned(positives, downwards), _turned(all_positions, downwards)
    return _proportion_scores(own, every, _turned_edges(edges, downwards), min_count)


def _turned_edges(edges: np.ndarray, downwards: np.ndarray) -> np.ndarray:
    """Of the levels so turned: with activations negated the upper edge of a level is, negated, its lower one."""
    upper_edges = np.concatenate([edges[..., 1:], np.full_like(edges[..., :1], np.inf)], axis=-1)
    return np.where(downwards[..., None], upper_edges[..., ::-1], edges)


def _turned(counts: np.ndarray, downwards: np.ndarray) -> np.ndarray:
    """Counts [token, neuron, level], highest level first where `downwards` [token, neuron]."""
    return np.where(downwards[..., None], counts[..., ::-1], counts)


def area_under_roc(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and its DeLong standard error [...] from float64 counts [..., level], lowest level first; NaN where undefined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        positives_to_here, negatives_to_here = np.cumsum(positives, axis=-1), np.cumsum(negatives, axis=-1)
        positive_total, negative_total = positives_to_here[..., -1:], negatives_to_here[..., -1:]
        # Of a positive of the level, the share of negatives below it; of a negative, the share of positives above it.
        negatives_below = (negatives_to_here - negatives / 2) / negative_total
        positives_above = (positive_total - positives_to_here + positives / 2) / positive_total
        area = (positives * negatives_below).sum(axis=-1) / positive_total[..., 0]
        negatives_below -= area[..., None]
        positives_above -= area[..., None]
        spread_of_positives = (positives * negatives_below**2).sum(axis=-1) / (positive_total[..., 0] - 1)
        spread_of_negatives = (negatives * positives_above**2).sum(axis=-1) / (negative_total[..., 0] - 1)
        error = np.sqrt(spread_of_positives / positive_total[..., 0] + spread_of_negatives / negative_total[..., 0])
        enough = (positive_total[..., 0] > 1) & (negative_total[..., 0] > 1)
    return area, np.where(enough, error, np.nan)


def average_precision(positives: np.ndarray, all_positions: np.ndarray) -> np.ndarray:
    """Average precision [...] from float64 counts [..., level], lowest level first; NaN without a positive."""
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = _at_or_above(positives) / np.maximum(_at_or_above(all_positions), 1)
        return (positives * precision).sum(axis=-1) / positives.sum(axis=-1)


def _at_or_above(counts: np.ndarray) -> np.ndarray:
    """Positions of this level or a higher one, [..., level]."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


def _proportion_scores(positives: np.ndarray, all_positions: np.ndarray, edges: np.ndarray, min_count: int) -> dict[str, np.ndarray]:
    reliable = all_positions >= max(min_count, 1)
    reliable[..., [0, -1]] = False  # underflow and overflow: no width, no place
    proportion = np.where(reliable, positives / np.maximum(all_positions, 1), -1.0)  # [token, neuron, level]
    highest = proportion.argmax(axis=-1)  # the first of equals
    half = (proportion >= 0.5).argmax(axis=-1)  # the first that holds; 0, the underflow, if none does
    highest_proportion = np.take_along_axis(proportion, highest[..., None], axis=-1)[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.take_along_axis(_at_or_above(positives), half[..., None], axis=-1)[..., 0] / positives.sum(axis=-1)
    return {
        "highest_proportion": np.where(highest_proportion >= 0, highest_proportion, np.nan),
        "highest_proportion_at": np.where(highest_proportion >= 0, _edge(edges, highest), np.nan),
        "half_activation": np.where(half > 0, _edge(edges, half), np.nan),
        "recall_beyond_half": np.where(half > 0, recall, np.nan),
    }


def _edge(edges: np.ndarray, level: np.ndarray) -> np.ndarray:
    """The edge [token, neuron] of the given levels [token, neuron], from edges [token, neuron, level]."""
    return np.take_along_axis(edges, level[..., None], axis=-1)[..., 0]
