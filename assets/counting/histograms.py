"""The counters of one shard or of a whole corpus in memory: every tensor of the contract under its name, and their sum.

Holds the shape of things and the merge of two, a monoid: merge(a, b) equals counting the concatenation. Counting is in
activation_histograms, files in histogram_store.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from assets.contracts import Tensor, histogram_tensors
from assets.counting.between_examples import BANDS, merged_between
from assets.counting.document_blocks import FOLDS
from assets.counting.kept_positions import merged_kept
from assets.counting.position_samples import SAMPLED, merged_samples
from assets.counting.random_places import OF_NEURONS as RANDOM_OF_NEURONS
from assets.counting.random_places import RANDOM, MergedPlaces
from assets.errors import InputError

OUTSIDE = ("underflow", "overflow", "nan")  # order of the last axis of `outside`


class HistogramError(InputError):
    """Windows, bins or stored counters that cannot be used as they are; the message says what to do."""


@dataclass(frozen=True)
class ActivationBins:
    """Bins of every neuron. Bin i of a neuron holds activations with floor(activation * per_unit) == first_bin + i, in float32."""

    per_unit: np.ndarray  # float32 [layer, neuron]
    first_bin: np.ndarray  # int32 [layer, neuron]
    bins: int

    def edges(self, layer: int, neuron: int) -> np.ndarray:
        """Float64 [bins + 1]: the lower edge of each bin, then the upper edge of the last."""
        steps = np.arange(self.bins + 1, dtype=np.float64) + float(self.first_bin[layer, neuron])
        return steps / float(self.per_unit[layer, neuron])

    def to_frame(self) -> pl.DataFrame:
        """The table `activation_bins`."""
        layers, neurons = self.per_unit.shape
        return pl.DataFrame(
            {
                "layer": np.repeat(np.arange(layers, dtype=np.int32), neurons),
                "neuron": np.tile(np.arange(neurons, dtype=np.int32), layers),
                "per_unit": self.per_unit.reshape(-1),
                "first_bin": self.first_bin.reshape(-1),
                "bins": np.full(layers * neurons, self.bins, dtype=np.int32),
            }
        )

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> "ActivationBins":
        """Read the table `activation_bins` back."""
        ordered = frame.sort("layer", "neuron")
        shape = (int(ordered["layer"].max()) + 1, int(ordered["neuron"].max()) + 1)  # type: ignore[arg-type]
        return cls(
            per_unit=ordered["per_unit"].to_numpy().reshape(shape),
            first_bin=ordered["first_bin"].to_numpy().reshape(shape),
            bins=int(ordered["bins"][0]),
        )


@dataclass(frozen=True)
class Histograms:
    """Counters under their contract names (assets.contracts.histogram_tensors).

    `tensors` holds NumPy arrays (or what is read like them, block_counts) while counting and Zarr arrays when read from a store: index
    them by layer, so that only one layer is in memory. `token_ids[i]` is the tracked token of row i of `top_prediction_count`.
    """

    tensors: Mapping[str, Any]
    positions: int
    token_ids: tuple[int, ...]

    def __getitem__(self, name: str) -> Any:
        return self.tensors[name]

    @property
    def layers(self) -> int:
        """Layers counted."""
        return int(self.tensors["count"].shape[0])

    @property
    def neurons(self) -> int:
        """Neurons per layer."""
        return int(self.tensors["count"].shape[1])

    @property
    def bins(self) -> int:
        """Bins per neuron."""
        return int(self.tensors["count"].shape[2])

    @property
    def blocks(self) -> int:
        """Blocks of documents that were counted apart: eight folds of each domain."""
        return int(self.tensors["block_positions"].shape[0])

    @property
    def counts_embedding_predictions(self) -> bool:
        """Whether top predictions by the embedding were counted too (embedding_predictions in the study)."""
        return EMBEDDING_PREDICTIONS in self.tensors

    @property
    def prediction_kinds(self) -> dict[str, str]:
        """By what tracked tokens were counted: the first entry of PREDICTIONS, and those that the study asked for."""
        return {kind: whole for kind, whole in PREDICTIONS.items() if whole in self.tensors}

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The outcomes that were counted: top_prediction, and those of FURTHER_OUTCOMES that the study asked for."""
        return tuple(kind for kind in self.prediction_kinds if kind != EMBEDDING_PREDICTION)

    @property
    def token_sums(self) -> tuple[str, ...]:
        """Names of the counters [token, layer, neuron, bin or outcome]."""
        return tuple(f"{kind}_{part}" for kind in self.prediction_kinds for part in COUNTED_PARTS)

    @property
    def vocabulary_sums(self) -> tuple[str, ...]:
        """Names of the counters [vocabulary]."""
        return tuple(dict.fromkeys((*VOCABULARY_SUMS, *self.prediction_kinds.values())))

    @property
    def outcome_sums(self) -> tuple[str, ...]:
        """Names of the counters of further outcomes that are by layer and of no tracked token's bins."""
        return tuple(name for outcome in self.outcomes for name in OUTCOME_SUMS.get(outcome, ()))

    @property
    def keeps_positions(self) -> bool:
        """Whether all activations were kept at some positions (kept_positions in the study)."""
        return "kept_document" in self.tensors

    @property
    def kept_positions(self) -> int:
        """Rows for kept positions (kept_positions in the study); 0 where none are kept."""
        return int(self.tensors["kept_document"].shape[0]) if self.keeps_positions else 0

    @property
    def block_sums(self) -> tuple[Tensor, ...]:
        """The counters by block of documents and of null labels, as the contract describes them; all are sums of whole numbers."""
        return block_tensors(self.outcomes)

    @property
    def screened_ids(self) -> np.ndarray:
        """Int32 [group]: the screened token of each group, -1 in the last; empty where the screen is off."""
        return np.asarray(self.tensors["screen_token"][:])


