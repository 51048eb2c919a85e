"""The table of neighbours by hand, the sample that neurons are compared over, and the directions of weights against the model's own."""

import numpy as np
import polars as pl
import pytest

from assets.atlas import sampled_activations as sampled
from assets.atlas.atlas_neighbours import KINDS, atlas_neighbours
from assets.atlas.likeness import Neighbours
from assets.atlas.sampled_activations import FEWEST, POSITIONS, number_of_positions, sampled_activations
from assets.contracts import ATLAS_NEIGHBOURS
from assets.counting.histograms import Histograms
from tests.assets.probes.made_kept import LAYERS, NEURONS, Corpus


def test_rows_stand_by_neuron_kind_end_and_rank() -> None:
    together = Neighbours(np.full((4, 2, 2), -1, np.int32), np.zeros((4, 2, 2), np.float32))
    writes = Neighbours(together.entries.copy(), together.likeness.copy())
    together.entries[1], together.likeness[1] = [[3, 0], [2, -1]], [[0.75, 0.5], [-0.25, 0]]
    writes.entries[1, 0, 0], writes.likeness[1, 0, 0] = 2, 0.125
    writes.entries[3, 1, 0], writes.likeness[3, 1, 0] = 0, -1
    frames = list(atlas_neighbours({"together": together, "writes": writes}, layers=2, neurons=2))
    assert [frame.schema for frame in frames] == [ATLAS_NEIGHBOURS.schema] * 2
    assert pl.concat(frames).rows() == [
        (0, 1, "together", "alike", 1, 1, 1, 0.75),
        (0, 1, "together", "alike", 2, 0, 0, 0.5),
        (0, 1, "together", "opposite", 1, 1, 0, -0.25),
        (0, 1, "writes", "alike", 1, 1, 0, 0.125),
        (1, 1, "writes", "opposite", 1, 0, 0, -1.0),
    ]
    assert [frame.height for frame in atlas_neighbours({}, 2, 2)] == [0, 0]
    assert list(KINDS) == ["together", "writes", "reads"]


def test_the_sample_is_the_first_background_positions_as_they_were_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Corpus(3, positions=4000).kept(room=200)
    is_background = np.asarray(kept["kept_is_background"]).astype(bool) & (np.asarray(kept["kept_document"]) >= 0)
    expected = np.asarray(kept["kept_activations"])[is_background].reshape(-1, LAYERS * NEURONS).T
    assert expected.shape[1] == 100
    np.testing.assert_array_equal(sampled_activations(kept), expected.astype(np.float32))
    monkeypatch.setattr(sampled, "POSITIONS", 30)
    np.testing.assert_array_equal(sampled_activations(kept), expected[:, :30].astype(np.float32))


def test_where_no_positions_are_kept_there_is_no_sample() -> None:
    none = Histograms({"count": np.zeros((2, 3, 4), np.int64)}, 10, ())
    assert sampled_activations(none).shape == (6, 0)


def test_a_model_of_many_neurons_is_compared_over_fewer_positions_and_never_over_hardly_any() -> None:
    assert number_of_positions(48) == number_of_positions(46_080) == number_of_positions(184_320) == POSITIONS
    assert FEWEST < number_of_positions(300_000) < POSITIONS
    assert number_of_positions(10**7) == FEWEST
