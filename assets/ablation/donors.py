"""Activations that resampling puts in: what the neuron has at random positions of the corpus.

The pass kept the activations of all neurons at such positions: its background, the counted positions of lowest seeded hash. So no window is
run for donors, but in a study that keeps no positions. Never position 0: the activation at the beginning-of-sequence token is like no other.
Changes nothing in the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.ablation.ablated_positions import SEED, WINDOW
from assets.counting.batches import Batch, batches, padded_lengths, rows_of_batch
from assets.counting.histograms import Histograms
from assets.counting.kept_positions import rows_of_tensors
from assets.model.language_model import LanguageModel

if TYPE_CHECKING:
    import torch

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


def donors(model: LanguageModel, counted: Histograms, windows: pl.LazyFrame, batch_positions: int, neurons: Neurons) -> Donors:
    """Donors of these neurons: kept by the pass (`counted`) or, where it kept none, out of windows of `windows`, the table token_windows."""
    kept = kept_donors(counted, neurons)
    return kept if len(kept.documents) else donors_of_windows(model, chosen_windows(windows, DONORS), neurons, batch_positions)


def kept_donors(counted: Histograms, neurons: Neurons, most: int = DONORS) -> Donors:
    """The first `most` background positions that the pass kept, of lowest hash, or all that there are; none where it kept none.

    Half-precision, as the pass keeps them. Of each layer the rows up to the last donor are read, one layer at a time.
    """
    import torch

    if not counted.keeps_positions:
        return Donors({layer: torch.empty(0, len(chosen)) for layer, chosen in neurons.items()}, np.empty(0, np.int64), neurons)
    rows = rows_of_tensors(counted.tensors)
    is_background = np.asarray(counted["kept_is_background"][: len(rows)]).astype(bool)
    places = np.flatnonzero(is_background & (rows.position > 0))[:most]
    stop = int(places[-1]) + 1 if places.size else 0
    activations = {}
    for layer, chosen in neurons.items():
        slab = np.asarray(counted["kept_activations"][:stop, layer])[places][:, list(chosen)]  # float16 [donor, neuron]
        activations[layer] = torch.from_numpy(slab.astype(np.float32))
    return Donors(activations, rows.document[places], neurons)


def chosen_windows(windows: pl.LazyFrame, most: int, seed: int = SEED) -> pl.DataFrame:
    """The first `most` windows in a seeded order.

    `windows` is the table token_windows, all shards; how they are cut does not matter. Windows of fewer than three tokens hold no
    position with both a token before and a token after it, and are left out.
    """
    found = windows.filter(pl.col("length") > 2).select(WINDOW).sort(WINDOW).collect()
    order = np.random.default_rng(seed).permutation(found.height)
    return found[order[:most]].lazy().join(windows, on=WINDOW, how="left", maintain_order="left").collect()


def donors_of_windows(model: LanguageModel, windows: pl.DataFrame, neurons: Neurons, batch_positions: int, seed: int = SEED) -> Donors:
    """At least DONORS random positions of the first DONORS windows (from chosen_windows; fewer windows give several each)."""
    import torch

    generator = np.random.default_rng([seed, 1])
    chosen = windows.head(DONORS)
    each = -(-DONORS // max(1, chosen.height))  # positions of each window
    kept: dict[int, list[torch.Tensor]] = {layer: [] for layer in neurons}
    documents = []
    for batch in _padded_batches(model, chosen, batch_positions):
        filled = np.flatnonzero(batch.lengths > 0)
        rows = np.repeat(filled, each)
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


def _padded_batches(model: LanguageModel, windows: pl.DataFrame, batch_positions: int) -> list[Batch]:
    """The windows as padded batches of about `batch_positions` positions."""
    import torch

    lengths = np.unique(padded_lengths(windows["length"].to_numpy().astype(np.int64), model.facts.context_length))
    threads, neurons = torch.get_num_threads(), model.facts.neurons
    rows = {length: rows_of_batch(length, batch_positions, threads, neurons) for length in lengths.tolist()}
    return list(batches(windows, model.facts.context_length, model.facts.beginning_token_id, rows))
