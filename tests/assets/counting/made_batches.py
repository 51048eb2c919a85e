"""Batches and activations made by hand or by a seed, and a way to count them with any counter. Holds no test."""

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from assets.contracts import TOKEN_WINDOWS
from assets.counting.batch_counter import Answers, BatchCounter
from assets.counting.batches import Batch
from assets.counting.device_counter import DeviceCounter
from assets.counting.document_blocks import FOLDS, MOST, BlockSizes
from assets.counting.histograms import FURTHER_OUTCOMES, MOMENTS, ActivationBins, Histograms
from assets.counting.kernel_counter import KernelCounter, KernelOutcomeSums, KernelSums
from assets.counting.outcome_sums import OutcomeSums
from assets.counting.parts import number_of_groups
from assets.counting.position_sampler import PositionSampler
from assets.counting.token_sums import CompiledSums, DeviceSums, TokenSums, group_of_token, group_tokens
from tests.slow_reimplementation import SlowCounts

KERNEL = pytest.param(
    "kernel",
    marks=pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed: make setup-kernels, on Linux"),
)
LONG_KERNEL = pytest.param("kernel", marks=[*KERNEL.marks, pytest.mark.slow])  # for tests of which Triton's interpreter makes ten seconds
PUBLISHED = {"per_unit": 5.0, "first_bin": -5, "bins": 80}  # [-1, 15) in steps of 0.2
VOCABULARY = 7
SCREENED = (4, 1)


def made_bins(layers: int, neurons: int, per_unit: float = 5.0, first_bin: int = -5, bins: int = 80) -> ActivationBins:
    """The same bins for every neuron."""
    return ActivationBins(np.full((layers, neurons), per_unit, np.float32), np.full((layers, neurons), first_bin, np.int32), bins)


def made_batch(token_ids: Any, lengths: Any, documents: Any, windows: Any) -> Batch:
    """A batch as written."""
    return Batch(np.array(token_ids, np.int64), np.array(lengths, np.int64), np.array(documents, np.int64), np.array(windows, np.int32))


def counter_of(
    kind: str,
    bins: ActivationBins,
    token_ids: Sequence[int] = (1, 2),
    count_bos: bool = False,
    examples: int = 3,
    screened: Sequence[int] = (),
    embedding_predictions: bool = False,
    outcomes: Sequence[str] = (),
    domains: int = 1,
) -> Any:
    """`compiled` (two threads), `device` (tensor operations), `kernel` (in Triton's interpreter), both on CPU tensors, or `slow`."""
    if kind == "slow":
        return SlowCounts(
            bins,
            token_ids,
            VOCABULARY,
            count_bos=count_bos,
            examples=examples,
            screened=screened,
            embedding_predictions=embedding_predictions,
            outcomes=outcomes,
            domains=domains,
        )
    counter: Any
    counted: dict[str, Any] = {"count_bos": count_bos, "examples": examples, "embedding_predictions": embedding_predictions}
    blocks = FOLDS * domains
    counted |= {"outcomes": outcomes, "sizes": BlockSizes(blocks, *((1000, 1000) if domains > 1 else (MOST, MOST)))}
    if kind == "compiled":
        counter = BatchCounter(bins, token_ids, VOCABULARY, threads=2, **counted)
    else:
        of_device = KernelCounter if kind == "kernel" else DeviceCounter
        counter = of_device(bins, token_ids, VOCABULARY, device=torch.device("cpu"), **counted)
    counter = PositionSampler(counter, token_ids, VOCABULARY, at_once=40)
    if not screened:
        return counter
    groups = range(number_of_groups(len(screened)))
    rows, tokens = group_of_token(VOCABULARY, screened, groups), group_tokens(screened, groups)
    layers, neurons = bins.per_unit.shape
    kept = CompiledSums(2) if kind == "compiled" else KernelSums() if kind == "kernel" else DeviceSums()
    # Compiled loops are for the CPU; what stands for another device here must take tensor operations.
    threads, of_outcomes = (2 if kind == "compiled" else 0), (KernelOutcomeSums if kind == "kernel" else OutcomeSums)
    here = torch.device("cpu")
    sums = of_outcomes(outcomes, token_ids, VOCABULARY, layers, neurons, device=here, threads=threads, blocks=blocks)
    return TokenSums(counter, layers, neurons, rows, tokens, kept, count_bos=count_bos, device=here, outcome_sums=sums, blocks=blocks)


def inverse_scale_of(predictions: np.ndarray) -> np.ndarray:
    """Made-up 1 over the final norm's scale, float32 [row, position], another one at each position."""
    return np.linspace(0.01, 1.7, predictions.size, dtype=np.float32).reshape(predictions.shape)


def probabilities_of(predictions: np.ndarray) -> np.ndarray:
    """Made-up probabilities of up to VOCABULARY tracked tokens, float64 [row, position, token], most of them small."""
    places = np.arange(predictions.size * VOCABULARY, dtype=np.float64).reshape(*predictions.shape, VOCABULARY)
    return (np.sin(places) ** 8 / VOCABULARY) ** 2


