"""Places drawn from the whole corpus whatever the activation, and the neurons' activations around them: one run of these few windows.

The run is plain code on each window by itself, without logits: its activations differ from the pass's in the last bits, far below the three
digits that are kept around extremes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.counting.histograms import AFTER, BEFORE, CONTEXT
from assets.model.language_model import LanguageModel
from assets.model.plain_model import last_hidden, neurons_reported
from assets.statistics.neuron_contexts import with_contexts

if TYPE_CHECKING:
    pass

SEED = 20230211


def random_places(windows: pl.LazyFrame, wanted: int, count_bos: bool, seed: int = SEED) -> pl.DataFrame:
    """`wanted` positions of the corpus, each as likely as any other counted one and none twice: rank, document, window_in_document,
    peak_position.

    `windows` is the table token_windows, all shards; how they are cut does not matter. Position 0 is drawn only with `count_bos`.
    A corpus of fewer positions gives all.
    """
    first = 0 if count_bos else 1
    found = windows.select("document", "window_in_document", "length").sort("document", "window_in_document").collect()
    ends = (found["length"].to_numpy().astype(np.int64) - first).cumsum()  # counted positions up to the end of each window
    total = int(ends[-1]) if len(ends) else 0
    drawn = np.random.default_rng(seed).choice(total, min(wanted, total), replace=False) if total else np.empty(0, np.int64)
    window = np.searchsorted(ends, drawn, side="right")
    return found[window].select("document", "window_in_document").with_columns(
        peak_position=pl.Series(drawn - np.concatenate([[0], ends])[window] + first), rank=pl.int_range(1, pl.len() + 1)
    )  # fmt: skip


def random_contexts(model: LanguageModel, places: pl.DataFrame, neurons: Sequence[tuple[int, int]], windows: pl.LazyFrame) -> pl.DataFrame:
    """The places of random_places, the same ones for every neuron, with activations: columns as of extreme_contexts, side `random`."""
    window = ["document", "window_in_document"]
    found = windows.join(places.lazy().select(window).unique(), on=window, how="semi").select(*window, "token_ids").collect()
    texts = {(document, number): ids for document, number, ids in found.iter_rows()}
    studied = pl.DataFrame(list(neurons), schema={"layer": pl.Int32, "neuron": pl.Int32}, orient="row")
    around = np.empty((len(neurons), places.height, CONTEXT), np.float32)
    for place, (document, number, peak) in enumerate(places.select(*window, "peak_position").iter_rows()):
        around[:, place] = _activations_around(model, texts[document, number], peak, neurons)
    contexts = around.reshape(-1, CONTEXT)
    both = studied.join(places, how="cross", maintain_order="left_right")
    at_place = pl.Series(contexts[:, BEFORE], dtype=pl.Float32)
    return with_contexts(both.with_columns(side=pl.lit("random"), peak_activation=at_place), contexts)


def _activations_around(model: LanguageModel, ids: Sequence[int], peak: int, neurons: Sequence[tuple[int, int]]) -> np.ndarray:
    """Float32 [neuron, CONTEXT], in the order given, from BEFORE positions before the peak on; 0 outside the window."""
    import torch

    by_layer: dict[int, list[int]] = {}  # places in `neurons`
    for place, (layer, _) in enumerate(neurons):
        by_layer.setdefault(layer, []).append(place)
    first, stop = max(0, peak - BEFORE), min(len(ids), peak + AFTER + 1)
    around = np.zeros((len(neurons), CONTEXT), np.float32)

    def note(layer: int, activations: torch.Tensor) -> None:
        if layer in by_layer:
            own = torch.tensor([neurons[place][1] for place in by_layer[layer]], device=activations.device)
            values = activations[0, first:stop].index_select(-1, own).float().t()  # [neuron, position]
            around[by_layer[layer], first - peak + BEFORE : stop - peak + BEFORE] = values.cpu().numpy()

    with torch.inference_mode(), neurons_reported(model, note):
        last_hidden(model, torch.tensor([list(ids[:stop])], device=model.device))  # what comes later changes nothing before
    return around
