"""A neuron as tools of automated interpretability read one: the class NeuronRecord of neuron-explainer, written as JSON.

Holds which number of the atlas goes where in that form, and which passages can be told in it; files are in exported_folder.py. What was not
counted is left out, never filled in. The form's fields and what is lost in it: docs/decisions/0044-export.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Exported = dict[str, Any]


@dataclass(frozen=True)
class End:
    """One end of a neuron's activations, told as a neuron of its own: readers take what is below 0 for a neuron at rest."""

    name: str
    side: str  # of an example
    sign: int  # with which activations are multiplied, so that the end is the high one


ENDS = (End("high", "top", 1), End("low", "bottom", -1))


def exported_neuron(record: Mapping[str, Any], end: End, texts: Mapping[int, str], first_counted: int) -> Exported:
    """The record (assets/atlas/neuron_record.py) as a NeuronRecord of one end. `first_counted`: the first position of a window that is counted.

    Raises KeyError for a token that `texts` does not hold.
    """
    statistics = record["statistics"] or {}

    def passages(side: str) -> list[Exported]:
        told = [_passage(example, end.sign, texts, first_counted) for example in record["examples"] if example["side"] == side]
        return [passage for passage in told if passage is not None]

    return {
        "dataclass_name": "NeuronRecord",
        "neuron_id": {"dataclass_name": "NeuronId", "layer_index": record["layer"], "neuron_index": record["neuron"]},
        "random_sample": passages("random"),
        "random_sample_by_quantile": None,
        "quantile_boundaries": None,
        "mean": _signed(statistics.get("mean"), end.sign),
        "variance": statistics.get("variance"),
        "skewness": _signed(statistics.get("skewness"), end.sign),
        "kurtosis": statistics.get("kurtosis"),
        "most_positive_activation_records": passages(end.side),
    }


def _passage(example: Mapping[str, Any], sign: int, texts: Mapping[int, str], first_counted: int) -> Exported | None:
    """The tokens around an example and their activations; None where the activation at its peak is no number."""
    peak = example["position"] - example["first_position"]
    activations = list(example["activations"])
    activations[peak] = example["activation"]  # as it was counted; around it are the three digits of the atlas
    begin, end = _told(activations, peak, max(0, first_counted - example["first_position"]))
    if begin == end:
        return None
    return {
        "dataclass_name": "ActivationRecord",
        "tokens": [texts[token_id] for token_id in example["token_ids"][begin:end]],
        "activations": [_signed(activation, sign) for activation in activations[begin:end]],
    }


def _told(activations: Sequence[float | None], peak: int, first: int) -> tuple[int, int]:
    """Begin and end of the numbers around the peak, from `first` on.

    The form has no word for an activation that is missing or not counted, and a large one at the beginning-of-sequence token would make a
    reader, who divides by the largest, see all others as nothing.
    """
    if activations[peak] is None:
        return peak, peak
    begin, end = peak, peak + 1
    while begin > first and activations[begin - 1] is not None:
        begin -= 1
    while end < len(activations) and activations[end] is not None:
        end += 1
    return begin, end


def _signed(value: float | None, sign: int) -> float | None:
    """The value times the sign; 0 has none."""
    return None if value is None else sign * value + 0.0
