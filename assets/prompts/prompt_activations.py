"""The activations of chosen neurons at each token of the prompts, and what the model predicts after it.

A prompt starts with the beginning-of-sequence token, as a window of the corpus does; its position 0 is in the table, whether the
study counts it or not.
"""

from collections.abc import Sequence

import polars as pl

from assets.contracts import PROMPT_ACTIVATIONS, conform
from assets.model.language_model import LanguageModel
from assets.model.text_activations import text_activations
from assets.prompts.prompts import EncodedPrompt


def prompt_activations(model: LanguageModel, prompts: Sequence[EncodedPrompt], neurons: Sequence[tuple[int, int]]) -> pl.DataFrame:
    """The table `prompt_activations`: every variant of every prompt, for all `neurons` (layer, neuron)."""
    frames = [
        _variant(model, ids, neurons).with_columns(prompt=pl.lit(prompt.name), variant=pl.lit(variant))
        for prompt in prompts
        for variant, ids, _ in prompt.variants
        if neurons
    ]
    return conform(PROMPT_ACTIVATIONS, pl.concat(frames) if frames else pl.DataFrame(schema=PROMPT_ACTIVATIONS.schema))


def _variant(model: LanguageModel, ids: Sequence[int], neurons: Sequence[tuple[int, int]]) -> pl.DataFrame:
    studied = pl.DataFrame(list(neurons), schema=["layer", "neuron"], orient="row").with_row_index("row")
    return text_activations(model, ids, neurons).join(studied, on="row", maintain_order="left").drop("row")
