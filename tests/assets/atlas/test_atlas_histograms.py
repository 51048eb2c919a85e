"""The histogram of every neuron: each position counted once, at its level."""

import numpy as np
import polars as pl

from assets.atlas.atlas_histograms import atlas_histograms
from assets.contracts import ATLAS_HISTOGRAMS
from tests.assets.atlas.made_corpus import BINS, LAYERS, NEURONS, MadeCorpus


def test_the_table_is_what_a_loop_over_all_positions_counts() -> None:
    made = MadeCorpus()
    table = pl.concat(atlas_histograms(made.histograms))
    assert table.schema == ATLAS_HISTOGRAMS.schema
    expected = []
    for layer, neuron in np.ndindex(LAYERS, NEURONS):
        counts = [0] * int(BINS["bins"])
        for activations in made.activations:
            for activation in activations[layer, 1:, neuron]:
                place = int(np.floor(activation * np.float32(BINS["per_unit"]))) - int(BINS["first_bin"])
                if 0 <= place < len(counts):
                    counts[place] += 1
        expected.append((layer, neuron, counts))
    assert table.rows() == expected
    assert 0 < sum(expected[0][2]) < sum(len(activations[0]) for activations in made.activations), "some lie below the bins"
