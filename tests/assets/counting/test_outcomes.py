"""Further outcomes of the pass, next token and probability: fast counters equal the loop over positions, on every device, in any order."""

import numpy as np
import pytest
import torch

from assets.contracts import OUTCOME_TENSORS
from assets.counting.batch_counter import Answers
from assets.counting.device_counter import DeviceCounter
from assets.counting.histograms import FURTHER_OUTCOMES, PROBABILITY_UNITS, merge
from assets.counting.outcome_sums import OutcomeSums
from assets.counting.token_sums import DeviceSums, TokenSums, group_of_token, group_tokens
from tests.assets.counting.made_batches import (
    KERNEL,
    SCREENED,
    VOCABULARY,
    add,
    assert_same_counters,
    counter_of,
    in_memory,
    inverse_scale_of,
    made_batch,
    made_bins,
    probabilities_of,
    random_batches,
    tensors_of,
)

KINDS = ["compiled", "device", KERNEL]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outcomes", [("next_token",), ("probability",), FURTHER_OUTCOMES])
@pytest.mark.parametrize("screened", [(), SCREENED])
def test_fast_counters_equal_the_loop_over_positions(kind: str, outcomes: tuple[str, ...], screened: tuple[int, ...]) -> None:
    bins, counters = made_bins(2, 5), {}
    for name in (kind, "slow"):
        counters[name] = counter_of(name, bins, (1, 2, 6), screened=screened, outcomes=outcomes)
        for batch, activations, predictions in random_batches(3, 2, 5):
            add(counters[name], batch, activations, predictions)
    assert_same_counters(tensors_of(counters[kind]), tensors_of(counters["slow"]))


@pytest.mark.parametrize("kind", ["compiled", "device"])
def test_by_hand(kind: str) -> None:
    """One document of four tokens: 1 follows the first counted position, 2 the second, nothing the last."""
    counter = counter_of(kind, made_bins(1, 1), (1, 2), screened=SCREENED, outcomes=("next_token",))
    activations = np.array([[[[9.0], [1.1], [2.1], [-5.0]]]], np.float32)  # [layer, row, position, neuron]
    add(counter, made_batch([[5, 3, 1, 2]], [4], [0], [0]), activations, np.array([[0, 0, 0, 0]]))
    found = in_memory(counter.histograms())
    assert found["next_tokens"].tolist() == [0, 1, 1, 0, 0, 0, 0]  # token 3 comes after the beginning, which is not counted
    assert np.flatnonzero(found["next_token_count"][0, 0, 0]).tolist() == [10]  # 1.1 lies in [1.0, 1.2) of bins from -1 on
    assert np.flatnonzero(found["next_token_count"][1, 0, 0]).tolist() == [15]
    assert (found["no_next_token_count"].sum(), found["no_next_token_outside"].tolist()) == (0, [[[1, 0, 0]]])
    scale = inverse_scale_of(np.zeros((1, 4)))[0].astype(np.float64)
    assert found["next_token_scaled"][0, 0, 0] == round(float(np.float32(1.1)) * scale[1] * 2**30)
    assert found["no_next_token_scaled"][0, 0] == round(-5.0 * scale[3] * 2**30)


def test_every_position_has_a_next_token_or_none_and_probabilities_add_up_in_every_neuron() -> None:
    counter = counter_of("compiled", made_bins(2, 5), tuple(range(VOCABULARY)), outcomes=FURTHER_OUTCOMES)
    expected = np.zeros(VOCABULARY)
    for batch, activations, predictions in random_batches(5, 2, 5):
        add(counter, batch, activations, predictions)
        counted = batch.counted(False)
        expected += probabilities_of(predictions).reshape(-1, VOCABULARY)[counted].sum(0)
    found = in_memory(counter.histograms())
    whole = {part: found[f"next_token_{part}"].sum(0) + found[f"no_next_token_{part}"] for part in ("count", "outside")}
    np.testing.assert_array_equal(whole["count"], found["count"])
    np.testing.assert_array_equal(whole["outside"], found["outside"])
    by_neuron = found["probability_count"].sum(-1) + found["probability_outside"].sum(-1)  # [token, layer, neuron]
    assert (by_neuron == found["probability_sums"][:, None, None]).all()
    np.testing.assert_allclose(found["probability_sums"] / PROBABILITY_UNITS, expected, rtol=0, atol=1e-8)


def test_the_sum_of_two_counts_is_the_count_of_both() -> None:
    def count(seeds: tuple[int, ...]) -> object:
        counter = counter_of("compiled", made_bins(2, 3), (1, 4), screened=SCREENED, outcomes=FURTHER_OUTCOMES)
        for seed in seeds:
            for batch, activations, predictions in random_batches(seed, 2, 3):
                own = made_batch(
                    batch.token_ids, batch.lengths, np.where(batch.documents < 0, -1, batch.documents + 10 * seed), batch.windows
                )
                add(counter, own, np.nan_to_num(activations, nan=0.3), predictions)
        return counter.histograms()

    both, whole = merge(count((1,)), count((2,))), count((1, 2))  # type: ignore[arg-type]
    for outcome in FURTHER_OUTCOMES:
        for tensor in OUTCOME_TENSORS[outcome]:
            np.testing.assert_array_equal(both[tensor.name], whole[tensor.name], err_msg=tensor.name)  # type: ignore[index]


@pytest.mark.usefixtures("numbers_arrive")
def test_nothing_of_a_batch_waits_for_the_device() -> None:
    nowhere = torch.device("meta")
    groups, tokens = group_of_token(VOCABULARY, [1, 4], range(1, 3)), group_tokens([1, 4], range(1, 3))
    inner = DeviceCounter(made_bins(2, 5), (1, 2), VOCABULARY, count_bos=False, examples=3, device=nowhere, outcomes=FURTHER_OUTCOMES)
    sums = OutcomeSums(FURTHER_OUTCOMES, (1, 2), VOCABULARY, 2, 5, device=nowhere, threads=0)
    counter = TokenSums(inner, 2, 5, groups, tokens, DeviceSums(), count_bos=False, device=nowhere, outcome_sums=sums)
    for batch, activations, predictions in random_batches(0, 2, 5):
        counter.start(batch)
        for layer in range(2):
            counter.add_layer(layer, torch.from_numpy(activations[layer]).to(nowhere))
        scale = torch.from_numpy(inverse_scale_of(predictions)).to(nowhere)
        given = torch.from_numpy(probabilities_of(predictions)[..., :2]).to(nowhere)
        counter.add_answers(Answers(torch.from_numpy(predictions).to(nowhere), inverse_scale=scale, probabilities=given))
    with pytest.raises(NotImplementedError, match="meta tensor"):
        counter.histograms()


def test_an_unknown_outcome_and_missing_probabilities_are_refused() -> None:
    with pytest.raises(ValueError, match=r"outcomes \['luck'\]: counted beside top predictions can be next_token, probability"):
        counter_of("compiled", made_bins(1, 1), outcomes=("luck",))
    counter = counter_of("compiled", made_bins(1, 1), outcomes=("probability",))
    batch = made_batch([[0, 1]], [2], [0], [0])
    counter.start(batch)
    counter.add_layer(0, torch.zeros(1, 2, 1))
    with pytest.raises(ValueError, match="must be given with each batch"):
        counter.add_answers(Answers(torch.zeros(1, 2, dtype=torch.int64)))
