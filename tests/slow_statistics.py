"""Stage 5 a second time, slowly and obviously: from raw activations, one position, one pair of positions at a time.

Holds a counter of raw activations into histograms and each statistic by its definition. Shares no formula with assets.statistics.
"""

import math
from dataclasses import dataclass

import numpy as np

from assets.counting.histograms import ActivationBins, Histograms

UNDERFLOW, OVERFLOW = -1, 10**6  # levels beside the bins 0, 1, ...


@dataclass(frozen=True)
class Recording:
    """What a model did at every counted position."""

    activations: np.ndarray  # float32 [layer, neuron, position]
    tokens: list[int]  # the token held, by position
    predictions: list[int]  # the top prediction, by position


def level_of(activation: float, first_bin: int, per_unit: float, bins: int) -> int | None:
    """Bin of the activation, UNDERFLOW or OVERFLOW, or None for NaN."""
    if math.isnan(activation):
        return None
    bin_index = math.floor(np.float32(activation) * np.float32(per_unit)) - first_bin
    return UNDERFLOW if bin_index < 0 else OVERFLOW if bin_index >= bins else bin_index


def count_slowly(recording: Recording, bins: ActivationBins, token_ids: tuple[int, ...], vocabulary: int) -> Histograms:
    """Every tensor that stage 5 reads, one position at a time."""
    layers, neurons, positions = recording.activations.shape
    tensors: dict[str, np.ndarray] = {
        "count": np.zeros((layers, neurons, bins.bins), dtype=np.int64),
        "outside": np.zeros((layers, neurons, 3), dtype=np.int64),
        "top_prediction_count": np.zeros((len(token_ids), layers, neurons, bins.bins), dtype=np.int64),
        "top_prediction_outside": np.zeros((len(token_ids), layers, neurons, 3), dtype=np.int64),
        "above_zero": np.zeros((layers, neurons), dtype=np.int64),
        "minimum": np.full((layers, neurons), np.inf, dtype=np.float32),
        "maximum": np.full((layers, neurons), -np.inf, dtype=np.float32),
        **{name: np.zeros((layers, neurons)) for name in ("mean", "moment_2", "moment_3", "moment_4")},
        **{name: np.zeros(vocabulary, dtype=np.int64) for name in ("occurrences", "predictions", "correct_predictions")},
    }
    for layer in range(layers):
        for neuron in range(neurons):
            for position in range(positions):
                value = float(recording.activations[layer, neuron, position])
                level = level_of(value, int(bins.first_bin[layer, neuron]), float(bins.per_unit[layer, neuron]), bins.bins)
                place, index = ("count", level) if level in range(bins.bins) else ("outside", (UNDERFLOW, OVERFLOW, None).index(level))
                tensors[place][layer, neuron, index] += 1
                for row, token in enumerate(token_ids):
                    if recording.predictions[position] == token:
                        tensors[f"top_prediction_{place}"][row, layer, neuron, index] += 1
                if level is not None:
                    tensors["above_zero"][layer, neuron] += value > 0
                    tensors["minimum"][layer, neuron] = min(tensors["minimum"][layer, neuron], value)
                    tensors["maximum"][layer, neuron] = max(tensors["maximum"][layer, neuron], value)
            valid = [float(value) for value in recording.activations[layer, neuron] if not math.isnan(value)]
            if valid:
                mean = sum(valid) / len(valid)
                tensors["mean"][layer, neuron] = mean
                for power in (2, 3, 4):
                    tensors[f"moment_{power}"][layer, neuron] = sum((value - mean) ** power for value in valid)
    for position in range(positions):
        tensors["occurrences"][recording.tokens[position]] += 1
        tensors["predictions"][recording.predictions[position]] += 1
        follows = position + 1 < positions and recording.tokens[position + 1] == recording.predictions[position]
        tensors["correct_predictions"][recording.predictions[position]] += follows
    return Histograms(tensors, positions, token_ids)


