"""Counting on a device asks it for nothing while batches run. Tensors without content (`meta`) stand for the device: an operation
whose result's shape or path depends on content, which is what makes a host wait, cannot be done with them and raises."""

import pytest
import torch

from assets.counting.batch_counter import Answers
from assets.counting.device_counter import DeviceCounter
from assets.counting.token_sums import DeviceSums, TokenSums, group_of_token, group_tokens
from assets.predictions.top_predictions import Unembedding, largest_logits
from tests.assets.counting.made_batches import VOCABULARY, inverse_scale_of, made_bins, random_batches

NOWHERE = torch.device("meta")

pytestmark = pytest.mark.usefixtures("numbers_arrive")


def counter_without_content() -> DeviceCounter:
    return DeviceCounter(made_bins(2, 5), (1, 2), VOCABULARY, count_bos=False, examples=3, device=NOWHERE)


def test_no_operation_of_a_batch_needs_to_know_what_a_tensor_of_the_device_holds() -> None:
    counter = counter_without_content()
    for batch, activations, predictions in random_batches(0, 2, 5):
        counter.start(batch)
        for layer in range(2):
            counter.add_layer(layer, torch.from_numpy(activations[layer]).to(NOWHERE))
        scale = torch.from_numpy(inverse_scale_of(predictions)).to(NOWHERE)
        counter.add_answers(Answers(torch.from_numpy(predictions).to(NOWHERE), inverse_scale=scale))
    with pytest.raises(NotImplementedError, match="meta tensor"):
        counter.histograms()  # only here is something copied back


def test_neither_do_the_sums_by_predicted_token() -> None:
    groups, tokens = group_of_token(VOCABULARY, [1, 4], range(1, 3)), group_tokens([1, 4], range(1, 3))
    counter = TokenSums(counter_without_content(), 2, 5, groups, tokens, DeviceSums(), count_bos=False, device=NOWHERE)
    for batch, activations, predictions in random_batches(0, 2, 5):
        counter.start(batch)
        for layer in range(2):
            counter.add_layer(layer, torch.from_numpy(activations[layer]).to(NOWHERE))
        scale = torch.from_numpy(inverse_scale_of(predictions)).to(NOWHERE)
        counter.add_answers(Answers(torch.from_numpy(predictions).to(NOWHERE), inverse_scale=scale))


def test_neither_does_the_search_for_the_top_predictions() -> None:
    hidden, weight = torch.empty(12, 4, device=NOWHERE), torch.empty(5000, 4, device=NOWHERE)
    assert largest_logits(hidden, Unembedding(weight)).shape == (12,)


def test_content_that_is_asked_for_would_be_noticed() -> None:
    with pytest.raises((NotImplementedError, RuntimeError)):
        torch.empty(3, dtype=torch.bool, device=NOWHERE).nonzero()
    with pytest.raises(RuntimeError):
        torch.empty(1, device=NOWHERE).item()