def block_tensors(outcomes: Collection[str] = ()) -> tuple[Tensor, ...]:
    """The tensors by block of documents and of null labels, of a study with these outcomes."""
    return tuple(tensor for tensor in histogram_tensors(False, outcomes) if tensor.name.startswith(("block_", "null_", "screen_null_")))


NEURON_SUMS = ("count", "outside", "above_zero")
TOP_PREDICTION, EMBEDDING_PREDICTION = "top_prediction", "embedding_prediction"
EMBEDDING_PREDICTIONS = "embedding_predictions"
COUNTED_PARTS = ("count", "outside")
NEXT_TOKEN, PROBABILITY = "next_token", "probability"
FURTHER_OUTCOMES = (NEXT_TOKEN, PROBABILITY)  # beside top predictions: what comes next in the text, and what the model gives a token
PROBABILITY_UNITS = 2**32  # of a probability of 1: a thousand million positions of it fit an int64
NO_NEXT_TOKEN = "no_next_token"
# Counters <kind>_count and <kind>_outside of a tracked token, and the vocabulary's counter that their sums must equal.
PREDICTIONS = {
    TOP_PREDICTION: "predictions",
    EMBEDDING_PREDICTION: EMBEDDING_PREDICTIONS,
    NEXT_TOKEN: "next_tokens",
    PROBABILITY: "probability_sums",
}
# Sums by layer beside these: of windows' last positions, and of activations over the final norm's scale.
OUTCOME_SUMS = {
    NEXT_TOKEN: ("no_next_token_count", "no_next_token_outside", "next_token_scaled", "no_next_token_scaled"),
    PROBABILITY: ("probability_scaled",),
}
SCREEN_COUNTS = ("screen_count", "screen_current_count")
SCREEN_SUMS = ("screen_sum", "screen_squares", "screen_scaled", "screen_current_sum")
LEFT_OUT = -1  # in screen_token: the group of all tokens that are not screened
VOCABULARY_SUMS = ("occurrences", "predictions", "correct_predictions")
MOMENTS = ("mean", "moment_2", "moment_3", "moment_4")
EXAMPLE_PARTS = ("value", "document", "window", "position")
SIDES = ("top", "bottom")
BETWEEN = tuple(f"between_{side}" for side in SIDES)
BEFORE, AFTER = 40, 12  # positions around an example whose activations are kept: enough to read the sentence it stands in
CONTEXT = BEFORE + 1 + AFTER
CONTEXTS = tuple(f"{side}_context" for side in (*SIDES, *BETWEEN))
NEURON_TENSORS = (
    *NEURON_SUMS,
    *MOMENTS,
    "minimum",
    "maximum",
    *(f"{side}_{part}" for side in (*SIDES, *BETWEEN) for part in EXAMPLE_PARTS),
    *CONTEXTS,
)