def counter_tokens(counter: Any) -> tuple[int, ...]:
    """The tracked tokens of a counter, or of the one inside it."""
    return tuple(counter.histograms().token_ids)


def add(counter: Any, batch: Batch, activations: np.ndarray, predictions: np.ndarray, by_embedding: np.ndarray | None = None) -> None:
    """Count a batch; activations [layer, row, position, neuron]."""
    inverse_scale = inverse_scale_of(predictions)
    if isinstance(counter, SlowCounts):
        counter.add(batch, activations, predictions, by_embedding, inverse_scale, probabilities_of(predictions))
        return
    given = torch.from_numpy(probabilities_of(predictions)[..., : len(counter_tokens(counter))])
    counter.start(batch)
    for layer in range(activations.shape[0]):
        counter.add_layer(layer, torch.from_numpy(activations[layer]))
    also = None if by_embedding is None else torch.from_numpy(by_embedding)
    counter.add_answers(Answers(torch.from_numpy(predictions), also, torch.from_numpy(inverse_scale), given))


def tensors_of(counter: Any) -> dict[str, np.ndarray]:
    """All tensors, as NumPy arrays."""
    return counter.tensors() if isinstance(counter, SlowCounts) else in_memory(counter.histograms()).tensors  # type: ignore[return-value]


def in_memory(histograms: Histograms) -> Histograms:
    """The same with all tensors as NumPy arrays: what is only formed where it is read, and what stands in a store."""
    return dataclasses.replace(histograms, tensors={name: np.asarray(histograms[name][...]) for name in histograms.tensors})


def random_batches(seed: int, layers: int, neurons: int, number: int = 3, domains: int = 1) -> list[tuple[Batch, np.ndarray, np.ndarray]]:
    """Seeded batches with padding, a dummy row, several windows a document, ties, and now and then NaN and infinities."""
    random = np.random.default_rng(seed)
    made = []
    for place in range(number):
        rows, positions = int(random.integers(1, 5)), int(random.integers(2, 9))
        lengths = random.integers(0, positions + 1, rows)
        documents = np.where(lengths > 0, random.integers(0, 4, rows), -1)
        windows = 10 * place + np.arange(rows)  # a document's windows differ from batch to batch
        ids = random.integers(0, VOCABULARY, (rows, positions))
        activations = random.normal(0, 4, (layers, rows, positions, neurons)).round(1).astype(np.float32)
        unusual = random.random(activations.shape)
        activations[unusual < 0.02] = np.nan
        activations[unusual > 0.99] = 400.0
        batch = dataclasses.replace(made_batch(ids, lengths, documents, windows), domains=np.maximum(documents, 0) % domains)
        made.append((batch, activations, random.integers(0, VOCABULARY, (rows, positions))))
    return made


def assert_same_counters(
    found: dict[str, np.ndarray], expected: dict[str, np.ndarray], relative: float = 1e-9, probabilities: float = 0
) -> None:
    """Integers, extremes and examples are equal; moments agree to rounding, and where a tolerance is given probabilities to that share
    of the largest."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        if name in MOMENTS:
            scale = np.abs(values).max() if values.size else 0
            np.testing.assert_allclose(found[name], values, rtol=relative, atol=relative * (1 + scale), err_msg=name)
        elif "probability_" in name and probabilities:
            scale = np.abs(values).max()
            np.testing.assert_allclose(found[name], values, rtol=0, atol=probabilities * scale, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], values, err_msg=name)


def windows_frame(token_ids: Sequence[Sequence[int]], documents: Sequence[int] | None = None) -> pl.DataFrame:
    """A frame of `token_windows`, one window a document unless told otherwise."""
    documents = list(range(len(token_ids))) if documents is None else list(documents)
    return pl.DataFrame(
        {
            "document": documents,
            "window_in_document": [documents[:place].count(document) for place, document in enumerate(documents)],
            "start": [0] * len(documents),
            "length": [len(ids) for ids in token_ids],
            "token_ids": [list(ids) for ids in token_ids],
            "domain": [0] * len(documents),
        },
        schema=TOKEN_WINDOWS.schema,
    )


def random_histograms(
    seed: int, number: int = 2, embedding_predictions: bool = False, outcomes: Sequence[str] = FURTHER_OUTCOMES
) -> Histograms:
    """Histograms of a few random batches with documents of their own, without NaN, two tokens screened."""
    counter = counter_of("compiled", made_bins(2, 3), screened=SCREENED, embedding_predictions=embedding_predictions, outcomes=outcomes)
    for place, (batch, activations, predictions) in enumerate(random_batches(seed, 2, 3, number)):
        documents = np.where(batch.documents >= 0, batch.documents + 100 * seed, -1)
        own = dataclasses.replace(batch, documents=documents)
        by_embedding = other_predictions(batch, place) if embedding_predictions else None
        add(counter, own, np.nan_to_num(activations, nan=0.3), predictions, by_embedding)
    return in_memory(counter.histograms())


def other_predictions(batch: Batch, seed: int) -> np.ndarray:
    """Seeded predictions for a batch, int64 [row, position], to stand for those by the embedding."""
    return np.random.default_rng(1000 + seed).integers(0, VOCABULARY, batch.token_ids.shape)
