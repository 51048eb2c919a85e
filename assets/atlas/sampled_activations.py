"""The activations of all neurons at a sample of the counted positions, read off the counters: what neurons are compared over.

The sample is the background of the kept positions (assets/counting/kept_positions.py), which is drawn from all that are counted; they stand
in the order of a seeded hash, so that the first of them are a sample too.
"""

import numpy as np

from assets.counting.histograms import Histograms
from assets.probes.kept_cases import kept_of

POSITIONS, FEWEST = 1024, 256  # of the sample: chance moves a correlation over them by 0.03 and by 0.06
PRODUCTS = 2**45  # multiplications to find neighbours with: a minute with bfloat16 instructions, ten without


def number_of_positions(neurons: int) -> int:
    """How many positions a model of so many neurons, over all layers, is compared over at most."""
    return min(POSITIONS, max(FEWEST, PRODUCTS // neurons**2))


def sampled_activations(histograms: Histograms) -> np.ndarray:
    """Float32 [neuron of all layers, position], exactly as they were kept, in half precision. No position where the study keeps none."""
    layers, neurons = histograms.layers, histograms.neurons
    places = np.flatnonzero(kept_of(histograms).is_background)[: number_of_positions(layers * neurons)]
    values = np.empty((layers * neurons, len(places)), np.float32)
    if places.size:
        for layer in range(layers):
            kept = np.asarray(histograms["kept_activations"][: places[-1] + 1, layer])  # [position, neuron]
            values[layer * neurons : (layer + 1) * neurons] = kept[places].T
    return values
