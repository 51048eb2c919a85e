"""Neighbours against every pair in float64, in NumPy's own words; planted pairs; ties, vectors without a length, tiles and dtypes."""

import numpy as np
import pytest

from assets.atlas import likeness as module
from assets.atlas.likeness import ENDS, SPARE, TILE, Neighbours, neighbours

TOLD = 3


def slowly(values: np.ndarray, told: int, is_centred: bool) -> Neighbours:
    """One pair after the other is looked at; every vector must have a length."""
    exact = values.astype(np.float64)
    length = np.linalg.norm(exact, axis=1)
    every = np.asarray(np.corrcoef(exact) if is_centred else exact @ exact.T / np.outer(length, length))
    found = Neighbours(np.full((len(values), 2, told), -1, np.int32), np.zeros((len(values), 2, told), np.float32))
    for one in range(len(values)):
        for end, sign in enumerate(ENDS.values()):
            others = [(-sign * every[one, other], other) for other in range(len(values)) if other != one and sign * every[one, other] > 0]
            for place, (outwards, other) in enumerate(sorted(others)[:told]):
                found.entries[one, end, place], found.likeness[one, end, place] = other, -sign * outwards
    return found


def families(seed: int, vectors: int, width: int) -> np.ndarray:
    """Vectors of which many are alike by a few common parts; with means far from 0."""
    random = np.random.default_rng(seed)
    common = random.normal(size=(vectors, 6)) * random.gamma(0.5, 1, (vectors, 1)) @ random.normal(size=(6, width))
    return (common + random.normal(size=(vectors, width)) + 3 * random.normal(size=(vectors, 1))).astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("is_centred", [True, False])
@pytest.mark.parametrize(("vectors", "width"), [(2, 40), (5, 40), (64, 33), (65, 96), (300, 256)])
def test_neighbours_are_those_of_all_pairs_in_float64(vectors: int, width: int, is_centred: bool) -> None:
    values = families(vectors, vectors, width)
    found, expected = neighbours(values, TOLD, is_centred), slowly(values, TOLD, is_centred)
    np.testing.assert_array_equal(found.entries, expected.entries)
    np.testing.assert_allclose(found.likeness, expected.likeness, rtol=1e-6, atol=1e-7)
    assert found.entries.dtype == np.int32
    assert found.likeness.dtype == np.float32


@pytest.mark.parametrize("has_instructions", [True, False])
def test_tiles_and_the_dtype_of_products_change_nothing(monkeypatch: pytest.MonkeyPatch, has_instructions: bool) -> None:
    values = families(7, 330, 200)
    whole = neighbours(values, TOLD, is_centred=True)
    monkeypatch.setattr(module, "TILE", 128)
    monkeypatch.setattr(module, "BLOCK", 50)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": has_instructions})
    told: list[tuple[int, int]] = []
    tiled = neighbours(values, TOLD, is_centred=True, progress=lambda done, total: told.append((done, total)))
    np.testing.assert_array_equal(whole.entries, tiled.entries)
    np.testing.assert_array_equal(whole.likeness, tiled.likeness)
    assert told[-1] == (330 * 330, 330 * 330)
    assert len(told) == 9  # six tiles on and above the diagonal, three of which serve twice
    assert TILE > 330


@pytest.mark.parametrize("asked", [[], [0], [3, 130, 131, 299]])
def test_those_that_are_asked_for_find_among_all_what_they_find_when_all_are(monkeypatch: pytest.MonkeyPatch, asked: list[int]) -> None:
    monkeypatch.setattr(module, "TILE", 64)
    values = families(5, 300, 80)
    values[130] = 0
    told: list[tuple[int, int]] = []
    whole = neighbours(values, TOLD, is_centred=True)
    some = neighbours(
        values, TOLD, is_centred=True, progress=lambda done, total: told.append((done, total)), asked=np.array(asked, np.int64)
    )
    np.testing.assert_array_equal(some.entries[asked], whole.entries[asked])
    np.testing.assert_array_equal(some.likeness[asked], whole.likeness[asked])
    assert (np.delete(some.entries, asked, axis=0) == -1).all()
    found = len(set(asked) - {130})
    assert told[-1:] == [(299 * found, 299 * found)] * bool(found)


