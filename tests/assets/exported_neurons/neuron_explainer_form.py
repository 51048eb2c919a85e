"""The fields and types of neuron-explainer's classes, as its reader takes them: any other field makes it fail, a missing one without default too.

Written down from the dataclasses of neuron_explainer/activations/activations.py of openai/automated-interpretability, which are unchanged in the
package automated-interpretability 0.0.24 but for two more optional fields of ActivationRecord.
"""

from typing import Any

TEXT, WHOLE, NUMBER = (str,), (int,), (int, float)
MOMENTS = ("mean", "variance", "skewness", "kurtosis")


def check_neuron_record(given: Any) -> None:
    """Raise AssertionError for what is no NeuronRecord."""
    assert set(given) == {
        "dataclass_name", "neuron_id", "random_sample", "random_sample_by_quantile", "quantile_boundaries", "most_positive_activation_records", *MOMENTS,
    }  # fmt: skip
    assert given["dataclass_name"] == "NeuronRecord"
    assert set(given["neuron_id"]) == {"dataclass_name", "layer_index", "neuron_index"}
    assert given["neuron_id"]["dataclass_name"] == "NeuronId"
    assert all(type(given["neuron_id"][name]) in WHOLE for name in ("layer_index", "neuron_index"))
    assert all(given[name] is None or type(given[name]) in NUMBER for name in MOMENTS)
    assert given["random_sample_by_quantile"] is None  # or a list of lists of passages
    assert given["quantile_boundaries"] is None  # or a list of numbers
    for passage in (*given["random_sample"], *given["most_positive_activation_records"]):
        assert set(passage) == {"dataclass_name", "tokens", "activations"}
        assert passage["dataclass_name"] == "ActivationRecord"
        assert len(passage["tokens"]) == len(passage["activations"]) > 0  # readers take the largest of each
        assert {type(text) for text in passage["tokens"]} <= set(TEXT)
        assert {type(activation) for activation in passage["activations"]} <= set(NUMBER)
