"""The bfloat16 shortlist gives the argmax of the float32 logits: on random, offset, outlying, repeated and nearly tied entries."""

import numpy as np
import pytest
import torch

from assets.predictions import shortlist as shortlists
from assets.predictions import top_predictions
from assets.predictions.shortlist import Shortlist, can_shortlist, candidates, error_bounds, new_shortlist
from assets.predictions.top_predictions import Unembedding, largest_logits, top_entries

POSITIONS, WIDTH, VOCABULARY = 96, 64, 5000

pytestmark = pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("avx512_bf16", False), reason="this processor does not multiply bfloat16 natively"
)


@pytest.fixture(autouse=True)
def small_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlists, "LEAST", 0)


def made(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states [position, width] and an unembedding [vocabulary, width]."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(POSITIONS, WIDTH, generator=generator), torch.randn(VOCABULARY, WIDTH, generator=generator)
    if kind == "offset":  # as in trained models: all logits of a position are moved by the same large number
        hidden, weight = hidden + 3, weight * 0.1 + 2
    elif kind == "outliers":
        hidden[:, [3, 40]] *= 200
    elif kind == "repeated":
        weight[VOCABULARY // 2 :] = weight[: VOCABULARY // 2]
    elif kind == "nearly tied":  # neighbours in float32: which is larger depends on the order of the sum
        weight[VOCABULARY // 2 :] = torch.nextafter(weight[: VOCABULARY // 2], torch.tensor(100.0))
    elif kind == "all alike":
        weight[:] = weight[:1]
    elif kind == "tiny":
        hidden, weight = hidden * 1e-20, weight * 1e-20
    elif kind == "huge":
        hidden, weight = hidden * 1e18, weight * 1e18
    elif kind == "not numbers":
        hidden[3, 5], hidden[7, 0], hidden[11] = torch.nan, torch.inf, 0.0
    return hidden, weight


KINDS = ["random", "offset", "outliers", "repeated", "nearly tied", "all alike", "tiny", "huge", "not numbers"]


def shortlist_of(weight: torch.Tensor) -> Shortlist:
    shortlist = new_shortlist(weight)
    assert shortlist is not None
    return shortlist


@pytest.mark.parametrize("kind", KINDS)
def test_the_shortlisted_prediction_is_the_argmax_of_the_float32_logits(kind: str) -> None:
    hidden, weight = made(kind)
    found = top_entries(hidden, Unembedding(weight, shortlist=shortlist_of(weight)))
    assert torch.equal(found, largest_logits(hidden, Unembedding(weight)))
    if kind != "not numbers":
        assert torch.equal(found, (hidden @ weight.t()).argmax(-1))


def test_the_top_prediction_is_found_where_rounding_to_bfloat16_hides_it() -> None:
    # x = 1 +- 0.0018 is 1 in bfloat16. Entry 7 sums the deviations of 32 coordinates, 0.0576, and is 0 to the shortlist; entry 9 is
    # 0.03125 to both; all others are -1.
    hidden = torch.ones(16, WIDTH)
    signs = torch.tensor([1.0, -1.0]).repeat(16)
    hidden[:, :32] += 0.0018 * signs
    weight = torch.zeros(VOCABULARY, WIDTH)
    weight[:, 41] = -1
    weight[7], weight[9] = 0, 0
    weight[7, :32], weight[9, 40] = signs, 0.03125
    shortlist = shortlist_of(weight)
    shortlisted = hidden.bfloat16() @ shortlist.weight.t()
    assert shortlisted.argmax(-1).tolist() == [9] * 16  # what a shortlist without a bound would say
    assert top_entries(hidden, Unembedding(weight, shortlist=shortlist)).tolist() == [7] * 16


@pytest.mark.parametrize("kind", ["random", "offset", "outliers", "nearly tied", "tiny"])
def test_no_shortlisted_logit_is_further_from_the_exact_one_than_its_bound(kind: str) -> None:
    hidden, weight = made(kind)
    shortlist, rounded = shortlist_of(weight), hidden.bfloat16()
    shortlisted = (rounded @ shortlist.weight.t()).double()
    exact = hidden.double() @ (weight.double() - weight.mean(0).double()).t()
    allowed = error_bounds(hidden, rounded, shortlist)[:, None] + shortlisted.abs() / 256
    assert ((shortlisted - exact).abs() <= allowed).all()
    if kind != "tiny":  # where most terms are below the least float32 number
        assert (shortlisted - exact).abs().max() > allowed.min() / 100  # a bound that is not far from what happens


def test_the_top_prediction_is_always_among_the_candidates_and_they_are_few() -> None:
    hidden, weight = made("random")
    limit, number, entries, keys = candidates(hidden, shortlist_of(weight))
    best = (hidden @ weight.t()).argmax(-1).numpy()
    assert all(best[position] in entries[position, : number[position]] for position in range(POSITIONS))
    still_in = (keys >= limit[:, None]) & (np.arange(keys.shape[1]) < number[:, None])
    assert 1 <= still_in.sum(1).mean() < 4


def test_near_ties_are_found_and_settled_by_float32_not_by_exact_arithmetic() -> None:
    hidden, weight = made("nearly tied")
    in_float32 = (hidden @ weight.t()).argmax(-1)
    in_float64 = (hidden.double() @ weight.double().t()).argmax(-1)
    assert (in_float32 != in_float64).any()
    assert torch.equal(top_entries(hidden, Unembedding(weight, shortlist=shortlist_of(weight))), in_float32)


def test_a_screen_that_leaves_most_positions_open_is_given_up_and_the_integers_stay() -> None:
    hidden, weight = made("all alike")
    shortlist = shortlist_of(weight)
    unembedding = Unembedding(weight, shortlist=shortlist)
    assert top_entries(hidden, unembedding).tolist() == [0] * POSITIONS
    assert not shortlist.is_worth_it
    assert top_entries(hidden, unembedding).tolist() == [0] * POSITIONS


def test_where_small_products_have_other_bits_the_shortlist_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight = made("random")
    shortlist = shortlist_of(weight)
    whole = shortlists._product_of_block
    monkeypatch.setattr(shortlists, "_product_of_block", lambda *given: whole(*given) * (1 + 2**-20))
    monkeypatch.setattr(top_predictions, "shortlisted_entries", lambda *given: pytest.fail("the shortlist was used"))
    assert torch.equal(top_entries(hidden, Unembedding(weight, shortlist=shortlist)), (hidden @ weight.t()).argmax(-1))
    assert shortlist.bits_agree == {(POSITIONS, torch.get_num_threads()): False}


def test_other_numbers_other_devices_and_small_unembeddings_are_not_shortlisted(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(100, 8)
    assert can_shortlist(weight)
    assert not can_shortlist(weight.bfloat16())
    assert not can_shortlist(weight.to("meta"))
    monkeypatch.setattr(shortlists, "LEAST", 801)
    assert not can_shortlist(weight)
    monkeypatch.setattr(shortlists, "LEAST", 0)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    assert not can_shortlist(weight)


def test_an_unembedding_that_is_not_finite_is_not_shortlisted() -> None:
    weight = torch.randn(100, 8)
    weight[3, 3] = torch.inf
    assert new_shortlist(weight) is None
