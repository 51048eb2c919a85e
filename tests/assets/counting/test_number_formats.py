"""Formats of numbers changed without torch: torch's own bits; and counting threads that start no threads of their own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from assets.counting.kept_positions import HALF_LARGEST
from assets.counting.number_formats import halves, singles

ROOT = Path(__file__).parents[3]


def every_kind(number: int = 4096) -> np.ndarray:
    """Float32 of every size and sign, subnormal numbers of either format, ties, infinities and NaN."""
    random = np.random.default_rng(0)
    bits = random.integers(0, 2**32, number, np.uint64).astype(np.uint32).view(np.float32)
    near = (random.normal(size=number) * 10.0 ** random.integers(-9, 6, number)).astype(np.float32)
    ties = np.float32(1) + np.arange(64, dtype=np.float32) * np.float32(2.0**-12)
    return np.concatenate([bits, near, ties, np.array([0.0, -0.0, 65_504, 65_520, np.inf, -np.inf, np.nan], np.float32)])


def assert_same_bits(given: np.ndarray, wanted: np.ndarray) -> None:
    assert given.dtype == wanted.dtype
    np.testing.assert_array_equal(np.isnan(given), np.isnan(wanted))
    bits = np.dtype(f"u{given.itemsize}")
    np.testing.assert_array_equal(given[~np.isnan(given)].view(bits), wanted[~np.isnan(wanted)].view(bits))


def test_halves_are_those_of_torch() -> None:
    values = every_kind()
    assert_same_bits(halves(values), torch.from_numpy(values).clamp(-HALF_LARGEST, HALF_LARGEST).half().numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_singles_are_those_of_torch_and_float32_is_not_copied(dtype: torch.dtype) -> None:
    activations = torch.from_numpy(every_kind()[:8192]).to(dtype).view(2, 64, 64)
    given = singles(activations)
    assert_same_bits(given, activations.flatten(0, 1).float().numpy())
    assert given.flags.c_contiguous
    assert (given.ctypes.data == activations.data_ptr()) == (dtype == torch.float32)
    assert_same_bits(singles(activations.transpose(0, 1)), activations.transpose(0, 1).flatten(0, 1).float().numpy())


COUNT = """
import os, sys, threading
import numpy as np, torch
torch.set_num_threads(2)
from assets.counting.batch_counter import Answers
from tests.assets.counting.made_batches import counter_of, inverse_scale_of, made_batch, made_bins, probabilities_of

def threads():
    "Of the system, less those that Python started."
    return len(os.listdir("/proc/self/task")) - threading.active_count()

def count():
    counter = counter_of("compiled", made_bins(1, 2048), examples=10, screened=(4, 1), outcomes=("next_token", "probability"))
    random = np.random.default_rng(0)
    batch = made_batch(random.integers(0, 7, (8, 64)), [64] * 8, np.arange(8), [0] * 8)
    predictions = random.integers(0, 7, (8, 64))
    of_tokens = torch.from_numpy(probabilities_of(predictions)[..., :2])
    counter.start(batch)
    counter.add_layer(0, torch.from_numpy(random.normal(size=(8, 64, 2048))).to(getattr(torch, sys.argv[1])))
    counter.add_answers(Answers(torch.from_numpy(predictions), None, torch.from_numpy(inverse_scale_of(predictions)), of_tokens))
    return counter

first = count()  # the libraries and the main thread have their threads now
before = threads()
second = count()
print(threads() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in Linux's /proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_counting_threads_start_no_threads_of_their_own(dtype: str) -> None:
    """One that did slowed every small operation of the model down, fourfold."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", COUNT, dtype]
    assert subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout.split() == ["0"]