def test_either_of_a_pair_finds_the_same_number_to_the_last_bit() -> None:
    found = neighbours(families(3, 400, 300), 6, is_centred=True)
    known = {(one, int(other)): found.likeness[one, end, place] for (one, end, place), other in np.ndenumerate(found.entries) if other >= 0}
    both = [pair for pair in known if pair[::-1] in known]
    assert len(both) > 500
    assert all(known[pair] == known[pair[::-1]] for pair in both)


def test_a_planted_twin_and_a_planted_opposite_are_found_with_their_likeness() -> None:
    values = families(1, 500, 120)
    values[77] = 2 * values[400] + 5
    values[301] = -values[12]
    found = neighbours(values, TOLD, is_centred=True)
    for one, other, end in ((77, 400, 0), (400, 77, 0), (301, 12, 1), (12, 301, 1)):
        assert found.entries[one, end, 0] == other
        assert found.likeness[one, end, 0] == list(ENDS.values())[end]
    moved = neighbours(values, TOLD, is_centred=False)  # the cosine does not take the 5 away
    assert moved.entries[301, 1, 0] == 12
    assert moved.likeness[77, 0, 0] < 1


def test_negated_vectors_change_places_and_nothing_else() -> None:
    values, signs = families(5, 200, 64), np.where(np.arange(200) % 2, 1, -1)[:, None].astype(np.float32)
    plain, turned = neighbours(values, 150, is_centred=False), neighbours(values * signs, 150, is_centred=False)

    def pairs(found: Neighbours, signs: np.ndarray) -> dict[tuple[int, int], float]:
        return {(one, int(other)): float(found.likeness[one, end, place] * signs[one, 0] * signs[other, 0])
                for (one, end, place), other in np.ndenumerate(found.entries) if other >= 0}  # fmt: skip

    assert pairs(plain, np.ones_like(signs)) == pairs(turned, signs)
    assert len(pairs(plain, signs)) == 200 * 199  # all others: whichever end they stand at


def test_equal_likenesses_go_by_the_lower_neuron_and_none_is_its_own_neighbour() -> None:
    values = np.tile(np.array([[1, 2, 4]], np.float32), (4, 1))
    found = neighbours(values, TOLD, is_centred=False)
    assert found.entries[:, 0].tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    assert (found.likeness[:, 0] == 1).all()
    assert (found.entries[:, 1] == -1).all()
    assert (found.likeness[:, 1] == 0).all()


def test_a_vector_without_length_or_with_no_number_has_none_and_is_none() -> None:
    values = families(2, 90, 50)
    values[4], values[30], values[31, 3], values[32, 0] = 0, 7, np.nan, np.inf
    found = neighbours(values, TOLD, is_centred=True)
    rest = np.setdiff1d(np.arange(90), [4, 30, 31, 32])
    assert (found.entries[[4, 30, 31, 32]] == -1).all()
    expected = slowly(values[rest], TOLD, is_centred=True)
    np.testing.assert_array_equal(found.entries[rest], np.where(expected.entries >= 0, rest[expected.entries], -1))
    for values in (np.zeros((3, 8), np.float32), np.empty((3, 0), np.float32), np.ones((1, 8), np.float32)):
        assert (neighbours(values, TOLD, is_centred=True).entries == -1).all()


def test_all_but_few_of_the_nearest_are_found_among_many_that_are_nearly_as_near() -> None:
    """Rounding products to three digits puts some of the nearest behind others; what is told of those that are found stays exact."""
    random = np.random.default_rng(0)
    values = (random.normal(size=(2000, 64)) + 1.2 * random.normal(size=(1, 64))).astype(np.float32)
    every = (unit := values / np.linalg.norm(values, axis=1, keepdims=True)) @ unit.T
    np.fill_diagonal(every, 0)
    expected = np.argsort(-every, axis=1)[:, :4]
    found = neighbours(values, 4, is_centred=False).entries[:, 0]
    assert np.mean(found[:, :, None] == expected[:, None, :]) * 4 > 0.99
    assert SPARE == 8