def empty_tensors(
    layers: int,
    neurons: int,
    bins: int,
    tokens: int,
    vocabulary: int,
    examples: int,
    groups: int = 0,
    embedding_predictions: bool = False,
    outcomes: Collection[str] = (),
    blocks: int = FOLDS,
) -> dict[str, np.ndarray]:
    """Every tensor of the contract before anything is counted: the identity of the merge, once screen_token is filled in."""
    sizes = {"layer": layers, "neuron": neurons, "bin": bins, "token": tokens, "vocabulary": vocabulary,
             "rank": examples, "offset": CONTEXT, "outside": len(OUTSIDE), "group": groups, "sample": SAMPLED,
             "block": blocks, "band": BANDS, "random": RANDOM}  # fmt: skip
    return {
        tensor.name: np.full([sizes[dimension] for dimension in tensor.dimensions], empty_value(tensor.name), dtype=tensor.dtype)
        for tensor in histogram_tensors(embedding_predictions, outcomes)
    }


def empty_value(name: str) -> float | int:
    """What a tensor of the contract holds where nothing was counted."""
    if name in ("minimum", "bottom_value"):
        return float("inf")
    if name in ("maximum", "top_value"):
        return float("-inf")
    return -1 if name.endswith("_document") or name == "screen_token" else 0


def empty(
    layers: int,
    neurons: int,
    bins: int,
    token_ids: Sequence[int],
    vocabulary: int,
    examples: int,
    screened_ids: Sequence[int] = (),
    embedding_predictions: bool = False,
    outcomes: Collection[str] = (),
    blocks: int = FOLDS,
) -> Histograms:
    """Histograms of no windows."""
    groups = [*screened_ids, LEFT_OUT] if screened_ids else []
    tensors = empty_tensors(
        layers, neurons, bins, len(token_ids), vocabulary, examples, len(groups), embedding_predictions, outcomes, blocks
    )
    return Histograms(tensors | {"screen_token": np.array(groups, np.int32)}, 0, tuple(token_ids))


def merge(a: Histograms, b: Histograms) -> Histograms:
    """Histograms of the windows of both, which must share no document's position. Integers and examples are exact in any order.

    Moments are float64: another order changes their last digits. Raises ValueError where bins, neurons or tokens differ.
    """
    if (
        a.token_ids != b.token_ids
        or a.tensors.keys() != b.tensors.keys()
        or any(a[name].shape != b[name].shape for name in a.tensors)
        or not np.array_equal(a.screened_ids, b.screened_ids)
    ):
        raise ValueError("histograms of other tokens, neurons, bins or ranks cannot be merged")
    neurons = {name: (a[name][:], b[name][:]) for name in NEURON_TENSORS}
    merged = merge_neurons(
        {name: pair[0] for name, pair in neurons.items()}, a.positions, {name: pair[1] for name, pair in neurons.items()}, b.positions
    )
    of_blocks = [tensor.name for tensor in a.block_sums]
    summed = (*a.token_sums, *SCREEN_SUMS, *SCREEN_COUNTS, *a.outcome_sums, *a.vocabulary_sums, *of_blocks)
    merged |= {name: a[name][:] + b[name][:] for name in summed}
    merged["screen_token"] = a.screened_ids
    merged |= _merged_random(a, b)
    merged |= merged_samples(a.tensors, b.tensors)
    if a.keeps_positions:
        merged |= merged_kept(a.tensors, b.tensors, a.token_ids, a.outcomes)
    return Histograms(merged, a.positions + b.positions, a.token_ids)


