"""One pass, samples, ablation: a planted neuron that makes half of a token's predictions is declared among sixty pairs, and no other."""

from types import SimpleNamespace

import polars as pl
import pytest

from assets.ablation.neuron_ablation import Ablation, neuron_ablation
from assets.counting.position_samples import sampled_positions
from assets.histograms.activation_bins import fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.model.loading import load
from assets.study import FixedBins
from reports.evidence import ablated_neurons
from tests.assets.ablation.small_corpus import Studied, pairs_of, windows_of
from tests.planted import LAYERS, PLANTED, Role, planted_model, planted_token_id
from tests.slow_patching import plain_model

AN = planted_token_id(" an")
NEURONS = 200
OTHER_SOURCE = Role(2, 14, {" ate": 1.0}, 2.83, {" an": 1.0})
"""Makes the model predict " an" after " ate", where PLANTED is silent."""
NULLS = range(30, 89)
TEXTS = ("I climbed up the apple tree and picked an apple.", "I rested under the tree and ate it.")


@pytest.fixture(scope="module")
def ablation(tmp_path_factory: pytest.TempPathFactory) -> Ablation:
    """PLANTED and 59 noisy neurons of its layer, where the pass sampled " an"."""
    folder = planted_model(tmp_path_factory.mktemp("power") / "model", neurons=NEURONS, extra=(OTHER_SOURCE,))
    model = load.__wrapped__(folder, device="cpu")
    ids = [[0, *model.tokenizer(text, add_special_tokens=False)["input_ids"]] for text in TEXTS]
    windows = windows_of([ids[document % 2] for document in range(40)])
    bins = fixed_bins(LAYERS, NEURONS, FixedBins())
    counted = count_windows(model, windows, bins, [AN], count_bos=False, examples=1, batch_positions=512)
    studied = Studied(model, plain_model(folder), windows)
    pairs = pairs_of([(AN, PLANTED.layer, neuron) for neuron in (PLANTED.neuron, *NULLS)])
    sampled, predictions = sampled_positions(counted.tensors, [AN]), studied.position_predictions.lazy()
    return neuron_ablation(model, windows.lazy(), predictions, sampled, pairs, studied.statistics, 40, studied.donors_of)


def test_a_neuron_that_makes_half_of_the_predictions_stands_out_among_sixty_pairs_and_no_other_does(ablation: Ablation) -> None:
    effects = ablation.effects
    data = SimpleNamespace(table=lambda name: effects)
    declared = [found for found in ablated_neurons(data, AN) if found.stands_out]  # type: ignore[arg-type]
    assert [found.neuron for found in declared] == [(PLANTED.layer, PLANTED.neuron)]
    (planted,) = declared
    assert (planted.flipped, planted.positions, planted.controls) == (0.5, 40, 100)
    assert (planted.times_largest_control or 0) > 10
    told = effects.filter(positions="predicted", ablation="mean", measure="log_probability")
    assert told.height == 60
    assert (told.filter(pl.col("neuron").is_in(list(NULLS)))["q_value"] > 0.05).all()
