"""The bins of every neuron: the study's own, or a power-of-two width for each, calibrated on a first look at the corpus.

A power of two as `per_unit` makes activation * per_unit exact in float32, so a bin's edges are exactly where they are said to
be. Counting into the bins is not done here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.counting.batches import batches, first_counted
from assets.counting.histograms import ActivationBins, HistogramError
from assets.counting.sending import sent
from assets.histograms.row_independence import rows_of_batches, rows_of_last_batches
from assets.model.language_model import LanguageModel
from assets.model.plain_model import last_hidden, neurons_reported
from assets.progress import Tally, Told
from assets.study import CalibratedBins, FixedBins

if TYPE_CHECKING:
    import torch

CALIBRATION_TOKENS = 32_768  # docs/decisions/0036-calibration-on-fewer-positions.md: what fewer lose; the headroom covers what is rarer
HEADROOM = 1.25  # the largest activation seen may be exceeded by a quarter before anything overflows
LARGEST_EXACT = 2**24  # float32 holds every whole number up to here


def fixed_bins(layers: int, neurons: int, choice: FixedBins) -> ActivationBins:
    """The study's bins for every neuron. Raises HistogramError where bin numbers would not be exact in float32."""
    first, last = round(choice.low * choice.per_unit), round(choice.high * choice.per_unit)
    if max(abs(first), abs(last)) > LARGEST_EXACT or float(np.float32(choice.per_unit)) != choice.per_unit:
        raise HistogramError(f"bins: per_unit {choice.per_unit} with edges {choice.low} and {choice.high} is not exact in float32; "
                             "choose a per_unit such as 5, 8 or 0.25 and edges below 2^24 bins")  # fmt: skip
    shape = (layers, neurons)
    return ActivationBins(np.full(shape, choice.per_unit, np.float32), np.full(shape, first, np.int32), last - first)


def calibrated_bins(
    model: LanguageModel,
    windows: pl.DataFrame,
    choice: CalibratedBins,
    batch_positions: int,
    *,
    count_bos: bool = False,
    progress: Told | None = None,
) -> ActivationBins:
    """A power-of-two width per neuron from its largest absolute activation over windows of the first shard.

    At most CALIBRATION_TOKENS are read, from windows spread evenly over the shard. Half the bins lie below 0. A neuron that
    never leaves 0 gets the middle width of its layer. `progress` is told tokens done and in all after each batch.
    """
    spread = evenly_spread(windows, CALIBRATION_TOKENS)
    largest = largest_activations(model, spread, batch_positions, count_bos=count_bos, progress=progress)
    return bins_that_hold(largest, choice.calibrated)


def bins_for(choice: FixedBins | CalibratedBins, layers: int, neurons: int, largest: Callable[[], np.ndarray]) -> ActivationBins:
    """The study's bins. `largest` finds each neuron's largest absolute activation, float32 [layer, neuron]; asked only where it decides."""
    return fixed_bins(layers, neurons, choice) if isinstance(choice, FixedBins) else bins_that_hold(largest(), choice.calibrated)


def slot_finder(bins: ActivationBins) -> "Callable[[int, torch.Tensor], torch.Tensor]":
    """A function from a layer and its activations [..., neuron], float32, to the bin of each: below and above all bins one number each."""
    import torch

    def slots(layer: int, values: torch.Tensor) -> torch.Tensor:
        per_unit, first = (torch.from_numpy(array[layer]).to(values.device) for array in (bins.per_unit, bins.first_bin))
        return ((values * per_unit).floor() - first).clamp(-1, bins.bins).nan_to_num(-2.0)

    return slots


def bins_that_hold(largest: np.ndarray, bins: int) -> ActivationBins:
    """Bins [-w * bins / 2, w * bins / 2) with the smallest power of two w that holds HEADROOM x `largest`, float32 [layer, neuron]."""
    half = bins // 2
    is_alive = largest > 0
    exponent = np.zeros(largest.shape, dtype=np.int64)
    exponent[is_alive] = np.floor(np.log2(half / (HEADROOM * largest[is_alive].astype(np.float64)))).astype(np.int64)
    exponent = np.where(is_alive, exponent, _middle_of_layer(exponent, is_alive)[:, None])
    per_unit = np.ldexp(np.float32(1), np.clip(exponent, -100, 100).astype(np.int32))
    return ActivationBins(per_unit, np.full(largest.shape, -half, np.int32), bins)


def _middle_of_layer(exponent: np.ndarray, is_alive: np.ndarray) -> np.ndarray:
    """The lower median exponent of each layer's live neurons; 0 (a width of 1) where none lives. Int64 [layer]."""
    ordered = np.sort(np.where(is_alive, exponent, np.iinfo(np.int64).max), axis=1)
    alive = is_alive.sum(axis=1)
    middle = np.take_along_axis(ordered, np.maximum(alive - 1, 0)[:, None] // 2, axis=1)[:, 0]
    return np.where(alive > 0, middle, 0)


def evenly_spread(windows: pl.DataFrame, tokens: int) -> pl.DataFrame:
    """Every n-th window, so that about `tokens` tokens remain; all windows if they are no more."""
    step = -(-int(windows["length"].sum()) // tokens)
    return windows.gather_every(max(step, 1))


def largest_activations(
    model: LanguageModel, windows: pl.DataFrame, batch_positions: int, *, count_bos: bool, progress: Told | None = None
) -> np.ndarray:
    """Largest finite absolute activation over the counted positions, float32 [layer, neuron]."""
    import torch

    facts = model.facts
    largest = torch.zeros(facts.layers, facts.neurons, device=model.device)

    def note(layer: int, activations: torch.Tensor) -> None:
        sizes = activations.float().abs().masked_fill(~is_counted[:, :, None], 0.0)
        largest[layer] = torch.maximum(largest[layer], sizes.nan_to_num(0.0, 0.0, 0.0).amax((0, 1)))

    rows = rows_of_batches(model, windows, batch_positions)
    last_rows = rows_of_last_batches(model, windows, rows)
    stream = batches(windows, facts.context_length, facts.beginning_token_id, rows, last_rows)
    tally = Tally(progress, int(windows["length"].sum()))
    with torch.inference_mode(), neurons_reported(model, note):
        for batch in stream:
            places = np.arange(batch.token_ids.shape[1])
            counted = (places < batch.lengths[:, None]) & (places >= first_counted(count_bos))
            is_counted = sent(counted, model.device)
            last_hidden(model, sent(batch.token_ids, model.device))
            tally.add(int(batch.lengths.sum()))
    return largest.cpu().numpy()