def merge_neurons(a: Mapping[str, np.ndarray], positions_a: int, b: Mapping[str, np.ndarray], positions_b: int) -> dict[str, np.ndarray]:
    """Merge the tensors NEURON_TENSORS of a slab of neurons, e.g. one layer: arrays [..., neuron] with their own last axis."""
    merged = {name: a[name] + b[name] for name in NEURON_SUMS}
    merged |= merged_moments(
        a, (positions_a - a["outside"][..., 2]).astype(np.float64), b, (positions_b - b["outside"][..., 2]).astype(np.float64)
    )
    merged["minimum"] = np.minimum(a["minimum"], b["minimum"])
    merged["maximum"] = np.maximum(a["maximum"], b["maximum"])
    for side, sign in zip(SIDES, (1, -1), strict=True):
        both = [np.concatenate([a[f"{side}_{part}"], b[f"{side}_{part}"]], axis=-1) for part in EXAMPLE_PARTS]
        *ranked, order = ranked_examples(*both, sign=sign, keep=a[f"{side}_value"].shape[-1])
        merged |= {f"{side}_{part}": array for part, array in zip(EXAMPLE_PARTS, ranked, strict=True)}
        contexts = np.concatenate([a[f"{side}_context"], b[f"{side}_context"]], axis=-2)
        of_ranked = np.take_along_axis(contexts, order[..., None], axis=-2)
        of_ranked[merged[f"{side}_document"] < 0] = 0
        merged[f"{side}_context"] = of_ranked
    for side in BETWEEN:
        merged |= merged_between(a, b, side)
    return merged


def _merged_random(a: Histograms, b: Histograms) -> dict[str, np.ndarray]:
    """The random places of both, and the activations there, [layer, neuron, random, ...]."""
    places = MergedPlaces([a.tensors, b.tensors])
    merged = dict(places.tensors)
    for name in RANDOM_OF_NEURONS:
        both = a[name][:], b[name][:]
        merged[name] = places.fill(np.zeros_like(both[0]), both.__getitem__, axis=2)
    return merged


def merged_moments(a: Mapping[str, Any], count_a: Any, b: Mapping[str, Any], count_b: Any) -> dict[str, Any]:
    """Mean and central sums of a union of two samples: float64 arrays [..., neuron] of NumPy or of PyTorch, counts too.

    A sample of nothing has mean and sums 0 and changes no bit of the other.
    Source: P. Pebay, Formulas for Robust, One-Pass Parallel Computation of Covariances and Arbitrary-Order Statistical
    Moments, Sandia report SAND2008-6212 (2008), equations 2.1 and 3.1.
    """
    both = count_a + count_b
    total = both + (both == 0)
    gap = b["mean"] - a["mean"]
    product = count_a * count_b
    return {
        "mean": a["mean"] + gap * (count_b / total),
        "moment_2": a["moment_2"] + b["moment_2"] + gap**2 * product / total,
        "moment_3": a["moment_3"]
        + b["moment_3"]
        + gap**3 * product * (count_a - count_b) / total**2
        + 3 * gap * (count_a * b["moment_2"] - count_b * a["moment_2"]) / total,
        "moment_4": a["moment_4"]
        + b["moment_4"]
        + gap**4 * product * (count_a**2 - product + count_b**2) / total**3
        + 6 * gap**2 * (count_a**2 * b["moment_2"] + count_b**2 * a["moment_2"]) / total**2
        + 4 * gap * (count_a * b["moment_3"] - count_b * a["moment_3"]) / total,
    }


def ranked_examples(
    value: np.ndarray, document: np.ndarray, window: np.ndarray, position: np.ndarray, *, sign: int, keep: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The first `keep` of candidates [..., candidate], one a document, most extreme first (sign 1: highest, -1: lowest); and which they are.

    Equal values: lower document, then lower window, then lower position. Document -1 is no candidate.
    """
    parts = [value, document, window, position]
    is_none = document < 0
    by_document = np.lexsort((position, window, -sign * value, document, is_none))
    parts = [np.take_along_axis(part, by_document, axis=-1) for part in parts]
    is_repeated = np.zeros(parts[1].shape, dtype=bool)
    is_repeated[..., 1:] = parts[1][..., 1:] == parts[1][..., :-1]
    parts[0] = np.where(is_repeated, np.float32(-sign * np.inf), parts[0])
    parts[1] = np.where(is_repeated, -1, parts[1])
    parts[2:] = [np.where(is_repeated, np.int32(0), part) for part in parts[2:]]
    by_rank = np.lexsort((parts[3], parts[2], parts[1], -sign * parts[0], parts[1] < 0))[..., :keep]
    first, second, third, fourth, order = (np.take_along_axis(part, by_rank, axis=-1) for part in (*parts, by_document))
    return first, second, third, fourth, order