def area_under_roc_slowly(positives: list[int], negatives: list[int]) -> tuple[float | None, float | None]:
    """AUROC by comparing every pair of positions, and DeLong's error from each position's own share of won pairs."""
    if not positives or not negatives:
        return None, None
    won = [[1.0 if high > low else 0.5 if high == low else 0.0 for low in negatives] for high in positives]
    by_positive = [sum(row) / len(negatives) for row in won]
    by_negative = [sum(row[i] for row in won) / len(positives) for i in range(len(negatives))]
    area = sum(by_positive) / len(positives)
    if len(positives) < 2 or len(negatives) < 2:
        return area, None
    return area, math.sqrt(_sample_variance(by_positive) / len(positives) + _sample_variance(by_negative) / len(negatives))


def _sample_variance(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def average_precision_slowly(positives: list[int], negatives: list[int]) -> float | None:
    """Sort positions by level, highest first; at each level that holds a positive, add its recall step times the precision."""
    if not positives:
        return None
    total = 0.0
    for level in sorted(set(positives), reverse=True):
        true = sum(value >= level for value in positives)
        false = sum(value >= level for value in negatives)
        total += positives.count(level) / len(positives) * true / (true + false)
    return total


def scores_slowly(
    recording: Recording, bins: ActivationBins, token: int, layer: int, neuron: int, min_count: int
) -> dict[str, float | None]:
    """The scores of one token and neuron, from its raw activations; from the highest level down where the token is at low ones."""
    first_bin, per_unit = int(bins.first_bin[layer, neuron]), float(bins.per_unit[layer, neuron])
    positives: list[int] = []
    negatives: list[int] = []
    for value, prediction in zip(recording.activations[layer, neuron], recording.predictions, strict=True):
        level = level_of(float(value), first_bin, per_unit, bins.bins)
        if level is not None:
            (positives if prediction == token else negatives).append(level)
    area, error = area_under_roc_slowly(positives, negatives)
    direction = None if area is None else -1 if area < 0.5 else 1
    is_downwards = direction == -1
    highest = highest_at = half = recall = None
    for index in sorted(range(bins.bins), reverse=is_downwards):
        true, false = positives.count(index), negatives.count(index)
        if true + false < min_count:
            continue
        proportion = true / (true + false)
        near_end = (first_bin + index + (1 if is_downwards else 0)) / per_unit  # where one comes from, the upper edge on the way down
        if highest is None or proportion > highest:
            highest, highest_at = proportion, near_end
        if half is None and proportion >= 0.5:
            half = near_end
            recall = sum(level <= index if is_downwards else level >= index for level in positives) / len(positives)
    return {
        "auroc": area,
        "auroc_standard_error": error,
        "direction": direction,
        "separation": None if area is None else max(area, 1 - area),
        "average_precision": average_precision_slowly(
            *([-x for x in levels] if is_downwards else levels for levels in (positives, negatives))
        ),
        "highest_proportion": highest,
        "highest_proportion_at": highest_at,
        "half_activation": half,
        "recall_beyond_half": recall,
    }


def wilson_slowly(successes: int, trials: int) -> tuple[float, float]:
    """The proportions at which a score test at the 95 % level just does not reject: the ends of Wilson's interval, by bisection."""
    observed = successes / trials

    def statistic(proportion: float) -> float:
        spread = math.sqrt(proportion * (1 - proportion) / trials)
        return abs(observed - proportion) / spread if spread else math.inf

    def end(inside: float, outside: float) -> float:
        for _ in range(200):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if statistic(middle) > 1.959963984540054 else (middle, outside)
        return inside

    low = 0.0 if successes == 0 else end(observed, 0.0)
    high = 1.0 if successes == trials else end(observed, 1.0)
    return low, high


def random_recording(seed: int, layers: int = 2, neurons: int = 3, positions: int = 400, vocabulary: int = 5) -> Recording:
    """Activations that carry some of the predictions, with ties, strays beyond the bins and a few NaN."""
    generator = np.random.default_rng(seed)
    predictions = generator.integers(0, vocabulary, positions)
    activations = generator.normal(0, 1.5, (layers, neurons, positions)).astype(np.float32)
    activations[0, 1] += 2 * (predictions == 1)
    activations[1, 0] = np.round(activations[1, 0])
    activations[1, 2, ::97] = np.nan
    return Recording(activations, generator.integers(0, vocabulary, positions).tolist(), predictions.tolist())
