"""What an ablated activation is replaced with: nothing, the corpus mean, another position's activation, or (as published) its negation.

Holds the kinds, and the drawing of activations from other positions of the corpus. Runs the model, changes nothing in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.ablation.ablated_positions import SEED, padded_batches
from assets.model.language_model import LanguageModel

if TYPE_CHECKING:
    import torch

ABLATIONS = ("zero", "mean", "resample", "negation")
DONORS = 256  # positions that resampled activations are drawn from: their mean is then within a sixteenth of a standard deviation

Neurons = Mapping[int, Sequence[int]]  # layer -> its neurons, in ascending order


@dataclass(frozen=True)
class Donors:
    """Activations at random corpus positions."""

    activations: "Mapping[int, torch.Tensor]"  # layer -> float32 [donor, neuron of Neurons]
    documents: np.ndarray  # int64 [donor]
    neurons: Neurons = field(default_factory=dict)

    def of(self, neurons: Neurons) -> "Donors":
        """The same positions, of some of the neurons."""
        columns = {layer: np.searchsorted(np.asarray(self.neurons[layer]), np.asarray(some)) for layer, some in neurons.items()}
        return Donors({layer: self.activations[layer][:, some] for layer, some in columns.items()}, self.documents, neurons)

    def drawn_for(self, documents: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Int64 [position]: one random donor for each position, from another document wherever there is one."""
        draws = generator.random((len(documents), len(self.documents)))
        return np.argmax(draws + (self.documents != documents[:, None]), axis=1)  # a draw is below 1: any other document comes first


def donors(model: LanguageModel, windows: pl.DataFrame, neurons: Neurons, batch_positions: int, seed: int = SEED) -> Donors:
    """At least DONORS random positions of the first DONORS windows (from chosen_windows; fewer windows give several each)."""
    import torch

    generator = np.random.default_rng([seed, 1])
    chosen = windows.head(DONORS)
    each = -(-DONORS // max(1, chosen.height))  # positions of each window
    kept: dict[int, list[torch.Tensor]] = {layer: [] for layer in neurons}
    documents = []
    for batch in padded_batches(model, chosen, batch_positions):
        filled = np.flatnonzero(batch.lengths > 0)
        rows = np.repeat(filled, each)
        # Never position 0: the activation at the beginning-of-sequence token is like no other.
        places = 1 + np.floor(generator.random(rows.size) * (batch.lengths[rows] - 1)).astype(np.int64)
        documents.append(batch.documents[rows])
        seen = _activations(model, batch.token_ids[filled], neurons, np.repeat(np.arange(filled.size), each), places)
        for layer, values in seen.items():
            kept[layer].append(values)
    return Donors({layer: torch.cat(values) for layer, values in kept.items()}, np.concatenate(documents), neurons)


def _activations(
    model: LanguageModel, token_ids: np.ndarray, neurons: Neurons, rows: np.ndarray, places: np.ndarray
) -> "dict[int, torch.Tensor]":
    """Layer -> float32 [place, neuron]: activations at the given rows and positions of a batch [row, position]."""
    import torch

    kept: dict[int, torch.Tensor] = {}

    def keep(layer: int):  # type: ignore[no-untyped-def]
        def hook(activations: torch.Tensor, hook: object) -> None:
            kept[layer] = activations[rows, places][:, list(neurons[layer])].float()

        return model.neuron_hook(layer), hook

    with torch.inference_mode(), model.bridge.hooks(fwd_hooks=[keep(layer) for layer in neurons]):
        model.bridge(torch.from_numpy(token_ids).to(model.device), use_cache=False, output_attentions=False)
    return kept


def replacements(clean: "torch.Tensor", means: "torch.Tensor", drawn: "torch.Tensor") -> "torch.Tensor":
    """Float32 [ablation, neuron] in the order of ABLATIONS; `clean`, `means` and `drawn` are [neuron]."""
    import torch

    return torch.stack([torch.zeros_like(clean), means, drawn, -clean])


def corpus_means(neuron_statistics: pl.DataFrame, layer: int, neurons: Sequence[int]) -> np.ndarray:
    """Float32 [neuron]: means from the table neuron_statistics; 0 where no activation was a number."""
    rows = neuron_statistics.filter(pl.col("layer") == layer).sort("neuron")
    return rows["mean"].fill_null(0.0).fill_nan(0.0).to_numpy()[list(neurons)].astype(np.float32)
